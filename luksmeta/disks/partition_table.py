"""Partition tables: GPT, by its backup where the primary is damaged, and MBR with logical ones.

UEFI specification 2.10, section 5. Numbers are those that Linux gives. Of our own, and not from
dissect.volume, which has no backup table, no checksums, and other numbers for logical partitions;
so that a raw disk needs no extra library.
"""

from __future__ import annotations

import uuid as uuids
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final, NamedTuple

from luksmeta.extents import Extent
from luksmeta.storage import Storage

SECTOR_SIZE: Final = 512
_ENTRIES_MAX: Final = 1024  # 128 is usual
_ENTRY_SIZE_MAX: Final = 4096  # 128 is usual
_LOGICAL_MAX: Final = 256  # Linux has fewer
_LOGICAL_FIRST: Final = 5  # as Linux numbers them
_GPT_SECTOR_SIZES: Final = (512, 4096)
_PROTECTIVE: Final = 0xEE
_EXTENDED: Final = frozenset({0x05, 0x0F, 0x85})
_BOOT_MAGIC: Final = b"\x55\xaa"
_GPT_MAGIC: Final = b"EFI PART"

_GPT_HEADER: Final = Struct(
    "<8s"  #  0  b"EFI PART"
    "4x"  #   8  revision
    "I"  #   12  size of this header
    "I"  #   16  CRC-32 of that many bytes, this field zeroed
    "52x"  # 20
    "Q"  #   72  first LBA of the entries
    "I"  #   80  their number
    "I"  #   84  the size of each
    "I"  #   88  CRC-32 of all of them
)
_GPT_ENTRY: Final = Struct(
    "<16s"  # 0  type; zeroes: not in use
    "16x"  # 16
    "Q"  #   32  first LBA
    "Q"  #   40  last LBA, that of the last sector itself
    "80x"  # 48
)
_MBR_ENTRY: Final = Struct(
    "<B"  #  0  0x80: active, else 0
    "3x"  #  1
    "B"  #   4  type; 0: not in use
    "3x"  #  5
    "I"  #   8  first sector
    "I"  #  12  number of sectors
)
_MBR_ENTRIES: Final = slice(446, 510)


class _MbrEntry(NamedTuple):
    status: int
    type: int
    first: int
    sectors: int


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition: its number, its bytes on the disk, and its type as the table says it."""

    number: int
    extent: Extent
    type: str


@dataclass(frozen=True, slots=True)
class PartitionTable:
    """What a disk's table says; ``note`` is what is wrong with it."""

    scheme: str
    partitions: tuple[Partition, ...]
    note: str | None = None


def read_partition_table(storage: Storage) -> PartitionTable | None:
    """The table of a disk, None where there is none; StorageError.

    Partitions that reach past the disk's end are cut there; those that start there are left out.
    """
    found = _read_gpt(storage) or _read_mbr(storage)
    if found is None:
        return None
    whole = Extent(0, storage.size)
    inside = tuple(
        Partition(each.number, _cut(each.extent, whole.end), each.type)
        for each in found.partitions
        if 0 < each.extent.offset < whole.end and each.extent.size > 0
    )
    return PartitionTable(found.scheme, inside, found.note)


def _cut(extent: Extent, end: int) -> Extent:
    return Extent(extent.offset, min(extent.end, end) - extent.offset)


def _bytes_at(storage: Storage, offset: int, size: int) -> bytes | None:
    if offset < 0 or offset + size > storage.size:
        return None
    return storage.read_at(offset, size)


# --- GPT ---------------------------------------------------------------------------------------


