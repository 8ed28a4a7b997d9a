"""The kernel's device-mapper, driven through ``dmsetup``.

Tables go to dmsetup's standard input, never among its arguments, which everybody can see.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from luksmeta.dm.programs import NoMappingError, run
from luksmeta.dm.table import TableLine, parse_table
from luksmeta.errors import StorageBusyError, StoragePermissionError
from luksmeta.secret import SecretBytes

NAME_MAX: Final = 127  # bytes: DM_NAME_LEN, less the end
UUID_MAX: Final = 128

_NAME: Final = re.compile(r"[A-Za-z0-9#+.:=@_-]+")  # libdm-common.c: what it does not mangle
_INFO: Final = "open,attr,major,minor,uuid"


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
    run("dmsetup", "version")


def create(name: str, uuid: str, table: SecretBytes, *, is_read_only: bool = False) -> None:
    """A new mapping; StorageBusyError where the name, the UUID or the device is in use."""
    check_name(name)
    if len(uuid.encode()) > UUID_MAX:
        raise ValueError(f"name {name[:40]!r}: makes a UUID of more than {UUID_MAX} bytes")
    words = ["--readonly"] if is_read_only else []
    run("dmsetup", "create", *words, "--uuid", uuid, "--", name, table=table)


def remove(name: str, *, is_deferred: bool = False) -> None:
    """Remove a mapping, or have it removed when it is closed last.

    Raises NoMappingError, StorageBusyError while it is open.
    """
    _require_name(name)
    run("dmsetup", "remove", *(["--deferred"] if is_deferred else ["--retry"]), "--", name)


def find(name: str) -> Mapping:
    """The mapping of this name; NoMappingError."""
    _require_name(name)
    info = run("dmsetup", "info", "-c", "--noheadings", "--separator", "|", "-o", _INFO, "--", name)
    count, attributes, major, minor, uuid = info.strip().split("|", 4)
    return Mapping(
        name=name,
        uuid=uuid,
        device=f"{major}:{minor}",
        open_count=int(count),
        is_read_only="r" in attributes[3:4],
        is_suspended="s" in attributes[2:3],
        table=_parse(run("dmsetup", "table", "--", name)),
    )


def _parse(text: str) -> tuple[TableLine, ...]:
    return parse_table(text) if text.strip() else ()


def require_free(name: str) -> None:
    """Raise StorageBusyError where there is a mapping of this name."""
    with suppress(NoMappingError):
        found = find(name)
        raise StorageBusyError(f"mapping {name} is there already, {found.device}").advise(
            "unmap removes it; or choose another name"
        )
