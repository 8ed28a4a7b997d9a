"""LUKS1 headers by their looks: nothing but their own rules can confirm them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from luksmeta.binary import c_text
from luksmeta.errors import Severity, Violation
from luksmeta.forensics.findings import Confidence, Finding, Kind
from luksmeta.header_copies import HeaderCopy
from luksmeta.luks1.partition_header import (
    KEYSLOT_COUNT,
    SIZE,
    VERSION,
    PartitionHeader,
)
from luksmeta.luks1.validation import Table, validate, warnings
from luksmeta.model import SECTOR_SIZE
from luksmeta.rules import and_more
from luksmeta.storage import Storage

_IDENTITY: Final = frozenset(
    {"key-bytes", "hash-size", "hash-known", "text-terminated", "text-ascii", "uuid-form"}
)
"""The rules about what a header says of itself, apart from its table of keyslots."""

_ENTRIES_MIN: Final = KEYSLOT_COUNT // 2


def examine_luks1(storage: Storage, offset: int, *, magic_is_lost: bool) -> Finding | None:
    """The LUKS1 header at ``offset``; None where none can be.

    High: every rule holds, eight keyslot entries among them; that does not come by chance. Medium:
    the magic is gone and every rule holds; or some entries are damaged, as a partition table
    damages them, and the rest is in order. Low: any other magic.
    """
    if offset + SIZE > storage.size:
        return None
    record = PartitionHeader.from_bytes(storage.read_at(offset, SIZE))
    if record.version != VERSION:
        return None
    errors, odd = validate(record), warnings(record)
    broken = {each.rule for each in (*errors, *odd)}
    sound_entries = KEYSLOT_COUNT - _damaged_entries((*errors, *odd))
    is_itself = not broken & _IDENTITY
    if is_itself and not errors and sound_entries == KEYSLOT_COUNT:
        confidence = Confidence.MEDIUM if magic_is_lost else Confidence.HIGH
        reason = "every rule of a LUKS1 header holds"
    elif magic_is_lost:
        return None
    elif is_itself and sound_entries >= _ENTRIES_MIN:
        confidence = Confidence.MEDIUM
        reason = f"cipher, hash, key size, UUID and {sound_entries} of 8 keyslot entries are sound"
    else:
        confidence, reason = Confidence.LOW, "a magic, and little else of a LUKS1 header"
    problem = f"{errors[0].text}{and_more(errors)}" if errors else None
    return Finding(
        disk=storage.name,
        offset=offset,
        size=_size(record) if is_itself else SIZE,
        kind=Kind.LUKS1,
        confidence=confidence,
        reasons=(reason,),
        version=VERSION,
        copy=HeaderCopy.PRIMARY,
        uuid=c_text(record.uuid) if "uuid-form" not in broken else None,
        volume_offset=offset,
        data_offset=record.payload_offset * SECTOR_SIZE if is_itself else None,
        problem="its magic is gone" if magic_is_lost else problem,
    )


def _damaged_entries(violations: Iterable[Violation]) -> int:
    """How many of the keyslot table's entries break a rule that no writer of LUKS breaks."""
    return len(
        {
            each.path.split(".")[1]
            for each in violations
            if each.path.startswith("keyslots.")
            and (each.severity is Severity.ERROR or each.rule == "keyslot-state")
        }
    )


def _size(record: PartitionHeader) -> int:
    """Up to the end of the last area."""
    return max((area.end for area in Table.of(record).areas), default=SIZE)
