"""Traces of what a device holds already: file systems, partition tables, other formats.

A short table for the question "is there something that formatting would destroy?", no full probe.
Magics and offsets are from the formats' own definitions (Linux: include/uapi/linux/magic.h and the
file systems' headers; libblkid's probers agree).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from luksmeta.extents import align_down
from luksmeta.storage import Storage

_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Signature:
    """A magic found at ``offset``, in bytes from the device's start."""

    name: str
    offset: int

    def __str__(self) -> str:
        return f"{self.name} at {self.offset:#x}"


_MD_MAGIC: Final = bytes.fromhex("fc4e2ba9")  # of a little-endian machine
_EXT_MAGIC: Final = (1024 + 56, bytes.fromhex("53ef"))
_EXT_LOG_BLOCK_SIZE: Final = 1024 + 24
_EXT_LOG_MAX: Final = 6  # 64 KiB
SIGNATURES: Final = (
    ("LUKS header", 0, b"LUKS\xba\xbe"),
    *(("LUKS2 secondary header", 1 << exponent, b"SKUL\xba\xbe") for exponent in range(14, 23)),
    ("BitLocker volume", 3, b"-FVE-FS-"),
    ("bcache device", 4096 + 24, bytes.fromhex("c68573f64e1a45ca8265f57f48ba6d81")),
    ("btrfs file system", 0x10040, b"_BHRfS_M"),
    ("EROFS file system", 1024, bytes.fromhex("e2e1f5e0")),
    ("exFAT file system", 3, b"EXFAT   "),
    ("ext2/3/4 file system", *_EXT_MAGIC),
    ("f2fs file system", 1024, bytes.fromhex("1020f5f2")),
    ("FAT file system", 0x36, b"FAT1"),
    ("FAT file system", 0x52, b"FAT32"),
    ("ISO 9660 file system", 0x8001, b"CD001"),
    *(("LVM2 physical volume", 512 * sector, b"LABELONE") for sector in range(4)),
    ("latchset luksmeta data", 0, b"LUKSMETA"),
    ("NTFS file system", 3, b"NTFS    "),
    ("RAID member (md 1.1)", 0, _MD_MAGIC),
    ("RAID member (md 1.2)", 4096, _MD_MAGIC),
    ("SquashFS file system", 0, b"hsqs"),
    *(("swap space", (4096 << power) - 10, b"SWAPSPACE2") for power in range(5)),
    ("XFS file system", 0, b"XFSB"),
    ("GPT partition table", 512, b"EFI PART"),
    ("GPT partition table", 4096, b"EFI PART"),
)
"""Name, offset in bytes from the start, and magic."""

_SIGNATURES_AT_END: Final[tuple[tuple[str, Callable[[int], int], bytes], ...]] = (
    # where the device's size says that they lie (Linux: drivers/md/md.c; UEFI 2.10, 5.3.1)
    ("RAID member (md 1.0)", lambda size: align_down(size - 0x2000, 4096), _MD_MAGIC),
    ("RAID member (md 0.90)", lambda size: align_down(size, 0x10000) - 0x10000, _MD_MAGIC),
    ("backup of a GPT partition table", lambda size: align_down(size, 512) - 512, b"EFI PART"),
    ("backup of a GPT partition table", lambda size: align_down(size, 4096) - 4096, b"EFI PART"),
)
_BOOT_SECTOR: Final = ("boot sector or MBR partition table", 510, b"\x55\xaa")


def find_signatures(storage: Storage) -> tuple[Signature, ...]:
    """Every known magic that lies at its place, a boot sector's only when it is alone."""
    found = tuple(
        Signature(name, offset)
        for name, offset, magic in SIGNATURES
        if _lies_at(storage, offset, magic)
    )
    name, offset, magic = _BOOT_SECTOR
    if not found and _lies_at(storage, offset, magic):
        return (Signature(name, offset),)
    return found


def ext_block_size(storage: Storage) -> int | None:
    """The block size in bytes of an ext2/3/4 file system; None where there is none.

    Source: the kernel's Documentation/filesystems/ext4/super.rst, s_log_block_size.
    """
    offset, magic = _EXT_MAGIC
    if not _lies_at(storage, offset, magic):
        return None
    exponent = int.from_bytes(storage.read_at(_EXT_LOG_BLOCK_SIZE, 4), "little")
    return 1024 << exponent if exponent <= _EXT_LOG_MAX else None


def find_foreign_signatures(storage: Storage) -> tuple[Signature, ...]:
    """What is not LUKS of :func:`find_signatures`, a boot sector's magic always among it."""
    name, offset, magic = _BOOT_SECTOR
    boot_sector = (Signature(name, offset),) if _lies_at(storage, offset, magic) else ()
    found = (each for each in find_signatures(storage) if not each.name.startswith("LUKS"))
    return tuple(dict.fromkeys((*found, *boot_sector)))


def find_trailing_signatures(storage: Storage) -> tuple[Signature, ...]:
    """What lies at its place at the end of the device: a RAID superblock, a backup of a table."""
    size = storage.size
    places = ((name, place(size), magic) for name, place, magic in _SIGNATURES_AT_END)
    return tuple(
        Signature(name, offset)
        for name, offset, magic in places
        if offset > 0 and _lies_at(storage, offset, magic)
    )


def first_data(storage: Storage, end: int) -> int | None:
    """The offset of the first byte before ``end`` that is not zero; None when all are."""
    end = min(end, storage.size)
    for offset in range(0, end, _CHUNK):
        data = storage.read_at(offset, min(_CHUNK, end - offset))
        rest = data.lstrip(b"\0")
        if rest:
            return offset + len(data) - len(rest)
    return None


def _lies_at(storage: Storage, offset: int, magic: bytes) -> bool:
    return offset + len(magic) <= storage.size and storage.read_at(offset, len(magic)) == magic
