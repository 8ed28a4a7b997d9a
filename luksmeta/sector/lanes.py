"""Words of many sectors at once, as lanes of one long integer.

What libraries lack (reduced-round ChaCha, MD5 without its padding, Elephant's diffusers) works on
32-bit words, and does the same to every sector. A Python integer that holds one word of each
sector does that step for all of them at the price of a few: for the 128 sectors of a chunk some
60 times faster than word by word.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from luksmeta.secret import BytesLike

LANE_SIZE: Final = 8  # bytes: a word of 4, and room for what additions carry


class Lanes:
    """Arithmetic modulo 2^32 on ``count`` words at once; lane 0 is the lowest."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._ones = int.from_bytes((1).to_bytes(LANE_SIZE, "little") * count, "little")
        self._mask = self._ones * 0xFFFFFFFF
        self._carry = self._ones << 32

    def fill(self, word: int) -> int:
        """``word`` in every lane."""
        return self._ones * word

    def add(self, left: int, right: int) -> int:
        """The sum of each pair of lanes."""
        return (left + right) & self._mask

    def subtract(self, left: int, right: int) -> int:
        """The difference of each pair of lanes."""
        return ((left | self._carry) - right) & self._mask

    def rotate(self, words: int, bits: int) -> int:
        """Each lane rotated to the left."""
        return (words << bits | words >> (32 - bits)) & self._mask

    def invert(self, words: int) -> int:
        """The complement of each lane."""
        return words ^ self._mask

    def load(self, data: memoryview, first: int, stride: int) -> int:
        """The little-endian words ``first``, ``first + stride``, … of ``data``, one for a lane."""
        spread = bytearray(LANE_SIZE * self.count)
        memoryview(spread).cast("I")[::2] = data.cast("I")[first::stride]
        return int.from_bytes(spread, "little")

    def store(self, words: int, out: memoryview, first: int, stride: int) -> None:
        """The opposite of :meth:`load`."""
        spread = memoryview(words.to_bytes(LANE_SIZE * self.count, "little")).cast("I")
        out.cast("I")[first::stride] = spread[::2]


@lru_cache(16)
def lanes(count: int) -> Lanes:
    """Lanes for ``count`` words; kept, since every chunk but the last has as many."""
    return Lanes(count)


def xor(left: BytesLike, right: BytesLike) -> bytes:
    """The bytes of ``left`` and ``right`` (of one length) XORed."""
    number = int.from_bytes(left, "little") ^ int.from_bytes(right, "little")
    return number.to_bytes(len(left), "little")
