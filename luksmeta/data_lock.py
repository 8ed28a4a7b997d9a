"""The lock on a file whose data is in use, for as long as that takes: readers share, one writes.

It is the one that qemu takes, so that a virtual machine, qemu-nbd or qemu-img and this package keep
off each other's image. The locks of :mod:`luksmeta.locking` are about headers, and last moments.

Locks on single bytes, all of them shared, say what somebody does with the file and what he does
not bear from others; then he looks whether anybody is in the way. Two who come at the same time may
both be refused. Where the system or the file system has no such locks, there is nothing to take.

The kernel has no such locks on the block devices that it maps or mounts: who writes one claims it
from the kernel too, and keeps others from mapping or mounting it.

Source: qemu's block/file-posix.c, raw_apply_lock_bytes and raw_check_lock_bytes; fcntl(2), open
file description locks; open(2), O_EXCL.
"""

from __future__ import annotations

import contextlib
import errno
import struct
import sys
from collections.abc import Iterator
from typing import Final

from luksmeta.errors import StorageBusyError, StorageError
from luksmeta.file_storage import FileStorage
from luksmeta.loop_devices import require_no_loop_device
from luksmeta.storage import Storage
from luksmeta.system_errors import storage_error

_USES: Final = 100  # RAW_LOCK_PERM_BASE
_BEARS_NO: Final = 200  # RAW_LOCK_SHARED_BASE
_READ, _WRITE, _RESIZE = 0, 1, 3  # the bits of BLK_PERM_*
_NO_LOCKS: Final = (errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
_HINT: Final = "another luksmeta, or qemu, works on it"


@contextlib.contextmanager
def data_in_use(storage: Storage, *, writable: bool) -> Iterator[None]:
    """Hold the data of ``storage`` for reading or writing; StorageBusyError where it is in use.

    The kernel takes no such locks: a file that a loop device has is not written.
    """
    while storage.base is not None:
        storage = storage.base
    if sys.platform != "linux" or not isinstance(storage, FileStorage):
        yield
        return
    with _locked(storage, writable=writable), _claimed(storage, writable=writable):
        yield


@contextlib.contextmanager
def _claimed(storage: FileStorage, *, writable: bool) -> Iterator[None]:
    """A device that is written is neither mapped nor mounted, before the block or in it."""
    if not writable or storage.is_regular or storage.is_exclusive:
        yield
        return
    with FileStorage(storage.name, exclusive=True):
        yield


@contextlib.contextmanager
def _locked(storage: FileStorage, *, writable: bool) -> Iterator[None]:
    uses = (_READ, _WRITE) if writable else (_READ,)
    bears_no = (_WRITE, _RESIZE)
    descriptor = storage.fileno()
    if writable and storage.is_regular:
        require_no_loop_device(descriptor, storage.name)
    taken = [_USES + bit for bit in uses] + [_BEARS_NO + bit for bit in bears_no]
    in_the_way = [_BEARS_NO + bit for bit in uses] + [_USES + bit for bit in bears_no]
    try:
        try:
            for byte in taken:
                _set(descriptor, byte, fcntl.F_RDLCK)
            is_busy = any(_is_held(descriptor, byte) for byte in in_the_way)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise storage_error(error).about(storage.name) from error
            is_busy = False
        if is_busy:
            verb = "written" if writable else "read"
            raise (
                StorageBusyError(f"in use, its data cannot be {verb} now")
                .about(storage.name)
                .advise(_HINT)
            )
        yield
    finally:
        for byte in taken:
            with contextlib.suppress(OSError, StorageError):  # closed: then all is given back
                _set(descriptor, byte, fcntl.F_UNLCK)


if sys.platform == "linux":
    import fcntl

    _FLOCK: Final = struct.Struct("hhqqi0q")  # struct flock: type, whence, start, length, process

    def _set(descriptor: int, byte: int, kind: int) -> None:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, 0, byte, 1, 0))

    def _is_held(descriptor: int, byte: int) -> bool:
        """Whether somebody else holds the byte."""
        question = _FLOCK.pack(fcntl.F_WRLCK, 0, byte, 1, 0)
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, question)
        kind: int = _FLOCK.unpack(answer)[0]
        return kind != fcntl.F_UNLCK
