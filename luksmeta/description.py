"""A header as one mapping for programs: what ``dump --json`` prints.

The same for both versions. Offsets and sizes are integers in bytes, salts and digests are hex.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TypeVar

from luksmeta.header import Header
from luksmeta.header_copies import CopyState, why_served
from luksmeta.luks2.header import Luks2Header
from luksmeta.model import (
    AnyKeyslot,
    CryptSegment,
    Digest,
    Dynamic,
    ForeignKdf,
    Keyslot,
    KeyslotPriority,
    Metadata,
    OddKeyslot,
    Pbkdf2Digest,
    Segment,
    Token,
)
from luksmeta.tokens.notes import note_of

_Record = TypeVar("_Record")


def describe(header: Header) -> dict[str, object]:
    """The description; for LUKS2 ``metadata`` holds the JSON area as it stands."""
    metadata = header.metadata
    description: dict[str, object] = {
        "format": f"luks{metadata.version}",
        "version": metadata.version,
        "uuid": metadata.uuid,
        "label": metadata.label,
        "subsystem": metadata.subsystem,
        **_cipher(metadata),
        "data_offset": metadata.data_offset,
        "header_copies": [_copy(copy) for copy in header.copies],
        "served_by": str(header.served_by),
        "served_because": why_served(header.copies, header.served_by),
        "keyslots_area": asdict(metadata.keyslots_area),
        "keyslots": _by_id(metadata.keyslots, lambda key, each: _keyslot(metadata, key, each)),
        "odd_keyslots": _by_id(header.odd_keyslots, lambda _, each: _odd_keyslot(each)),
        "segments": _by_id(metadata.segments, lambda key, each: _segment(metadata, key, each)),
        "digests": _by_id(metadata.digests, lambda _, each: _digest(each)),
        "tokens": _by_id(metadata.tokens, lambda _, each: _token(each)),
        "flags": list(metadata.config.flags),
        "requirements": list(metadata.config.requirements),
    }
    if isinstance(header, Luks2Header):
        description["seqid"] = header.seqid
        description["header_size"] = header.loaded.record.hdr_size
        description["checksum_algorithm"] = header.checksum_algorithm
        description["metadata"] = header.document
    return description


def _by_id(
    records: Mapping[int, _Record], convert: Callable[[int, _Record], dict[str, object]]
) -> dict[str, object]:
    return {str(record_id): convert(record_id, record) for record_id, record in records.items()}


def _cipher(metadata: Metadata) -> dict[str, object]:
    """How the data is encrypted, from the first segment."""
    segment = metadata.segments[metadata.data_segments[0]]
    if not isinstance(segment, CryptSegment):
        return {"cipher": None, "key_size": None, "sector_size": None}
    return {
        "cipher": segment.encryption,
        "key_size": metadata.volume_key_size,
        "sector_size": segment.sector_size,
    }


def _copy(copy: CopyState) -> dict[str, object]:
    return {
        "copy": str(copy.copy),
        "offset": copy.offset,
        "seqid": copy.seqid,
        "state": str(copy.condition),
        "problem": copy.problem,
    }


def _keyslot(metadata: Metadata, keyslot_id: int, keyslot: AnyKeyslot) -> dict[str, object]:
    found = metadata.digest_of_keyslot(keyslot_id)
    priority = KeyslotPriority.NORMAL if keyslot.priority is None else keyslot.priority
    note = note_of(metadata, keyslot_id)
    known: dict[str, object] = {
        "type": keyslot.type,
        "state": "bound" if metadata.is_bound(keyslot_id) else "unbound",
        "key_size": keyslot.key_size,
        "priority": priority.name.lower(),
        "digest": found[0] if found else None,
        "tokens": [i for i, token in metadata.tokens.items() if keyslot_id in token.keyslots],
        "note": note.members() if note else None,
    }
    if not isinstance(keyslot, Keyslot):
        area = keyslot.as_read.get("area")
        members = dict(area) if isinstance(area, Mapping) else {}
        return {**keyslot.as_read, **known, "area": {**members, **asdict(keyslot.area)}}
    if isinstance(keyslot.kdf, ForeignKdf):
        costs: dict[str, object] = {"type": keyslot.kdf.type}
    else:
        costs = {"type": keyslot.kdf.name, **asdict(keyslot.kdf)}
    return {
        **known,
        "kdf": {**costs, "salt": keyslot.salt.hex()},
        "af": {"type": "luks1", **asdict(keyslot.af)},
        "area": {"type": "raw", **asdict(keyslot.area)},
    }


def _odd_keyslot(keyslot: OddKeyslot) -> dict[str, object]:
    return {"state": keyslot.state, "problem": str(keyslot), "area": asdict(keyslot.area)}


def _segment(metadata: Metadata, segment_id: int, segment: Segment) -> dict[str, object]:
    found = metadata.digest_of_segment(segment_id)
    known: dict[str, object] = {
        "type": segment.type,
        "offset": segment.offset,
        "size": segment.size.value if isinstance(segment.size, Dynamic) else segment.size,
        "flags": list(segment.flags),
        "digest": found[0] if found else None,
    }
    if isinstance(segment, CryptSegment):
        known["encryption"] = segment.encryption
        known["sector_size"] = segment.sector_size
        known["iv_tweak"] = segment.iv_tweak
        known["integrity"] = segment.integrity
    return known


def _digest(digest: Digest) -> dict[str, object]:
    known: dict[str, object] = {
        "type": digest.type,
        "keyslots": list(digest.keyslots),
        "segments": list(digest.segments),
    }
    if isinstance(digest, Pbkdf2Digest):
        known["hash"] = digest.hash
        known["iterations"] = digest.iterations
        known["salt"] = digest.salt.hex()
        known["digest"] = digest.digest.hex()
    return known


def _token(token: Token) -> dict[str, object]:
    return {**token.as_read, "type": token.type, "keyslots": list(token.keyslots)}
