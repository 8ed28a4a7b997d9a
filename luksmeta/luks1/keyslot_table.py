"""What the keyslot table of a LUKS1 header may say (lib/luks1/keymanage.c LUKS_check_keyslots)."""

from __future__ import annotations

from itertools import pairwise

from luksmeta.errors import HeaderError
from luksmeta.extents import Extent
from luksmeta.luks1.partition_header import (
    ACTIVE,
    INACTIVE,
    KEYSLOT,
    KEYSLOT_COUNT,
    WRITTEN_SIZE,
    KeyslotRecord,
    PartitionHeader,
    area_size,
)
from luksmeta.model import SECTOR_SIZE, STRIPES

_TABLE_OFFSET = 208  # of the table in the partition header


def checked_areas(record: PartitionHeader) -> list[Extent]:
    """The area of every table entry, in use or not; HeaderError for what cannot be right."""
    areas = []
    for keyslot_id, entry in enumerate(record.keyslot_records()):
        _check_state(keyslot_id, entry)
        area = Extent(entry.key_material_offset * SECTOR_SIZE, area_size(record.key_bytes))
        _check_area(keyslot_id, area, record.payload_offset * SECTOR_SIZE)
        areas.append(area)
    in_order = sorted(range(KEYSLOT_COUNT), key=lambda keyslot_id: areas[keyslot_id])
    for first, second in pairwise(in_order):
        if areas[first].overlaps(areas[second]):
            raise HeaderError(
                f"keyslot {second}: area {areas[second]} overlaps that of keyslot {first}, "
                f"{areas[first]}",
                offset=_entry_offset(second) + 40,
            )
    return areas


def _entry_offset(keyslot_id: int) -> int:
    return _TABLE_OFFSET + keyslot_id * int(KEYSLOT.sizeof())


def _check_state(keyslot_id: int, entry: KeyslotRecord) -> None:
    if entry.active not in (ACTIVE, INACTIVE):
        raise HeaderError(
            f"keyslot {keyslot_id}: state {entry.active:#010x} is neither active "
            f"({ACTIVE:#010x}) nor inactive ({INACTIVE:#010x})",
            offset=_entry_offset(keyslot_id),
        )
    if entry.stripes != STRIPES:
        raise HeaderError(
            f"keyslot {keyslot_id}: {entry.stripes} stripes, there are always {STRIPES}",
            offset=_entry_offset(keyslot_id) + 44,
        )


def _check_area(keyslot_id: int, area: Extent, payload_offset: int) -> None:
    where = _entry_offset(keyslot_id) + 40
    if area.offset < WRITTEN_SIZE:
        raise HeaderError(
            f"keyslot {keyslot_id}: area starts at {area.offset:#x}, the header ends at "
            f"{WRITTEN_SIZE:#x}",
            offset=where,
        )
    if payload_offset and area.end > payload_offset:
        raise HeaderError(
            f"keyslot {keyslot_id}: area ends at {area.end:#x}, the data starts at "
            f"{payload_offset:#x}",
            offset=where,
        )
