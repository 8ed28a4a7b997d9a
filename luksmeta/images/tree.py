"""A directory that a file system is made from: what it will take."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Self

from luksmeta.errors import StorageError
from luksmeta.extents import align_up
from luksmeta.system_errors import storage_error

BLOCK_SIZE = 4096  # bytes; of each file system that is made here


@dataclass(frozen=True, slots=True)
class Tree:
    """``files`` counts everything below ``path`` once, whatever its links; ``size`` is in bytes.

    The size is that of whole blocks: of the files' content, their holes included, of directories,
    long links and extended attributes.
    """

    path: Path
    files: int
    size: int

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> Self:
        """A look at all of it; StorageError where something cannot be looked at."""
        root = Path(path)
        if not root.is_dir():
            text = "not a directory" if root.exists() else "no such directory"
            raise StorageError(text).about(str(root))
        seen: set[tuple[int, int]] = set()
        size = BLOCK_SIZE
        for status in _below(root):
            identity = (status.st_dev, status.st_ino)
            if identity not in seen:
                seen.add(identity)
                size += _blocks(status)
        return cls(root, len(seen), size)


def _below(root: Path) -> Iterator[os.stat_result]:
    for folder, folders, files in os.walk(root, onerror=_refuse):
        for name in (*folders, *files):
            path = Path(folder, name)
            try:
                yield path.lstat()
            except OSError as error:
                raise storage_error(error).about(str(path)) from error


def _blocks(status: os.stat_result) -> int:
    """A block more than the content: for attributes, and for the map of a file in pieces."""
    content = status.st_size if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) else 0
    return align_up(content, BLOCK_SIZE) + BLOCK_SIZE


def _refuse(error: OSError) -> NoReturn:
    raise storage_error(error).about(str(error.filename)) from error
