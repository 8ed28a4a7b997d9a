"""A header as one sequence of bytes, whoever wrote it and however it was spelled.

Everything that a header says is in it, members that nobody here knows included; and of every other
byte up to the data a hash. What programs change without a change of meaning is not: the salts and
checksums of the copies, their seqid, the order and spelling of JSON members. The encoding is
bencode with letters for what bencode lacks. Source: spec/header-trust.md, L5.5.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Final, TypeAlias

from luksmeta.extents import Extent
from luksmeta.header import Header
from luksmeta.luks1.header import Luks1Header
from luksmeta.luks2.header import Luks2Header
from luksmeta.luks2.header_copy import LoadedCopy
from luksmeta.luks2.limits import HDR_SIZES, KEYSLOTS_AREA_MAX
from luksmeta.model import JsonObject, JsonValue, Metadata
from luksmeta.storage import Storage
from luksmeta.trust.terms import SEAL_TYPE

FORMAT: Final = "luksmeta-header-v1"
HEADER_MAX: Final = 2 * HDR_SIZES[-1] + KEYSLOTS_AREA_MAX
"""No header reaches further, in bytes; cryptsetup wipes as much when it formats."""

Path: TypeAlias = tuple[str, ...]
_BY_ID: Final = frozenset({"keyslots", "tokens", "segments", "digests"})
_CHUNK: Final = 1 << 20


def encode(value: JsonValue) -> bytes:
    """The only encoding of a JSON value; members are sorted by their names' bytes."""
    match value:
        case None:
            return b"n"
        case bool():
            return b"t" if value else b"f"
        case int():
            return b"i%de" % value
        case float():
            return b"r" + struct.pack(">d", value).hex().encode()
        case str():
            return _text(value)
        case list():
            return b"l%be" % b"".join(map(encode, value))
        case _:
            members = sorted((name.encode("utf-8", "surrogateescape"), name) for name in value)
            return b"d%be" % b"".join(_text(name) + encode(value[name]) for _, name in members)


def tree(header: Header, storage: Storage) -> JsonObject:
    """What is encoded: the header, and hashes of the bytes in ``storage`` that it is about."""
    if isinstance(header, Luks1Header):
        return _luks1(header, storage)
    if isinstance(header, Luks2Header):
        return {
            "format": FORMAT,
            "header": binary_header(header.loaded),
            "metadata": _without_seal(header.document, header.metadata),
            "areas": {**_areas(header.metadata, storage), **_rest(header.metadata, storage)},
        }
    raise TypeError(f"{type(header).__name__} has no canonical encoding")


def header_end(metadata: Metadata) -> int:
    """Where the bytes end that a LUKS2 header's tree is about: at the data, if that lies behind."""
    return max(metadata.keyslots_area.end, min(metadata.data_offset, HEADER_MAX))


def binary_header(copy: LoadedCopy) -> JsonObject:
    """What a LUKS2 copy says besides its JSON area, and differs not between whole copies."""
    record = copy.record
    return {
        "version": record.version,
        "hdr_size": record.hdr_size,
        "uuid": _field(record.uuid),
        "label": _field(record.label),
        "subsystem": _field(record.subsystem),
        "csum_alg": _field(record.csum_alg),
        "padding": _hash_unless_zero([copy.padding]),
    }


def objects(of: JsonObject) -> dict[Path, JsonValue]:
    """The parts of a LUKS2 tree by path: each keyslot, area, segment, and so on, by itself.

    Top-level members that are not known here are below ``metadata``.
    """
    found: dict[Path, JsonValue] = {("header",): of["header"], **_members("areas", of["areas"])}
    for name, part in _members("metadata", of["metadata"]).items():
        if name[1] in _BY_ID:
            found |= _members(name[1], part)
        else:
            found[("config",) if name[1] == "config" else name] = part
    return found


