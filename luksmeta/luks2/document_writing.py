"""The model of a LUKS2 header, written as its JSON document, losslessly.

Source: LUKS2 specification 1.1.4, section 3. An object that a change did not touch is written as it
was read; one that it did touch keeps the members that are not modelled, in their places.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from luksmeta.kdf.pbkdf import Argon2i, Argon2id, Pbkdf2
from luksmeta.luks2.document_reading import (
    ValidObject,
    from_base64,
    to_config,
    to_digest,
    to_kdf,
    to_keyslot,
    to_segment,
    to_token,
)
from luksmeta.luks2.limits import BINARY_HEADER_SIZE
from luksmeta.model import (
    DYNAMIC,
    AnyKeyslot,
    CryptSegment,
    Digest,
    ForeignKdf,
    JsonObject,
    JsonValue,
    Keyslot,
    Metadata,
    Pbkdf2Digest,
    RawArea,
    Segment,
    Token,
)

_Record = TypeVar("_Record")
_TOP_LEVEL = ("keyslots", "tokens", "segments", "digests", "config")  # in the order of a new header


def to_document(metadata: Metadata) -> JsonObject:
    """The JSON document that says ``metadata``."""
    objects: dict[str, JsonValue] = {
        "keyslots": _documents(metadata.keyslots, to_keyslot, _keyslot_members),
        "tokens": _documents(metadata.tokens, to_token, _token_members),
        "segments": _documents(metadata.segments, to_segment, _segment_members),
        "digests": _documents(metadata.digests, to_digest, _digest_members),
        "config": _config_members(metadata),
    }
    return _merge(metadata.as_read, objects, _TOP_LEVEL)


def _documents(
    records: Mapping[int, _Record],
    convert: Callable[[ValidObject], _Record],
    members: Callable[[_Record], JsonObject],
) -> JsonObject:
    return {
        str(record_id): _as_read_or_new(record, convert, members)
        for record_id, record in records.items()
    }


def _as_read_or_new(
    record: _Record,
    convert: Callable[[ValidObject], _Record],
    members: Callable[[_Record], JsonObject],
) -> JsonObject:
    as_read: ValidObject = getattr(record, "as_read", {})
    return as_read if as_read and convert(as_read) == record else members(record)


def _merge(as_read: JsonObject, known: JsonObject, names: Iterable[str]) -> JsonObject:
    """``known`` in the places that ``as_read`` has for it, with the members that are not known.

    A member of ``names`` that ``known`` lacks is left out: it has been removed.
    """
    kept = {
        name: known.get(name, value)
        for name, value in as_read.items()
        if name in known or name not in names
    }
    return {**kept, **{name: value for name, value in known.items() if name not in kept}}


def _part(as_read: JsonObject, name: str) -> JsonObject:
    part = as_read.get(name)
    return part if isinstance(part, Mapping) else {}


def _keyslot_members(keyslot: AnyKeyslot) -> JsonObject:
    """In the order of lib/luks2/luks2_keyslot_luks2.c: type, key_size, af, area, kdf."""
    read = keyslot.as_read
    known: dict[str, JsonValue] = {"type": keyslot.type, "key_size": keyslot.key_size}
    if isinstance(keyslot, Keyslot):
        af: JsonObject = {
            "type": "luks1",
            "stripes": keyslot.af.stripes,
            "hash": keyslot.af.hash,
        }
        known["af"] = _merge(_part(read, "af"), af, af)
        known["area"] = _area_members(keyslot.area, _part(read, "area"))
        known["kdf"] = _kdf_members(keyslot)
    if keyslot.priority is not None:
        known["priority"] = int(keyslot.priority)
    return _merge(
        read,
        known,
        ("type", "key_size", "af", "area", "kdf", "priority")
        if isinstance(keyslot, Keyslot)
        else ("priority",),
    )


def _area_members(area: RawArea, read: JsonObject) -> JsonObject:
    known: JsonObject = {
        "type": "raw",
        "offset": str(area.offset),
        "size": str(area.size),
        "encryption": area.encryption,
        "key_size": area.key_size,
    }
    return _merge(read, known, known)


def _kdf_members(keyslot: Keyslot) -> JsonObject:
    """As it was read where that means the same: a salt that is no base64 is kept."""
    read: ValidObject = _part(keyslot.as_read, "kdf")
    if read and (to_kdf(read), from_base64(read.get("salt"))) == (keyslot.kdf, keyslot.salt):
        return read
    salt = base64.b64encode(keyslot.salt).decode()
    match keyslot.kdf:
        case Pbkdf2(hash=hash_name, iterations=iterations):
            return {"type": "pbkdf2", "hash": hash_name, "iterations": iterations, "salt": salt}
        case Argon2i() | Argon2id() as kdf:
            name = "argon2i" if isinstance(kdf, Argon2i) else "argon2id"
            costs: JsonObject = {"time": kdf.time, "memory": kdf.memory, "cpus": kdf.cpus}
            return {"type": name, **costs, "salt": salt}
        case ForeignKdf():
            return read


def _segment_members(segment: Segment) -> JsonObject:
    known: dict[str, JsonValue] = {
        "type": segment.type,
        "offset": str(segment.offset),
        "size": "dynamic" if segment.size is DYNAMIC else str(segment.size),
    }
    if isinstance(segment, CryptSegment):
        known["iv_tweak"] = str(segment.iv_tweak)
        known["encryption"] = segment.encryption
        known["sector_size"] = segment.sector_size
    if segment.flags:
        known["flags"] = list(segment.flags)
    return _merge(segment.as_read, known, (*known, "flags"))


def _digest_members(digest: Digest) -> JsonObject:
    known: dict[str, JsonValue] = {
        "type": digest.type,
        "keyslots": [str(keyslot_id) for keyslot_id in digest.keyslots],
        "segments": [str(segment_id) for segment_id in digest.segments],
    }
    if isinstance(digest, Pbkdf2Digest):
        known["hash"] = digest.hash
        known["iterations"] = digest.iterations
        known["salt"] = base64.b64encode(digest.salt).decode()
        known["digest"] = base64.b64encode(digest.digest).decode()
    return _merge(digest.as_read, known, known)


def _token_members(token: Token) -> JsonObject:
    known: JsonObject = {
        "type": token.type,
        "keyslots": [str(keyslot_id) for keyslot_id in token.keyslots],
    }
    return _merge(token.as_read, known, known)


def _config_members(metadata: Metadata) -> JsonObject:
    """What did not change stays as it was read, down to an empty list of flags."""
    config, area = metadata.config, metadata.keyslots_area
    read: ValidObject = config.as_read
    before = to_config(read)
    known: dict[str, JsonValue] = {
        "json_size": _number(read, "json_size", area.offset // 2 - BINARY_HEADER_SIZE),
        "keyslots_size": _number(read, "keyslots_size", area.size),
    }
    changed = []
    if config.flags != before.flags:
        changed.append("flags")
        if config.flags:
            known["flags"] = list(config.flags)
    if config.requirements != before.requirements:
        changed.append("requirements")
        required: dict[str, JsonValue] = {
            **_part(read, "requirements"),
            "mandatory": list(config.requirements),
        }
        if config.requirements or len(required) > 1:
            known["requirements"] = required
    return _merge(read, known, changed)


def _number(read: ValidObject, name: str, value: int) -> str:
    """The text that was read where it means ``value``, leading zeroes and all."""
    text = str(read.get(name, value))
    return text if int(text) == value else str(value)
