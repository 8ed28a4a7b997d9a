"""BitLocker's Elephant diffuser around CBC with ``eboiv`` (dm-crypt.c, crypt_iv_elephant).

N. Ferguson, "AES-CBC + Elephant diffuser" (Microsoft, 2006): the plaintext is XORed with a sector
key and passes the diffusers A and B before CBC. The second half of the key is Elephant's. The
diffusers work on all sectors of a chunk at once: 20 MiB/s with 512-byte sectors.
"""

from __future__ import annotations

from typing import Final

from luksmeta.sector.iv import Counter
from luksmeta.sector.lanes import Lanes, lanes, xor
from luksmeta.sector.parts import BlockCipher, SectorMode

_SECTOR_KEY_SIZE: Final = 32  # bytes
_CYCLES_A: Final = 5
_CYCLES_B: Final = 3
_ROTATIONS_A: Final = (9, 0, 13, 0)
_ROTATIONS_B: Final = (0, 10, 0, 25)
_SECOND_HALF: Final = 0x80  # the last byte of what is encrypted for it


class Elephant:
    """``cbc`` (with eboiv IVs) behind the sector key, made by ``cipher``, and the diffusers."""

    def __init__(self, cbc: SectorMode, cipher: BlockCipher, sector_size: int) -> None:
        self._cbc = cbc
        self._cipher = cipher
        self._sector_size = sector_size

    def encrypt(self, numbers: range, data: memoryview, out: memoryview) -> None:
        """See :class:`luksmeta.sector.parts.SectorMode`."""
        out[:] = xor(data, self._sector_keys(numbers))
        if numbers:
            every, words = lanes(len(numbers)), self._words(numbers, out)
            _encrypt_a(every, words)
            _encrypt_b(every, words)
            self._store(numbers, words, out)
        self._cbc.encrypt(numbers, out, out)

    def decrypt(self, numbers: range, data: memoryview, out: memoryview) -> None:
        """See :class:`luksmeta.sector.parts.SectorMode`."""
        self._cbc.decrypt(numbers, data, out)
        if numbers:
            every, words = lanes(len(numbers)), self._words(numbers, out)
            _decrypt_b(every, words)
            _decrypt_a(every, words)
            self._store(numbers, words, out)
        out[:] = xor(out, self._sector_keys(numbers))

    def _sector_keys(self, numbers: range) -> bytes:
        """Each sector's key, as often as the sector needs it."""
        counter = Counter(factor=self._sector_size)
        offsets = counter.ivs(numbers.start, len(numbers), numbers.step)
        blocks = bytearray(2 * len(offsets))
        for index in range(len(numbers)):
            offset = offsets[16 * index : 16 * (index + 1)]
            blocks[32 * index : 32 * (index + 1)] = offset * 2
            blocks[32 * index + 31] = _SECOND_HALF
        keys, times = bytes(self._cipher.encrypt(blocks)), self._sector_size // _SECTOR_KEY_SIZE
        starts = range(0, len(keys), _SECTOR_KEY_SIZE)
        return b"".join(keys[start : start + _SECTOR_KEY_SIZE] * times for start in starts)

    def _words(self, numbers: range, data: memoryview) -> list[int]:
        count, every = self._sector_size // 4, lanes(len(numbers))
        return [every.load(data, place, count) for place in range(count)]

    def _store(self, numbers: range, words: list[int], out: memoryview) -> None:
        every = lanes(len(numbers))
        for place, word in enumerate(words):
            every.store(word, out, place, len(words))


def _decrypt_a(every: Lanes, words: list[int]) -> None:
    for _ in range(_CYCLES_A):
        for i in range(len(words)):
            mixed = words[i - 2] ^ _rotate(every, words[i - 5], _ROTATIONS_A[i % 4])
            words[i] = every.add(words[i], mixed)


def _encrypt_a(every: Lanes, words: list[int]) -> None:
    for _ in range(_CYCLES_A):
        for i in reversed(range(len(words))):
            mixed = words[i - 2] ^ _rotate(every, words[i - 5], _ROTATIONS_A[i % 4])
            words[i] = every.subtract(words[i], mixed)


def _decrypt_b(every: Lanes, words: list[int]) -> None:
    count = len(words)
    for _ in range(_CYCLES_B):
        for i in range(count):
            after = words[(i + 5) % count]
            mixed = words[(i + 2) % count] ^ _rotate(every, after, _ROTATIONS_B[i % 4])
            words[i] = every.add(words[i], mixed)


def _encrypt_b(every: Lanes, words: list[int]) -> None:
    count = len(words)
    for _ in range(_CYCLES_B):
        for i in reversed(range(count)):
            after = words[(i + 5) % count]
            mixed = words[(i + 2) % count] ^ _rotate(every, after, _ROTATIONS_B[i % 4])
            words[i] = every.subtract(words[i], mixed)


def _rotate(every: Lanes, words: int, bits: int) -> int:
    return every.rotate(words, bits) if bits else words
