"""LUKS1 <-> LUKS2: the same volume, keyslots and passphrases under a header of the other version.

The rules are those of lib/luks2/luks2_luks1_convert.c, and so is the layout that comes out. Unlike
there, the volume opens at every moment:

1. Under the old header, areas move one by one to places that both versions can name.
2. The new header is written where the old one does not lie, or is not read: the secondary copy of
   LUKS2 beside a LUKS1 header, a LUKS1 header behind the first eight bytes of a primary LUKS2 copy
   whose secondary is whole. Then a single byte changes, the version: from now on readers find the
   new header.
3. Under the new header, areas move on to where they belong, and what they left behind is wiped.

Where the keyslots leave no free place for such moves, a header backup must be there first.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from luksmeta import area_moves, backup, convertible, key_management
from luksmeta.area_moves import Places
from luksmeta.errors import KeyslotsAreaFullError, StorageBusyError, UnsupportedError
from luksmeta.extents import Extent, uncovered
from luksmeta.formatting import Version
from luksmeta.key_management import HeaderChange
from luksmeta.luks1.header import Luks1Header
from luksmeta.luks1.partition_header import FIRST_AREA, WRITTEN_SIZE, area_size
from luksmeta.luks2.header import Luks2Header
from luksmeta.model import Header, HeaderCopy, Keyslot, Metadata
from luksmeta.storage import Storage
from luksmeta.volume import Volume
from luksmeta.write_plan import Barrier, Fill, Reserve, Resize, Step, Write, WritePlan

_VERSION_BYTE: Final = 7  # the low one of the 16 bits behind the magic, in both versions
_LEFT_BEHIND: Final = "left behind"


@dataclass(frozen=True, slots=True)
class Conversion:
    """What converting would write, and what the user should know before it does.

    ``needs_backup``: there is no room to move areas safely, so a crash can cost keyslots. ``notes``
    say what the new header has no place for.
    """

    before: Header
    changes: tuple[HeaderChange, ...]
    notes: tuple[str, ...]
    needs_backup: bool

    @property
    def header(self) -> Header:
        """The header that comes out."""
        return self.changes[-1].header

    def apply(self, volume: Volume, backup_file: str | os.PathLike[str] | None = None) -> None:
        """Convert the volume that was looked at.

        Where a backup is needed, it is made in the new file ``backup_file`` first, stays there when
        something fails, and is removed in the end. Raises KeyslotsAreaFullError without a name for
        it, StorageBusyError when the file is there or another process has changed the header.
        """
        if self.needs_backup:
            if backup_file is None:
                raise KeyslotsAreaFullError(
                    "keyslots area: no room to move areas safely; a header backup file is needed"
                )
            backup.create(volume, backup_file)
        volume.change(self._of_the_same)
        if self.needs_backup and backup_file is not None:
            Path(backup_file).unlink()

    def _of_the_same(self, header: Header) -> list[HeaderChange]:
        if header is not self.before:
            raise StorageBusyError("header: another process has changed it")
        return list(self.changes)


def prepare(volume: Volume, type: Version) -> Conversion:
    """Compute the conversion of a volume's header; nothing is written.

    Raises UnsupportedError when the header is of that version already, or says what the other
    version cannot.
    """
    header, storage = volume.header, volume.header_storage
    if isinstance(header, Luks1Header) and type == "luks2":
        goal = convertible.to_luks2(header.metadata, storage)
        return _conversion(header, _ToLuks2(header, goal, _material(header, storage), storage), ())
    if isinstance(header, Luks2Header) and type == "luks1":
        luks1 = convertible.to_luks1(header.metadata)
        job = _ToLuks1(header, luks1, _material(header, storage))
        return _conversion(header, job, convertible.lost_in_luks1(header.metadata))
    raise UnsupportedError(f"{storage.name}: LUKS{header.metadata.version} already")


def _conversion(header: Header, job: _ToLuks1 | _ToLuks2, notes: tuple[str, ...]) -> Conversion:
    try:
        changes, is_safe = job.step_by_step(), True
    except KeyslotsAreaFullError:
        changes, is_safe = job.at_once(), False
    return Conversion(header, tuple(changes), notes, not is_safe)


def _material(header: Header, storage: Storage) -> dict[int, bytes]:
    """The key material of every keyslot: as much as a LUKS1 area holds."""
    return {
        keyslot_id: storage.read_at(keyslot.area.offset, area_size(keyslot.key_size))
        for keyslot_id, keyslot in header.metadata.keyslots.items()
    }


@dataclass(frozen=True, slots=True)
class _ToLuks2:
    """From a LUKS1 header to LUKS2 metadata, whose areas lie where they do in the end."""

    before: Luks1Header
    goal: Metadata
    material: Mapping[int, bytes]
    storage: Storage

    def step_by_step(self) -> list[HeaderChange]:
        """Every prefix of these changes leaves a volume that opens."""
        room, key_size = self.goal.keyslots_area, _key_size(self.before.metadata)
        first, last = _places(self.before.metadata), _places(self.goal)
        meeting = area_moves.meeting_places(first, key_size, room)
        there = area_moves.moves(first, meeting, room)
        onward = area_moves.moves(meeting, last, room)
        changes = self._room()
        changes += _moved_in_luks1(self.before, first, there, self.material)
        header = Luks2Header.create(_placed(self.goal, meeting))
        changes.append(_switched_to_luks2(header))
        changes += _moved_in_luks2(header, onward, self.material)
        used = _left([*first.values(), *(place for _, place in (*there, *onward))], key_size)
        return [*changes, *self._tidied(changes[-1].header, used)]

    def at_once(self) -> list[HeaderChange]:
        """Areas over areas, then the header: a crash in between costs keyslots."""
        header = Luks2Header.create(self.goal)
        steps = (*_stored(_places(self.goal), self.material), *header.steps())
        first, key_size = _places(self.before.metadata), _key_size(self.before.metadata)
        written = HeaderChange(WritePlan.of("convert to LUKS2", steps), header)
        return [*self._room(), written, *self._tidied(header, _left(first.values(), key_size))]

    def _room(self) -> list[HeaderChange]:
        end = self.goal.keyslots_area.end
        if self.storage.size >= end:
            return []
        steps = (Resize(end, "extended to hold the header"), Reserve(end, "space for the header"))
        return [HeaderChange(WritePlan.of("make room", steps), self.before)]

    def _tidied(self, header: Header, used: Iterable[Extent]) -> list[HeaderChange]:
        """What areas left behind is wiped."""
        kept = [Extent(0, self.goal.keyslots_area.offset), *_places(self.goal).values()]
        left = [Fill(each, _LEFT_BEHIND, random=True) for each in uncovered(used, kept)]
        return _wiped(header, left)


@dataclass(frozen=True, slots=True)
class _ToLuks1:
    """From a LUKS2 header to a LUKS1 header, whose areas lie where they do in the end."""

    before: Luks2Header
    goal: Luks1Header
    material: Mapping[int, bytes]

    def step_by_step(self) -> list[HeaderChange]:
        """Every prefix of these changes leaves a volume that opens."""
        room, key_size = self.before.metadata.keyslots_area, _key_size(self.goal.metadata)
        first, last = _places(self.before.metadata), _places(self.goal.metadata)
        meeting = area_moves.meeting_places(first, key_size, room)
        there = area_moves.moves(first, meeting, room)
        onward = area_moves.moves(meeting, last, Extent(FIRST_AREA, room.end - FIRST_AREA))
        # Both copies are written at least once: the secondary must be whole when the primary goes.
        changes = _moved_in_luks2(self.before, there, self.material) or [
            key_management.reword(self.before, self.before.metadata, "write both header copies")
        ]
        header = self.goal.relocated(area_moves.luks1_offsets(meeting, key_size))
        changes.append(_switched_to_luks1(header))
        changes += _moved_in_luks1(header, meeting, onward, self.material)
        used = _left([*first.values(), *(place for _, place in (*there, *onward))], key_size)
        return [*changes, *self._tidied(used)]

    def at_once(self) -> list[HeaderChange]:
        """Areas over areas and the old header, then the new one: a crash costs keyslots."""
        steps = (*_stored(_places(self.goal.metadata), self.material), *self.goal.steps())
        written = HeaderChange(WritePlan.of("convert to LUKS1", steps), self.goal)
        first, key_size = _places(self.before.metadata), _key_size(self.goal.metadata)
        return [written, *self._tidied(_left(first.values(), key_size))]

    def _tidied(self, used: Iterable[Extent]) -> list[HeaderChange]:
        """What areas left behind is wiped, and with it the LUKS2 header."""
        header_end = self.before.metadata.keyslots_area.offset
        used = [*used, Extent(FIRST_AREA, header_end - FIRST_AREA)]
        kept = _places(self.goal.metadata).values()
        gap = Extent(WRITTEN_SIZE, FIRST_AREA - WRITTEN_SIZE)
        left = [Fill(each, _LEFT_BEHIND, random=True) for each in uncovered(used, kept)]
        return _wiped(self.goal, [Fill(gap, _LEFT_BEHIND, random=False), *left])


def _key_size(metadata: Metadata) -> int:
    return metadata.volume_key_size or 0


def _places(metadata: Metadata) -> dict[int, Extent]:
    """Where the areas of all keyslots lie."""
    return {
        keyslot_id: Extent(keyslot.area.offset, area_moves.place_size(keyslot.key_size))
        for keyslot_id, keyslot in metadata.keyslots.items()
    }


def _left(places: Iterable[Extent], key_size: int) -> list[Extent]:
    """What of places is key material: the rest may lie over the start of the data."""
    return [Extent(place.offset, area_size(key_size)) for place in places]


def _placed(metadata: Metadata, places: Places) -> Metadata:
    """The same LUKS2 metadata with the areas of these keyslots elsewhere."""
    keyslots = dict(metadata.keyslots)
    for keyslot_id, place in places.items():
        keyslot = keyslots[keyslot_id]
        if isinstance(keyslot, Keyslot):
            area = replace(keyslot.area, offset=place.offset)
            keyslots[keyslot_id] = replace(keyslot, area=area)
    return replace(metadata, keyslots=keyslots)


def _stored(places: Places, material: Mapping[int, bytes]) -> Iterator[Step]:
    """The key material written to its places, each before what follows."""
    for keyslot_id, place in places.items():
        yield Write(place.offset, material[keyslot_id], f"keyslot {keyslot_id} area")
        yield Barrier()


def _moved(
    keyslot_id: int, place: Extent, header: Header, material: Mapping[int, bytes]
) -> HeaderChange:
    """An area in its new place, and then the header that says so."""
    steps = (*_stored({keyslot_id: place}, material), *header.steps())
    return HeaderChange(WritePlan.of(f"move the area of keyslot {keyslot_id}", steps), header)


def _moved_in_luks2(
    header: Luks2Header, moves: Iterable[tuple[int, Extent]], material: Mapping[int, bytes]
) -> list[HeaderChange]:
    changes = []
    for keyslot_id, place in moves:
        header = header.updated(_placed(header.metadata, {keyslot_id: place}))
        changes.append(_moved(keyslot_id, place, header, material))
    return changes


def _moved_in_luks1(
    header: Luks1Header,
    places: Places,
    moves: Iterable[tuple[int, Extent]],
    material: Mapping[int, bytes],
) -> list[HeaderChange]:
    """KeyslotsAreaFullError when a header would differ in both its sectors: it could be torn."""
    changes = []
    for keyslot_id, place in moves:
        places = {**places, keyslot_id: place}
        after = header.relocated(area_moves.luks1_offsets(places, _key_size(header.metadata)))
        area_moves.require_one_sector(header.offsets, after.offsets)
        changes.append(_moved(keyslot_id, place, after, material))
        header = after
    return changes


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


def _version_byte(version: int) -> Write:
    return Write(_VERSION_BYTE, bytes([version]), f"version in the header: LUKS{version} from here")


def _wiped(header: Header, fills: Iterable[Fill]) -> list[HeaderChange]:
    steps = [step for fill in fills for step in (fill, Barrier())]
    return [HeaderChange(WritePlan.of("wipe what is left behind", steps), header)] if steps else []
