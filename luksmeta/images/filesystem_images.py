"""A file system made from a directory, in memory, so that its plaintext never lies on a disk.

The programs write to any place in their file, so there must be a file; it has no name. In memory it
takes what the tree takes, and may be swapped out as all memory. Where that is too much, an unnamed
file in a directory of the user's choice takes its place: on a disk, its blocks stay readable after
it is gone.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO

from luksmeta.errors import ResourceLimitError, UnsupportedError
from luksmeta.images.filesystem_makers import MAKERS, Job, Maker
from luksmeta.images.raw_image import RawImage
from luksmeta.images.tree import BLOCK_SIZE, Tree
from luksmeta.kdf.machine import physical_memory
from luksmeta.random_bytes import is_seeded, random_uuid
from luksmeta.system_errors import storage_error


@contextmanager
def filesystem_image(
    directory: str | os.PathLike[str],
    filesystem: str = "ext4",
    *,
    size: int | None = None,
    work_dir: str | os.PathLike[str] | None = None,
) -> Iterator[RawImage]:
    """A file system with what is in ``directory``; it exists within the block only.

    ``filesystem`` is ext4, squashfs, erofs or btrfs, and needs its program. ``size`` is that of the
    file system, in bytes; without it, what the tree takes and, in ext4, some room more. Files keep
    their owners, modes, times and extended attributes. ``work_dir`` is for a tree that does not fit
    into memory.

    Within :func:`luksmeta.random_bytes.seeded` the same tree gives the same bytes: the UUID follows
    from the seed, and the time is SOURCE_DATE_EPOCH, or 1.

    Raises FilesystemToolError where the program is missing or fails, ResourceLimitError where the
    tree, or the tables of a file system of this size, do not fit into memory, UnsupportedError,
    StorageError; ValueError for an unknown name and a size that is too large for the file system.
    """
    if filesystem not in MAKERS:
        raise ValueError(f"file system {filesystem!r}: possible are {', '.join(MAKERS)}")
    if sys.platform != "linux":
        raise UnsupportedError("a file system is made from a directory on Linux only")
    maker = MAKERS[filesystem]
    if size is not None and maker.end is not None and size >= maker.end:
        raise ValueError(f"{filesystem} of {size} bytes: it must have less than {maker.end}")
    program = maker.find()
    tree = Tree.of(directory)
    if work_dir is None:
        _require_memory(tree, maker, size)
    with _unnamed_file(work_dir) as file:
        maker.make(program, Job(tree, file.fileno(), random_uuid(), size, _fixed_time()))
        with RawImage(file, sector_size=BLOCK_SIZE) as image:
            yield image


def _fixed_time() -> int | None:
    """The time to be taken for the present, where the result must not depend on that."""
    if not is_seeded():
        return None
    text = os.environ.get("SOURCE_DATE_EPOCH", "1")
    if not text.isdecimal():
        raise ValueError(f"SOURCE_DATE_EPOCH {text!r} is not a number of seconds")
    return max(1, int(text))  # for mke2fs 0 is no time


def _require_memory(tree: Tree, maker: Maker, size: int | None) -> None:
    needed, limit = maker.room(tree, size), physical_memory() << 10
    if needed > limit:
        raise ResourceLimitError(
            f"{tree.path}: {needed} bytes do not fit into memory, {limit} bytes",
            asked=needed,
            limit=limit,
        ).advise("--work-dir DIR has room for the file system")


def _unnamed_file(work_dir: str | os.PathLike[str] | None) -> FileIO:
    """A file without a name that nobody else can open: in memory, or in ``work_dir``."""
    if sys.platform == "linux" and work_dir is None:
        return FileIO(os.memfd_create("plaintext"), "r+")
    try:
        with tempfile.TemporaryFile(dir=work_dir, buffering=0) as file:
            return FileIO(os.dup(file.fileno()), "r+")
    except OSError as error:
        raise storage_error(error).about(os.fspath(work_dir or "")) from error
