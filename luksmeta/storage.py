"""Where headers and data lie: files, block devices, memory, slices of these.

Every read and write names its offset, so no two users of a storage share a position. All offsets
and sizes are in bytes. A short read is an error: callers bound what they ask for by ``size``.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
import threading
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, TypeAlias

from luksmeta.closing import Closing
from luksmeta.errors import (
    StorageBusyError,
    StorageError,
    StorageExistsError,
    StoragePermissionError,
)
from luksmeta.loop_devices import require_no_loop_device
from luksmeta.secret import BytesLike

_BUSY = (errno.EBUSY, errno.ETXTBSY)
_BLKSSZGET, _BLKPBSZGET = 0x1268, 0x127B  # linux/fs.h: logical and physical block size


class Storage(Closing):
    """A view of bytes by offset; the base of all storages, and what a caller's own derives from."""

    def __init__(self, name: str, *, writable: bool) -> None:
        self.name = name
        self.writable = writable

    @property
    @abstractmethod
    def size(self) -> int:
        """The size now."""

    @property
    def sector_size(self) -> int:
        """The sector size that suits it best: 4096, unless a device says otherwise."""
        return 4096

    @property
    def base(self) -> Storage | None:
        """The storage that this one is a view of, where it is one."""
        return None

    @abstractmethod
    def _read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes within the bounds; fewer only where the storage fails."""

    @abstractmethod
    def _write(self, offset: int, data: BytesLike) -> None:
        """All of ``data``, within the bounds."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Exactly ``size`` bytes; StorageError when they are not all there."""
        self._require_bounds("read", offset, size)
        data = self._read(offset, size)
        if len(data) != size:
            raise StorageError(f"short read at {offset:#x}, {len(data)} of {size} bytes").about(
                self.name
            )
        return data

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer``; StorageError when the bytes are not all there."""
        self._require_bounds("read", offset, len(buffer))
        filled = self._read_into(offset, buffer)
        if filled != len(buffer):
            raise StorageError(f"short read at {offset:#x}, {filled} of {len(buffer)} bytes").about(
                self.name
            )

    def _read_into(self, offset: int, buffer: memoryview) -> int:
        """Like ``_read``, into a buffer; how many bytes there were."""
        data = self._read(offset, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write_at(self, offset: int, data: BytesLike) -> None:
        """Write all of ``data`` inside the present size; StorageError when that is impossible."""
        self._require_writable()
        self._require_bounds("write", offset, len(data))
        self._write(offset, data)

    def resize(self, size: int) -> None:
        """Make the storage ``size`` bytes large; new bytes read as zeroes."""
        if size != self.size:
            raise StorageError(f"size {self.size} cannot be changed to {size}").about(self.name)

    def reserve(self, size: int) -> None:  # nothing to do, unless overridden
        """Make sure that the first ``size`` bytes can be written without running out of space."""

    def flush(self) -> None:  # nothing to do, unless overridden
        """Return only when everything written is on stable storage."""

    def close(self) -> None:  # nothing to do, unless overridden
        """Give back what the storage holds."""

    def _require_writable(self) -> None:
        if not self.writable:
            raise StorageError("opened read-only").about(self.name)

    def _require_bounds(self, verb: str, offset: int, size: int) -> None:
        if offset < 0 or size < 0 or offset + size > self.size:
            raise StorageError(
                f"cannot {verb} {size} bytes at {offset:#x}, it ends at {self.size:#x}"
            ).about(self.name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} size={self.size:#x}>"


class FileStorage(Storage):
    """A regular file or a block device.

    What is flushed is on stable storage, and so is the name of a file that was created here.
    ``exclusive`` refuses a device that is in use, mounted or mapped, with StorageBusyError; a file
    that a loop device has, too.
    ``create_mode`` makes a new file with these permissions; StorageExistsError when it is there.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        writable: bool = False,
        exclusive: bool = False,
        create_mode: int | None = None,
    ) -> None:
        super().__init__(os.fspath(path), writable=writable)
        flags = os.O_RDWR if writable else os.O_RDONLY
        # Non-blocking, so that a FIFO is refused below and not waited for.
        flags |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        flags |= getattr(os, "O_NONBLOCK", 0)
        with _system_errors(self.name):
            if Path(path).is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            self.is_exclusive = exclusive and Path(path).is_block_device()
            if self.is_exclusive:
                flags |= os.O_EXCL  # Linux: fails when the device is mounted or mapped
            if create_mode is not None:
                flags |= os.O_CREAT | os.O_EXCL
            self._fd = os.open(path, flags, create_mode or 0)
        self._position_lock = threading.Lock()
        self._is_named = create_mode is None  # for good: its directory is on stable storage
        mode = os.fstat(self._fd).st_mode
        self.is_regular = stat.S_ISREG(mode)
        if not self.is_regular and not stat.S_ISBLK(mode):
            self.close()
            raise StorageError("neither a regular file nor a block device").about(self.name)
        if exclusive and self.is_regular:
            try:
                require_no_loop_device(self._fd, self.name)
            except StorageBusyError:
                self.close()
                raise

    @classmethod
    def create(cls, path: str | os.PathLike[str], *, mode: int = 0o600) -> Self:
        """A new, empty, writable file; StorageExistsError when the path is already there."""
        return cls(path, writable=True, create_mode=mode)

    def fileno(self) -> int:
        """The file descriptor."""
        return self._fd

    @property
    def size(self) -> int:
        """The size now; of a block device, that of the device."""
        if self.is_regular:
            return os.fstat(self._fd).st_size
        with self._position_lock:
            return os.lseek(self._fd, 0, os.SEEK_END)

    @property
    def sector_size(self) -> int:
        """A device's physical sector size, 4096 at most (lib/utils_device.c); a file's is 4096."""
        if self.is_regular or sys.platform != "linux":
            return 4096
        with _system_errors(self.name):
            logical, physical = (
                _device_number(self._fd, request) for request in (_BLKSSZGET, _BLKPBSZGET)
            )
        if logical >= 4096:
            return 4096
        return physical if 512 < physical <= 4096 and physical % logical == 0 else 512

    def _read(self, offset: int, size: int) -> bytes:
        with _system_errors(self.name):
            data = self._pread(size, offset)
            if len(data) == size:
                return data
            parts = [data]
            while data and (missing := size - sum(map(len, parts))):
                data = self._pread(missing, offset + size - missing)
                parts.append(data)
            return b"".join(parts)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer``; StorageError when the bytes are not all there.

        Asking for the bounds takes as long as a short read: done only where bytes are missing.
        """
        if offset < 0 or self._read_into(offset, buffer) != len(buffer):
            super().read_into(offset, buffer)

    def _read_into(self, offset: int, buffer: memoryview) -> int:
        if not hasattr(os, "preadv"):  # Windows, macOS before 11
            return super()._read_into(offset, buffer)
        filled = 0
        with _system_errors(self.name):
            while filled < len(buffer):
                length = os.preadv(self._fd, [buffer[filled:]], offset + filled)
                if not length:
                    break
                filled += length
        return filled

    def _write(self, offset: int, data: BytesLike) -> None:
        view = memoryview(data).cast("B")
        with _system_errors(self.name):
            while view:
                written = self._pwrite(view, offset)
                _require_headway(written)
                offset += written
                view = view[written:]

    def resize(self, size: int) -> None:
        """Make the file ``size`` bytes large; what is new is a hole."""
        self._require_writable()
        if not self.is_regular:
            super().resize(size)
            return
        with _system_errors(self.name):
            os.truncate(self._fd, size)

    def reserve(self, size: int) -> None:
        """Allocate the file's first ``size`` bytes, where the system can (``posix_fallocate``).

        A smaller file grows with that; on an error it has the size that it had.
        """
        self._require_writable()
        if not self.is_regular or sys.platform != "linux" or not size:
            return
        before = self.size
        with _system_errors(self.name):
            try:
                os.posix_fallocate(self._fd, 0, size)
            except OSError as error:
                if self.size > before:  # glibc and some file systems allocate piece by piece
                    os.truncate(self._fd, before)
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise

    def flush(self) -> None:
        """``fsync``; on macOS ``F_FULLFSYNC``, since fsync there stops at the drive's cache.

        On a Linux block device fsync writes the pages back and then has the device empty its own
        cache (block/fops.c blkdev_fsync). A new file's first flush is one of its directory too.
        """
        if not self.writable:
            return
        with _system_errors(self.name):
            if sys.platform == "darwin":
                import fcntl

                fcntl.fcntl(self._fd, fcntl.F_FULLFSYNC)
            else:
                os.fsync(self._fd)
            if not self._is_named:
                flush_directory(self.name)
                self._is_named = True

    def close(self) -> None:
        """Close the file; harmless when repeated."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _pread(self, size: int, offset: int) -> bytes:
        if sys.platform == "win32":
            with self._position_lock:
                os.lseek(self._fd, offset, os.SEEK_SET)
                return os.read(self._fd, size)
        else:
            return os.pread(self._fd, size, offset)

    def _pwrite(self, data: memoryview, offset: int) -> int:
        if sys.platform == "win32":
            with self._position_lock:
                os.lseek(self._fd, offset, os.SEEK_SET)
                return os.write(self._fd, data)
        else:
            return os.pwrite(self._fd, data, offset)


