"""Other sizes for the header copies and the keyslots area of a LUKS2 header.

Keyslot areas that would lie outside are moved first, as they are, so that every passphrase opens
the volume at every moment. All sizes are in bytes. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from luksmeta.errors import KeyslotError, KeyslotsAreaFullError, MetadataError, UnsupportedError
from luksmeta.extents import Extent, align_down
from luksmeta.key_management import HeaderChange
from luksmeta.luks2.header import first_gap
from luksmeta.luks2.limits import AREA_ALIGNMENT, HDR_SIZES, KEYSLOTS_AREA_MAX
from luksmeta.model import AnyKeyslot, Header, Keyslot, Metadata
from luksmeta.storage import Storage
from luksmeta.write_plan import Barrier, Fill, Reserve, Resize, Step, Write, WritePlan


def check_metadata_size(size: int) -> None:
    """Raise ValueError for a size that no header copy can have."""
    if size not in HDR_SIZES:
        raise ValueError(
            f"metadata size {size}, legal are the powers of two from {HDR_SIZES[0]} to "
            f"{HDR_SIZES[-1]}"
        )


def check_keyslots_size(size: int) -> None:
    """Raise ValueError for a size that no keyslots area can have."""
    if not AREA_ALIGNMENT <= size <= KEYSLOTS_AREA_MAX:
        raise ValueError(
            f"keyslots size {size}, from {AREA_ALIGNMENT} to {KEYSLOTS_AREA_MAX} are legal"
        )


def resize(
    header: Header, storage: Storage, metadata_size: int | None, keyslots_size: int | None
) -> list[HeaderChange]:
    """The changes that give a header these sizes; None keeps one.

    ``metadata_size`` is that of one header copy; by itself it leaves the keyslots area's end where
    it is. ``keyslots_size`` is rounded down to whole 4096 bytes. Where the sizes are those already,
    there is nothing to change. Raises ValueError for sizes that are never legal, UnsupportedError
    for LUKS1 and for what the data or the JSON text leaves no room for, KeyslotsAreaFullError when
    the keyslots do not fit, KeyslotError for a keyslot of another type that would have to move.
    """
    metadata = header.metadata
    if metadata.version == 1:
        raise UnsupportedError("header: LUKS1 has no sizes to choose")
    area = _new_area(metadata, metadata_size, keyslots_size)
    _require_before_data(metadata, area)
    return _changes(header, storage, area)


def _new_area(metadata: Metadata, metadata_size: int | None, keyslots_size: int | None) -> Extent:
    old = metadata.keyslots_area
    start = old.offset
    if metadata_size is not None:
        check_metadata_size(metadata_size)
        start = 2 * metadata_size
    if keyslots_size is not None:
        keyslots_size = align_down(keyslots_size, AREA_ALIGNMENT)
        check_keyslots_size(keyslots_size)
        return Extent(start, keyslots_size)
    if old.end < start + AREA_ALIGNMENT:
        raise UnsupportedError(
            f"metadata size {metadata_size}: two header copies end at {start:#x}, the keyslots "
            f"area at {old.end:#x}"
        )
    return Extent(start, min(old.end - start, KEYSLOTS_AREA_MAX))


def _require_before_data(metadata: Metadata, area: Extent) -> None:
    data = min(segment.offset for segment in metadata.segments.values())
    if data and area.end > data:  # 0: the data lies in another file
        raise UnsupportedError(
            f"keyslots area: would end at {area.end:#x}, the data begins at {data:#x}"
        )


def _changes(header: Header, storage: Storage, area: Extent) -> list[HeaderChange]:
    """The keyslots gathered within the new area, then the header with that area.

    A damaged header copy is made good before anything moves.
    """
    strays = [
        keyslot_id
        for keyslot_id, keyslot in header.metadata.keyslots.items()
        if not area.contains(keyslot.area.extent)
    ]
    changes = []
    if strays or any(copy.problem for copy in header.copies):
        changes.append(_gathered(header, storage, area, strays))
        header = changes[0].header
    if header.metadata.keyslots_area != area:
        changes.append(_resized(header, storage, area))
    return changes


def _gathered(header: Header, storage: Storage, area: Extent, strays: list[int]) -> HeaderChange:
    """Copies of the stray areas at free places, the header that names them, the old places wiped.

    The header's copies keep their size; its keyslots area reaches as far as the new one already.
    """
    metadata = header.metadata
    old = metadata.keyslots_area
    end = min(max(old.end, area.end), old.offset + KEYSLOTS_AREA_MAX)
    start = max(old.offset, area.offset)
    places = _places(metadata.keyslots, strays, Extent(start, min(end, area.end) - start))
    after = _updated(
        header,
        replace(
            metadata,
            keyslots_area=Extent(old.offset, end - old.offset),
            keyslots={**metadata.keyslots, **places},
        ),
    )
    steps = _room(storage, end)
    for keyslot_id, keyslot in places.items():
        data = storage.read_at(metadata.keyslots[keyslot_id].area.offset, keyslot.area.size)
        steps += [Write(keyslot.area.offset, data, f"keyslot {keyslot_id} area"), Barrier()]
    steps += after.steps()
    for keyslot_id in places:
        place = metadata.keyslots[keyslot_id].area.extent
        steps += [Fill(place, f"keyslot {keyslot_id} old area wiped", random=True), Barrier()]
    return HeaderChange(WritePlan.of("move keyslot areas", steps), after)


def _places(
    keyslots: Mapping[int, AnyKeyslot], strays: list[int], within: Extent
) -> dict[int, Keyslot]:
    """The strays at the first gaps that take them; no gap reaches into a place in use now."""
    taken = [keyslot.area.extent for keyslot in keyslots.values()]
    moved = {}
    for keyslot_id in sorted(strays, key=lambda each: keyslots[each].area.offset):
        keyslot = keyslots[keyslot_id]
        if not isinstance(keyslot, Keyslot):
            raise KeyslotError(f"keyslot {keyslot_id}: of type {keyslot.type}, it is not moved")
        size = keyslot.area.size
        place = first_gap(size, within, taken)
        if place is None:
            raise KeyslotsAreaFullError(
                f"keyslot {keyslot_id}: no gap of {size} bytes in what the keyslots area keeps, "
                f"{within.offset:#x}..{max(within.offset, within.end):#x}"
            )
        taken.append(place)
        moved[keyslot_id] = replace(keyslot, area=replace(keyslot.area, offset=place.offset))
    return moved


def _resized(header: Header, storage: Storage, area: Extent) -> HeaderChange:
    """The header with the new area; what the area loses at its end is wiped."""
    old = header.metadata.keyslots_area
    after = _updated(header, replace(header.metadata, keyslots_area=area))
    steps = [*_room(storage, area.end), *after.steps()]
    if area.end < old.end:
        lost = Extent(area.end, old.end - area.end)
        steps += [Fill(lost, "end of the old keyslots area wiped", random=True), Barrier()]
    return HeaderChange(WritePlan.of("resize the header", steps), after)


def _updated(header: Header, metadata: Metadata) -> Header:
    try:
        return header.updated(metadata)
    except MetadataError as error:
        raise UnsupportedError(f"these sizes do not do: {error}") from error


def _room(storage: Storage, size: int) -> list[Step]:
    """A file that ends before ``size`` is made to reach it, as that of a detached header may."""
    if storage.size >= size:
        return []
    return [Resize(size, "extended to hold the header"), Reserve(size, "space for the header")]
