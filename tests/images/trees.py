"""A directory to make file systems from, and the programs that look at what came of it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from luksmeta.new_volume import FormatKeywords
from tests import builders
from tests.corpus import stream
from tests.interop.peers.process import Tool

CHEAP: FormatKeywords = {"pbkdf": builders.KDF, "digest_iterations": 1000}
FILES = {
    "a.txt": b"hello\n",
    "empty": b"",
    "dir/with space.bin": stream("with space", 4097),
    "dir/sub/c.bin": stream("c.bin", 300_000),
    "dir/sub/-q": b"no option\n",
}
LINKS = {"dir/link": "../a.txt"}
TIME = 1_500_000_000  # seconds since 1970; every file's


def plant(folder: Path) -> Path:
    """A new directory with FILES, LINKS, and a name that is linked twice."""
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name, to in LINKS.items():
        (folder / name).symlink_to(to)
    (folder / "twice").hardlink_to(folder / "a.txt")
    (folder / "a.txt").chmod(0o640)
    for path in sorted(folder.rglob("*")):
        os.utime(path, (TIME, TIME), follow_symlinks=False)
    return folder


def seen_in(folder: Path) -> dict[str, bytes | str]:
    """Every file's content and every link's target below a directory."""
    found: dict[str, bytes | str] = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif stat.S_ISREG(path.lstat().st_mode):
            found[name] = path.read_bytes()
    return found


EXPECTED = {**FILES, **LINKS, "twice": FILES["a.txt"]}


def unpack(filesystem: str, image: Path, folder: Path) -> Path:
    """Check a file system with its own checker, and take everything out of it."""
    folder.mkdir()
    if filesystem == "ext4":
        Tool("e2fsck", "e2fsprogs").run("-fn", image)
        Tool("debugfs", "e2fsprogs").run("-R", f"rdump / {folder}", image)
    elif filesystem == "squashfs":
        Tool("unsquashfs", "squashfs-tools").run(
            "-quiet", "-no-progress", "-f", "-d", folder, image
        )
    elif filesystem == "erofs":
        Tool("fsck.erofs", "erofs-utils").run(f"--extract={folder}", "--overwrite", image)
    else:
        Tool("btrfs", "btrfs-progs").run("check", "--readonly", image)
        Tool("btrfs", "btrfs-progs").run("restore", "--symlink", image, folder)
    return folder


PROGRAMS = {
    "ext4": Tool("mke2fs", "e2fsprogs"),
    "squashfs": Tool("mksquashfs", "squashfs-tools"),
    "erofs": Tool("mkfs.erofs", "erofs-utils"),
    "btrfs": Tool("mkfs.btrfs", "btrfs-progs"),
}
