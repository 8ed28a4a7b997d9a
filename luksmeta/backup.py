"""Header backups, interchangeable with cryptsetup's files.

A backup holds the header and all keyslot areas as they lie on the device. Source:
lib/luks2/luks2_json_metadata.c LUKS2_hdr_backup and LUKS2_hdr_restore, lib/luks1/keymanage.c
LUKS_hdr_backup and LUKS_hdr_restore.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Final

from luksmeta import requirements
from luksmeta.comparison import Comparison, compare
from luksmeta.data_lock import data_in_use
from luksmeta.errors import (
    HeaderError,
    NotLuksError,
    StorageError,
    UnsupportedError,
    errors_about,
)
from luksmeta.extents import Extent
from luksmeta.header import Header, read_header
from luksmeta.locking import locked
from luksmeta.moving import make_room
from luksmeta.prepared_change import PreparedChange, copy_plan, write_copy
from luksmeta.restoring import restoring_steps
from luksmeta.sizes import counted
from luksmeta.storage import Storage
from luksmeta.target import Target, open_storage
from luksmeta.volume import Volume
from luksmeta.write_plan import Fill, WritePlan

_CHUNK: Final = 1 << 20  # bytes that are compared at a time
_COMPARED_MAX: Final = 256 << 20  # bytes; LUKS2 has 136 MiB at most, LUKS1 far less
_LUKS1_GAP: Final = Extent(1024, 3072)  # between header and first area: anybody's bytes


def create(volume: Volume, path: str | os.PathLike[str]) -> int:
    """Write a backup into a new file that only its owner may read; its size in bytes.

    Raises StorageBusyError when the file is already there; nothing half-written stays behind.
    """
    header, source = volume.header, volume.header_storage
    size = header.backup_size
    plan = copy_plan(source, size, "header and keyslot areas")
    if header.metadata.version == 1 and header.metadata.keyslots_area.offset >= _LUKS1_GAP.end:
        gap = Fill(_LUKS1_GAP, "gap behind the partition header", random=False)
        plan = WritePlan.of(plan.what, (*plan.steps, gap))
    with locked(source, exclusive=False):
        write_copy(path, size, plan)
    return size


@dataclass(frozen=True, slots=True)
class Restoration:
    """What restoring a backup would write, and what the user should know before it does.

    ``comparison`` is that of the present header with the backup's; None when there is no header
    that can be read. ``loses``: something is there that is neither zeroes nor what the backup has.
    ``keeps_data``: the backup has the key and the segments of the data that is there.
    """

    change: PreparedChange
    header: Header
    notes: tuple[str, ...]
    comparison: Comparison | None
    loses: bool
    keeps_data: bool

    @property
    def plan(self) -> WritePlan:
        """What is written over the header that is there."""
        return self.change.plans[0]

    def apply(self, storage: Storage, copy_file: str | os.PathLike[str] | None = None) -> None:
        """Write the backup over the header of ``storage``, which is first kept in ``copy_file``.

        Raises StorageBusyError when that file is there, or the header no longer the one that was
        compared, or somebody works with data that the backup describes otherwise.
        """
        with self._data_kept(storage):
            self.change.apply(storage, copy_file)

    def _data_kept(self, storage: Storage) -> AbstractContextManager[None]:
        """Nobody else works with the data, where it may be lost to him by the backup's header."""
        if self.keeps_data:
            return nullcontext()
        return data_in_use(storage, writable=True)


