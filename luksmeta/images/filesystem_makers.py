"""Each file system that can be made from a directory without root, and how its program is told to.

mke2fs -d, mksquashfs, mkfs.erofs and mkfs.btrfs --rootdir. What is asked of them is in e2fsprogs
1.46, squashfs-tools 4.5, erofs-utils 1.2, btrfs-progs 5.1, and later ones.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from luksmeta.errors import UnsupportedError
from luksmeta.extents import align_up
from luksmeta.images.filesystem_tools import find_tool, run_tool
from luksmeta.images.tree import BLOCK_SIZE, Tree

_EXT4_INODE_SIZE: Final = 256  # bytes, mke2fs.conf
_EXT4_INODE_RATIO: Final = 16384  # bytes of the file system for each inode, mke2fs.conf
_EXT4_INODES_MAX: Final = 1 << 32
_EXT4_FIRST_INODE: Final = 12  # of a file: 11 is lost+found, and those below have other uses
_EXT4_GROUP: Final = 8 * BLOCK_SIZE * BLOCK_SIZE  # bytes: a block has a bit for each block
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Job:
    """One file system to make: from ``tree``, into the empty file behind ``descriptor``.

    ``size`` is that of the file system in bytes, or None for what suits it. ``time`` (seconds since
    1970, at least 1) is when it is made, where that must not be the present.
    """

    tree: Tree
    descriptor: int
    uuid: uuid.UUID
    size: int | None = None
    time: int | None = None

    @property
    def file(self) -> str:
        """The file's name for a program that inherits the descriptor."""
        return f"/proc/self/fd/{self.descriptor}"

    @property
    def directory(self) -> str:
        """The directory's name, which no program takes for an option."""
        return str(self.tree.path.resolve())  # mksquashfs would store a link as it is

    def timed(self, *options: str) -> tuple[str, ...]:
        """The options where a time is set, with ``{}`` for it; otherwise none."""
        return () if self.time is None else tuple(each.format(self.time) for each in options)


@dataclass(frozen=True, slots=True)
class Maker:
    """A file system: the ``program`` that makes it, the Debian ``package`` with that, and how.

    ``tables_share``: in how many bytes of the file system is at most one that is written though the
    tree needs none there; None where that is next to nothing. ``end``: smaller it must be, in
    bytes, or None where it makes no difference.
    """

    program: str
    package: str
    make: Callable[[str, Job], None]
    tables_share: int | None = None
    end: int | None = None

    def room(self, tree: Tree, size: int | None) -> int:
        """Bytes that are written at most to make a file system of ``size`` bytes, or so."""
        if size is None or self.tables_share is None:
            return tree.size
        return max(tree.size, size // self.tables_share)

    def find(self) -> str:
        """The program's path; FilesystemToolError where it is not installed."""
        return find_tool(self.program, self.package)


def ext4_size(tree: Tree) -> int:
    """Bytes of a file system that takes the tree, its own tables, a journal, and an eighth more.

    The journal is larger than what mke2fs chooses for this size (lib/ext2fs/mkjournal.c).
    """
    used = tree.size + _ext4_inodes(tree.files) * _EXT4_INODE_SIZE
    journal = min(max(4 * _MIB, used // 16), 1024 * _MIB)
    return align_up(used + used // 8 + journal + 4 * _MIB, _MIB)


def _ext4_inodes(files: int) -> int:
    return 64 + files + files // 4


def _make_ext4(program: str, job: Job) -> None:
    size = ext4_size(job.tree) if job.size is None else job.size
    os.truncate(job.descriptor, size)
    inodes = max(_ext4_inodes(job.tree.files), size // _EXT4_INODE_RATIO)
    environment = {} if job.time is None else {"E2FSPROGS_FAKE_TIME": str(job.time)}
    options = ("-q", "-F", "-t", "ext4", "-b", str(BLOCK_SIZE), "-N", str(inodes))
    # The inodes' tables are holes, also where no kernel says that it clears them when it mounts.
    identity = ("-U", str(job.uuid), "-E", f"hash_seed={job.uuid},lazy_itable_init=1")
    run_tool(
        [program, *options, *identity, "-d", job.directory, job.file, str(size // BLOCK_SIZE)],
        job.descriptor,
        environment=environment,
    )
    if job.time is not None:
        _set_ext4_times(job, environment)


def _set_ext4_times(job: Job, environment: dict[str, str]) -> None:
    """Set each file's times of access and change, which reading the tree would change."""
    fields = [
        f"set_inode_field <{_EXT4_FIRST_INODE + number}> {name} @{job.time}\n"
        for number in range(job.tree.files)
        for name in ("atime", "ctime")
    ]
    run_tool(
        [find_tool("debugfs", MAKERS["ext4"].package), "-w", "-f", "-", job.file],
        job.descriptor,
        environment=environment,
        script="".join(fields).encode(),
    )


def _make_squashfs(program: str, job: Job) -> None:
    run_tool(
        [
            *(program, job.directory, job.file),
            # Without the last, what cannot be read becomes an empty file, and nothing is wrong.
            *("-noappend", "-quiet", "-no-progress", "-exit-on-error"),
            *job.timed("-mkfs-time", "{}"),
        ],
        job.descriptor,
    )


def _make_erofs(program: str, job: Job) -> None:
    run_tool(
        [program, "--quiet", "-U", str(job.uuid), *job.timed("-T{}"), job.file, job.directory],
        job.descriptor,
    )


def _make_btrfs(program: str, job: Job) -> None:
    if job.time is not None:
        raise UnsupportedError("seed: mkfs.btrfs does not make the same image twice")
    if job.size is not None:
        os.truncate(job.descriptor, job.size)
    shrunk = ["--shrink"] if job.size is None else []
    run_tool(
        [program, "-q", "-U", str(job.uuid), *shrunk, "--rootdir", job.directory, job.file],
        job.descriptor,
    )


MAKERS: Final = {
    "ext4": Maker(
        *("mke2fs", "e2fsprogs", _make_ext4),
        tables_share=_EXT4_GROUP // (2 * BLOCK_SIZE),  # two bitmaps in each group of blocks
        end=_EXT4_INODES_MAX * _EXT4_INODE_RATIO,
    ),
    "squashfs": Maker("mksquashfs", "squashfs-tools", _make_squashfs),
    "erofs": Maker("mkfs.erofs", "erofs-utils", _make_erofs),
    "btrfs": Maker("mkfs.btrfs", "btrfs-progs", _make_btrfs),
}
"""Every file system that can be made, by its name."""
