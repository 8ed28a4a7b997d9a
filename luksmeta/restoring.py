"""In which order a header backup is written, so that a crash in between costs nothing.

An area of the backup may lie where a keyslot of the present header lies, with another key in it. So
what lies elsewhere is written first, then the header, and the rest behind it: the present keyslots
open until the header is replaced, and the backup's from then on. One of these must have been
written by then. Where all of them lie on present ones, one of those is given up early if another
remains, and the only one is moved to a free place first.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from luksmeta import requirements
from luksmeta.errors import KeyslotError, RequirementError
from luksmeta.extents import Extent, gaps
from luksmeta.header import Header
from luksmeta.header_change import HeaderChange
from luksmeta.moving import moved_aside
from luksmeta.storage import Storage
from luksmeta.write_plan import Barrier, Copy, Step

_CHUNK = 1 << 20  # bytes that are compared at a time


def restoring_steps(
    storage: Storage, present: Header | None, backup: Storage, header: Header
) -> list[Step]:
    """What puts ``header``, which ``backup`` holds, in the place of ``present``."""
    start = header.metadata.keyslots_area.offset
    areas = Extent(start, min(header.backup_size, backup.size) - start)
    steps: list[Step] = []
    used: list[Extent] = []
    if present is not None:
        given_up = _given_up(storage, present, backup, header)
        room = _room(storage, present, given_up)
        if room is not None:
            present, given_up = room.header, set()
            steps += room.plan.steps
        used = _areas_but(present, given_up)
    early = [Copy(backup, each, "keyslot areas not in use") for each in gaps(areas, used)]
    late = [
        Copy(backup, each, "keyslot areas that were in use")
        for each in _shared(areas, used)
        if not _are_equal(storage, backup, each)
    ]
    for copies in (early, *_header_copies(backup, header, present), late):
        steps += [*copies, Barrier()] if copies else ()
    return steps


def _header_copies(backup: Storage, header: Header, present: Header | None) -> list[list[Copy]]:
    """The backup's header copies, first one that the present header can do without.

    A bad copy comes as it is in the backup, so behind the good one.
    """
    size = header.metadata.keyslots_area.offset // len(header.copies)
    sound = () if present is None else [each.offset for each in present.copies if not each.problem]
    order = sorted(header.copies, key=lambda each: (bool(each.problem), each.offset in sound))
    return [
        [Copy(backup, Extent(each.offset, size), f"backup's {each.copy} header")] for each in order
    ]


def _given_up(storage: Storage, present: Header, backup: Storage, header: Header) -> set[int]:
    """The present keyslots that must go so that one of the backup's can be written early."""
    choices = [
        _in_the_way(storage, present, backup, header.metadata.keyslots[each].area.extent)
        for each in header.metadata.bound_keyslots
    ]
    return min(choices, key=lambda ids: (_closes(present, ids), len(ids)), default=set())


def _room(storage: Storage, present: Header, given_up: set[int]) -> HeaderChange | None:
    """The keyslot to give up moved out of the way, if it is the only one that opens the volume."""
    if given_up != set(present.metadata.bound_keyslots) or len(given_up) != 1:
        return None
    with suppress(KeyslotError, RequirementError):  # no free place, or not to be changed
        requirements.allow_changes(present.metadata)
        return moved_aside(present, min(given_up), storage)
    return None


def _areas_but(present: Header, given_up: set[int]) -> list[Extent]:
    """The areas that the present header needs; all, when it would do without every way in."""
    gone = set() if _closes(present, given_up) else given_up
    keyslots = present.metadata.keyslots.items()
    return [each.area.extent for number, each in keyslots if number not in gone]


def _closes(present: Header, gone: set[int]) -> bool:
    """Whether the present header is no way in, or not to all data, without these keyslots."""
    metadata = present.metadata
    return gone >= set(metadata.bound_keyslots) or bool(metadata.keys_without_keyslot(gone))


def _in_the_way(storage: Storage, present: Header, backup: Storage, area: Extent) -> set[int]:
    """The present keyslots that lose something when the backup's ``area`` is written."""
    return {
        keyslot_id
        for keyslot_id, keyslot in present.metadata.keyslots.items()
        for shared in _shared(area, [keyslot.area.extent])
        if not _are_equal(storage, backup, shared)
    }


def _shared(within: Extent, extents: Iterable[Extent]) -> list[Extent]:
    """The parts of ``extents`` that lie in ``within``."""
    parts = [
        (max(each.offset, within.offset), min(each.end, within.end)) for each in sorted(extents)
    ]
    return [Extent(start, end - start) for start, end in parts if start < end]


def _are_equal(one: Storage, other: Storage, extent: Extent) -> bool:
    for offset in range(extent.offset, extent.end, _CHUNK):
        size = min(_CHUNK, extent.end - offset)
        if one.read_at(offset, size) != other.read_at(offset, size):
            return False
    return True