class FileObjectStorage(Storage):
    """A seekable binary file object of the caller's, who also closes it."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(str(getattr(file, "name", "file object")), writable=file.writable())
        self._file = file
        self._position_lock = threading.Lock()

    @property
    def size(self) -> int:
        """The end of the file object."""
        with self._position_lock, _system_errors(self.name):
            return self._file.seek(0, io.SEEK_END)

    def _read(self, offset: int, size: int) -> bytes:
        with self._position_lock, _system_errors(self.name):
            self._file.seek(offset)
            parts = []
            while size and (data := self._file.read(size)):
                parts.append(data)
                size -= len(data)
            return b"".join(parts)

    def _write(self, offset: int, data: BytesLike) -> None:
        view = memoryview(data).cast("B")
        with self._position_lock, _system_errors(self.name):
            self._file.seek(offset)
            while view:
                written = self._file.write(view)
                _require_headway(written)
                view = view[written:]

    def resize(self, size: int) -> None:
        """Truncate, or extend with zeroes."""
        self._require_writable()
        with self._position_lock, _system_errors(self.name):
            end = self._file.seek(0, io.SEEK_END)
            if size <= end:
                self._file.truncate(size)
            else:
                self._file.write(bytes(size - end))

    def flush(self) -> None:
        """Flush the object's buffer, and the file below it where there is one."""
        if not self.writable:
            return
        with self._position_lock, _system_errors(self.name):
            self._file.flush()
            try:
                descriptor = self._file.fileno()
            except (OSError, AttributeError):
                return
            os.fsync(descriptor)


