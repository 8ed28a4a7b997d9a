"""Keyslot areas moved as they are, and the room that a larger header needs.

A move goes into bytes that no area has, and the header that names the new place comes behind it: at
every moment the keyslot opens from the place that the header names. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

from luksmeta import area_routes
from luksmeta.errors import KeyslotError, KeyslotsAreaFullError, MetadataError
from luksmeta.extents import Extent
from luksmeta.header import Header
from luksmeta.header_change import HeaderChange, stored
from luksmeta.luks1.header import Luks1Header
from luksmeta.model import Keyslot, Metadata
from luksmeta.storage import Storage
from luksmeta.write_plan import Barrier, Fill, Reserve, Resize, Step, WritePlan


def moved(header: Header, keyslot_id: int, place: Extent, material: bytes) -> HeaderChange:
    """A keyslot's area, which holds ``material``, in a new place, and then the header that says so.

    Raises KeyslotError for a keyslot of another type and for one of LUKS1 beside others of which
    it is not known whether they are in use, KeyslotsAreaFullError when a LUKS1 header would differ
    in both its sectors: it could be torn.
    """
    for odd_id, odd in header.odd_keyslots.items():
        raise KeyslotError(f"keyslot {odd_id}: {odd}, so no area takes another's place")
    if not isinstance(header, Luks1Header):
        after: Header = header.updated(placed(header.metadata, {keyslot_id: place}))
    else:
        there = {**places(header.metadata), keyslot_id: place}
        key_size = header.metadata.volume_key_size or 0
        after = header.relocated(area_routes.luks1_offsets(there, key_size))
        area_routes.require_one_sector(header.offsets, after.offsets)
    return stored(after, keyslot_id, material, f"move the area of keyslot {keyslot_id}")


def moved_all(
    header: Header, moves: Iterable[tuple[int, Extent]], material: Mapping[int, bytes]
) -> list[HeaderChange]:
    """One move after another."""
    changes: list[HeaderChange] = []
    for keyslot_id, place in moves:
        changes.append(moved(header, keyslot_id, place, material[keyslot_id]))
        header = changes[-1].header
    return changes


def moved_aside(header: Header, keyslot_id: int, storage: Storage) -> HeaderChange:
    """A keyslot's area in a place that is free, in LUKS1 that of an unused keyslot.

    Raises KeyslotsAreaFullError, KeyslotError.
    """
    area, key_size = header.metadata.keyslot(keyslot_id).area, header.metadata.volume_key_size or 0
    for free in (each for each in header.keyslot_ids if each not in header.taken_keyslots):
        place = header.place_area(free, key_size)
        material = storage.read_at(area.offset, min(area.size, place.size))
        with suppress(KeyslotsAreaFullError, MetadataError):
            return moved(header, keyslot_id, place, material)
    raise KeyslotsAreaFullError(f"keyslot {keyslot_id}: no free place to move its area to")


def placed(metadata: Metadata, new_places: Mapping[int, Extent]) -> Metadata:
    """The same LUKS2 metadata with the areas of these keyslots elsewhere, of the size they have."""
    keyslots = dict(metadata.keyslots)
    for keyslot_id, place in new_places.items():
        keyslot = keyslots[keyslot_id]
        if not isinstance(keyslot, Keyslot):
            raise KeyslotError(f"keyslot {keyslot_id}: of type {keyslot.type}, it is not moved")
        keyslots[keyslot_id] = replace(keyslot, area=replace(keyslot.area, offset=place.offset))
    return replace(metadata, keyslots=keyslots)


def places(metadata: Metadata) -> dict[int, Extent]:
    """Where the areas of all keyslots lie, each with the room of a LUKS2 area."""
    return {
        keyslot_id: Extent(keyslot.area.offset, area_routes.place_size(keyslot.key_size))
        for keyslot_id, keyslot in metadata.keyslots.items()
    }


def wiped(change: HeaderChange, fills: Iterable[Fill]) -> HeaderChange:
    """The change, and then what it leaves behind overwritten."""
    steps = [step for fill in fills for step in (fill, Barrier())]
    return replace(change, plan=WritePlan.of(change.plan.what, (*change.plan.steps, *steps)))


def make_room(size: int, needed: int) -> list[Step]:
    """Space for the first ``needed`` bytes of a file that has ``size``, or an error.

    The space first: a file that the disk has no room for keeps its size.
    """
    steps: list[Step] = [Reserve(needed, "space for the header")]
    if size < needed:
        steps.append(Resize(needed, "extended to hold the header"))
    return steps
