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
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from luksmeta import area_routes, convertible, key_management
from luksmeta.errors import (
    KeyslotsAreaFullError,
    LuksError,
    StorageBusyError,
    StorageError,
    UnsupportedError,
)
from luksmeta.extents import Extent, uncovered
from luksmeta.file_storage import FileStorage
from luksmeta.formatting import Version
from luksmeta.header import Header, read_header
from luksmeta.header_copies import HeaderCopy
from luksmeta.key_management import HeaderChange
from luksmeta.locking import locked
from luksmeta.luks1.header import Luks1Header
from luksmeta.luks1.partition_header import FIRST_AREA, WRITTEN_SIZE, area_size
from luksmeta.luks2.header import Luks2Header
from luksmeta.model import Metadata
from luksmeta.moving import make_room, moved_all, placed, places, wiped
from luksmeta.prepared_change import PreparedChange, header_end
from luksmeta.storage import Storage
from luksmeta.volume import Volume
from luksmeta.write_plan import Barrier, Copy, Fill, Resize, Step, Write, WritePlan

NO_VERSION: Final = 0
"""What a header has meanwhile whose areas are all written over at once."""

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
    change: PreparedChange
    notes: tuple[str, ...]
    needs_backup: bool
    _size: int

    @property
    def header(self) -> Header:
        """The header that comes out."""
        return self.changes[-1].header

    def apply(
        self,
        volume: Volume,
        backup_file: str | os.PathLike[str] | None = None,
        *,
        keep: bool = False,
    ) -> None:
        """Convert the volume that was looked at, after a backup in the new file ``backup_file``.

        Where a backup is needed, whatever fails is undone with it, and every keyslot is compared
        with it in the end. Then it is removed, unless it is to be kept; it stays also when undoing
        fails. Raises KeyslotsAreaFullError without a name for it, StorageError, which says how to
        go on, and StorageBusyError when the file is there or another process has changed the
        header.
        """
        if self.needs_backup and backup_file is None:
            raise KeyslotsAreaFullError(
                "keyslots area: no room to move areas safely; a header backup file is needed"
            )
        volume.require_changeable()
        with self.change.begun(volume.header_storage, backup_file):
            if self.needs_backup and backup_file is not None:
                self._apply_at_once(volume, backup_file, keep=keep)
            else:
                volume.apply(list(self.changes))
        if backup_file is not None and not keep:
            Path(backup_file).unlink()

    def _apply_at_once(
        self, volume: Volume, backup_file: str | os.PathLike[str], *, keep: bool
    ) -> None:
        with FileStorage(backup_file) as kept:
            try:
                volume.apply(list(self.changes))
                self._require_all_there(volume.header_storage, kept)
            except BaseException as error:
                volume.header = self.before
                self._bring_back(volume.header_storage, kept, error)
                if not keep:
                    Path(backup_file).unlink()
                raise

    def _require_all_there(self, storage: Storage, kept: Storage) -> None:
        """StorageError unless the new header lies there, and every keyslot's key material."""
        there, before = read_header(storage).metadata, self.before.metadata
        same = there == self.header.metadata
        for keyslot_id, keyslot in there.keyslots.items():
            new, old = keyslot.area.offset, before.keyslots[keyslot_id].area.offset
            size = area_size(keyslot.key_size)
            same = same and storage.read_at(new, size) == kept.read_at(old, size)
        if not same:
            raise StorageError("reads back otherwise than it was written").about(storage.name)

    def _bring_back(self, storage: Storage, kept: Storage, error: BaseException) -> None:
        """The volume as it was, key material first: until then no reader takes the header."""
        whole, start = Extent(0, kept.size), Extent(0, header_end(self.before))
        areas = Extent(start.end, whole.end - start.end)
        steps: list[Step] = [
            step
            for part, what in ((areas, "keyslot areas"), (start, "header"))
            for step in (Copy(kept, part, f"{what}, as they were"), Barrier())
        ]
        if storage.size != self._size:
            steps.append(Resize(self._size, "the size that it had"))
        try:
            WritePlan.of("undo the conversion", steps).apply(storage)
            if storage.read_at(0, kept.size) == kept.read_at(0, kept.size):
                return
        except StorageError:
            pass  # the way out is the same
        image, file = shlex.quote(storage.name), shlex.quote(kept.name)
        why = error.text if isinstance(error, LuksError) else str(error) or "interrupted"
        raise StorageError(
            f"{why}; the conversion could not be undone, bring it back with: "
            f"luksmeta restore-header {image} -i {file}"
        ).about(storage.name) from error


def prepare(volume: Volume, type: Version) -> Conversion:
    """Compute the conversion of a volume's header; nothing is written.

    Raises UnsupportedError when the header is of that version already, or says what the other
    version cannot; StorageBusyError when another process has changed it since it was read.
    """
    header, storage = volume.header, volume.header_storage
    with locked(storage, exclusive=False):
        if not header.is_current(storage):
            raise StorageBusyError("another process has changed the header").about(storage.name)
        if isinstance(header, Luks1Header) and type == "luks2":
            goal = convertible.to_luks2(header, storage)
            job = _ToLuks2(header, goal, _material(header, storage), storage)
            return _conversion(header, storage, job, ())
        if isinstance(header, Luks2Header) and type == "luks1":
            luks1 = convertible.to_luks1(header.metadata)
            back = _ToLuks1(header, luks1, _material(header, storage))
            return _conversion(header, storage, back, convertible.lost_in_luks1(header.metadata))
    raise UnsupportedError(f"LUKS{header.metadata.version} already").about(storage.name)


def _conversion(
    header: Header, storage: Storage, job: _ToLuks1 | _ToLuks2, notes: tuple[str, ...]
) -> Conversion:
    try:
        changes, is_safe = job.step_by_step(), True
    except KeyslotsAreaFullError:
        changes, is_safe = job.at_once(), False
    change = PreparedChange.of(storage, [each.plan for each in changes], header)
    return Conversion(header, tuple(changes), change, notes, not is_safe, storage.size)


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
class _ToLuks1:
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
            key_management.reword(self.before, self.before.metadata, "write both header copies")
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
