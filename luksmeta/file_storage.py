"""Files and block devices as storages; what is flushed is on stable storage."""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from luksmeta.errors import StorageBusyError, StorageError
from luksmeta.loop_devices import require_no_loop_device
from luksmeta.secret import BytesLike
from luksmeta.storage import Storage
from luksmeta.system_errors import require_headway, system_errors

_BLKSSZGET, _BLKPBSZGET = 0x1268, 0x127B  # linux/fs.h: logical and physical block size


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
        with system_errors(self.name):
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
        with system_errors(self.name):
            logical, physical = (
                _device_number(self._fd, request) for request in (_BLKSSZGET, _BLKPBSZGET)
            )
        if logical >= 4096:
            return 4096
        return physical if 512 < physical <= 4096 and physical % logical == 0 else 512

    def _read(self, offset: int, size: int) -> bytes:
        with system_errors(self.name):
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
        with system_errors(self.name):
            while filled < len(buffer):
                length = os.preadv(self._fd, [buffer[filled:]], offset + filled)
                if not length:
                    break
                filled += length
        return filled

    def _write(self, offset: int, data: BytesLike) -> None:
        view = memoryview(data).cast("B")
        with system_errors(self.name):
            while view:
                written = self._pwrite(view, offset)
                require_headway(written)
                offset += written
                view = view[written:]

    def resize(self, size: int) -> None:
        """Make the file ``size`` bytes large; what is new is a hole."""
        self._require_writable()
        if not self.is_regular:
            super().resize(size)
            return
        with system_errors(self.name):
            os.truncate(self._fd, size)

    def reserve(self, size: int) -> None:
        """Allocate the file's first ``size`` bytes, where the system can (``posix_fallocate``).

        A smaller file grows with that; on an error it has the size that it had.
        """
        self._require_writable()
        if not self.is_regular or sys.platform != "linux" or not size:
            return
        before = self.size
        with system_errors(self.name):
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
        with system_errors(self.name):
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
