"""The block ciphers: which there are, which keys they take, and which library has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from luksmeta.errors import AlgorithmError
from luksmeta.secret import BytesLike
from luksmeta.sector.parts import BlockCipher
from luksmeta.sizes import counted


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A block cipher of the kernel's crypto API, and its names in the libraries.

    Sizes are in bytes. ``openssl`` is the class in ``cryptography``; ``libgcrypt`` maps key sizes
    to numbers of ``enum gcry_cipher_algos``.
    """

    name: str
    block_size: int
    key_sizes: tuple[int, ...]
    openssl: str | None = None
    libgcrypt: dict[int, int] = field(default_factory=dict)


_AES_SIZES: Final = (16, 24, 32)
ALGORITHMS: Final = MappingProxyType(
    {
        algorithm.name: algorithm
        for algorithm in (
            Algorithm("aes", 16, _AES_SIZES, "AES", {16: 7, 24: 8, 32: 9}),
            Algorithm("serpent", 16, _AES_SIZES, None, {16: 304, 24: 305, 32: 306}),
            Algorithm("twofish", 16, _AES_SIZES, None, {16: 303, 32: 10}),
            Algorithm("camellia", 16, _AES_SIZES, "Camellia", {16: 310, 24: 311, 32: 312}),
            Algorithm("cast6", 16, (16, 20, 24, 28, 32)),
            Algorithm("cast5", 8, tuple(range(5, 17)), "CAST5", {16: 3}),
            Algorithm("blowfish", 8, tuple(range(4, 57)), "Blowfish", {16: 4}),
            Algorithm("des3_ede", 8, (24,), "TripleDES", {24: 2}),
            Algorithm("des", 8, (8,), "TripleDES", {8: 302}),
        )
    }
)
"""What is known here, by the kernel's names.

The kernel takes Serpent keys of any size up to 32 bytes; nobody has used that.
"""


def create(name: str, key: BytesLike) -> BlockCipher:
    """The block cipher ``name`` under a copy of ``key``, from the first library that has it.

    Raises AlgorithmError where the cipher is not known, its key has another size, or no library
    here has it.
    """
    from luksmeta.sector import libgcrypt, openssl  # the table above is read without any cipher

    algorithm = find(name)
    if len(key) not in algorithm.key_sizes:
        raise AlgorithmError(
            f"cipher {name}: key has {counted(len(key), 'byte')}, takes "
            f"{spell_sizes(algorithm.key_sizes)}",
            kind="cipher",
            name=name,
        )
    if algorithm.openssl and openssl.is_available(algorithm.openssl, len(key)):
        return openssl.OpenSslBlockCipher(algorithm.openssl, algorithm.block_size, key)
    if len(key) not in algorithm.libgcrypt and (own := _own(name)):
        return own(key)
    number = libgcrypt_number(algorithm, len(key))
    return libgcrypt.LibgcryptBlockCipher(number, algorithm.block_size, key)


def _own(name: str) -> Callable[[BytesLike], BlockCipher] | None:
    """This package's own code of a block cipher, where it has any."""
    if name == "cast6":
        from luksmeta.sector.cast6 import Cast6

        return Cast6
    if name == "twofish":
        from luksmeta.sector.twofish import Twofish

        return Twofish
    return None


def find(name: str) -> Algorithm:
    """The block cipher that the kernel calls ``name``; raises AlgorithmError where unknown."""
    algorithm = ALGORITHMS.get(name)
    if algorithm is None:
        raise AlgorithmError(
            f"cipher {name}: not available, known are {', '.join(ALGORITHMS)}",
            kind="cipher",
            name=name,
        )
    return algorithm


def libgcrypt_number(algorithm: Algorithm, key_size: int) -> int:
    """libgcrypt's number of the algorithm with keys of ``key_size`` bytes.

    Raises AlgorithmError where libgcrypt lacks it, or is missing itself.
    """
    from luksmeta.sector import libgcrypt

    found = algorithm.libgcrypt.get(key_size)
    if found is None:
        raise AlgorithmError(
            f"cipher {algorithm.name}: the OpenSSL of the Python package cryptography lacks it, "
            f"and libgcrypt has it for keys of other than {counted(key_size, 'byte')}",
            kind="cipher",
            name=algorithm.name,
        )
    libgcrypt.require(algorithm.name)
    return found


def spell_sizes(sizes: tuple[int, ...]) -> str:
    """Key sizes for a message: ``16, 24 or 32``, or ``4 to 56`` for an unbroken row."""
    if len(sizes) > 2 and sizes == tuple(range(sizes[0], sizes[-1] + 1)):
        return f"{sizes[0]} to {sizes[-1]}"
    *most, last = map(str, sizes)
    return f"{', '.join(most)} or {last}" if most else last
