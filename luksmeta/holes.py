"""Holes in files: where they are, and how they are made.

Source: lseek(2), SEEK_HOLE and SEEK_DATA; fallocate(2), FALLOC_FL_PUNCH_HOLE, which Linux has for
block devices too (block/fops.c blkdev_fallocate).
"""

from __future__ import annotations

import errno
import functools
import os
import sys
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from luksmeta.errors import UnsupportedError
from luksmeta.extents import Extent
from luksmeta.file_storage import FileStorage
from luksmeta.storage import Storage
from luksmeta.system_errors import storage_error

_KEEP_SIZE: Final = 0x01  # linux/falloc.h
_PUNCH_HOLE: Final = 0x02


class Stretch(NamedTuple):
    """Bytes of a storage that are all in a hole, or all not."""

    extent: Extent
    is_hole: bool


def stretches(storage: Storage, offset: int, size: int) -> Iterator[Stretch]:
    """What of ``size`` bytes at ``offset`` is in holes, in order, without gaps.

    Where that cannot be known, there is no hole.
    """
    end = offset + size
    at = offset
    while at < end:
        data = _next(storage, at, end, "SEEK_DATA")
        if at < data:
            yield Stretch(Extent(at, data - at), is_hole=True)
        if data == end:
            return
        at = _next(storage, data, end, "SEEK_HOLE")
        yield Stretch(Extent(data, at - data), is_hole=False)


def _next(storage: Storage, offset: int, end: int, whence: str) -> int:
    """Where the next data or hole begins from ``offset`` on, ``end`` at most."""
    everything_is_data = offset if whence == "SEEK_DATA" else end
    if not isinstance(storage, FileStorage) or not hasattr(os, whence):
        return everything_is_data
    try:
        found = os.lseek(storage.fileno(), offset, getattr(os, whence))
    except OSError as error:  # ENXIO: no data up to the file's end
        is_last_hole = error.errno == errno.ENXIO and whence == "SEEK_DATA"
        return end if is_last_hole and storage.is_regular else everything_is_data
    # A file that is written to meanwhile may have its hole filled at once: never stand still.
    return min(found, end) if found > offset or whence == "SEEK_DATA" else end


def punch(storage: Storage, offset: int, size: int) -> None:
    """Give back the room of ``size`` bytes at ``offset``, which read as zeroes then.

    Raises UnsupportedError where the storage or its system cannot, StorageError.
    """
    function = _fallocate()
    if function is None or not isinstance(storage, FileStorage):
        raise UnsupportedError("holes cannot be made here").about(storage.name)
    number = function(storage.fileno(), _PUNCH_HOLE | _KEEP_SIZE, offset, size)
    if number in (errno.EOPNOTSUPP, errno.ENOSYS):
        raise UnsupportedError("its file system makes no holes").about(storage.name)
    if number:
        error = OSError(number, os.strerror(number))
        raise storage_error(error).about(storage.name) from error


@functools.cache
def _fallocate() -> Callable[[int, int, int, int], int] | None:
    """``fallocate`` of the C library, which gives the error's number; None where there is none."""
    if sys.platform != "linux":
        return None
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    has_one_name = not hasattr(library, "fallocate64")  # musl, for both
    function = library.fallocate if has_one_name else library.fallocate64
    function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)

    def fallocate(descriptor: int, mode: int, offset: int, size: int) -> int:
        return ctypes.get_errno() if function(descriptor, mode, offset, size) else 0

    return fallocate
