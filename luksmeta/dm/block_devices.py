"""Block devices as tables name them; a file becomes one by ``losetup``."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from luksmeta.dm.programs import run
from luksmeta.errors import StorageBusyError
from luksmeta.file_storage import FileStorage


def device_numbers(path: str) -> str:
    """What tables call a block device, ``MAJOR:MINOR``; a file by its own path. OSError."""
    status = Path(path).stat()
    if stat.S_ISBLK(status.st_mode):
        return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    return str(Path(path).resolve())


def device_path(device: str) -> str:
    """The path of a device that a table names by its numbers; another name as it is."""
    with suppress(OSError):
        return f"/dev/{Path('/sys/dev/block', device).resolve(strict=True).name}"
    return device


def backing_file(device: str) -> str | None:
    """The file of a loop device, given by its numbers; None for any other device."""
    with suppress(OSError):
        path = Path("/sys/dev/block", device, "loop/backing_file")
        return path.read_text(errors="surrogateescape").rstrip("\n")
    return None


def require_unused(path: str) -> None:
    """Raise StorageBusyError where a block device is mounted, mapped or otherwise in use."""
    FileStorage(path, exclusive=True).close()


@contextmanager
def block_device(path: str, *, is_read_only: bool) -> Iterator[str]:
    """What a table calls a device, or a file, which gets a loop device.

    Raises StorageBusyError where it is in use.
    """
    if not Path(path).is_file():
        require_unused(path)
        yield device_numbers(path)
        return
    with loop_device(path, is_read_only=is_read_only) as loop:
        yield device_numbers(loop)


@contextmanager
def loop_device(path: str, *, is_read_only: bool) -> Iterator[str]:
    """The loop device of a file; the kernel gives it up when nothing has it open any more.

    StorageBusyError for a file that has one already, where both could be written.
    """
    used = run("losetup", "--list", "--noheadings", "--output", "NAME,RO", "--associated", path)
    for other, flag in (line.split() for line in used.splitlines()):
        if not (is_read_only and flag == "1"):
            raise StorageBusyError(f"is {other} already").advise(
                f"unmap what uses it, or map {other} itself"
            )
    words = ["--read-only"] if is_read_only else []
    name = run("losetup", "--find", "--show", *words, "--", os.path.realpath(path)).strip()
    try:
        yield name
    finally:
        run("losetup", "--detach", name)
