"""Repair of damaged headers: what can be put right without guessing, shown before it is written.

A LUKS2 copy is written anew from the good one, with the same seqid and a fresh salt; magics that
were wiped are put back where the checksum proves the rest; old faults of cryptsetup's are mended,
in LUKS1 as its own ``repair`` does. What needs guessing is left alone.

Source: lib/luks2/luks2_disk_metadata.c, lib/luks1/keymanage.c _keyslot_repair,
lib/luks2/luks2_reencrypt.c.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeAlias

from luksmeta import reencryption
from luksmeta.diagnosis import Diagnosis, diagnose_storage
from luksmeta.header import Header, first_bytes, read_header
from luksmeta.header_change import reword
from luksmeta.kdf.calibrate import digest_iterations
from luksmeta.locking import locked
from luksmeta.luks1 import partition_header as luks1
from luksmeta.luks1 import repair as luks1_repair
from luksmeta.luks1.header import Luks1Header
from luksmeta.luks2 import binary_header as luks2
from luksmeta.luks2.header import Luks2Header
from luksmeta.model import Metadata
from luksmeta.new_keyslot import DEFAULT_HASH
from luksmeta.overlay import OverlayStorage
from luksmeta.prepared_change import PreparedChange
from luksmeta.repair_fields import FieldChange, changed_fields
from luksmeta.storage import Storage
from luksmeta.unlocking import OpenedKeys
from luksmeta.write_plan import Barrier, Step, Write, WritePlan

Unlock: TypeAlias = Callable[[Metadata, Storage], OpenedKeys]
"""Gives the keys of a volume, of which the header is good again."""


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair would write, field by field and as plans; no plans where nothing is wrong.

    ``diagnosis`` is that of the header as it was found, ``header`` what every reader gets
    afterwards. ``unproved`` says that a reencryption is in progress that only the keys' owner can
    vouch for, and that no keys were there.
    """

    diagnosis: Diagnosis
    header: Header
    change: PreparedChange
    fields: tuple[FieldChange, ...]
    unproved: bool

    @property
    def plans(self) -> tuple[WritePlan, ...]:
        """What is written; nothing where nothing is wrong."""
        return self.change.plans

    def apply(self, storage: Storage, copy_file: str | os.PathLike[str]) -> None:
        """Copy the header as it is to the new file ``copy_file``, then write the plans.

        Raises StorageBusyError when that file is there, or the header no longer the one that was
        looked at.
        """
        self.change.apply(storage, copy_file)


def prepare(storage: Storage, unlock: Unlock | None = None) -> Repair:
    """Find out what can be repaired; nothing is written.

    With ``unlock`` a reencryption without proof gets one. Raises what makes the header unreadable
    where that is beyond repair: NotLuksError, HeaderError; and StorageError.
    """
    with locked(storage, exclusive=False), ExitStack() as stack:
        diagnosis = diagnose_storage(storage)
        mended = OverlayStorage(storage)
        stack.callback(mended.discard)
        plans: list[WritePlan] = []
        for remedy in (_magics_put_back, _luks1_mended, _copies_restored, _known_faults_dropped):
            _apply(remedy(mended), mended, plans)
        unproved = _is_unproved(read_header(mended))
        if unproved and unlock is not None:
            _apply(_reencryption_proved(mended, unlock), mended, plans)
            unproved = False
        header = read_header(mended)
        return Repair(
            diagnosis,
            header,
            PreparedChange.of(storage, plans, header),
            tuple(changed_fields(storage, mended, header, plans)),
            unproved,
        )


def _apply(plan: WritePlan | None, mended: Storage, plans: list[WritePlan]) -> None:
    if plan is not None:
        plan.apply(mended)
        plans.append(plan)


def _magics_put_back(storage: Storage) -> WritePlan | None:
    """Where no copy can be read, and a magic is all that one lacks."""
    diagnosis = diagnose_storage(storage)
    if diagnosis.header is not None:
        return None
    steps: list[Step] = []
    for copy in diagnosis.copies:
        if copy.magic_is_lost and copy.offset is not None:
            magic = luks1.MAGIC if diagnosis.version == 1 else luks2.MAGIC[copy.copy]
            steps += (Write(copy.offset, magic, f"magic of the {copy.copy} header"), Barrier())
    return WritePlan.of("put the magic back", steps) if steps else None


def _luks1_mended(storage: Storage) -> WritePlan | None:
    data = first_bytes(storage, luks1.SIZE)
    if len(data) < luks1.SIZE or not data.startswith(luks1.MAGIC + b"\0\1"):
        return None
    record = luks1.PartitionHeader.from_bytes(data)
    if not luks1_repair.needs_repair(record):
        return None
    mended = Luks1Header.of(luks1_repair.repaired(record))
    return WritePlan.of("mend the partition header", mended.steps())


def _copies_restored(storage: Storage) -> WritePlan | None:
    header = read_header(storage)
    if not isinstance(header, Luks2Header) or header.loaded.has_known_faults:
        return None  # a header without these faults is about to be written to both
    unsound = [state.copy for state in header.copies if state.problem]
    if not unsound:
        return None
    good = header.served_by
    names = " and ".join(unsound)
    return WritePlan.of(f"restore the {names} header from the {good}", header.restored().steps())


def _known_faults_dropped(storage: Storage) -> WritePlan | None:
    header = read_header(storage)
    if not isinstance(header, Luks2Header) or not header.loaded.has_known_faults:
        return None
    what = "drop the kdf members that cryptsetup 2.0.0 to 2.0.2 left over"
    return reword(header, header.metadata, what).plan


def _is_unproved(header: Header) -> bool:
    return header.metadata.version == 2 and reencryption.lacks_proof(header.metadata)


def _reencryption_proved(storage: Storage, unlock: Unlock) -> WritePlan:
    header = read_header(storage)
    keys = unlock(header.metadata, storage)
    try:
        iterations = digest_iterations(DEFAULT_HASH)
        metadata = reencryption.proved(header.metadata, keys.by_digest, iterations)
    finally:
        keys.wipe()
    return reword(header, metadata, "prove the reencryption with its keys").plan
