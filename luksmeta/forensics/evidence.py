"""Evidence: files and devices that are only ever read, with a record of which bytes that were.

A file is opened read-only, and on Linux without a new access time where the system allows that. The
record hashes the bytes as they come, so that it speaks of what was read, not of what a second
reading would find.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from luksmeta.closing import Closing
from luksmeta.disks.part_storage import PartStorage
from luksmeta.errors import LuksError, StorageError
from luksmeta.extents import Extent
from luksmeta.file_storage import FileStorage
from luksmeta.secret import BytesLike
from luksmeta.storage import Storage
from luksmeta.system_errors import storage_error

READ_LOG_FORMAT: Final = "luksmeta-read-log-1"
_OPEN_RUNS: Final = 8  # the sweep over a disk, and the looks at headers in between


class Evidence(Storage):
    """A storage that nothing can be written to."""

    def __init__(self, name: str) -> None:
        super().__init__(name, writable=False)

    def data_extents(self) -> Iterator[Extent]:
        """What may hold something else than zeroes, in order; the rest are holes."""
        yield Extent(0, self.size)

    def _write(self, offset: int, data: BytesLike) -> None:
        raise StorageError(f"evidence, {len(data)} bytes at {offset:#x} not written").about(
            self.name
        )


@dataclass(slots=True)
class _Run:
    """Bytes that were read one behind the other."""

    offset: int
    size: int = 0
    hash: Any = field(default_factory=hashlib.sha256)


class FileReads(Closing):
    """The part of a :class:`ReadLog` that is about one file."""

    def __init__(self, log: ReadLog, name: str) -> None:
        self._log = log
        self._name = name
        self._runs: OrderedDict[int, _Run] = OrderedDict()  # by the offset where each ends

    def note(self, offset: int, data: BytesLike) -> None:
        """These bytes were read at ``offset``."""
        if not len(data):
            return
        run = self._runs.pop(offset, None) or _Run(offset)
        run.hash.update(data)
        run.size += len(data)
        self._end(self._runs.pop(offset + len(data), None))  # two that end at the same place
        self._runs[offset + len(data)] = run
        if len(self._runs) > _OPEN_RUNS:
            self._end(self._runs.popitem(last=False)[1])

    def close(self) -> None:
        """Write what is not written yet."""
        while self._runs:
            self._end(self._runs.popitem(last=False)[1])

    def _end(self, run: _Run | None) -> None:
        if run is not None:
            entry = {"offset": run.offset, "size": run.size, "sha256": run.hash.hexdigest()}
            self._log.write({"file": self._name, **entry})


class ReadLogError(LuksError):
    """The record of reads cannot be written; not a matter of the evidence."""

    exit_status = 4


class ReadLog:
    """Which bytes of which files were read, as JSON Lines on ``stream``.

    The first line names the format. A line for each file that is opened has its ``file_size`` and
    the time; a line for each run of bytes that were read one behind the other has ``offset``,
    ``size`` and ``sha256``. Bytes that were read twice are in two runs.
    """

    def __init__(self, stream: TextIO, name: str = "the log of reads") -> None:
        self._stream = stream
        self.name = name
        self.write({"format": READ_LOG_FORMAT})

    def opened(self, name: str, size: int) -> FileReads:
        """A file of ``size`` bytes was opened."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.write({"file": name, "file_size": size, "opened": now})
        return FileReads(self, name)

    def write(self, entry: dict[str, object]) -> None:
        """One line; ReadLogError, which names the log, where it cannot be written."""
        try:
            self._stream.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise ReadLogError(storage_error(error).text).about(self.name) from error


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
