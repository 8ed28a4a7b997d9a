"""Everything about one header, whatever state it is in: the value behind ``inspect``.

Nothing is written, nothing is unlocked, and nothing is raised for what the device holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Final

from luksmeta.binary import c_text
from luksmeta.comparison import FieldDifference, differences
from luksmeta.description import describe
from luksmeta.diagnosis import Diagnosis, diagnose_storage
from luksmeta.errors import StorageError
from luksmeta.extents import Extent
from luksmeta.forensics.containers import evidence_of
from luksmeta.forensics.copies import CopyContent
from luksmeta.forensics.damage import Damage, damage_of
from luksmeta.forensics.hidden import Hidden, hidden_in
from luksmeta.forensics.material import KeyslotCondition, Leftover, condition_of, leftovers_of
from luksmeta.forensics.randomness import Run, runs_of
from luksmeta.forensics.read_log import ReadLog
from luksmeta.forensics.regions import Region, map_of
from luksmeta.forensics.remains import Remains
from luksmeta.forensics.strength import ENTROPIES, Strength, strength_of
from luksmeta.forensics.timeline import Hint, hints_of
from luksmeta.locking import locked
from luksmeta.luks1 import partition_header as luks1
from luksmeta.model import AnyKeyslot, Dynamic, Keyslot, Metadata
from luksmeta.signatures import Signature, find_trailing_signatures
from luksmeta.storage import Storage
from luksmeta.target import Target

SCHEMA: Final = "luksmeta-inspection-1"
"""The name of the JSON document: another number when a member goes or changes its meaning."""

_DATA_EXAMINED: Final = 64 << 10  # bytes of each segment's start


@dataclass(frozen=True, slots=True)
class SegmentStart:
    """How a segment's data begins: ciphertext looks random, what was never written is zero."""

    segment_id: int
    type: str
    offset: int
    size: int | None
    runs: tuple[Run, ...]

    def describe(self) -> dict[str, object]:
        """The same for programs; a size of None reaches to the end of the device."""
        return {
            "type": self.type,
            "offset": self.offset,
            "size": self.size,
            "begins": [run.describe() for run in self.runs],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What is there, and what can be said about it.

    ``metadata`` is what the believed copy says, or, where none is believed, the legible objects of
    what is left; ``source`` says which. None where nothing is legible.
    """

    name: str
    size: int
    diagnosis: Diagnosis
    source: str
    metadata: Metadata | None
    partition_header: luks1.PartitionHeader | None
    signatures: tuple[Signature, ...]
    """Of other formats, at the device's start and end."""
    copies: tuple[CopyContent, ...]
    differences: tuple[FieldDifference, ...]
    regions: tuple[Region, ...]
    keyslots: Mapping[int, KeyslotCondition]
    strengths: Mapping[int, Strength]
    leftovers: tuple[Leftover, ...]
    segments: tuple[SegmentStart, ...]
    damage: tuple[Damage, ...]
    """Every range of bytes that is not what it should be, as far as that can be told."""
    hidden: tuple[Hidden, ...]
    hints: tuple[Hint, ...]

    @property
    def has_traces(self) -> bool:
        """Whether there is anything of a LUKS header."""
        return bool(self.copies or self.partition_header) or self.diagnosis.version is not None

    def describe(self) -> dict[str, object]:
        """The document for programs; spec/forensics.md describes its members."""
        header = self.diagnosis.header
        return {
            "schema": SCHEMA,
            "name": self.name,
            "size": self.size,
            "source": self.source,
            "diagnosis": self.diagnosis.describe(),
            "header": None if header is None else describe(header),
            "signatures": [asdict(each) for each in self.signatures],
            "partition_header": _record(self.partition_header),
            "copies": {str(each.copy): each.describe() for each in self.copies},
            "differences": [asdict(each) for each in self.differences],
            "regions": [each.describe() for each in self.regions],
            "keyslots": {str(each): self._keyslot(each) for each in self.keyslots},
            "leftovers": [each.describe() for each in self.leftovers],
            "segments": {str(each.segment_id): each.describe() for each in self.segments},
            "damage": [each.describe() for each in self.damage],
            "hidden": [each.describe() for each in self.hidden],
            "hints": [each.describe() for each in self.hints],
        }

    def _keyslot(self, keyslot_id: int) -> dict[str, object]:
        strength = self.strengths.get(keyslot_id)
        return {
            **self.keyslots[keyslot_id].describe(),
            "strength": None if strength is None else strength.describe(),
        }


def inspect(
    target: Target,
    header: Target | None = None,
    *,
    entropies: Iterable[float] = ENTROPIES,
    measure: bool = False,
    read_log: ReadLog | None = None,
) -> Inspection:
    """Inspect the header of ``target``; with ``header`` it lies there.

    A path may be that of a container file and name a part, as for :func:`luksmeta.scan`.
    ``entropies`` are those of passphrases, in bits, for which the cost of guessing is given;
    ``measure`` gives it for this machine too; ``read_log`` gets every read of files that are opened
    here. Raises StorageError where one cannot be opened.
    """
    with ExitStack() as stack:
        data = stack.enter_context(evidence_of(target, read_log))
        storage = data if header is None else stack.enter_context(evidence_of(header, read_log))
        with locked(storage, exclusive=False):
            return inspect_storage(storage, data, entropies=entropies, measure=measure)


def inspect_storage(
    storage: Storage,
    data: Storage,
    *,
    entropies: Iterable[float] = ENTROPIES,
    measure: bool = False,
) -> Inspection:
    """The same for open storages, which the caller has locked; ``data`` holds the segments."""
    diagnosis = diagnose_storage(storage, data)
    remains = Remains.of(storage, diagnosis)
    metadata = remains.metadata
    copies = remains.copies
    regions = map_of(storage, metadata, copies, remains.table)
    keyslots = sorted(metadata.keyslots.items()) if metadata else []
    conditions = {
        each: condition_of(each, keyslot, regions, storage.size) for each, keyslot in keyslots
    }
    segments = _segments(metadata, data)
    data_runs = {each.segment_id: each.runs for each in segments}
    return Inspection(
        name=storage.name,
        size=storage.size,
        diagnosis=diagnosis,
        source=remains.source,
        metadata=metadata,
        partition_header=remains.record,
        signatures=(*diagnosis.foreign_signatures, *_trailing(storage)),
        copies=copies,
        differences=_differences(copies),
        regions=regions,
        keyslots=conditions,
        strengths=_strengths(keyslots, tuple(entropies), measure),
        leftovers=tuple(leftovers_of(regions)),
        segments=segments,
        damage=damage_of(storage, metadata, copies, remains.record, conditions, data_runs),
        hidden=hidden_in(remains.best) if remains.best else (),
        hints=hints_of(metadata, copies) if metadata else (),
    )


def _strengths(
    keyslots: Iterable[tuple[int, AnyKeyslot]], entropies: tuple[float, ...], measure: bool
) -> dict[int, Strength]:
    return {
        each: strength_of(keyslot, entropies, is_measured=measure)
        for each, keyslot in keyslots
        if isinstance(keyslot, Keyslot)
    }


def _trailing(storage: Storage) -> tuple[Signature, ...]:
    try:
        return find_trailing_signatures(storage)
    except StorageError:  # where nothing can be read, no signature is
        return ()


def _differences(copies: Sequence[CopyContent]) -> tuple[FieldDifference, ...]:
    """Where the two copies say something else; their salts and places always differ."""
    if len(copies) < 2 or any(each.document is None for each in copies):
        return ()
    one, other = ({**_fields(each), **(each.document or {})} for each in copies)
    return tuple(differences(one, other))


def _fields(copy: CopyContent) -> dict[str, object]:
    fields = copy.describe()
    return {name: fields[name] for name in ("hdr_size", "seqid", "label", "subsystem", "uuid")}


def _record(record: luks1.PartitionHeader | None) -> dict[str, object] | None:
    """The fields of a LUKS1 header as they lie there, whatever they are."""
    if record is None:
        return None
    return {
        "magic": record.magic.hex(),
        "version": record.version,
        "cipher_name": c_text(record.cipher_name),
        "cipher_mode": c_text(record.cipher_mode),
        "hash_spec": c_text(record.hash_spec),
        "payload_offset": record.payload_offset,
        "key_bytes": record.key_bytes,
        "mk_digest": record.mk_digest.hex(),
        "mk_digest_salt": record.mk_digest_salt.hex(),
        "mk_digest_iter": record.mk_digest_iter,
        "uuid": c_text(record.uuid),
        "keyslots": [
            {**asdict(each), "salt": each.salt.hex()} for each in record.keyslot_records()
        ],
        "sha256": hashlib.sha256(record.to_bytes()).hexdigest(),
    }


def _segments(metadata: Metadata | None, data: Storage) -> tuple[SegmentStart, ...]:
    return tuple(
        SegmentStart(
            segment_id,
            each.type,
            each.offset,
            None if isinstance(each.size, Dynamic) else each.size,
            runs_of(data, Extent(each.offset, _DATA_EXAMINED)) if each.offset < data.size else (),
        )
        for segment_id, each in (metadata.segments if metadata else {}).items()
    )
