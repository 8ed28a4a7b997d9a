"""A file system with one file, ``payload``: the plaintext of a volume.

Source: libfuse's include/fuse.h says what each operation has to do; mfusepy hands them on. This
module needs the extra ``fuse`` and libfuse itself, and is imported by :mod:`luksmeta.fuse.mounting`
only.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from typing import Any, Final

import mfusepy

from luksmeta.plaintext_device import PlaintextDevice

FILE_NAME: Final = "payload"
_ROOT: Final = "/"
_PATH: Final = f"/{FILE_NAME}"
_BLOCK: Final = 512  # bytes, the unit of st_blocks


class PayloadFilesystem(mfusepy.Operations):  # type: ignore[misc]  # mfusepy carries no types
    """The one file; like a block device it has the size it has. ``ready`` is called once mounted.

    It is for its owner; ``is_for_all`` lets others read it. ``failure`` is what ``ready`` raised.

    What the device cannot do is the error of the operation, with its number.
    """

    use_ns = True

    def __init__(
        self,
        device: PlaintextDevice,
        *,
        writable: bool,
        is_for_all: bool = False,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._device = device
        self._writable = writable
        self._for_others = 0o044 if is_for_all else 0
        self._ready = ready
        self.failure: BaseException | None = None
        self._mounted_at = time.time_ns()

    def init(self, path: str) -> None:
        """The kernel has mounted it; where ``ready`` fails it is unmounted, and that kept."""
        try:
            self._ready()
        except BaseException as error:  # noqa: BLE001  # raised again by who mounted it
            self.failure = error
            mfusepy.fuse_exit()

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        """Mode, size and times, in nanoseconds."""
        if path == _ROOT:
            mode = 0o500 | self._for_others | self._for_others >> 2
            kind = {"st_mode": stat.S_IFDIR | mode, "st_nlink": 2}
        else:
            self._require(path)
            kind = {
                "st_mode": stat.S_IFREG | (0o600 if self._writable else 0o400) | self._for_others,
                "st_nlink": 1,
                "st_size": self._device.size,
                "st_blocks": -(-self._device.size // _BLOCK),
            }
        times = dict.fromkeys(("st_atime", "st_mtime", "st_ctime"), self._mounted_at)
        return {**kind, **times, "st_uid": os.getuid(), "st_gid": os.getgid()}

    def readdir(self, path: str, fh: int) -> list[str]:
        """The names in the one directory."""
        return [".", "..", FILE_NAME]

    def statfs(self, path: str) -> dict[str, int]:
        """Full: there is room for nothing but the payload."""
        return {"f_bsize": _BLOCK, "f_frsize": _BLOCK, "f_blocks": self._device.size // _BLOCK}

    def open(self, path: str, flags: int) -> int:
        """Any number of times; nothing is kept."""
        self._require(path)
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """Up to ``size`` bytes, fewer at the end only."""
        return self._device.read(offset, size)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        """All of it, or what fits; ENOSPC behind the end."""
        self._device.require_safe()
        room = self._device.size - offset
        if room <= 0 and data:
            raise mfusepy.FuseOSError(errno.ENOSPC)
        self._device.write(offset, data[:room])
        return min(len(data), room)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        """The size that it has, and no other."""
        self._require(path)
        if length != self._device.size:
            raise mfusepy.FuseOSError(errno.EPERM)
        return 0

    def flush(self, path: str, fh: int) -> int:
        """A program closes the file: the last moment at which it can be told of an error.

        Unmounting does not wait for this process, so nothing is left to be flushed then.
        """
        return self.fsync(path, 0, fh) if self._writable else 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        """All that was written is on stable storage then."""
        self._device.flush()
        return 0

    def _require(self, path: str) -> None:
        if path != _PATH:
            raise mfusepy.FuseOSError(errno.ENOENT)
