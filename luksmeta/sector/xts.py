"""XTS (IEEE 1619) over any block cipher of 16-byte blocks.

For what no library has whole: AES with keys of 48 bytes or equal halves, which OpenSSL refuses and
the kernel takes, Camellia, CAST-256. AES does 95 MiB/s so, Camellia 40; turning bytes into long
integers and back for the XORs is half of AES's time.
"""

from __future__ import annotations

from typing import Final

from luksmeta.secret import BytesLike
from luksmeta.sector.parts import BlockCipher, IvGenerator
from luksmeta.sector.whitening import Whitened

BLOCK_SIZE: Final = 16  # bytes
_BITS: Final = 8 * BLOCK_SIZE


class Xts(Whitened):
    """XTS with the block cipher under the key's first half, and one under its second half."""

    def __init__(
        self, cipher: BlockCipher, tweak_cipher: BlockCipher, ivs: IvGenerator, sector_size: int
    ) -> None:
        super().__init__(cipher)
        self._tweak_cipher = tweak_cipher
        self._ivs = ivs
        self._blocks = sector_size // BLOCK_SIZE

    def _tweaks(self, numbers: range) -> BytesLike:
        ivs = self._ivs.ivs(numbers.start, len(numbers), numbers.step)
        return tweaks(self._tweak_cipher.encrypt(ivs), self._blocks)


def tweaks(first: BytesLike, blocks: int) -> BytesLike:
    """The tweak of every block: ``first`` those of each sector's first, then always times x.

    ``blocks`` is the number of blocks in a sector, a power of two. All sectors go together as one
    long integer, which holds the tweaks of the first blocks, then those of the second blocks, …
    and doubles with every step.
    """
    sectors = len(first) // BLOCK_SIZE
    so_far, known = int.from_bytes(first, "little"), 1
    while known < blocks:
        more = so_far
        for power in _steps(known):
            more = _times_x_to(power, more, sectors * known)
        so_far |= more << (_BITS * sectors * known)
        known *= 2
    words = memoryview(so_far.to_bytes(BLOCK_SIZE * sectors * blocks, "little")).cast("Q")
    ordered = bytearray(BLOCK_SIZE * sectors * blocks)
    places = memoryview(ordered).cast("Q")
    for sector in range(sectors):
        for half in range(2):  # of a tweak, two words of 64 bits
            start = 2 * blocks * sector
            of_sector = words[2 * sector + half :: 2 * sectors]
            places[start + half : start + 2 * blocks : 2] = of_sector
    return ordered


def _steps(power: int) -> list[int]:
    """``power`` as a sum of what fits _times_x_to."""
    return [64] * (power // 64) if power > 64 else [power]


def _times_x_to(power: int, elements: int, count: int) -> int:
    """``count`` elements of GF(2^128) times x^power, modulo x^128 + x^7 + x^2 + x + 1."""
    ones = int.from_bytes((1).to_bytes(BLOCK_SIZE, "little") * count, "little")
    low = ones * ((1 << power) - 1)
    beyond = elements >> (_BITS - power) & low
    kept = elements << power & (ones * ((1 << _BITS) - 1) ^ low)
    return kept ^ beyond ^ beyond << 1 ^ beyond << 2 ^ beyond << 7
