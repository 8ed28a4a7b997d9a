"""Whether a header that says "half reencrypted" says so with the keys' consent.

Segments of a reencryption decide which bytes are decrypted with which key, or with none. Whoever
can write to the disk could make a volume pass for half decrypted (CVE-2021-4122); so the keys and
everything that matters are bound together by a digest. Source: LUKS2 specification 1.1.4, section
4.9.2; lib/luks2/luks2_reencrypt_digest.c.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from typing import Any, Final

from luksmeta.errors import RequirementError, VolumeKeyError
from luksmeta.kdf.pbkdf import Limits
from luksmeta.model import (
    CryptSegment,
    Dynamic,
    ForeignKeyslot,
    LinearSegment,
    Metadata,
    Segment,
)
from luksmeta.requirements import ONLINE_REENCRYPTION, is_reencrypting
from luksmeta.secret import SecretBytes
from luksmeta.volume_key import make_digest, matches

KEYSLOT_TYPE: Final = "reencrypt"
_VERSIONS: Final = {"online-reencrypt-v2": b"v2", "online-reencrypt-v3": b"v3"}
_PLAIN_VERSION, _DATASHIFT_VERSION = _VERSIONS  # in this order
_DIGEST_HASH: Final = "sha256"
_PREVIOUS, _FINAL, _MOVED = "backup-previous", "backup-final", "backup-moved-segment"

# The members of the keyslot's area that the digest covers, by the area's type: text or bytes of a
# big-endian number.
_AREA_MEMBERS: Final[Mapping[str, tuple[tuple[str, int | None], ...]]] = {
    "none": (),
    "journal": (),
    "checksum": (("hash", None), ("sector_size", 4)),
    "datashift": (("shift_size", 8),),
    "datashift-journal": (("shift_size", 8),),
    "datashift-checksum": (("hash", None), ("sector_size", 4), ("shift_size", 8)),
}


def check(
    metadata: Metadata, keys: Mapping[int, SecretBytes], limits: Limits | None = None
) -> None:
    """Raise VolumeKeyError unless the reencryption's digest matches; ``keys`` are by digest id.

    RequirementError for a reencryption without digest, or of an unknown kind.
    """
    keyslot_id, _ = _reencrypt_keyslot(metadata)
    found = metadata.digest_of_keyslot(keyslot_id)
    if found is None:
        raise RequirementError(
            f"keyslot {keyslot_id}: the reencryption has no digest; repair makes one"
        )
    with _covered(metadata, keys) as covered:
        if not matches(*found, covered, limits):
            raise VolumeKeyError(
                f"keyslot {keyslot_id}: the reencryption does not match its digest; the header was "
                "changed without the volume key"
            )


def lacks_proof(metadata: Metadata) -> bool:
    """Whether a reencryption is in progress that nothing proves: cryptsetup 2.0 to 2.4.2 made such.

    Its requirement has no version, or its keyslot no digest.
    """
    if not is_reencrypting(metadata):
        return False
    keyslot_id, _ = _reencrypt_keyslot(metadata)
    return not _versions(metadata) or metadata.digest_of_keyslot(keyslot_id) is None


def proved(metadata: Metadata, keys: Mapping[int, SecretBytes], iterations: int) -> Metadata:
    """The same with a versioned requirement and a digest made with ``keys``, by digest id.

    Whoever has the keys vouches for the segments as they stand (lib/luks2/luks2_reencrypt.c, the
    repair of reencryption metadata). Raises as :func:`check`.
    """
    keyslot_id, keyslot = _reencrypt_keyslot(metadata)
    requirements = metadata.config.requirements
    if not _versions(metadata):
        version = _DATASHIFT_VERSION if _shifts_while_decrypting(keyslot) else _PLAIN_VERSION
        others = (each for each in requirements if each not in ONLINE_REENCRYPTION)
        requirements = (*others, version)
    config = replace(metadata.config, requirements=requirements)
    digests = {
        digest_id: each
        for digest_id, each in metadata.digests.items()
        if keyslot_id not in each.keyslots
    }
    metadata = replace(metadata, config=config, digests=digests)
    with _covered(metadata, keys) as covered:
        digest = make_digest(
            covered,
            version=metadata.version,
            hash_name=_DIGEST_HASH,
            iterations=iterations,
            keyslots=(keyslot_id,),
        )
    free = next(number for number in count() if number not in digests)
    return replace(metadata, digests={**digests, free: digest})


def _covered(metadata: Metadata, keys: Mapping[int, SecretBytes]) -> SecretBytes:
    """The bytes that the digest is made of; the caller wipes them."""
    keyslot_id, keyslot = _reencrypt_keyslot(metadata)
    parts: list[bytes | memoryview] = [
        _version(metadata),
        *_keys(metadata, keys),
        *_resilience(keyslot_id, keyslot),
        *(
            part
            for flag in (_PREVIOUS, _FINAL, _MOVED)
            for part in _segment_parts(_flagged(metadata, flag))
        ),
    ]
    covered = SecretBytes(sum(len(part) for part in parts))
    _join(parts, covered.view())
    return covered


def _shifts_while_decrypting(keyslot: ForeignKeyslot) -> bool:
    is_shifted = keyslot.area.type in ("datashift-checksum", "datashift-journal")
    return is_shifted and keyslot.as_read["mode"] == "decrypt"


def _versions(metadata: Metadata) -> list[bytes]:
    return [_VERSIONS[each] for each in metadata.config.requirements if each in _VERSIONS]


def _reencrypt_keyslot(metadata: Metadata) -> tuple[int, ForeignKeyslot]:
    for keyslot_id, keyslot in metadata.keyslots.items():
        if isinstance(keyslot, ForeignKeyslot) and keyslot.type == KEYSLOT_TYPE:
            return keyslot_id, keyslot
    raise RequirementError("header: in reencryption, but no keyslot says how")


def _version(metadata: Metadata) -> bytes:
    for version in _versions(metadata):
        return version
    raise RequirementError("header: a reencryption of unknown version; repair may give it one")


def _keys(metadata: Metadata, keys: Mapping[int, SecretBytes]) -> list[memoryview]:
    """The old key and the new one, each once; a side in the clear has none."""
    views: dict[int, memoryview] = {}
    for flag in (_PREVIOUS, _FINAL):
        for segment_id, segment in metadata.segments.items():
            found = metadata.digest_of_segment(segment_id) if flag in segment.flags else None
            if found is None:
                continue
            if found[0] not in keys:
                raise VolumeKeyError(
                    f"digest {found[0]}: its key was not opened, so the reencryption cannot be "
                    "checked"
                )
            views[found[0]] = keys[found[0]].view()
    return list(views.values())


def _resilience(keyslot_id: int, keyslot: ForeignKeyslot) -> list[bytes]:
    members: Mapping[str, Any] = keyslot.as_read
    area: Mapping[str, Any] = members["area"]
    if keyslot.area.type not in _AREA_MEMBERS:
        raise RequirementError(
            f"keyslot {keyslot_id}: resilience {keyslot.area.type!r} is not known here"
        )
    parts = [
        _text(members["mode"]),
        _text(members["direction"]),
        _text(keyslot.area.type),
        _number(keyslot.area.offset, 8),
        _number(keyslot.area.size, 8),
    ]
    for name, size in _AREA_MEMBERS[keyslot.area.type]:
        parts.append(_text(area[name]) if size is None else _number(int(area[name]), size))
    return parts


def _flagged(metadata: Metadata, flag: str) -> Segment | None:
    return next((each for each in metadata.segments.values() if flag in each.flags), None)


def _segment_parts(segment: Segment | None) -> list[bytes]:
    if segment is None:
        return []
    parts = [
        _text(segment.type),
        _number(segment.offset, 8),
        _text("dynamic") if isinstance(segment.size, Dynamic) else _number(segment.size, 8),
    ]
    match segment:
        case CryptSegment():
            parts += [
                _number(segment.iv_tweak, 8),
                _text(segment.encryption),
                _number(segment.sector_size, 4),
            ]
        case LinearSegment():
            pass
        case _:
            raise RequirementError(f"segment of type {segment.type}: unknown in a reencryption")
    return parts


def _text(value: object) -> bytes:
    return str(value).encode("utf-8", "surrogateescape")


def _number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big")


def _join(parts: list[bytes | memoryview], into: memoryview) -> None:
    at = 0
    for part in parts:
        into[at : at + len(part)] = part
        at += len(part)
