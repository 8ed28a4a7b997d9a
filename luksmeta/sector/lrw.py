"""LRW: XTS's forerunner (Liskov, Rivest, Wagner; IEEE P1619 draft 2004; crypto/lrw.c).

``T = K2 * I`` in GF(2^128) for the block of index I, ``C = E(P ^ T) ^ T``. The index of a sector's
first block is its IV as a big-endian number (``benbi`` numbers the blocks of the whole device from
1). 35 MiB/s with AES: the tweaks are made block by block.
"""

from __future__ import annotations

from typing import Final

from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.sector.parts import BlockCipher, IvGenerator
from luksmeta.sector.whitening import Whitened

TWEAK_KEY_SIZE: Final = 16  # bytes, behind the cipher's key
_BLOCK_SIZE: Final = 16
_MASK: Final = (1 << 128) - 1


class Lrw(Whitened):
    """LRW under the block cipher's key and the tweak key K2."""

    def __init__(
        self, cipher: BlockCipher, tweak_key: BytesLike, ivs: IvGenerator, sector_size: int
    ) -> None:
        super().__init__(cipher)
        self._tweak_key = SecretBytes(tweak_key)
        self._ivs = ivs
        self._blocks = sector_size // _BLOCK_SIZE

    def _tweaks(self, numbers: range) -> bytes:
        ivs = self._ivs.ivs(numbers.start, len(numbers), numbers.step)
        powers = _times_powers_of_x(int.from_bytes(self._tweak_key.view(), "big"))
        steps = _steps(powers)
        tweaks = []
        for start in range(0, len(ivs), _BLOCK_SIZE):
            index = int.from_bytes(ivs[start : start + _BLOCK_SIZE], "big")
            tweak = _sum_of(powers, index)
            for _ in range(self._blocks):
                tweaks.append(tweak.to_bytes(_BLOCK_SIZE, "big"))
                # From I to I + 1 its trailing ones and the zero before them turn over.
                tweak ^= steps[(~index & index + 1).bit_length() - 1]
                index = index + 1 & _MASK
        return b"".join(tweaks)


def _times_powers_of_x(element: int) -> list[int]:
    """``element`` times 1, x, x^2, … x^127, modulo x^128 + x^7 + x^2 + x + 1."""
    powers = []
    for _ in range(128):
        powers.append(element)
        element <<= 1
        if element >> 128:
            element ^= 1 << 128 | 0x87
    return powers


def _steps(powers: list[int]) -> list[int]:
    """What n trailing ones and the bit before them come to: the sum of the first n + 1 powers.

    The last is for the index that wraps to 0: of all ones, none is before them.
    """
    steps = [powers[0]]
    for power in powers[1:]:
        steps.append(steps[-1] ^ power)
    return [*steps, steps[-1]]


def _sum_of(powers: list[int], index: int) -> int:
    total = 0
    while index:
        total ^= powers[index.bit_length() - 1]
        index ^= 1 << index.bit_length() - 1
    return total
