"""Runs of sectors: what all modes have in common, checking the buffers and cutting into chunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from luksmeta.closing import Closing
from luksmeta.secret import BytesLike
from luksmeta.sector.parts import SectorMode

SECTOR_SIZE: Final = 512  # bytes; the unit of sector numbers
CHUNK_SIZE: Final = 1 << 16  # bytes worked on at a time; a multiple of every sector size

Transform: TypeAlias = Callable[[range, memoryview, memoryview], None]


class RunCipher(Closing):
    """Encrypts and decrypts runs of whole sectors with one mode.

    ``sector_size`` is in bytes. Several threads may share an object (and close it when all are
    done).
    """

    def __init__(self, mode: SectorMode, sector_size: int, *, large_iv: bool) -> None:
        self.sector_size = sector_size
        self._mode: SectorMode | None = mode
        self._large_iv = large_iv

    def encrypt_into(self, sector: int, data: BytesLike, out: bytearray | memoryview) -> None:
        """Encrypt ``data``, whose first 512-byte sector has the number ``sector``, into ``out``.

        ``out`` may be the very buffer of ``data``, but not overlap it in another way; what it has
        beyond the length of ``data`` stays as it is. Raises ValueError for a length that is no
        multiple of the sector size, a short ``out``, a negative ``sector`` or a closed cipher.
        """
        self._run(self._open_mode().encrypt, sector, data, out)

    def decrypt_into(self, sector: int, data: BytesLike, out: bytearray | memoryview) -> None:
        """Decrypt ``data`` into ``out``; otherwise as :meth:`encrypt_into`."""
        self._run(self._open_mode().decrypt, sector, data, out)

    def close(self) -> None:
        """Let the mode go, and its keys with it; harmless when repeated."""
        self._mode = None

    def _open_mode(self) -> SectorMode:
        if self._mode is None:
            raise ValueError("this cipher has been closed")
        return self._mode

    def _run(
        self, transform: Transform, sector: int, data: BytesLike, out: bytearray | memoryview
    ) -> None:
        source, target = memoryview(data).cast("B"), memoryview(out).cast("B")
        self._check(sector, source, target)
        per_sector = self.sector_size // SECTOR_SIZE
        number, step = (sector // per_sector, 1) if self._large_iv else (sector, per_sector)
        for start in range(0, len(source), CHUNK_SIZE):
            stop = min(start + CHUNK_SIZE, len(source))
            following = number + (stop - start) // self.sector_size * step
            transform(range(number, following, step), source[start:stop], target[start:stop])
            number = following

    def _check(self, sector: int, source: memoryview, target: memoryview) -> None:
        if sector < 0:
            raise ValueError(f"sector {sector} is negative")
        if len(source) % self.sector_size:
            raise ValueError(f"data has {len(source)} bytes, sectors have {self.sector_size}")
        if len(target) < len(source):
            raise ValueError(f"out has {len(target)} bytes, data has {len(source)}")