def _read_gpt(storage: Storage) -> PartitionTable | None:
    for sector_size in _GPT_SECTOR_SIZES:
        primary = _gpt_at(storage, sector_size, sector_size)
        if primary is not None:
            return PartitionTable("GPT", primary)
    for sector_size in _GPT_SECTOR_SIZES:
        last = (storage.size // sector_size - 1) * sector_size
        backup = _gpt_at(storage, last, sector_size)
        if backup is not None:
            return PartitionTable("GPT", backup, "the primary GPT is damaged, its backup serves")
    return None


def _gpt_at(storage: Storage, offset: int, sector_size: int) -> tuple[Partition, ...] | None:
    """The partitions of the GPT header at ``offset``, if both its checksums are right."""
    data = _bytes_at(storage, offset, SECTOR_SIZE)
    if data is None or not data.startswith(_GPT_MAGIC):
        return None
    _, size, crc, first_lba, count, entry_size, entries_crc = _GPT_HEADER.unpack_from(data)
    blanked = data[:16] + bytes(4) + data[20:size]
    if not _GPT_HEADER.size <= size <= SECTOR_SIZE or zlib.crc32(blanked) != crc:
        return None
    if count > _ENTRIES_MAX or not _GPT_ENTRY.size <= entry_size <= _ENTRY_SIZE_MAX:
        return None
    entries = _bytes_at(storage, first_lba * sector_size, count * entry_size)
    if entries is None or zlib.crc32(entries) != entries_crc:
        return None
    return tuple(_gpt_partitions(entries, entry_size, sector_size))


def _gpt_partitions(entries: bytes, entry_size: int, sector_size: int) -> Iterator[Partition]:
    for number, at in enumerate(range(0, len(entries), entry_size), start=1):
        type_guid, first, last = _GPT_ENTRY.unpack_from(entries, at)
        if any(type_guid):
            extent = Extent(first * sector_size, (last - first + 1) * sector_size)
            yield Partition(number, extent, str(uuids.UUID(bytes_le=type_guid)))


# --- MBR ---------------------------------------------------------------------------------------


def _read_mbr(storage: Storage) -> PartitionTable | None:
    """The partitions of an MBR; None where the sector is none, as a file system's boot sector."""
    entries = _mbr_entries(storage, 0)
    types = {each.type for each in entries} - {0}
    if not types or any(each.status not in (0, 0x80) for each in entries):
        return None
    note = "the MBR is a GPT's, and no GPT is sound" if _PROTECTIVE in types else None
    return PartitionTable("MBR", tuple(_mbr_partitions(storage, entries)), note)


def _mbr_entries(storage: Storage, offset: int) -> list[_MbrEntry]:
    """The four entries of the sector at ``offset``; empty where it is no MBR."""
    data = _bytes_at(storage, offset, SECTOR_SIZE)
    if data is None or not data.endswith(_BOOT_MAGIC):
        return []
    return [_MbrEntry(*fields) for fields in _MBR_ENTRY.iter_unpack(data[_MBR_ENTRIES])]


def _mbr_partitions(storage: Storage, entries: list[_MbrEntry]) -> Iterator[Partition]:
    for number, entry in enumerate(entries, start=1):
        if entry.type not in {0, _PROTECTIVE, *_EXTENDED}:
            yield _mbr_partition(number, 0, entry)
    for entry in entries:
        if entry.type in _EXTENDED:
            yield from _logical_partitions(storage, entry.first)


def _logical_partitions(storage: Storage, extended: int) -> Iterator[Partition]:
    """The chain in an extended partition; each link has a partition, and where the next link is."""
    link, number = extended, _LOGICAL_FIRST
    while number < _LOGICAL_FIRST + _LOGICAL_MAX:
        entries = _mbr_entries(storage, link * SECTOR_SIZE)
        if not entries:
            return
        if entries[0].type:
            yield _mbr_partition(number, link, entries[0])
            number += 1
        if entries[1].type not in _EXTENDED or extended + entries[1].first <= link:
            return  # a chain that does not go on, or back
        link = extended + entries[1].first


def _mbr_partition(number: int, base: int, entry: _MbrEntry) -> Partition:
    extent = Extent((base + entry.first) * SECTOR_SIZE, entry.sectors * SECTOR_SIZE)
    return Partition(number, extent, f"{entry.type:#04x}")
