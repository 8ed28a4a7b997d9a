"""Header backups, interchangeable with cryptsetup's files.

A backup holds the header and all keyslot areas as they lie on the device. Source:
lib/luks2/luks2_json_metadata.c LUKS2_hdr_backup and LUKS2_hdr_restore, lib/luks1/keymanage.c
LUKS_hdr_backup and LUKS_hdr_restore.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from luksmeta import requirements
from luksmeta.comparison import Comparison, compare
from luksmeta.errors import (
    HeaderError,
    NotLuksError,
    StorageBusyError,
    StorageError,
    UnsupportedError,
)
from luksmeta.extents import Extent
from luksmeta.header import read_header
from luksmeta.locking import locked
from luksmeta.model import Header
from luksmeta.restoring import restoring_steps
from luksmeta.storage import Storage, new_file, open_storage
from luksmeta.volume import Target, Volume
from luksmeta.write_plan import Copy, Fill, Reserve, Step, WritePlan

FILE_MODE: Final = 0o400
_LUKS1_GAP: Final = Extent(1024, 3072)  # between header and first area: anybody's bytes


def create(volume: Volume, path: str | os.PathLike[str]) -> int:
    """Write a backup into a new file that only its owner may read; its size in bytes.

    Raises StorageBusyError when the file is already there; nothing half-written stays behind.
    """
    size, source = volume.header.backup_size, volume.header_storage
    with new_file(path, mode=FILE_MODE) as file, locked(source, exclusive=False):
        file.resize(size)
        _plan(source, size, volume.header).apply(file)
    return size


def _plan(source: Storage, size: int, header: Header) -> WritePlan:
    """The first ``size`` bytes of ``source``, as far as it goes; without LUKS1's gap."""
    steps: list[Step] = [
        Copy(source, Extent(0, min(size, source.size)), "header and keyslot areas")
    ]
    metadata = header.metadata
    if metadata.version == 1 and metadata.keyslots_area.offset >= _LUKS1_GAP.end:
        steps.append(Fill(_LUKS1_GAP, "gap behind the partition header", random=False))
    return WritePlan.of("back up the header", steps)


@dataclass(frozen=True, slots=True)
class Restoration:
    """What restoring a backup would write, and what the user should know before it does.

    ``comparison`` is that of the ``present`` header with the backup's; both are None when there is
    no header that can be read.
    """

    plan: WritePlan
    header: Header
    notes: tuple[str, ...]
    present: Header | None
    comparison: Comparison | None

    def apply(self, storage: Storage) -> None:
        """Write the backup over the header of ``storage``.

        StorageBusyError when that header is no longer the one that was compared.
        """
        with locked(storage, exclusive=True):
            if not self._is_current(storage):
                raise StorageBusyError(f"{storage.name}: another process has changed the header")
            self.plan.apply(storage)

    def _is_current(self, storage: Storage) -> bool:
        present, note = _present(storage)
        if self.present is None or present is None:
            return self.present is present and self.notes == (note,)
        return type(self.present) is type(present) and self.present.is_current(storage)


def prepare(storage: Storage, backup: Storage) -> Restoration:
    """Compare a backup with the header that it would replace; nothing is written.

    Raises NotLuksError or HeaderError for a backup without one good header copy, RequirementError
    for one taken in a state that must not come back, UnsupportedError when the data would be lost
    from sight because it lies elsewhere than the backup says, StorageError when it does not fit.
    """
    header = read_header(backup)
    requirements.allow_restoring(header.metadata)
    size = header.backup_size
    if size > storage.size:
        raise StorageError(
            f"{storage.name}: has {storage.size} bytes, the backup's header needs {size}"
        )
    comparison = None
    with locked(storage, exclusive=False):
        present, note = _present(storage)
        if present is not None:
            comparison = compare(present, storage, header, backup)
        notes = (note,) if present is None else tuple(_differences(present, header))
        steps = restoring_steps(storage, present, backup, header)
    plan = WritePlan.of("restore the header", (Reserve(size, "space for the header"), *steps))
    return Restoration(plan, header, notes, present, comparison)


def restore(target: Target, backup: Target) -> Restoration:
    """Restore ``target``'s header from ``backup`` after the checks of :func:`prepare`."""
    with ExitStack() as stack:
        storage = stack.enter_context(open_storage(target, writable=True))
        restoration = prepare(storage, stack.enter_context(open_storage(backup)))
        restoration.apply(storage)
    return restoration


def _present(storage: Storage) -> tuple[Header | None, str]:
    """The target's own header; or a note on why there is none to compare."""
    try:
        return read_header(storage), ""
    except NotLuksError:
        return None, "the target holds no LUKS header; the backup's is written over what is there"
    except HeaderError as error:
        return None, f"the target's own header is damaged and could not be compared ({error})"


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
