"""Evidence: what is left of LUKS on a disk, read without changing it."""
