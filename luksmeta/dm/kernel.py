"""The kernel's device-mapper, driven through ``dmsetup``; files become devices by ``losetup``.

Tables go to dmsetup's standard input, never among its arguments, which everybody can see.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from luksmeta.dm.table import TableLine, parse_table
from luksmeta.errors import StorageBusyError, StorageError, StoragePermissionError
from luksmeta.file_storage import FileStorage
from luksmeta.secret import SecretBytes

NAME_MAX: Final = 127  # bytes: DM_NAME_LEN, less the end
UUID_MAX: Final = 128

_PATH: Final = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
_NAME: Final = re.compile(r"[A-Za-z0-9#+.:=@_-]+")  # libdm-common.c: what it does not mangle
_INFO: Final = "open,attr,major,minor,uuid"
_BUSY: Final = re.compile("busy|already exists|in use", re.IGNORECASE)
_MISSING: Final = re.compile("device.* (?:does not exist|not found)", re.IGNORECASE)


class KernelError(StorageError):
    """The kernel, or a program that asks it, did not do what was asked."""


class NoMappingError(KernelError):
    """There is no mapping of this name."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """A mapping as the kernel has it; keys in its table are zeroes, or named.

    ``table`` is empty where the kernel has none that is live: nothing can be read then.
    """

    name: str
    uuid: str
    device: str
    open_count: int
    is_read_only: bool
    is_suspended: bool
    table: tuple[TableLine, ...]


def check_name(name: str) -> None:
    """Raise ValueError for a name that no mapping can have, or none under ``/dev/mapper``.

    There libdm has other names for those with other characters.
    """
    _require_name(name)
    if not _NAME.fullmatch(name):
        raise ValueError(f"name {name[:40]!r}: letters, digits and #+-.:=@_ can be in it")


def _require_name(name: str) -> None:
    """Raise ValueError for a name that no mapping can have; those of others have odd ones."""
    if not name or "/" in name or name in (".", "..") or not name.isprintable():
        raise ValueError(f"name {name[:40]!r}: printable characters but / are expected")
    if len(name.encode()) > NAME_MAX:
        raise ValueError(f"name of {len(name.encode())} bytes, the most are {NAME_MAX}")


def require_kernel() -> None:
    """Raise StoragePermissionError or KernelError where no mapping can be made."""
    if os.geteuid() != 0:
        raise StoragePermissionError("mapping through the kernel needs root").advise(
            "read, write and table do without"
        )
    _run("dmsetup", "version")


def create(name: str, uuid: str, table: SecretBytes, *, is_read_only: bool = False) -> None:
    """A new mapping; StorageBusyError where the name, the UUID or the device is in use."""
    check_name(name)
    if len(uuid.encode()) > UUID_MAX:
        raise ValueError(f"name {name[:40]!r}: makes a UUID of more than {UUID_MAX} bytes")
    words = ["--readonly"] if is_read_only else []
    _run("dmsetup", "create", *words, "--uuid", uuid, "--", name, table=table)


def remove(name: str, *, is_deferred: bool = False) -> None:
    """Remove a mapping, or have it removed when it is closed last.

    Raises NoMappingError, StorageBusyError while it is open.
    """
    _require_name(name)
    _run("dmsetup", "remove", *(["--deferred"] if is_deferred else ["--retry"]), "--", name)


def find(name: str) -> Mapping:
    """The mapping of this name; NoMappingError."""
    _require_name(name)
    info = _run(
        "dmsetup", "info", "-c", "--noheadings", "--separator", "|", "-o", _INFO, "--", name
    )
    count, attributes, major, minor, uuid = info.strip().split("|", 4)
    return Mapping(
        name=name,
        uuid=uuid,
        device=f"{major}:{minor}",
        open_count=int(count),
        is_read_only="r" in attributes[3:4],
        is_suspended="s" in attributes[2:3],
        table=_parse(_run("dmsetup", "table", "--", name)),
    )


def _parse(text: str) -> tuple[TableLine, ...]:
    return parse_table(text) if text.strip() else ()


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


def require_free(name: str) -> None:
    """Raise StorageBusyError where there is a mapping of this name."""
    with suppress(NoMappingError):
        found = find(name)
        raise StorageBusyError(f"mapping {name} is there already, {found.device}").advise(
            "unmap removes it; or choose another name"
        )


def device_numbers(path: str) -> str:
    """What tables call a block device, ``MAJOR:MINOR``; a file by its own path. OSError."""
    status = Path(path).stat()
    if stat.S_ISBLK(status.st_mode):
        return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    return str(Path(path).resolve())


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
    used = _run("losetup", "--list", "--noheadings", "--output", "NAME,RO", "--associated", path)
    for other, flag in (line.split() for line in used.splitlines()):
        if not (is_read_only and flag == "1"):
            raise StorageBusyError(f"is {other} already").advise(
                f"unmap what uses it, or map {other} itself"
            )
    words = ["--read-only"] if is_read_only else []
    name = _run("losetup", "--find", "--show", *words, "--", os.path.realpath(path)).strip()
    try:
        yield name
    finally:
        _run("losetup", "--detach", name)


def _run(program: str, *arguments: str, table: SecretBytes | None = None) -> str:
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