class MemoryStorage(Storage):
    """Bytes in memory, for tests and for headers that came from elsewhere."""

    def __init__(
        self, data: BytesLike | int = b"", *, name: str = "memory", writable: bool = True
    ) -> None:
        super().__init__(name, writable=writable)
        self.data = bytearray(data)

    @property
    def size(self) -> int:
        """The number of bytes."""
        return len(self.data)

    def _read(self, offset: int, size: int) -> bytes:
        return bytes(self.data[offset : offset + size])

    def _write(self, offset: int, data: BytesLike) -> None:
        self.data[offset : offset + len(data)] = data

    def resize(self, size: int) -> None:
        """Cut, or extend with zeroes."""
        self._require_writable()
        del self.data[size:]
        self.data.extend(bytes(size - len(self.data)))


class SliceStorage(Storage):
    """A part of another storage, from ``offset`` on; slices nest."""

    def __init__(self, base: Storage, offset: int, size: int | None = None) -> None:
        super().__init__(f"{base.name}+{offset:#x}", writable=base.writable)
        if offset < 0 or offset + (size or 0) > base.size:
            raise StorageError(
                f"no slice of {size} bytes at {offset:#x}, it ends at {base.size:#x}"
            ).about(base.name)
        self._base = base
        self._offset = offset
        self._size = size

    @property
    def size(self) -> int:
        """The slice's size; where none was given, up to the base's end as it is now."""
        return self._base.size - self._offset if self._size is None else self._size

    @property
    def sector_size(self) -> int:
        """That of the base."""
        return self._base.sector_size

    def _read(self, offset: int, size: int) -> bytes:
        return self._base.read_at(self._offset + offset, size)

    def _write(self, offset: int, data: BytesLike) -> None:
        self._base.write_at(self._offset + offset, data)

    def below(self, offset: int, size: int) -> Iterator[tuple[Storage, int, int]]:
        """Where ``size`` bytes from ``offset`` on lie: the base, an offset in it, bytes."""
        yield self._base, self._offset + offset, size

    def flush(self) -> None:
        """Flush the base."""
        self._base.flush()

    def close(self) -> None:
        """Close the base."""
        self._base.close()


