"""Evidence: files and devices that are only ever read.

A file is opened read-only, and on Linux without a new access time where the system allows that.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress

from luksmeta.disks.part_storage import PartStorage
from luksmeta.errors import StorageError
from luksmeta.extents import Extent
from luksmeta.file_storage import FileStorage
from luksmeta.forensics.read_log import ReadLog
from luksmeta.secret import BytesLike
from luksmeta.sizes import counted
from luksmeta.storage import Storage


class Evidence(Storage):
    """A storage that nothing can be written to."""

    def __init__(self, name: str) -> None:
        super().__init__(name, writable=False)

    def data_extents(self) -> Iterator[Extent]:
        """What may hold something else than zeroes, in order; the rest are holes."""
        yield Extent(0, self.size)

    def _write(self, offset: int, data: BytesLike) -> None:
        raise StorageError(
            f"evidence, {counted(len(data), 'byte')} at {offset:#x} not written"
        ).about(self.name)


class EvidenceFile(Evidence):
    """A regular file or a block device as evidence; ``log`` gets every read."""

    def __init__(self, path: str | os.PathLike[str], log: ReadLog | None = None) -> None:
        super().__init__(os.fspath(path))
        self._file = FileStorage(path)
        _keep_access_time(self._file.fileno())
        self._reads = None if log is None else log.opened(self.name, self._file.size)

    @property
    def size(self) -> int:
        """The size now."""
        return self._file.size

    def data_extents(self) -> Iterator[Extent]:
        """What is no hole: SEEK_DATA and SEEK_HOLE of lseek(2), where the system has them."""
        if not hasattr(os, "SEEK_DATA") or not self._file.is_regular:
            yield from super().data_extents()
            return
        end, size = 0, self.size
        while end < size:
            start = _next(self._file.fileno(), end, os.SEEK_DATA, size)
            if start == size:
                return
            end = min(_next(self._file.fileno(), start, os.SEEK_HOLE, size), size)
            yield Extent(start, end - start)

    def _read(self, offset: int, size: int) -> bytes:
        data = self._file.read_at(offset, size)
        if self._reads is not None:
            self._reads.note(offset, data)
        return data

    def _read_into(self, offset: int, buffer: memoryview) -> int:
        self._file.read_into(offset, buffer)
        if self._reads is not None:
            self._reads.note(offset, buffer)
        return len(buffer)

    def close(self) -> None:
        """Close the file, and end its part of the log."""
        self._file.close()
        if self._reads is not None:
            self._reads.close()


class MappedEvidence(Evidence):
    """Parts of another storage, one behind the other: a partition, a logical volume."""

    def __init__(self, base: Storage, extents: Sequence[Extent], name: str) -> None:
        super().__init__(name)
        self._part = PartStorage(base, extents, name)

    @property
    def size(self) -> int:
        """The sum of the parts."""
        return self._part.size

    def data_extents(self) -> Iterator[Extent]:
        """Those of the base, as they lie here."""
        for own, base_offset in self._part.parts:
            for data in data_extents(self._part.base):
                start = max(data.offset, base_offset)
                end = min(data.end, base_offset + own.size)
                if start < end:
                    yield Extent(own.offset + start - base_offset, end - start)

    def _read(self, offset: int, size: int) -> bytes:
        return self._part.read_at(offset, size)

    def _read_into(self, offset: int, buffer: memoryview) -> int:
        self._part.read_into(offset, buffer)
        return len(buffer)

    def close(self) -> None:
        """Close the base."""
        self._part.close()


def data_extents(storage: Storage) -> Iterator[Extent]:
    """What of any storage may hold something else than zeroes, in order."""
    if isinstance(storage, Evidence):
        yield from storage.data_extents()
    else:
        yield Extent(0, storage.size)


def _keep_access_time(descriptor: int) -> None:
    """O_NOATIME of open(2): the reader owns the file or is root; others leave an access time."""
    if sys.platform == "linux":
        import fcntl

        with suppress(PermissionError):
            flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
            fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_NOATIME)


def _next(descriptor: int, offset: int, whence: int, size: int) -> int:
    """Where data or a hole begins; ``size`` where there is none, or nobody knows of holes."""
    try:
        return os.lseek(descriptor, offset, whence)
    except OSError as error:
        if error.errno == errno.ENXIO:  # nothing but a hole up to the end
            return size
        return offset if whence == getattr(os, "SEEK_DATA", None) else size
