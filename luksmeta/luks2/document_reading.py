"""The JSON document of a LUKS2 header, read into the model.

Source: LUKS2 specification 1.1.4, section 3. What is of an unknown type, or makes no sense, is kept
as a foreign object, and never used.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, TypeAlias, TypeVar

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
_DIGEST_SIZE_MAX = 64

ValidObject: TypeAlias = Mapping[str, Any]
"""An object of a document that passed validation: it has the members that its type demands."""


def to_metadata(document: ValidObject, *, uuid: str, label: str, subsystem: str) -> Metadata:
    """The model of a validated document and of the binary header's texts."""
    config = document["config"]
    header_size = int(config["json_size"]) + BINARY_HEADER_SIZE
    return Metadata(
        version=2,
        uuid=uuid,
        label=label,
        subsystem=subsystem,
        keyslots_area=Extent(2 * header_size, int(config["keyslots_size"])),
        keyslots=_records(document, "keyslots", to_keyslot),
        tokens=_records(document, "tokens", to_token),
        segments=_records(document, "segments", to_segment),
        digests=_records(document, "digests", to_digest),
        config=to_config(config),
        as_read=document,
    )


def _records(
    document: ValidObject, kind: str, convert: Callable[[ValidObject], _Record]
) -> dict[int, _Record]:
    return {int(key): convert(value) for key, value in document[kind].items()}


def to_keyslot(members: ValidObject) -> AnyKeyslot:
    """A keyslot; one of another type than ``luks2`` becomes a foreign one."""
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
        kdf=to_kdf(members["kdf"]),
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


def _to_priority(members: ValidObject) -> KeyslotPriority | None:
    """The priority; a value that nobody has defined is never tried, as in cryptsetup."""
    value = members.get("priority")
    if value is None:
        return None
    return KeyslotPriority(value) if value in (0, 1, 2) else KeyslotPriority.IGNORE


def to_kdf(kdf: ValidObject) -> Pbkdf2 | Argon2i | Argon2id | ForeignKdf:
    """A key derivation function; one of an unknown type becomes a foreign one."""
    match kdf["type"]:
        case "pbkdf2":
            return Pbkdf2(hash=kdf["hash"], iterations=kdf["iterations"])
        case "argon2i":
            return Argon2i(time=kdf["time"], memory=kdf["memory"], cpus=kdf["cpus"])
        case "argon2id":
            return Argon2id(time=kdf["time"], memory=kdf["memory"], cpus=kdf["cpus"])
        case other:
            return ForeignKdf(str(other))


def to_segment(members: ValidObject) -> Segment:
    """A segment; one of an unknown type becomes a foreign one."""
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


def to_digest(members: ValidObject) -> Digest:
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


def to_token(members: ValidObject) -> Token:
    """A token, of whatever type."""
    return Token(type=members["type"], keyslots=_ids(members["keyslots"]), as_read=members)


def to_config(members: ValidObject) -> Config:
    """The flags and the mandatory requirements."""
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


def _ids(keys: Iterable[str]) -> tuple[int, ...]:
    return tuple(int(key) for key in keys)
