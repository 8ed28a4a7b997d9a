"""The hash functions of LUKS headers, by the names that headers carry.

Digests of short inputs come from hashlib: an anti-forensic merge makes thousands of them, and one
costs 0.6 us there against 1.1 us with ``cryptography``. PBKDF2 comes from ``cryptography``: it
writes into a buffer of ours, releases the GIL, and took 0.12 s for a million iterations of sha256
(its own OpenSSL 4.0) where hashlib took 0.25 s (OpenSSL 3.0). It also knows whirlpool, which
hashlib mostly does not: the legacy provider of OpenSSL is part of its wheels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from luksmeta.errors import AlgorithmError
from luksmeta.secret import BytesLike

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

MAX_ITERATIONS = (1 << 31) - 1
"""The most iterations of PBKDF2 that can be had: OpenSSL takes them as a C int."""

# Digest sizes in bytes. The names are cryptsetup's (lib/crypto_backend) and the kernel's; OpenSSL
# and hashlib spell some of them otherwise, see _constructor and _algorithm.
_DIGEST_SIZES = {
    "md5": 16,
    "sha1": 20,
    "sha224": 28,
    "sha256": 32,
    "sha384": 48,
    "sha512": 64,
    "sha512-224": 28,
    "sha512-256": 32,
    "sha3-224": 28,
    "sha3-256": 32,
    "sha3-384": 48,
    "sha3-512": 64,
    "blake2b-512": 64,
    "blake2s-256": 32,
    "ripemd160": 20,
    "sm3": 32,
    "whirlpool": 64,
}

NAMES = tuple(_DIGEST_SIZES)
"""The hashes that are known here."""

# A header keeps the spelling its maker typed, and cryptsetup on OpenSSL takes these too:
# `cryptsetup luksFormat --hash SHA-256` writes "SHA-256" (tried with 2.6.1).
_ALIASES = {
    "sha-1": "sha1",
    "sha-224": "sha224",
    "sha-256": "sha256",
    "sha-384": "sha384",
    "sha-512": "sha512",
    "sha2-224": "sha224",
    "sha2-256": "sha256",
    "sha2-384": "sha384",
    "sha2-512": "sha512",
    "blake2b512": "blake2b-512",
    "blake2s256": "blake2s-256",
    "ripemd-160": "ripemd160",
    "ripemd": "ripemd160",
    "rmd160": "ripemd160",
}


@dataclass(frozen=True, slots=True)
class Hash:
    """One hash function: ``digest(data)`` gives ``digest_size`` bytes."""

    name: str
    digest_size: int
    digest: Callable[[BytesLike], bytes]

    def digest_into(self, data: BytesLike, out: memoryview) -> None:
        """Fill ``out``, of ``digest_size`` bytes, with a digest that is itself a secret.

        hashlib and ``cryptography`` hand out immutable bytes only, so the engine's C part does
        it; where that is not built, or lacks the hash, such a copy is left to the collector.
        """
        try:
            from luksmeta.sector import _native

            _native.digest(self.name, data, out)
        except (ImportError, LookupError):
            out[:] = self.digest(data)

    def pbkdf2(self, passphrase: BytesLike, salt: bytes, iterations: int, key: memoryview) -> None:
        """Fill ``key`` by PBKDF2 with HMAC of this hash (RFC 8018 section 5.2), without the GIL.

        Raises ValueError for iterations outside 1..MAX_ITERATIONS, and AlgorithmError where
        ``cryptography`` runs on an OpenSSL that lacks this hash.
        """
        if not 1 <= iterations <= MAX_ITERATIONS:
            raise ValueError(f"pbkdf2: {iterations} iterations, possible are 1..{MAX_ITERATIONS}")
        from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

        pbkdf2 = PBKDF2HMAC(_algorithm(self.name), len(key), salt, iterations)
        pbkdf2.derive_into(passphrase, key)


@cache
def get(name: str) -> Hash:
    """The hash that a header calls ``name``, in any case of letters.

    Raises AlgorithmError (kind ``"hash"``) where nobody here knows it, or no library has it.
    """
    known = _ALIASES.get(name.lower(), name.lower())
    if known not in _DIGEST_SIZES:
        raise AlgorithmError(
            f"hash {name!r}: not known; known are {', '.join(NAMES)}", kind="hash", name=name
        )
    return Hash(known, _DIGEST_SIZES[known], _hashlib_digest(known) or _openssl_digest(known))


def _hashlib_digest(name: str) -> Callable[[BytesLike], bytes] | None:
    spelling = {"blake2b-512": "blake2b", "blake2s-256": "blake2s"}.get(
        name, name.replace("-", "_")
    )
    try:
        # The named constructor saves hashlib.new's look-up, a third of a short digest.
        constructor = getattr(hashlib, spelling, None) or _by_new(spelling)
        constructor(b"")
    except ValueError:  # not in this build, or forbidden by a FIPS policy
        return None
    return lambda data: constructor(data).digest()


def _by_new(spelling: str) -> Callable[[BytesLike], hashlib._Hash]:
    return lambda data: hashlib.new(spelling, data)


def _openssl_digest(name: str) -> Callable[[BytesLike], bytes]:
    from cryptography.hazmat.primitives.hashes import Hash as OpenSslHash

    algorithm = _algorithm(name)

    def digest(data: BytesLike) -> bytes:
        context = OpenSslHash(algorithm)
        context.update(data)
        return context.finalize()

    return digest


@cache
def _algorithm(name: str) -> HashAlgorithm:
    """``name`` for ``cryptography``, which passes on to OpenSSL any name that it is given."""
    from cryptography.exceptions import InternalError, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes

    known = name
    spelling = name.replace("-", "") if name.startswith("blake2") else name

    class Named(hashes.HashAlgorithm):
        name = spelling
        digest_size = _DIGEST_SIZES[known]
        block_size = None

    try:
        hashes.Hash(Named())
    except (UnsupportedAlgorithm, InternalError) as error:
        raise AlgorithmError(
            f"hash {name!r}: the OpenSSL of the Python package cryptography lacks it; "
            "install cryptography's own wheel, or OpenSSL's legacy provider",
            kind="hash",
            name=name,
        ) from error
    return Named()
