"""Running the programs that ask the kernel for mappings and loop devices."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import suppress
from typing import Final

from luksmeta.errors import StorageBusyError, StorageError
from luksmeta.secret import SecretBytes

_PATH: Final = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
_BUSY: Final = re.compile("busy|already exists|in use", re.IGNORECASE)
_MISSING: Final = re.compile("device.* (?:does not exist|not found)", re.IGNORECASE)


class KernelError(StorageError):
    """The kernel, or a program that asks it, did not do what was asked."""


class NoMappingError(KernelError):
    """There is no mapping of this name."""


def run(program: str, *arguments: str, table: SecretBytes | None = None) -> str:
    """What a program prints; KernelError with what it says is wrong."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:{_PATH}")
    if found is None:
        raise KernelError(f"there is no {program}").advise(
            "it comes with dmsetup or lvm2; losetup with mount or util-linux"
        )
    with subprocess.Popen(  # noqa: S603  # a program of the system, no shell
        [found, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "LC_ALL": "C"},
        bufsize=0,
    ) as process:
        if table is not None and process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.write(table.view())
        out, problem = process.communicate()
    if process.returncode:
        raise _error(program, arguments[-1], problem.decode(errors="replace"))
    return out.decode(errors="replace")


def _error(program: str, name: str, problem: str) -> StorageError:
    text = problem.strip().partition("\n")[0].rstrip(".") or "failed"
    if _MISSING.search(text):
        return NoMappingError(f"there is no mapping {name}")
    if _BUSY.search(text):
        return StorageBusyError(f"{program}: {text}")
    if "/dev/mapper/control" in problem:
        return KernelError("this kernel has no device-mapper").advise(
            "modprobe dm_mod loads it; read, write and table do without"
        )
    return KernelError(f"{program}: {text}").advise("dmesg may say why")
