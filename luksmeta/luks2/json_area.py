"""The JSON document of a LUKS2 header <-> the model, losslessly.

Source: LUKS2 specification 1.1.4, section 3. An object that a change did not touch is written as it
was read; one that it did touch keeps the members that are not modelled, in their places.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, TypeVar

from luksmeta.errors import AlgorithmError
from luksmeta.extents import Extent
from luksmeta.kdf import hashes
from luksmeta.kdf.pbkdf import Argon2i, Argon2id, Pbkdf2
from luksmeta.luks2.limits import BINARY_HEADER_SIZE, DIGEST_SIZE_MIN, KEY_SALT_SIZE
from luksmeta.model import (
    DYNAMIC,
    AntiForensic,
    AnyKeyslot,
    Config,
    CryptSegment,
    Digest,
    Dynamic,
    ForeignArea,
    ForeignDigest,
    ForeignKdf,
    ForeignKeyslot,
    ForeignSegment,
    JsonObject,
    JsonValue,
    Keyslot,
    KeyslotPriority,
    LinearSegment,
    Metadata,
    Pbkdf2Digest,
    RawArea,
    Segment,
    Token,
)

_Record = TypeVar("_Record")
_TOP_LEVEL = ("keyslots", "tokens", "segments", "digests", "config")  # in the order of a new header
_DIGEST_SIZE_MAX = 64

# A document that passed validation has these members with these types; mypy cannot know that.
_Valid = Mapping[str, Any]


def to_metadata(document: _Valid, *, uuid: str, label: str, subsystem: str) -> Metadata:
    """The model of a validated document and of the binary header's texts."""
    config = document["config"]
    header_size = int(config["json_size"]) + BINARY_HEADER_SIZE
    return Metadata(
        version=2,
        uuid=uuid,
        label=label,
        subsystem=subsystem,
        keyslots_area=Extent(2 * header_size, int(config["keyslots_size"])),
        keyslots=_records(document, "keyslots", _to_keyslot),
        tokens=_records(document, "tokens", _to_token),
        segments=_records(document, "segments", _to_segment),
        digests=_records(document, "digests", to_digest),
        config=_to_config(config),
        as_read=document,
    )


def to_document(metadata: Metadata) -> JsonObject:
    """The JSON document that says ``metadata``."""
    objects: dict[str, JsonValue] = {
        "keyslots": _documents(metadata.keyslots, _to_keyslot, _keyslot_members),
        "tokens": _documents(metadata.tokens, _to_token, _token_members),
        "segments": _documents(metadata.segments, _to_segment, _segment_members),
        "digests": _documents(metadata.digests, to_digest, _digest_members),
        "config": _config_members(metadata),
    }
    return _merge(metadata.as_read, objects, _TOP_LEVEL)


# --- reading ---------------------------------------------------------------------------------


def _records(
    document: _Valid, kind: str, convert: Callable[[_Valid], _Record]
) -> dict[int, _Record]:
    return {int(key): convert(value) for key, value in document[kind].items()}


def _ids(keys: Iterable[str]) -> tuple[int, ...]:
    return tuple(int(key) for key in keys)


def _to_keyslot(members: _Valid) -> AnyKeyslot:
    area = members["area"]
    if members["type"] != Keyslot.type:
        return ForeignKeyslot(
            type=members["type"],
            key_size=members["key_size"],
            area=ForeignArea(
                type=str(area["type"]), offset=int(area["offset"]), size=int(area["size"])
            ),
            priority=_to_priority(members),
            as_read=members,
        )
    return Keyslot(
        key_size=members["key_size"],
        kdf=_to_kdf(members["kdf"]),
        salt=from_base64(members["kdf"].get("salt")),
        af=AntiForensic(hash=members["af"]["hash"], stripes=members["af"]["stripes"]),
        area=RawArea(
            offset=int(area["offset"]),
            size=int(area["size"]),
            encryption=area["encryption"],
            key_size=area["key_size"],
        ),
        priority=_to_priority(members),
        as_read=members,
    )


def _to_priority(members: _Valid) -> KeyslotPriority | None:
    """The priority; a value that nobody has defined is never tried, as in cryptsetup."""
    value = members.get("priority")
    if value is None:
        return None
    return KeyslotPriority(value) if value in (0, 1, 2) else KeyslotPriority.IGNORE


