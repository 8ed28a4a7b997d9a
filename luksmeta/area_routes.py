"""Keyslot areas on their way between the layouts of LUKS1 and LUKS2, as places and single moves.

Nothing here reads or writes. A place is where a keyslot's area lies; all places of a volume have
one size, that of its LUKS2 areas. A move goes into bytes that no area has, so that the keyslot
opens from the old place until a header names the new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NoReturn, TypeAlias

from luksmeta.errors import KeyslotsAreaFullError
from luksmeta.extents import Extent, align_up, first_fit
from luksmeta.luks1.partition_header import FIRST_AREA, KEYSLOT_COUNT, area_offset, area_size

Places: TypeAlias = Mapping[int, Extent]
"""Where the area of each keyslot in use lies."""

_SECTORS = (range(6), range(6, KEYSLOT_COUNT))
"""The keyslots whose area's offset lies in the same sector of the partition header."""


def place_size(key_size: int) -> int:
    """The size of a place for a key of ``key_size`` bytes, and the distance of two."""
    return align_up(area_size(key_size), FIRST_AREA)


def luks1_places(key_size: int) -> dict[int, Extent]:
    """Where a new LUKS1 header has the areas of all its keyslots."""
    size = place_size(key_size)
    return {each: Extent(area_offset(each, key_size), size) for each in range(KEYSLOT_COUNT)}


def luks2_places(key_size: int, start: int) -> dict[int, Extent]:
    """Where they are in LUKS2, whose keyslots area begins at ``start``."""
    size = place_size(key_size)
    return {each: Extent(start + each * size, size) for each in range(KEYSLOT_COUNT)}


def meeting_places(keyslots: Iterable[int], key_size: int, room: Extent) -> dict[int, Extent]:
    """Places for these keyslots within ``room`` that headers of both versions can name.

    The LUKS1 places, but for areas that lie where the LUKS2 header will be: these go behind all
    LUKS1 places, or where an unused keyslot would have its area, which then takes the other place.
    Raises KeyslotsAreaFullError when neither is to be had.
    """
    homes, wanted = luks1_places(key_size), sorted(keyslots)
    places = {each: homes[each] for each in wanted if room.contains(homes[each])}
    for keyslot_id in wanted:
        if keyslot_id not in places:
            spares = _spares(keyslot_id, wanted, homes, places, room)
            places[keyslot_id] = next(spares, None) or _refuse(keyslot_id)
    return places


def _spares(
    keyslot_id: int, wanted: list[int], homes: Places, places: Places, room: Extent
) -> Iterator[Extent]:
    """Places that are free, those first that hinder the moves of others least."""
    size, start = homes[0].size, max(room.offset, homes[KEYSLOT_COUNT - 1].end)
    behind = Extent(start, max(0, room.end - start))
    luks2_end = room.offset + KEYSLOT_COUNT * size
    for taken in ((*places.values(), Extent(0, luks2_end)), places.values()):
        spare = first_fit(size, behind, taken)
        if spare is not None:
            yield spare
    for other in reversed(next(each for each in _SECTORS if keyslot_id in each)):
        if other not in wanted and room.contains(homes[other]) and _is_free(homes[other], places):
            yield homes[other]


def luks1_offsets(places: Places, key_size: int) -> dict[int, int]:
    """The offsets of all areas in a LUKS1 header: unused keyslots get what ``places`` leave free.

    Raises KeyslotsAreaFullError when there are not enough LUKS1 places left for them.
    """
    homes = luks1_places(key_size)
    free = [each for each, home in homes.items() if _is_free(home, places)]
    offsets = {each: place.offset for each, place in places.items()}
    unused = [each for each in homes if each not in places]
    offsets.update({each: homes[each].offset for each in unused if each in free})
    left = iter([homes[each].offset for each in free if each not in unused])
    for keyslot_id in unused:
        if keyslot_id not in offsets:
            offsets[keyslot_id] = next(left, None) or _refuse(keyslot_id)
    return offsets


def require_one_sector(before: Mapping[int, int], after: Mapping[int, int]) -> None:
    """Raise KeyslotsAreaFullError unless a LUKS1 header with other offsets is written at once.

    Its table lies across two sectors, of which a crash may leave one old and one new.
    """
    changed = {each for each, offset in after.items() if before[each] != offset}
    if not any(changed <= set(each) for each in _SECTORS):
        raise KeyslotsAreaFullError(f"keyslots {sorted(changed)}: not in one sector of the header")


def moves(places: Places, goals: Places, room: Extent) -> list[tuple[int, Extent]]:
    """Single moves that bring every area to its goal, by way of a free place where they must.

    Raises KeyslotsAreaFullError when there is no such place within ``room``.
    """
    now, done = dict(places), list[tuple[int, Extent]]()
    detours = set[int]()
    while waiting := [each for each in now if now[each] != goals[each]]:
        step = next(((each, goals[each]) for each in waiting if _is_free(goals[each], now)), None)
        if step is None:
            step = _detour([each for each in waiting if each not in detours], now, goals, room)
            detours.add(step[0])
        now[step[0]] = step[1]
        done.append(step)
    return done


def _detour(waiting: list[int], now: Places, goals: Places, room: Extent) -> tuple[int, Extent]:
    """An area out of its own way, if there is one, or out of that of others."""

    def hinders_others(keyslot_id: int) -> bool:
        return not _is_free(goals[keyslot_id], {k: v for k, v in now.items() if k != keyslot_id})

    for keyslot_id in sorted(waiting, key=hinders_others):
        goal = goals[keyslot_id]
        for avoided in (goals.values(), (goal,)):
            spare = first_fit(goal.size, room, (*now.values(), *avoided))
            if spare is not None:
                return keyslot_id, spare
    raise KeyslotsAreaFullError("keyslots area: no free place to move an area to")


def _is_free(place: Extent, places: Places) -> bool:
    return not any(place.overlaps(each) for each in places.values())


def _refuse(keyslot_id: int) -> NoReturn:
    raise KeyslotsAreaFullError(f"keyslot {keyslot_id}: no free place to move its area to")
