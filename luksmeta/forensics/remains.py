"""What a header still says that nobody believes any more: what an inspection goes by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from luksmeta.diagnosis import Diagnosis
from luksmeta.errors import HeaderError
from luksmeta.forensics.copies import CopyContent, read_copies
from luksmeta.header import first_bytes
from luksmeta.luks1 import partition_header as luks1
from luksmeta.luks1.header import Luks1Header
from luksmeta.luks1.repair import repaired
from luksmeta.luks1.validation import validate
from luksmeta.model import SECTOR_SIZE, Metadata
from luksmeta.storage import Storage


@dataclass(frozen=True, slots=True)
class Remains:
    """What there is to go by: a believed header, or the most telling of what is left."""

    source: str
    metadata: Metadata | None
    copies: tuple[CopyContent, ...] = ()
    best: CopyContent | None = None
    table: Luks1Header | None = None
    record: luks1.PartitionHeader | None = None
    """LUKS1's as it lies there; unused entries of ``table`` may be mended, to tell their places."""

    @classmethod
    def of(cls, storage: Storage, diagnosis: Diagnosis) -> Self:
        """What is legible on a storage, by its diagnosis."""
        if diagnosis.version == 1:
            return cls._of_luks1(storage, diagnosis)
        copies = read_copies(storage, diagnosis)
        if diagnosis.header is not None:
            served = diagnosis.header.served_by
            best = next((each for each in copies if each.copy is served), None)
            return cls(f"{served} copy", diagnosis.header.metadata, copies, best)
        for best in sorted(copies, key=_telling, reverse=True):
            metadata = best.metadata()
            if metadata is not None:
                return cls(f"remains of the {best.copy} copy", metadata, copies, best)
        is_luks2 = any(each.document is not None or each.has_right_checksum for each in copies)
        record = None if is_luks2 else _partition_header(storage)
        header = None if record is None else _legible(record)
        if header is not None and header.metadata.keyslots:
            source = "what could be a partition header"
            return cls(source, header.metadata, table=header, record=record)
        return cls("nothing legible", None, copies)

    @classmethod
    def _of_luks1(cls, storage: Storage, diagnosis: Diagnosis) -> Self:
        record = _partition_header(storage)
        header = diagnosis.header
        if isinstance(header, Luks1Header):
            return cls("partition header", header.metadata, table=header, record=header.record)
        remains = None if record is None else _legible(record)
        if remains is None:
            return cls("nothing legible", None, record=record)
        source = "remains of the partition header"
        return cls(source, remains.metadata, table=remains, record=record)


def _partition_header(storage: Storage) -> luks1.PartitionHeader | None:
    """The first bytes as a LUKS1 header: of the right version, or in order in all else."""
    start = first_bytes(storage, luks1.SIZE)
    if len(start) < luks1.SIZE:
        return None
    record = luks1.PartitionHeader.from_bytes(start)
    return record if record.version == luks1.VERSION or not validate(record) else None


def _legible(record: luks1.PartitionHeader) -> Luks1Header | None:
    """What the fields mean.

    Unused entries that make no sense are taken as repair would have them, places that lie in the
    header as those that a key of this size has.
    """
    likely = record
    if 0 < record.key_bytes <= luks1.KEY_SIZE_MAX:
        entries = enumerate(record.keyslot_records())
        likely = record.with_keyslot_records(
            tuple(_placed(entry, each, record.key_bytes) for each, entry in entries)
        )
    try:
        return Luks1Header.of(repaired(likely))
    except HeaderError:
        return Luks1Header.as_it_is(likely)


def _placed(entry: luks1.KeyslotRecord, keyslot_id: int, key_size: int) -> luks1.KeyslotRecord:
    if entry.key_material_offset * SECTOR_SIZE >= luks1.WRITTEN_SIZE:
        return entry
    place = luks1.area_offset(keyslot_id, key_size) // SECTOR_SIZE
    return replace(entry, key_material_offset=place)


def _telling(copy: CopyContent) -> tuple[bool, bool, int]:
    return copy.has_right_checksum, copy.document is not None, copy.record.seqid