def seals(metadata: Metadata) -> tuple[int, ...]:
    """The ids of the tokens that are seals, or say so; one is right."""
    return tuple(i for i, token in metadata.tokens.items() if token.type == SEAL_TYPE)


def _members(kind: str, part: JsonValue) -> dict[Path, JsonValue]:
    members = part.items() if isinstance(part, Mapping) else ()
    return {(kind, name): value for name, value in members}


def _text(text: str) -> bytes:
    data = text.encode("utf-8", "surrogateescape")
    return b"%d:%b" % (len(data), data)


def _field(data: bytes) -> str:
    """The whole field but for the NULs that fill it: nothing hides behind the first."""
    return data.rstrip(b"\0").decode("utf-8", "surrogateescape")


def _without_seal(document: JsonObject, metadata: Metadata) -> JsonObject:
    """The document without its seal; of several none can be told to be the seal."""
    ids, tokens = seals(metadata), document["tokens"]
    if len(ids) != 1 or not isinstance(tokens, Mapping):
        return document
    return {**document, "tokens": {k: v for k, v in tokens.items() if int(k) != ids[0]}}


# --- LUKS1 -----------------------------------------------------------------------------------


def _luks1(header: Luks1Header, storage: Storage) -> JsonObject:
    """Every field of the partition header; binary ones are hex, texts end before their NULs."""
    fields: dict[str, JsonValue] = {}
    for name, value in asdict(header.record).items():
        if name in ("magic", "keyslots"):
            continue
        is_binary = name.startswith("mk_") and isinstance(value, bytes)
        fields[name] = value.hex() if is_binary else value
        if isinstance(value, bytes) and not is_binary:
            fields[name] = _field(value)
    keyslots = {
        str(number): {**asdict(entry), "salt": entry.salt.hex()}
        for number, entry in enumerate(header.record.keyslot_records())
    }
    areas = _areas(header.metadata, storage)
    return {"format": FORMAT, "header": fields, "keyslots": keyslots, "areas": areas}


# --- the bytes ---------------------------------------------------------------------------------


def _areas(metadata: Metadata, storage: Storage) -> dict[str, JsonValue]:
    """The SHA-256 of each keyslot's area."""
    return {
        str(keyslot_id): _hash(_pieces(storage, keyslot.area.extent))
        for keyslot_id, keyslot in metadata.keyslots.items()
    }


def _rest(metadata: Metadata, storage: Storage) -> dict[str, JsonValue]:
    """That of the keyslots area's other bytes, and of what lies between it and the data."""
    area = metadata.keyslots_area
    free = (piece for gap in _gaps(metadata) for piece in _pieces(storage, gap))
    end = min(storage.size, header_end(metadata))
    behind = _pieces(storage, Extent(area.end, end - area.end))
    return {"free": _hash(free), "behind": _hash_unless_zero(behind)}


def _gaps(metadata: Metadata) -> Iterator[Extent]:
    at = metadata.keyslots_area.offset
    for area in sorted(each.area.extent for each in metadata.keyslots.values()):
        yield Extent(at, area.offset - at)
        at = area.end
    yield Extent(at, metadata.keyslots_area.end - at)


def _pieces(storage: Storage, extent: Extent) -> Iterator[bytes]:
    for at in range(extent.offset, extent.end, _CHUNK):
        yield storage.read_at(at, min(_CHUNK, extent.end - at))


def _hash(pieces: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _hash_unless_zero(pieces: Iterable[bytes]) -> str:
    """Empty where there are zeroes alone, and where there is nothing: a backup ends earlier.

    So zeroes at the end do not count.
    """
    digest, zeroes = hashlib.sha256(), 0
    is_zero = True
    for piece in pieces:
        content = piece.rstrip(b"\0")
        if content:
            digest.update(bytes(zeroes) + content)
            is_zero, zeroes = False, 0
        zeroes += len(piece) - len(content)
    return "" if is_zero else digest.hexdigest()
