"""Key derivation: hashes, PBKDF2 and Argon2, and the anti-forensic splitter."""
