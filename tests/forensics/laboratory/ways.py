"""Ways to damage a disk image: bytes written, other programs run for real, ends cut off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

from tests.corpus import stream
from tests.interop.peers.process import Tool

Way: TypeAlias = Callable[[Path], None]

# --- bytes ---------------------------------------------------------------------------------------


def write(offset: int, data: bytes) -> Way:
    """``data`` written at ``offset``."""

    def way(disk: Path) -> None:
        with disk.open("r+b") as file:
            file.seek(offset)
            file.write(data)

    return way


def zeroes(offset: int, size: int) -> Way:
    """``dd if=/dev/zero``."""
    return write(offset, bytes(size))


def ones(offset: int, size: int) -> Way:
    """Erased flash memory."""
    return write(offset, b"\xff" * size)


def noise(offset: int, size: int) -> Way:
    """``dd if=/dev/urandom``, always the same bytes."""
    return write(offset, stream(f"laboratory/noise at {offset}", size))


def flip(offset: int, mask: int = 1) -> Way:
    """Bits of one byte turned over."""

    def way(disk: Path) -> None:
        with disk.open("r+b") as file:
            file.seek(offset)
            (byte,) = file.read(1)
            file.seek(offset)
            file.write(bytes([byte ^ mask]))

    return way


def swap(one: int, other: int, size: int) -> Way:
    """Two ranges of bytes, each in the other's place."""

    def way(disk: Path) -> None:
        with disk.open("r+b") as file:
            file.seek(one)
            first = file.read(size)
            file.seek(other)
            second = file.read(size)
            file.seek(one)
            file.write(second)
            file.seek(other)
            file.write(first)

    return way


def cut(size: int) -> Way:
    """The file ends after ``size`` bytes."""

    def way(disk: Path) -> None:
        with disk.open("r+b") as file:
            file.truncate(size)

    return way


def all_of(*ways: Way) -> Way:
    """One after another."""

    def way(disk: Path) -> None:
        for each in ways:
            each(disk)

    return way


# --- other programs ------------------------------------------------------------------------------


def program(command: str, package: str, *options: str, stdin: str = "", behind: str = "") -> Way:
    """A program run over the disk; words of ``behind`` come after the disk's name."""

    def way(disk: Path) -> None:
        Tool(command, package).run(*options, disk, *behind.split(), stdin=stdin.encode())

    return way


WIPEFS: Final = program("wipefs", "util-linux", "-a")
MKSWAP: Final = program("mkswap", "util-linux")
SFDISK_MBR: Final = program("sfdisk", "fdisk", "-q", stdin="label: dos\n2048,64M\n")
SFDISK_GPT: Final = program("sfdisk", "fdisk", "-q", stdin="label: gpt\n2048,64M\n")
SGDISK_GPT: Final = program("sgdisk", "gdisk", "-n", "1:0:+64M")
SGDISK_ZAP: Final = program("sgdisk", "gdisk", "--zap-all")
PARTED_MBR: Final = program("parted", "parted", "-s", behind="mklabel msdos mkpart primary 1 64")
PARTED_GPT: Final = program("parted", "parted", "-s", behind="mklabel gpt mkpart data 1MiB 64MiB")
MKFS_EXT4: Final = program("mkfs.ext4", "e2fsprogs", "-Fq")
MKFS_EXT4_NODISCARD: Final = program("mkfs.ext4", "e2fsprogs", "-Fq", "-E", "nodiscard")
MKFS_VFAT: Final = program("mkfs.vfat", "dosfstools", "-F", "32")
MKFS_NTFS: Final = program("mkfs.ntfs", "ntfs-3g", "-F", "-f", "-q")
MKFS_XFS: Final = program("mkfs.xfs", "xfsprogs", "-f", "-q")
MKFS_BTRFS: Final = program("mkfs.btrfs", "btrfs-progs", "-f", "-q")
MKFS_BTRFS_NODISCARD: Final = program("mkfs.btrfs", "btrfs-progs", "-f", "-q", "-K")

PVCREATE: Final = all_of(
    zeroes(0, 0x800),
    write(0x200, b"LABELONE\1\0\0\0\0\0\0\0\x90\xa5\xa9  \0\0\0LVM2 001"),
    write(0x220, b"sSZ2DF401eG56HgTy2yAm6F74bedXkjQ\0\0\0\x14"),
    write(0x248, b"\0\0\x10"),
    write(0x268, b"\0\x10\0\0\0\0\0\0\0\xf0\x0f\0"),
    write(0x288, b"\2"),
    zeroes(0x1000, 0x1000),
    write(0x1000, b"\x16\xd6\x8e\xdb LVM2 x[5A%r0N*>\1\0\0\0\0\x10\0\0\0\0\0\0\0\xf0\x0f"),
)
"""What LVM2's pvcreate leaves, which takes no plain files; a test compares it with the real one."""

RAID_SUPERBLOCK: Final = all_of(
    zeroes(0x1000, 0x1000),
    write(0x1000, bytes.fromhex("fc4e2ba901000000") + bytes(8) + stream("laboratory/raid", 16)),
)
"""The superblock of md's format 1.2, a page of which most is zero (Linux: md_p.h)."""
