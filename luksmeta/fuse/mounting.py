"""Mounting a volume's plaintext with FUSE, as an ordinary user.

Source: fuse(4); mount.fuse3(8) for the options; libfuse's lib/helper.c fuse_main_real.
"""

from __future__ import annotations

import ctypes.util
import errno
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from luksmeta.errors import StorageBusyError, StorageError, UnsupportedError
from luksmeta.plaintext_device import PlaintextDevice
from luksmeta.segment_stream import SegmentStream
from luksmeta.system_errors import storage_error

if TYPE_CHECKING:
    from luksmeta.fuse.filesystem import PayloadFilesystem

_DEVICE: Final = Path("/dev/fuse")
_NO_FUSE: Final = (errno.ENOENT, errno.ENODEV, errno.ENXIO)
_REMARK: Final = "Ignoring "
_PYTHON_PART: Final = "pip install 'luksmeta[fuse]' brings it"
_LIBRARY: Final = "Debian's package fuse3 has it, and fusermount3"


def require_mountable(directory: Path) -> None:
    """Raise where FUSE cannot be used here, or not for this directory, before anything is asked.

    Raises UnsupportedError, StorageError, StorageBusyError.
    """
    filesystem_class()
    _require_device()
    try:
        is_empty = not any(directory.iterdir())
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            raise _busy(
                directory, "a mount whose server is dead lies there", unmount=True
            ) from error
        raise storage_error(error).about(str(directory)) from error
    if directory.resolve().is_mount():  # Path(".") would always be one
        raise _busy(directory, "something is mounted there", unmount=True)
    if not is_empty:
        raise _busy(directory, "is not empty, and would be hidden", unmount=False)


def _busy(directory: Path, why: str, *, unmount: bool) -> StorageBusyError:
    name = shlex.quote(str(directory))
    advice = f"fusermount3 -u {name} removes it" if unmount else "name an empty directory"
    return StorageBusyError(why).about(str(directory)).advise(advice)


def mount(
    stream: SegmentStream,
    directory: Path,
    *,
    name: str,
    writable: bool = False,
    allow_other: bool = False,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Show the plaintext as ``payload`` in ``directory`` until it is unmounted or a signal comes.

    ``name`` is what mount(8) shows as its source, ``ready`` is called once it is mounted. All that
    was written is on stable storage afterwards. Raises UnsupportedError, StorageError.
    """
    device = PlaintextDevice(stream)
    with _standard_error_aside() as (said, back):
        is_mounted = False

        def mounted() -> None:
            nonlocal is_mounted
            is_mounted = True
            back()
            ready()

        filesystem = filesystem_class()(
            device, writable=writable, is_for_all=allow_other, ready=mounted
        )
        try:
            _run(filesystem, directory, name, writable=writable, allow_other=allow_other)
        except RuntimeError as error:  # libfuse's status, also when a signal ended it
            if not is_mounted:
                reason = _reason(said) or f"libfuse's status {error}"
                raise StorageError(f"cannot be mounted: {reason}").about(str(directory)) from error
        finally:
            back()
            device.finish()
    if filesystem.failure is not None:
        raise filesystem.failure


def _run(
    filesystem: PayloadFilesystem, directory: Path, name: str, *, writable: bool, allow_other: bool
) -> None:
    import mfusepy

    mfusepy.FUSE(
        filesystem,
        str(directory),
        foreground=True,
        ro=not writable,
        allow_other=allow_other,
        default_permissions=True,
        subtype="luksmeta",
        fsname=name.replace("\\", "\\\\").replace(",", "\\,"),
    )


def _reason(said: BinaryIO) -> str:
    """What libfuse has printed, without what it only remarks."""
    said.seek(0)
    lines = said.read().decode(errors="replace").splitlines()
    return " ".join(line for line in lines if line and not line.startswith(_REMARK))


def filesystem_class() -> type[PayloadFilesystem]:
    """What libfuse calls; UnsupportedError where a part of it is missing."""
    if sys.platform == "linux" and ctypes.util.find_library("fuse3"):
        os.environ.setdefault("FUSE_LIBRARY_NAME", "fuse3")  # mfusepy would take libfuse 2 first
    try:
        import luksmeta.fuse.filesystem as payload
    except ImportError as error:
        raise UnsupportedError("mount needs the Python package mfusepy").advise(
            _PYTHON_PART
        ) from error
    except (OSError, AttributeError) as error:  # as mfusepy says that there is none, or too old
        raise UnsupportedError(f"mount needs libfuse: {error}").advise(_LIBRARY) from error
    return payload.PayloadFilesystem


def _require_device() -> None:
    if sys.platform != "linux":
        return
    try:
        os.close(os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        if error.errno in _NO_FUSE:
            raise UnsupportedError(f"this kernel has no FUSE: {error.strerror}").about(
                str(_DEVICE)
            ) from error
        raise storage_error(error).about(str(_DEVICE)) from error


@contextmanager
def _standard_error_aside() -> Iterator[tuple[BinaryIO, Callable[[], None]]]:
    """Standard error goes to a file until the second value is called: libfuse writes there."""
    with tempfile.TemporaryFile() as said:
        original = [os.dup(2)]
        os.dup2(said.fileno(), 2)

        def back() -> None:
            while original:
                os.dup2(original[0], 2)
                os.close(original.pop())

        try:
            yield said, back
        finally:
            back()