class _system_errors:  # noqa: N801  # used like a keyword: with _system_errors(name)
    """Turns what the operating system says about ``name`` into the storage errors."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not isinstance(error, OSError):
            return
        raise storage_error(error).about(self._name) from error


def storage_error(error: OSError) -> StorageError:
    """What the operating system says, as one of the storage errors."""
    text = (error.strerror or str(error)).lower()
    if error.errno == errno.EROFS:
        return StoragePermissionError(text).advise(None)
    if isinstance(error, PermissionError):
        return StoragePermissionError(text)
    if isinstance(error, FileExistsError):
        return StorageExistsError(text)
    return StorageBusyError(text) if error.errno in _BUSY else StorageError(text)


def _require_headway(written: int | None) -> None:
    """OSError for a write that took nothing: repeating it might never end."""
    if not written:  # None is what a raw file object says that is not ready
        raise OSError(errno.EIO, "nothing was written")


def flush_directory(path: str | os.PathLike[str]) -> None:
    """Return only when the name that ``path`` has in its directory is on stable storage; OSError.

    Does nothing on Windows, where directories cannot be opened, and where the user may make files
    in the directory but not read it.
    """
    if sys.platform == "win32":
        return
    try:
        descriptor = os.open(Path(path).parent, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot do this to directories
            raise
    finally:
        os.close(descriptor)


def _device_number(descriptor: int, request: int) -> int:
    """The unsigned int that an ioctl of a Linux block device answers."""
    import fcntl

    answer = fcntl.ioctl(descriptor, request, bytes(4))
    return int.from_bytes(answer, sys.byteorder)


Target: TypeAlias = str | os.PathLike[str] | Storage | BinaryIO
"""A path, a storage, or a seekable binary file object."""


@contextmanager
def new_file(path: str | os.PathLike[str], *, mode: int = 0o600) -> Iterator[FileStorage]:
    """A new file, open for writing within the block; on an error it is removed again.

    StorageExistsError when the path is already there. When all goes well it is flushed and closed.
    """
    file = FileStorage.create(path, mode=mode)
    try:
        yield file
        file.flush()
    except BaseException:
        file.close()
        with suppress(OSError):
            Path(path).unlink()
        raise
    file.close()


def open_storage(target: Target, *, writable: bool = False, exclusive: bool = False) -> Storage:
    """The storage for what a caller names: a path, a storage, or a binary file object.

    A path may name a part of a disk (:mod:`luksmeta.disks.parts`). ``exclusive`` is that of
    :class:`FileStorage`.
    """
    if isinstance(target, Storage):
        return target
    if isinstance(target, str | os.PathLike):
        from luksmeta.disks.parts import open_part

        def open_disk(path: str) -> Storage:
            return FileStorage(path, writable=writable, exclusive=exclusive)

        return open_part(os.fspath(target), open_disk)
    return FileObjectStorage(target)
