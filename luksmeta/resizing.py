"""Other sizes for the header copies and the keyslots area of a LUKS2 header.

Keyslot areas that would lie outside are moved first, as they are, so that every passphrase opens
the volume at every moment. All sizes are in bytes. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from luksmeta.errors import KeyslotError, KeyslotsAreaFullError, MetadataError, UnsupportedError
from luksmeta.extents import Extent, align_down
from luksmeta.header import Header
from luksmeta.header_change import HeaderChange
from luksmeta.luks2.header import first_gap
from luksmeta.luks2.limits import AREA_ALIGNMENT, HDR_SIZES, KEYSLOTS_AREA_MAX
from luksmeta.model import AnyKeyslot, Keyslot, Metadata
from luksmeta.moving import make_room, moved_all, wiped
from luksmeta.storage import Storage
from luksmeta.write_plan import Fill, WritePlan


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
        check_keyslots_size(keyslots_size)
        return Extent(start, align_down(keyslots_size, AREA_ALIGNMENT))
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
    keyslots = header.metadata.keyslots
    strays = [each for each in keyslots if not area.contains(keyslots[each].area.extent)]
    changes = []
    if strays or any(copy.problem for copy in header.copies):
        changes += _gathered(header, storage, area, strays)
        header = changes[-1].header
    if header.metadata.keyslots_area != area:
        changes.append(_resized(header, storage, area))
    return changes


def _gathered(
    header: Header, storage: Storage, area: Extent, strays: list[int]
) -> list[HeaderChange]:
    """The stray areas moved to free places, and their old places wiped.

    The header's copies keep their size; its keyslots area reaches as far as the new one already.
    """
    old = header.metadata.keyslots_area
    end = min(max(old.end, area.end), old.offset + KEYSLOTS_AREA_MAX)
    start = max(old.offset, area.offset)
    within = Extent(start, min(end, area.end) - start)
    keyslots = header.metadata.keyslots
    new_places = _places(keyslots, strays, within)
    changes = []
    if end > old.end or any(copy.problem for copy in header.copies):
        wider = replace(header.metadata, keyslots_area=Extent(old.offset, end - old.offset))
        changes.append(_written(header, storage, wider, "make the keyslots area ready"))
        header = changes[0].header
    material = {
        each: storage.read_at(keyslots[each].area.offset, place.size)
        for each, place in new_places.items()
    }
    changes += moved_all(header, new_places.items(), material)
    left = [
        Fill(keyslots[each].area.extent, f"keyslot {each} old area wiped", random=True)
        for each in new_places
    ]
    return [*changes[:-1], wiped(changes[-1], left)]


def _places(
    keyslots: Mapping[int, AnyKeyslot], strays: list[int], within: Extent
) -> dict[int, Extent]:
    """The first gaps that take the strays; no gap reaches into a place in use now."""
    taken = [keyslot.area.extent for keyslot in keyslots.values()]
    found: dict[int, Extent] = {}
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
        found[keyslot_id] = place
    return found


def _resized(header: Header, storage: Storage, area: Extent) -> HeaderChange:
    """The header with the new area; what the area loses at its end is wiped."""
    old = header.metadata.keyslots_area
    metadata = replace(header.metadata, keyslots_area=area)
    change = _written(header, storage, metadata, "resize the header")
    if area.end >= old.end:
        return change
    lost = Extent(area.end, old.end - area.end)
    left = Fill(lost, "end of the old keyslots area wiped", random=True)
    return wiped(change, [left])


def _written(header: Header, storage: Storage, metadata: Metadata, what: str) -> HeaderChange:
    """The header that says this; a file that ends before it, as a detached one may, is extended."""
    try:
        after = header.updated(metadata)
    except MetadataError as error:
        raise UnsupportedError(f"these sizes do not do: {error}") from error
    end = metadata.keyslots_area.end
    steps = make_room(storage.size, end) if storage.size < end else []
    return HeaderChange(WritePlan.of(what, (*steps, *after.steps())), after)