def prepare(storage: Storage, backup: Storage) -> Restoration:
    """Compare a backup with the header that it would replace; nothing is written.

    Raises NotLuksError or HeaderError for a backup without one good header copy, RequirementError
    for one taken in a state that must not come back, UnsupportedError when the data would be lost
    from sight because it lies elsewhere than the backup says, StorageError when it does not fit.
    """
    header = read_header(backup)
    with errors_about(backup.name):
        requirements.allow_restoring(header.metadata)
    size = header.backup_size
    if size > storage.size:
        raise StorageError(
            f"has {counted(storage.size, 'byte')}, the backup's header needs {size}"
        ).about(storage.name)
    comparison = None
    with locked(storage, exclusive=False):
        present, note = _present(storage)
        if present is not None:
            comparison = compare(present, storage, header, backup)
        notes = (note,) if present is None else tuple(_differences(present, header))
        steps = restoring_steps(storage, present, backup, header)
        plan = WritePlan.of("restore the header", (*make_room(storage.size, size), *steps))
        headers = (header,) if present is None else (header, present)
        change = PreparedChange.of(storage, [plan], *headers)
        loses = _loses(storage, change.copy_size, backup)
    keeps_data = (
        present is not None
        and comparison is not None
        and comparison.same_volume_key is True
        and present.metadata.segments == header.metadata.segments
    )
    return Restoration(change, header, notes, comparison, loses, keeps_data)


def restore(
    target: Target, backup: Target, *, copy_file: str | os.PathLike[str] | None = None
) -> Restoration:
    """Restore ``target``'s header from ``backup`` after the checks of :func:`prepare`.

    The header that is replaced is first kept in the new file ``copy_file``, where it is named.
    """
    with ExitStack() as stack:
        storage = stack.enter_context(open_storage(target, writable=True))
        restoration = prepare(storage, stack.enter_context(open_storage(backup)))
        restoration.apply(storage, copy_file)
    return restoration


def _loses(storage: Storage, size: int, backup: Storage) -> bool:
    """Whether one of the first ``size`` bytes is neither zero nor the backup's, or may be.

    A hostile header claims any size: what is larger than every real one is not read.
    """
    if size > _COMPARED_MAX:
        return True
    for offset in range(0, size, _CHUNK):
        length = min(_CHUNK, size - offset)
        try:
            there = storage.read_at(offset, length)
        except StorageError:
            return True
        same = there == backup.read_at(offset, max(0, min(length, backup.size - offset)))
        if not same and there.count(0) != length:
            return True
    return False


def _present(storage: Storage) -> tuple[Header | None, str]:
    """The target's own header; or a note on why there is none to compare."""
    try:
        return read_header(storage), ""
    except NotLuksError:
        return None, "the target holds no LUKS header; the backup's is written over what is there"
    except HeaderError as error:
        return None, f"the target's own header is damaged and could not be compared ({error.text})"


def _differences(present: Header, backup: Header) -> list[str]:
    """Notes on harmless differences; UnsupportedError for the others."""
    old, new = present.metadata, backup.metadata
    notes = []
    if old.version != new.version:
        notes.append(f"the target is LUKS{old.version}, the backup LUKS{new.version}")
    if old.uuid != new.uuid:
        notes.append(f"the target's UUID is {old.uuid}, the backup's {new.uuid}")
    unknown = [r for r in old.config.requirements if not requirements.is_known(r)]
    if unknown:
        notes.append(f"the target has unknown requirements: {', '.join(unknown)}")
    _refuse_other_geometry(present, backup)
    return notes


def _refuse_other_geometry(present: Header, backup: Header) -> None:
    old, new = present.metadata, backup.metadata
    if old.data_offset != new.data_offset:
        raise UnsupportedError(
            f"header backup: data starts at {new.data_offset:#x}, the target's at "
            f"{old.data_offset:#x}"
        )
    if old.version == new.version == 2 and old.keyslots_area.end != new.keyslots_area.end:
        raise UnsupportedError(
            f"header backup: header ends at {new.keyslots_area.end:#x}, the target's at "
            f"{old.keyslots_area.end:#x}"
        )
    if old.version == new.version == 1 and old.volume_key_size != new.volume_key_size:
        raise UnsupportedError(
            f"header backup: key of {new.volume_key_size} bytes, the target's has "
            f"{old.volume_key_size}"
        )
