"""Keyslot areas on their way between layouts: every move goes into bytes that no area has."""

from __future__ import annotations

from itertools import chain, combinations, pairwise

import pytest

from luksmeta import KeyslotsAreaFullError
from luksmeta.area_routes import (
    luks1_offsets,
    luks1_places,
    luks2_places,
    meeting_places,
    moves,
    place_size,
    require_one_sector,
)
from luksmeta.extents import Extent

KEY_SIZE = 16
SIZE = place_size(KEY_SIZE)
HEADERS = 32 << 10
CROWDED = Extent(HEADERS, 8 * SIZE)
ROOMY = Extent(HEADERS, 10 * SIZE)
SUBSETS = list(chain.from_iterable(combinations(range(8), count) for count in range(1, 9)))


def overlap(places: list[Extent]) -> bool:
    return any(first.overlaps(second) for first, second in pairwise(sorted(places)))


def checked_moves(
    places: dict[int, Extent], goals: dict[int, Extent], room: Extent
) -> list[tuple[int, Extent]]:
    """The moves, each of which goes where no area lies at that time; in the end all are home."""
    now, found = dict(places), moves(places, goals, room)
    for keyslot_id, place in found:
        assert not any(place.overlaps(each) for each in now.values())
        now[keyslot_id] = place
    assert now == goals
    return found


def moved_both_ways(keyslots: tuple[int, ...], room: Extent) -> None:
    luks1 = {each: luks1_places(KEY_SIZE)[each] for each in keyslots}
    luks2 = {each: luks2_places(KEY_SIZE, HEADERS)[each] for each in keyslots}
    meeting = meeting_places(keyslots, KEY_SIZE, room)
    assert all(room.contains(place) for place in meeting.values())
    assert not overlap(list(meeting.values()))
    before = dict(luks1)
    for keyslot_id, place in checked_moves(luks1, meeting, Extent(0, room.end)):
        offsets = luks1_offsets(before, KEY_SIZE)
        before[keyslot_id] = place
        after = luks1_offsets(before, KEY_SIZE)
        require_one_sector(offsets, after)
        assert not overlap([Extent(offset, SIZE) for offset in after.values()])
    checked_moves(meeting, luks1, Extent(0, room.end))
    checked_moves(meeting, luks2, room)
    checked_moves(luks2, meeting, room)


def test_with_room_for_two_areas_more_any_keyslots_can_be_moved() -> None:
    for keyslots in SUBSETS:
        moved_both_ways(keyslots, ROOMY)


def test_without_room_up_to_five_keyslots_can_be_moved() -> None:
    """An unused keyslot lends its place; with more in use, there may be none that suits."""
    refused = []
    for keyslots in SUBSETS:
        try:
            moved_both_ways(keyslots, CROWDED)
        except KeyslotsAreaFullError:
            refused.append(keyslots)
    assert {len(keyslots) for keyslots in refused} == {6, 7, 8}
    with pytest.raises(KeyslotsAreaFullError, match="keyslot 0: no free place"):
        meeting_places(range(6), KEY_SIZE, CROWDED)


def test_areas_that_lie_crosswise_find_a_way_round() -> None:
    one, other = Extent(HEADERS, SIZE), Extent(HEADERS + SIZE, SIZE)
    found = checked_moves({0: one, 1: other}, {0: other, 1: one}, Extent(HEADERS, 3 * SIZE))
    assert len(found) == 3
    with pytest.raises(KeyslotsAreaFullError):
        moves({0: one, 1: other}, {0: other, 1: one}, Extent(HEADERS, 2 * SIZE))


def test_nothing_moves_that_is_at_home() -> None:
    places = luks1_places(KEY_SIZE)
    assert moves(places, places, ROOMY) == []


def test_offsets_in_two_sectors_of_a_header_are_no_single_write() -> None:
    before = luks1_offsets(luks1_places(KEY_SIZE), KEY_SIZE)
    require_one_sector(before, {**before, 0: before[0] + 512, 5: before[5] + 512})
    require_one_sector(before, {**before, 6: before[6] + 512, 7: before[7] + 512})
    with pytest.raises(KeyslotsAreaFullError, match=r"\[5, 6\]"):
        require_one_sector(before, {**before, 5: before[5] + 512, 6: before[6] + 512})


def test_luks1_offsets_need_a_place_for_every_keyslot() -> None:
    astride = {0: Extent(4096 + SIZE // 2, SIZE), 1: Extent(4096 + 5 * SIZE // 2, SIZE)}
    with pytest.raises(KeyslotsAreaFullError):
        luks1_offsets(astride, KEY_SIZE)
