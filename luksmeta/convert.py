"""LUKS1 <-> LUKS2: the same volume, keyslots and passphrases under a header of the other version.

The rules are those of lib/luks2/luks2_luks1_convert.c, and so is the layout that comes out. Unlike
there, the volume opens at every moment (:mod:`luksmeta.convert_plans`). Where the keyslots leave no
free place for that, a header backup must be there first.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from luksmeta import convertible
from luksmeta.convert_plans import ToLuks1, ToLuks2
from luksmeta.errors import (
    KeyslotsAreaFullError,
    LuksError,
    StorageBusyError,
    StorageError,
    UnsupportedError,
)
from luksmeta.extents import Extent
from luksmeta.file_storage import FileStorage
from luksmeta.format_options import Version
from luksmeta.header import Header, read_header
from luksmeta.header_change import HeaderChange
from luksmeta.locking import locked
from luksmeta.luks1.header import Luks1Header
from luksmeta.luks1.partition_header import area_size
from luksmeta.luks2.header import Luks2Header
from luksmeta.prepared_change import PreparedChange, header_end
from luksmeta.storage import Storage
from luksmeta.volume import Volume
from luksmeta.write_plan import Barrier, Copy, Resize, Step, WritePlan


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
            job = ToLuks2(header, goal, _material(header, storage), storage)
            return _conversion(header, storage, job, ())
        if isinstance(header, Luks2Header) and type == "luks1":
            luks1 = convertible.to_luks1(header.metadata)
            back = ToLuks1(header, luks1, _material(header, storage))
            return _conversion(header, storage, back, convertible.lost_in_luks1(header.metadata))
    raise UnsupportedError(f"LUKS{header.metadata.version} already").about(storage.name)


def _conversion(
    header: Header, storage: Storage, job: ToLuks1 | ToLuks2, notes: tuple[str, ...]
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
