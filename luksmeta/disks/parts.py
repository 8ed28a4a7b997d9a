"""Names of parts: ``disk.raw#part=2``, ``disk.raw#lv=group/name``, ``disk.raw#offset=1M``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from luksmeta.storage import Storage

_VOLUME: Final = r"lv=[^#/,]+/[^#/,]+"
_PART: Final = re.compile(
    rf"(?P<path>.+)#(?P<part>part=[0-9]+(?:,{_VOLUME})?|{_VOLUME}|offset=[0-9]+[A-Za-z]*)"
)


def split_name(name: str) -> tuple[str, str]:
    """The file, and the part of it that is meant: empty for all of it.

    A file that has all of this as its name is that file.
    """
    match = _PART.fullmatch(name)
    return (name, "") if match is None or Path(name).exists() else (match["path"], match["part"])


def open_part(name: str, open_disk: Callable[[str], Storage]) -> Storage:
    """The part that a name means, on the disk that ``open_disk`` opens; the disk without a part.

    Raises StorageError where the disk has no such part, MissingExtraError for LVM without the
    library that reads it, ValueError for an offset that is no number.
    """
    path, part = split_name(name)
    disk = open_disk(path)
    if not part:
        return disk
    from luksmeta.disks.part_storage import PartStorage
    from luksmeta.disks.places import place_named

    try:
        return PartStorage(disk, place_named(disk, part).extents, name)
    except BaseException:
        disk.close()
        raise
