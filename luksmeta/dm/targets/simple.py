"""``zero`` and ``error``: targets without a device (drivers/md/dm-zero.c, dm-target.c)."""

from __future__ import annotations

from luksmeta.dm.arguments import Arguments
from luksmeta.dm.devices import Devices
from luksmeta.dm.table import TableLine
from luksmeta.errors import StorageError
from luksmeta.model import SECTOR_SIZE
from luksmeta.secret import BytesLike
from luksmeta.sizes import counted
from luksmeta.storage import Storage


class ZeroStorage(Storage):
    """Reads as zeroes, and forgets what is written."""

    def __init__(self, size: int) -> None:
        super().__init__("zero", writable=True)
        self._size = size

    @property
    def size(self) -> int:
        """As the table says."""
        return self._size

    def _read(self, offset: int, size: int) -> bytes:
        return bytes(size)

    def _write(self, offset: int, data: BytesLike) -> None:
        pass


class ErrorStorage(ZeroStorage):
    """Fails every read and write."""

    def _read(self, offset: int, size: int) -> bytes:
        raise StorageError(
            f"the table has an error target where {counted(size, 'byte')} had to be read"
        )

    def _write(self, offset: int, data: BytesLike) -> None:
        raise StorageError(
            f"the table has an error target where {counted(len(data), 'byte')} had to go"
        )


def open_zero(line: TableLine, _devices: Devices) -> Storage:
    """``zero``, which takes no arguments."""
    Arguments(line).end()
    return ZeroStorage(line.length * SECTOR_SIZE)


def open_error(line: TableLine, _devices: Devices) -> Storage:
    """``error``, whose arguments are ignored, as the kernel does."""
    return ErrorStorage(line.length * SECTOR_SIZE)
