"""What the operating system says about a file or a device, as one of the storage errors."""

from __future__ import annotations

import errno
from types import TracebackType

from luksmeta.errors import (
    StorageBusyError,
    StorageError,
    StorageExistsError,
    StoragePermissionError,
)

_BUSY = (errno.EBUSY, errno.ETXTBSY)


class system_errors:  # noqa: N801  # used like a keyword: with system_errors(name)
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


def reason(error: OSError) -> str:
    """What the operating system says, in words."""
    return (error.strerror or str(error)).lower()


def storage_error(error: OSError) -> StorageError:
    """What the operating system says, as one of the storage errors."""
    text = reason(error)
    if error.errno == errno.EROFS:
        return StoragePermissionError(text).advise(None)
    if isinstance(error, PermissionError):
        return StoragePermissionError(text)
    if isinstance(error, FileExistsError):
        return StorageExistsError(text)
    return StorageBusyError(text) if error.errno in _BUSY else StorageError(text)


def require_headway(written: int | None) -> None:
    """OSError for a write that took nothing: repeating it might never end."""
    if not written:  # None is what a raw file object says that is not ready
        raise OSError(errno.EIO, "nothing was written")
