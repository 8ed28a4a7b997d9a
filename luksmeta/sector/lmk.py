"""loop-AES's ``lmk``: an IV out of the sector's own plaintext (dm-crypt.c, crypt_iv_lmk).

The IV is MD5's state, without padding, over a seed (key files of version 3 have one), blocks 1 to
31 of the plaintext, the sector's number (56 bits) and 4024. Chaining with this IV is the same as
XORing it into the first block and chaining with zeros; so it is done, since for reading the IV
follows only from what is decrypted. 30 MiB/s under one key, 20 under 64.
"""

from __future__ import annotations

from typing import Final

from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.sector import md5
from luksmeta.sector.lanes import Lanes, lanes, xor
from luksmeta.sector.parts import SectorMode
from luksmeta.sector.runs import SECTOR_SIZE

_SEED_SIZE: Final = 16  # bytes used of the 65th key
_IV_SIZE: Final = 16
_WORDS: Final = SECTOR_SIZE // 4
_BLOCK_WORDS: Final = md5.BLOCK_SIZE // 4
_MAGIC: Final = 4024


class Lmk:
    """CBC with zero IVs (``cbc``) made into lmk; sectors have 512 bytes.

    ``seed`` is the 65th key, or nothing; ``block_size`` the cipher's, of which the IV gets as much.
    """

    def __init__(self, cbc: SectorMode, seed: BytesLike, block_size: int) -> None:
        self._cbc = cbc
        self._block_size = block_size
        self._seed = SecretBytes(memoryview(seed)[:_SEED_SIZE])

    def encrypt(self, numbers: range, data: memoryview, out: memoryview) -> None:
        """See :class:`luksmeta.sector.parts.SectorMode`."""
        ivs = self._ivs(numbers, data)
        out[:] = data
        self._xor_first_blocks(out, ivs)
        self._cbc.encrypt(numbers, out, out)

    def decrypt(self, numbers: range, data: memoryview, out: memoryview) -> None:
        """See :class:`luksmeta.sector.parts.SectorMode`."""
        self._cbc.decrypt(numbers, data, out)
        self._xor_first_blocks(out, self._ivs(numbers, out))

    def _ivs(self, numbers: range, plaintext: memoryview) -> bytes:
        if not numbers:
            return b""
        every = lanes(len(numbers))
        words = [every.load(plaintext, n, _WORDS) for n in range(4, _WORDS)]
        words += _number_words(every, numbers)
        state = md5.initial_state(every)
        if len(self._seed):
            state = md5.compress(every, state, self._seed_words(every))
        for start in range(0, len(words), _BLOCK_WORDS):
            state = md5.compress(every, state, words[start : start + _BLOCK_WORDS])
        ivs = bytearray(len(numbers) * _IV_SIZE)
        for place, word in enumerate(state):
            every.store(word, memoryview(ivs), place, len(state))
        return bytes(ivs)

    def _xor_first_blocks(self, sectors: memoryview, ivs: bytes) -> None:
        for index in range(len(ivs) // _IV_SIZE):
            block = sectors[index * SECTOR_SIZE : index * SECTOR_SIZE + self._block_size]
            start = index * _IV_SIZE
            block[:] = xor(block, ivs[start : start + self._block_size])

    def _seed_words(self, every: Lanes) -> list[int]:
        seed = bytes(self._seed.view()).ljust(md5.BLOCK_SIZE, b"\0")
        return [
            every.fill(int.from_bytes(seed[start : start + 4], "little"))
            for start in range(0, len(seed), 4)
        ]


def _number_words(every: Lanes, numbers: range) -> list[int]:
    """The last four words of the hash's input."""
    pairs = b"".join((number & (1 << 56) - 1 | 1 << 63).to_bytes(8, "little") for number in numbers)
    low, high = (every.load(memoryview(pairs), half, 2) for half in range(2))
    return [low, high, every.fill(_MAGIC), 0]