def _to_kdf(kdf: _Valid) -> Pbkdf2 | Argon2i | Argon2id | ForeignKdf:
    match kdf["type"]:
        case "pbkdf2":
            return Pbkdf2(hash=kdf["hash"], iterations=kdf["iterations"])
        case "argon2i":
            return Argon2i(time=kdf["time"], memory=kdf["memory"], cpus=kdf["cpus"])
        case "argon2id":
            return Argon2id(time=kdf["time"], memory=kdf["memory"], cpus=kdf["cpus"])
        case other:
            return ForeignKdf(str(other))


def _to_segment(members: _Valid) -> Segment:
    offset = int(members["offset"])
    size: int | Dynamic = DYNAMIC if members["size"] == "dynamic" else int(members["size"])
    flags = tuple(members.get("flags", ()))
    match members["type"]:
        case "crypt":
            integrity = members.get("integrity")
            return CryptSegment(
                offset=offset,
                size=size,
                iv_tweak=int(members["iv_tweak"]),
                encryption=members["encryption"],
                sector_size=members["sector_size"],
                integrity=str(integrity["type"]) if integrity else None,
                flags=flags,
                as_read=members,
            )
        case "linear":
            return LinearSegment(offset=offset, size=size, flags=flags, as_read=members)
        case other:
            return ForeignSegment(
                type=str(other), offset=offset, size=size, flags=flags, as_read=members
            )


def to_digest(members: _Valid) -> Digest:
    """A digest whose parameters make no sense becomes a foreign one: it proves nothing."""
    keyslots, segments = _ids(members["keyslots"]), _ids(members["segments"])
    salt, digest = from_base64(members.get("salt")), from_base64(members.get("digest"))
    hash_name, iterations = members.get("hash"), members.get("iterations")
    if (
        members["type"] != Pbkdf2Digest.type
        or not isinstance(hash_name, str)
        or not isinstance(iterations, int)
        or len(salt) != KEY_SALT_SIZE
        or len(digest) not in _digest_sizes(hash_name)
    ):
        return ForeignDigest(
            type=members["type"], keyslots=keyslots, segments=segments, as_read=members
        )
    return Pbkdf2Digest(
        keyslots=keyslots,
        segments=segments,
        hash=hash_name,
        iterations=iterations,
        salt=salt,
        digest=digest,
        as_read=members,
    )


def _digest_sizes(hash_name: str) -> Container[int]:
    """20 bytes or the hash's own size (lib/luks2/luks2_digest_pbkdf2.c).

    A digest by a hash that is not to be had is taken as it is: its use says what is missing.
    """
    try:
        return DIGEST_SIZE_MIN, hashes.get(hash_name).digest_size
    except AlgorithmError:
        return range(DIGEST_SIZE_MIN, _DIGEST_SIZE_MAX + 1)


def _to_token(members: _Valid) -> Token:
    return Token(type=members["type"], keyslots=_ids(members["keyslots"]), as_read=members)


def _to_config(members: _Valid) -> Config:
    return Config(
        flags=tuple(members.get("flags", ())),
        requirements=tuple(members.get("requirements", {}).get("mandatory", ())),
        as_read=members,
    )


def from_base64(text: object) -> bytes:
    """The decoded bytes; none where the text is not base64, which shows at use."""
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        return b""


# --- writing ---------------------------------------------------------------------------------


def _documents(
    records: Mapping[int, _Record],
    convert: Callable[[_Valid], _Record],
    members: Callable[[_Record], JsonObject],
) -> JsonObject:
    return {
        str(record_id): _as_read_or_new(record, convert, members)
        for record_id, record in records.items()
    }


def _as_read_or_new(
    record: _Record,
    convert: Callable[[_Valid], _Record],
    members: Callable[[_Record], JsonObject],
) -> JsonObject:
    as_read: _Valid = getattr(record, "as_read", {})
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
    read: _Valid = _part(keyslot.as_read, "kdf")
    if read and (_to_kdf(read), from_base64(read.get("salt"))) == (keyslot.kdf, keyslot.salt):
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
    read: _Valid = config.as_read
    before = _to_config(read)
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


def _number(read: _Valid, name: str, value: int) -> str:
    """The text that was read where it means ``value``, leading zeroes and all."""
    text = str(read.get(name, value))
    return text if int(text) == value else str(value)
