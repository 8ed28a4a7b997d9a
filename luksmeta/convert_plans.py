"""The changes that convert a header, in an order in which the volume opens at every moment.

1. Under the old header, areas move one by one to places that both versions can name.
2. The new header is written where the old one does not lie, or is not read: the secondary copy of
   LUKS2 beside a LUKS1 header, a LUKS1 header behind the first eight bytes of a primary LUKS2 copy
   whose secondary is whole. Then a single byte changes, the version: from now on readers find the
   new header.
3. Under the new header, areas move on to where they belong, and what they left behind is wiped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from luksmeta import area_routes
from luksmeta.extents import Extent, uncovered
from luksmeta.header import Header
from luksmeta.header_change import HeaderChange, reword
from luksmeta.header_copies import HeaderCopy
from luksmeta.luks1.header import Luks1Header
from luksmeta.luks1.partition_header import FIRST_AREA, WRITTEN_SIZE, area_size
from luksmeta.luks2.header import Luks2Header
from luksmeta.model import Metadata
from luksmeta.moving import make_room, moved_all, placed, places, wiped
from luksmeta.storage import Storage
from luksmeta.write_plan import Barrier, Fill, Step, Write, WritePlan

NO_VERSION: Final = 0
"""What a header has meanwhile whose areas are all written over at once."""

_VERSION_BYTE: Final = 7  # the low one of the 16 bits behind the magic, in both versions
_LEFT_BEHIND: Final = "left behind"


@dataclass(frozen=True, slots=True)
class ToLuks2:
    """From a LUKS1 header to LUKS2 metadata, whose areas lie where they do in the end."""

    before: Luks1Header
    goal: Metadata
    material: Mapping[int, bytes]
    storage: Storage

    def step_by_step(self) -> list[HeaderChange]:
        """Every prefix of these changes leaves a volume that opens."""
        room, key_size = self.goal.keyslots_area, _key_size(self.before.metadata)
        first, last = places(self.before.metadata), places(self.goal)
        meeting = area_routes.meeting_places(first, key_size, room)
        there = area_routes.moves(first, meeting, room)
        onward = area_routes.moves(meeting, last, room)
        changes = self._room()
        changes += moved_all(self.before, there, self.material)
        header = Luks2Header.create(placed(self.goal, meeting))
        changes.append(_switched_to_luks2(header))
        changes += moved_all(header, onward, self.material)
        used = _left([*first.values(), *(place for _, place in (*there, *onward))], key_size)
        return self._tidied(changes, used)

    def at_once(self) -> list[HeaderChange]:
        """Areas over areas, then the header: a crash in between costs keyslots."""
        header = Luks2Header.create(self.goal)
        areas = _overwritten(header, (0,), self.material)
        first, key_size = places(self.before.metadata), _key_size(self.before.metadata)
        changes = [*self._room(), areas, _switched_to_luks2(header)]
        return self._tidied(changes, _left(first.values(), key_size))

    def _room(self) -> list[HeaderChange]:
        end = self.goal.keyslots_area.end
        if self.storage.size >= end:
            return []
        return [
            HeaderChange(WritePlan.of("make room", make_room(self.storage.size, end)), self.before)
        ]

    def _tidied(self, changes: list[HeaderChange], used: Iterable[Extent]) -> list[HeaderChange]:
        """The changes, and what areas left behind wiped."""
        kept = [Extent(0, self.goal.keyslots_area.offset), *places(self.goal).values()]
        left = [Fill(each, _LEFT_BEHIND, random=True) for each in uncovered(used, kept)]
        return [*changes[:-1], wiped(changes[-1], left)]


@dataclass(frozen=True, slots=True)
class ToLuks1:
    """From a LUKS2 header to a LUKS1 header, whose areas lie where they do in the end."""

    before: Luks2Header
    goal: Luks1Header
    material: Mapping[int, bytes]

    def step_by_step(self) -> list[HeaderChange]:
        """Every prefix of these changes leaves a volume that opens."""
        room, key_size = self.before.metadata.keyslots_area, _key_size(self.goal.metadata)
        first, last = places(self.before.metadata), places(self.goal.metadata)
        meeting = area_routes.meeting_places(first, key_size, room)
        there = area_routes.moves(first, meeting, room)
        onward = area_routes.moves(meeting, last, Extent(FIRST_AREA, room.end - FIRST_AREA))
        # Both copies are written at least once: the secondary must be whole when the primary goes.
        changes = moved_all(self.before, there, self.material) or [
            reword(self.before, self.before.metadata, "write both header copies")
        ]
        header = self.goal.relocated(area_routes.luks1_offsets(meeting, key_size))
        changes.append(_switched_to_luks1(header))
        changes += moved_all(header, onward, self.material)
        used = _left([*first.values(), *(place for _, place in (*there, *onward))], key_size)
        return self._tidied(changes, used)

    def at_once(self) -> list[HeaderChange]:
        """Areas over areas and the old header, then the new one: a crash costs keyslots."""
        copies = [copy.offset for copy in self.before.copies]
        areas = _overwritten(self.goal, copies, self.material)
        first, key_size = places(self.before.metadata), _key_size(self.goal.metadata)
        changes = [areas, _switched_to_luks1(self.goal)]
        return self._tidied(changes, _left(first.values(), key_size))

    def _tidied(self, changes: list[HeaderChange], used: Iterable[Extent]) -> list[HeaderChange]:
        """The changes, and what areas left behind wiped, and with it the LUKS2 header."""
        header_end = self.before.metadata.keyslots_area.offset
        used = [*used, Extent(FIRST_AREA, header_end - FIRST_AREA)]
        kept = places(self.goal.metadata).values()
        gap = Extent(WRITTEN_SIZE, FIRST_AREA - WRITTEN_SIZE)
        left = [Fill(each, _LEFT_BEHIND, random=True) for each in uncovered(used, kept)]
        tidy = wiped(changes[-1], [Fill(gap, _LEFT_BEHIND, random=False), *left])
        return [*changes[:-1], tidy]


def _key_size(metadata: Metadata) -> int:
    return metadata.volume_key_size or 0


def _left(places: Iterable[Extent], key_size: int) -> list[Extent]:
    """What of places is key material: the rest may lie over the start of the data."""
    return [Extent(place.offset, area_size(key_size)) for place in places]


def _overwritten(
    header: Header, old_copies: Iterable[int], material: Mapping[int, bytes]
) -> HeaderChange:
    """All areas where ``header`` has them, over those of the header whose copies lie at these
    offsets: it goes out of use first, so that nobody takes what a crash leaves for a volume.
    """
    steps: list[Step] = [_version_byte(NO_VERSION, offset) for offset in old_copies]
    steps.append(Barrier())
    for keyslot_id, keyslot in header.metadata.keyslots.items():
        area = Write(keyslot.area.offset, material[keyslot_id], f"keyslot {keyslot_id} area")
        steps += (area, Barrier())
    version = header.metadata.version
    return HeaderChange(
        WritePlan.of(f"move all areas to where LUKS{version} has them", steps), header
    )


def _switched_to_luks2(header: Luks2Header) -> HeaderChange:
    """The secondary copy, the version byte of the LUKS1 header, and then the primary copy."""
    order = (HeaderCopy.SECONDARY, HeaderCopy.PRIMARY)
    *secondary, primary, barrier = replace(header, write_order=order).steps()
    steps = (*secondary, _version_byte(2), Barrier(), primary, barrier)
    return HeaderChange(WritePlan.of("switch to LUKS2", steps), header)


def _switched_to_luks1(header: Luks1Header) -> HeaderChange:
    """All but magic and version, which makes the primary copy unsound, and then the version."""
    start = _VERSION_BYTE + 1
    behind = Write(start, header.to_bytes()[start:], "partition header behind its version")
    steps = (behind, Barrier(), _version_byte(1), Barrier())
    return HeaderChange(WritePlan.of("switch to LUKS1", steps), header)


def _version_byte(version: int, offset: int = 0) -> Write:
    what = f"version in the header: LUKS{version} from here" if version else "header out of use"
    return Write(offset + _VERSION_BYTE, bytes([version]), what)
