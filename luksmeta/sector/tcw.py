"""TrueCrypt's old ``tcw``: CBC with whitening (dm-crypt.c, crypt_iv_tcw).

Behind the cipher's key lie the IV's seed, of a block's size, and 16 bytes that whiten: both are
XORed with the sector's number, and CRC-32 makes 8 bytes of the latter, which are XORed into every
8 bytes of the ciphertext. Sectors have 512 bytes.
"""

from __future__ import annotations

import zlib
from typing import Final

from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.sector.lanes import xor
from luksmeta.sector.parts import SectorMode
from luksmeta.sector.runs import SECTOR_SIZE

WHITENING_SIZE: Final = 16  # bytes
_NUMBER_MASK: Final = (1 << 64) - 1


class TcwIvs:
    """The IVs: the seed, each 8 bytes of it XORed with the sector's number."""

    def __init__(self, seed: BytesLike) -> None:
        self._seed = SecretBytes(seed)

    def ivs(self, first: int, count: int, step: int) -> bytes:
        """See :class:`luksmeta.sector.parts.IvGenerator`."""
        numbers = range(first, first + count * step, step)
        return b"".join(_with_number(self._seed, number) for number in numbers)


class Tcw:
    """``cbc`` (with :class:`TcwIvs`), and the whitening around it."""

    def __init__(self, cbc: SectorMode, whitening: BytesLike) -> None:
        self._cbc = cbc
        self._whitening = SecretBytes(whitening)

    def encrypt(self, numbers: range, data: memoryview, out: memoryview) -> None:
        """See :class:`luksmeta.sector.parts.SectorMode`."""
        self._cbc.encrypt(numbers, data, out)
        out[:] = xor(out, self._pattern(numbers))

    def decrypt(self, numbers: range, data: memoryview, out: memoryview) -> None:
        """See :class:`luksmeta.sector.parts.SectorMode`."""
        out[:] = xor(data, self._pattern(numbers))
        self._cbc.decrypt(numbers, out, out)

    def _pattern(self, numbers: range) -> bytes:
        return b"".join(self._of_sector(number) * (SECTOR_SIZE // 8) for number in numbers)

    def _of_sector(self, number: int) -> bytes:
        words = _with_number(self._whitening, number)
        crcs = [_crc32(words[start : start + 4]) for start in range(0, WHITENING_SIZE, 4)]
        return b"".join(
            (left ^ right).to_bytes(4, "little")
            for left, right in ((crcs[0], crcs[3]), (crcs[1], crcs[2]))
        )


def _with_number(secret: SecretBytes, number: int) -> bytes:
    repeated = (number & _NUMBER_MASK).to_bytes(8, "little") * (len(secret) // 8)
    return xor(secret.view(), repeated)


def _crc32(data: bytes) -> int:
    """The kernel's ``crc32``: zlib's polynomial, without its inversions before and after."""
    return zlib.crc32(data, 0xFFFFFFFF) ^ 0xFFFFFFFF
