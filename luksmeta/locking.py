"""The advisory locks that cryptsetup takes, so that both can work on one volume.

A regular file is locked itself with ``flock``; a block device by a file in ``/run/cryptsetup``,
which is made when it is missing. Readers share, writers exclude. Whoever may read a device but not
use that directory reads without the lock, and does not write. Where the system has no ``flock``
(Windows), there is no lock to take.

Source: docs/LUKS2-locking.txt, lib/utils_device_locking.c.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from luksmeta.disks.part_storage import PartStorage
from luksmeta.errors import StorageBusyError, StorageError, StoragePermissionError
from luksmeta.file_storage import FileStorage
from luksmeta.storage import Storage
from luksmeta.system_errors import reason

LOCK_DIRECTORY = Path("/run/cryptsetup")
WAIT_SECONDS = 10.0
_POLL_SECONDS = 0.02


@contextlib.contextmanager
def locked(
    storage: Storage, *, exclusive: bool, wait_seconds: float = WAIT_SECONDS
) -> Iterator[None]:
    """Hold the lock of ``storage``; StorageBusyError when another process keeps it too long.

    The lock of a part is that of its disk. Raises StoragePermissionError when a device is to be
    locked for writing and cannot be.
    """
    while isinstance(storage, PartStorage):
        storage = storage.base
    if sys.platform == "win32" or not isinstance(storage, FileStorage):
        yield
    elif storage.is_regular:
        with _flocked(storage.fileno(), storage.name, exclusive, wait_seconds):
            yield
    else:
        with _device_locked(storage, exclusive, wait_seconds):
            yield


if sys.platform != "win32":
    import fcntl

    @contextlib.contextmanager
    def _flocked(
        descriptor: int, name: str, exclusive: bool, wait_seconds: float
    ) -> Iterator[None]:
        operation = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StorageBusyError(
                        f"locked by another process for {wait_seconds:g} seconds"
                    ).about(name) from None
                time.sleep(_POLL_SECONDS)
            except OSError as error:  # a network file system without locks, say
                raise StorageError(f"cannot be locked: {reason(error)}").about(name) from error
        try:
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)

    @contextlib.contextmanager
    def _device_locked(
        storage: FileStorage, exclusive: bool, wait_seconds: float
    ) -> Iterator[None]:
        device = os.fstat(storage.fileno()).st_rdev
        path = LOCK_DIRECTORY / f"L_{os.major(device)}:{os.minor(device)}"
        while True:
            try:
                descriptor = _open_lock(path)
            except OSError as error:
                if exclusive:
                    raise StoragePermissionError(
                        f"{path} cannot be locked for writing: {reason(error)}"
                    ).about(storage.name) from error
                yield
                return
            with contextlib.ExitStack() as stack:
                stack.callback(os.close, descriptor)
                stack.enter_context(_flocked(descriptor, storage.name, exclusive, wait_seconds))
                if _is_same_file(path, descriptor):
                    stack.callback(_remove_if_alone, path, descriptor)
                    yield
                    return
            # Its last holder removed the file while we waited: take the new one.

    def _open_lock(path: Path) -> int:
        with contextlib.suppress(FileExistsError):
            path.parent.mkdir(mode=0o700)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)

    def _is_same_file(path: Path, descriptor: int) -> bool:
        try:
            there = path.lstat()
        except FileNotFoundError:
            return False
        ours = os.fstat(descriptor)
        return stat.S_ISREG(there.st_mode) and os.path.samestat(there, ours)

    def _remove_if_alone(path: Path, descriptor: int) -> None:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
