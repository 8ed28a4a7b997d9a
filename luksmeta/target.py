"""What a caller names, as a storage: a path, a storage, or a binary file object."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, TypeAlias

from luksmeta.disks.parts import open_part
from luksmeta.file_storage import FileStorage
from luksmeta.secret import BytesLike
from luksmeta.storage import Storage
from luksmeta.system_errors import require_headway, system_errors

Target: TypeAlias = str | os.PathLike[str] | Storage | BinaryIO
"""A path, a storage, or a seekable binary file object."""


def open_storage(target: Target, *, writable: bool = False, exclusive: bool = False) -> Storage:
    """The storage for what a caller names: a path, a storage, or a binary file object.

    A path may name a part of a disk (:mod:`luksmeta.disks.parts`). ``exclusive`` is that of
    :class:`FileStorage`.
    """
    if isinstance(target, Storage):
        return target
    if isinstance(target, str | os.PathLike):

        def open_disk(path: str) -> Storage:
            return FileStorage(path, writable=writable, exclusive=exclusive)

        return open_part(os.fspath(target), open_disk)
    return FileObjectStorage(target)


@contextmanager
def opened(target: Target) -> Iterator[Storage]:
    """The storage for what a caller names, to be read; only what is opened here is closed here."""
    if isinstance(target, Storage):
        yield target
        return
    with open_storage(target) as storage:
        yield storage


def is_same_file(one: Target, other: Target) -> bool:
    """Whether both are the same storage, or paths of the same file."""
    if isinstance(one, str | os.PathLike) and isinstance(other, str | os.PathLike):
        return os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other)  # noqa: PTH110, PTH121  # os.PathLike, perhaps not a Path
    return one is other


class FileObjectStorage(Storage):
    """A seekable binary file object of the caller's, who also closes it."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(str(getattr(file, "name", "file object")), writable=file.writable())
        self._file = file
        self._position_lock = threading.Lock()

    @property
    def size(self) -> int:
        """The end of the file object."""
        with self._position_lock, system_errors(self.name):
            return self._file.seek(0, io.SEEK_END)

    def _read(self, offset: int, size: int) -> bytes:
        with self._position_lock, system_errors(self.name):
            self._file.seek(offset)
            parts = []
            while size and (data := self._file.read(size)):
                parts.append(data)
                size -= len(data)
            return b"".join(parts)

    def _write(self, offset: int, data: BytesLike) -> None:
        view = memoryview(data).cast("B")
        with self._position_lock, system_errors(self.name):
            self._file.seek(offset)
            while view:
                written = self._file.write(view)
                require_headway(written)
                view = view[written:]

    def resize(self, size: int) -> None:
        """Truncate, or extend with zeroes."""
        self._require_writable()
        with self._position_lock, system_errors(self.name):
            end = self._file.seek(0, io.SEEK_END)
            if size <= end:
                self._file.truncate(size)
            else:
                self._file.write(bytes(size - end))

    def flush(self) -> None:
        """Flush the object's buffer, and the file below it where there is one."""
        if not self.writable:
            return
        with self._position_lock, system_errors(self.name):
            self._file.flush()
            try:
                descriptor = self._file.fileno()
            except (OSError, AttributeError):
                return
            os.fsync(descriptor)
