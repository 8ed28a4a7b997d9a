"""Files as block devices, where the system lets us have one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.interop.peers.process import PeerError, Tool
from tests.requirement import missing

_LOSETUP = Tool("losetup", "mount")


@contextmanager
def loop_device(file: Path) -> Iterator[Path]:
    """A loop device on the file; ends the running test where none can be made."""
    _LOSETUP.require()
    try:
        device = _LOSETUP.run("--find", "--show", file).decode().strip()
    except PeerError as error:
        missing(f"no loop device can be made here: {error}")
    try:
        yield Path(device)
    finally:
        _LOSETUP.run("--detach", device)
