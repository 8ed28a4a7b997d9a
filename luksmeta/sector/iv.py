"""IV generators: from sector numbers to initialisation vectors, many at a time.

They are those of dm-crypt (drivers/md/dm-crypt.c, the comment "Different IV generation
algorithms"). All give the 16 bytes that AES takes.
"""

from __future__ import annotations

import sys
from array import array
from dataclasses import dataclass
from typing import Final, Protocol

from luksmeta.errors import AlgorithmError
from luksmeta.secret import SecretBytes
from luksmeta.sector.cipher_spec import CipherSpec

IV_SIZE: Final = 16  # bytes
ESSIV_KEY_SIZES: Final = (16, 24, 32)  # bytes; what AES takes


class IvGenerator(Protocol):
    """What turns a run of sector numbers into IVs."""

    def ivs(self, first: int, count: int, step: int) -> bytes | bytearray:
        """The IVs of the numbers ``first``, ``first + step``, …, one after another."""


@dataclass(frozen=True, slots=True)
class Counter:
    """The sector number itself: ``plain`` (32 bits, wraps), ``plain64`` and ``plain64be``."""

    bits: int = 64
    big_endian: bool = False

    def ivs(self, first: int, count: int, step: int) -> bytearray:
        """See :class:`IvGenerator`."""
        mask = (1 << self.bits) - 1
        numbers = array("Q", [n & mask for n in range(first, first + count * step, step)])
        if self.big_endian != (sys.byteorder == "big"):
            numbers.byteswap()
        blocks = bytearray(count * IV_SIZE)
        # An IV is two 64-bit words; plain64be has the number in the second.
        memoryview(blocks).cast("Q")[self.big_endian :: 2] = memoryview(numbers)
        return blocks


class Null:
    """``null``: every IV is zero."""

    def ivs(self, first: int, count: int, step: int) -> bytes:
        """See :class:`IvGenerator`."""
        return bytes(count * IV_SIZE)


class Essiv:
    """``essiv:HASH``: the plain64 IV, encrypted by AES under the hash of the volume key."""

    def __init__(self, hash_name: str, key: SecretBytes) -> None:
        from luksmeta.kdf import hashes

        essiv_hash = hashes.get(hash_name)
        if essiv_hash.digest_size not in ESSIV_KEY_SIZES:
            raise AlgorithmError(
                f"essiv hash {hash_name}: gives {essiv_hash.digest_size} bytes, "
                "AES takes 16, 24 or 32",
                kind="hash",
                name=hash_name,
            )
        self._key = SecretBytes(essiv_hash.digest(key.view()))

    def ivs(self, first: int, count: int, step: int) -> bytes:
        """See :class:`IvGenerator`."""
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        cipher = Cipher(algorithms.AES(self._key.view()), modes.ECB())  # noqa: S305 - no chaining
        return cipher.encryptor().update(Counter().ivs(first, count, step))


def create(spec: CipherSpec, key: SecretBytes) -> IvGenerator:
    """The generator that ``spec`` names.

    Raises AlgorithmError where it is not available here, or where ESSIV's hash does not fit.
    """
    match spec.iv, spec.iv_option:
        case "plain", None:
            return Counter(bits=32)
        case "plain64", None:
            return Counter()
        case "plain64be", None:
            return Counter(big_endian=True)
        case "null", None:
            return Null()
        case "essiv", str(hash_name):
            return Essiv(hash_name, key)
    option = f":{spec.iv_option}" if spec.iv_option else ""
    raise AlgorithmError(
        f"cipher {spec}: IV {spec.iv or 'generator'}{option} is not available, "
        "plain, plain64, plain64be, null and essiv:HASH are",
        kind="cipher",
        name=spec.text,
    )
