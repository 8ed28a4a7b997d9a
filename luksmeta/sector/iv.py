"""IV generators: from sector numbers to initialisation vectors, many at a time.

They are those of dm-crypt (drivers/md/dm-crypt.c, the comment "Different IV generation
algorithms"). Numbers wrap at 64 bits; an IV is as long as a block of the cipher, and 32 bytes for
the wide-block modes.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from luksmeta.errors import AlgorithmError
from luksmeta.secret import SecretBytes
from luksmeta.sector import block_ciphers
from luksmeta.sector.block_ciphers import spell_sizes
from luksmeta.sector.cipher_spec import CipherSpec
from luksmeta.sector.parts import BlockCipher, IvBytes, IvGenerator

IV_SIZE: Final = 16  # bytes; that of AES
NAMES: Final = (
    *("plain", "plain64", "plain64be", "benbi", "null", "essiv:HASH"),
    *("eboiv", "elephant", "lmk", "tcw"),
)
"""The generators that are known; those in the second row have modules of their own."""

_BLOCK_SIZES: Final = (8, 16)  # bytes; of the ciphers


@dataclass(frozen=True, slots=True)
class Counter:
    """The sector number, as it is, multiplied, or moved on.

    ``plain`` (32 bits, wraps), ``plain64`` and ``plain64be``; ``benbi`` counts the cipher's blocks
    from 1, and what ``eboiv`` encrypts counts bytes. An IV has ``size`` bytes.
    """

    bits: int = 64
    big_endian: bool = False
    size: int = IV_SIZE
    factor: int = 1
    start: int = 0

    def ivs(self, first: int, count: int, step: int) -> bytearray:
        """See :class:`luksmeta.sector.parts.IvGenerator`."""
        mask, factor, start = (1 << self.bits) - 1, self.factor, self.start
        run = range(first * factor + start, (first + count * step) * factor + start, step * factor)
        numbers = array("Q", [n & mask for n in run])
        if self.big_endian != (sys.byteorder == "big"):
            numbers.byteswap()
        blocks = bytearray(count * self.size)
        # Of an IV's 64-bit words the big-endian ones have the number in the last.
        words = self.size // 8
        place = words - 1 if self.big_endian else 0
        memoryview(blocks).cast("Q")[place::words] = memoryview(numbers)
        return blocks


@dataclass(frozen=True, slots=True)
class Null:
    """``null``: every IV is zero."""

    size: int = IV_SIZE

    def ivs(self, first: int, count: int, step: int) -> bytes:
        """See :class:`luksmeta.sector.parts.IvGenerator`."""
        return bytes(count * self.size)


@dataclass(frozen=True, slots=True)
class Essiv:
    """``essiv``: the plain64 IV, encrypted."""

    cipher: BlockCipher

    def ivs(self, first: int, count: int, step: int) -> IvBytes:
        """See :class:`luksmeta.sector.parts.IvGenerator`."""
        return self.cipher.encrypt(Counter(size=self.cipher.block_size).ivs(first, count, step))


def create(spec: CipherSpec, key: SecretBytes, iv_size: int = IV_SIZE) -> IvGenerator:
    """The generator that ``spec`` names, where it does not depend on the mode or the plaintext.

    ``iv_size`` is in bytes. An option is ignored where it has no meaning, as the kernel does.
    Raises AlgorithmError where the generator is not known, or not possible with this mode.
    """
    simple = _SIMPLE.get(spec.iv or "")
    if simple is not None:
        return simple(iv_size)
    if spec.iv == "benbi":
        return _benbi(spec, iv_size)
    if spec.iv == "essiv" and spec.iv_option and iv_size in _BLOCK_SIZES:
        return _essiv(spec, key)
    option = f":{spec.iv_option}" if spec.iv_option else ""
    raise AlgorithmError(
        f"cipher {spec}: IV {spec.iv or 'generator'}{option} is not available with "
        f"{spec.mode} mode, known are {', '.join(NAMES)}",
        kind="cipher",
        name=spec.text,
    )


_SIMPLE: Final[dict[str, Callable[[int], IvGenerator]]] = {
    "plain": lambda size: Counter(bits=32, size=size),
    "plain64": lambda size: Counter(size=size),
    "plain64be": lambda size: Counter(big_endian=True, size=size),
    "null": Null,
}


def _benbi(spec: CipherSpec, iv_size: int) -> Counter:
    """The number of the sector's first block; to the kernel CTR has blocks of one byte."""
    block_size = 1 if spec.mode == "ctr" else min(iv_size, max(_BLOCK_SIZES))
    return Counter(big_endian=True, size=iv_size, factor=512 // block_size, start=1)


def _essiv(spec: CipherSpec, key: SecretBytes) -> Essiv:
    """The plain64 IV, encrypted by the same cipher under the hash of the key (crypto/essiv.c)."""
    from luksmeta.kdf import hashes

    essiv_hash = hashes.get(spec.iv_option or "")
    algorithm = block_ciphers.find(spec.cipher)
    if essiv_hash.digest_size not in algorithm.key_sizes:
        raise AlgorithmError(
            f"essiv hash {spec.iv_option}: gives {essiv_hash.digest_size} bytes, "
            f"{algorithm.name} takes {spell_sizes(algorithm.key_sizes)}",
            kind="hash",
            name=spec.iv_option or "",
        )
    with SecretBytes.filled(
        essiv_hash.digest_size, lambda digest: essiv_hash.digest_into(key.view(), digest)
    ) as essiv_key:
        cipher = block_ciphers.create(algorithm.name, essiv_key.view())
    return Essiv(cipher)
