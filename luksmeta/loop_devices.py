"""Files that the kernel has behind a loop device: a mapping, say, which :mod:`luksmeta.dm` made.

Source: drivers/block/loop.c, the attribute ``backing_file`` in ``/sys/block/loopN/loop``.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from luksmeta.errors import StorageBusyError

_DEVICES: Final = Path("/sys/block")


def kernel_uses(file: int | str | os.PathLike[str]) -> str | None:
    """The loop device that has this file, by its path or descriptor, behind it; OSError.

    None where there is none, and for a file that this process cannot see under its name.
    """
    status = os.stat(file)  # noqa: PTH116  # a Path has no descriptor
    for attribute in sorted(_DEVICES.glob("loop*/loop/backing_file")):
        with suppress(OSError):  # gone meanwhile, or not to be seen from here
            backing = attribute.read_text(errors="surrogateescape").removesuffix("\n")
            if os.path.samestat(Path(backing).stat(), status):
                return f"/dev/{attribute.parent.parent.name}"
    return None


def require_no_loop_device(descriptor: int, name: str) -> None:
    """Raise StorageBusyError for a file whose bytes the kernel shows, and keeps, as a device."""
    if device := kernel_uses(descriptor):
        raise (
            StorageBusyError(f"in use by the kernel as {device}")
            .about(name)
            .advise(f"unmap what is on it, or losetup --detach {device}; or name {device} here")
        )
