"""What a header of one version means in the other, or why that version has no place for it.

The rules are those of lib/luks2/luks2_luks1_convert.c and lib/setup.c crypt_convert; where the
reference drops something without a word, :func:`lost_in_luks1` names it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from luksmeta.area_routes import Places, luks1_places, luks2_places, place_size
from luksmeta.errors import UnsupportedError
from luksmeta.extents import Extent, align_down, align_up
from luksmeta.format_options import LUKS1_OFFSET_MAX
from luksmeta.kdf.pbkdf import Pbkdf2
from luksmeta.luks1.header import Luks1Header
from luksmeta.luks1.partition_header import FIRST_AREA, KEYSLOT_COUNT, areas_end
from luksmeta.luks2.limits import AREA_ALIGNMENT, HDR_SIZES, KEYSLOTS_AREA_MAX
from luksmeta.model import (
    DYNAMIC,
    SECTOR_SIZE,
    AnyKeyslot,
    CryptSegment,
    Keyslot,
    Metadata,
    Pbkdf2Digest,
)
from luksmeta.new_keyslot import keyslot_encryption
from luksmeta.sector.cipher_spec import CipherSpec
from luksmeta.sizes import counted
from luksmeta.storage import Storage

_LUKSMETA: Final = b"LUKSMETA"  # the magic of the tool of that name, which keeps data in the gap
_NAME_MAX: Final = 31  # bytes; LUKS1 specification, figure 1
_DIGEST_SIZE: Final = 20  # of the volume key's digest in LUKS1; LUKS2 may have more of the same
_AREAS_START: Final = 2 * HDR_SIZES[0]


def to_luks2(header: Luks1Header, storage: Storage) -> Metadata:
    """The LUKS2 metadata of a LUKS1 volume, whose header lies in ``storage``.

    Raises UnsupportedError when there is no room, when the cipher is none for LUKS2 keyslots, when
    the luksmeta tool keeps data behind the areas, or when it is not known of a keyslot whether it
    is in use: its key material would be destroyed.
    """
    for keyslot_id, odd in header.odd_keyslots.items():
        raise UnsupportedError(f"keyslot {keyslot_id}: {odd}; converting would destroy what it has")
    metadata = header.metadata
    segment, key_size = _luks1_segment(metadata)
    area = _keyslots_area(metadata, key_size, storage)
    places = luks2_places(key_size, area.offset)
    after = replace(
        metadata,
        version=2,
        keyslots_area=area,
        keyslots={k: _at(each, places[k]) for k, each in metadata.keyslots.items()},
        segments={0: replace(segment, key_size=None)},
    )
    cipher = CipherSpec.parse(segment.encryption)
    usable = (segment.encryption, key_size)
    if cipher.is_null or keyslot_encryption(after, key_size) != usable:
        raise UnsupportedError(
            f"header: cipher {segment.encryption} with {counted(key_size, 'byte')} of "
            "key is none for LUKS2 "
            "keyslots"
        )
    return after


def to_luks1(metadata: Metadata) -> Luks1Header:
    """The LUKS1 header of a LUKS2 volume, its areas where new headers have them.

    Raises UnsupportedError for everything that LUKS1 has no place for and that matters.
    """
    segment, digest, key_size = _checked_luks2(metadata)
    header = Luks1Header.create(
        uuid=metadata.uuid,
        cipher=segment.encryption,
        hash_spec=digest.hash,
        payload_offset=segment.offset,
        digest=replace(digest, digest=digest.digest[:_DIGEST_SIZE]),
        key_size=key_size,
    )
    places = luks1_places(key_size)
    keyslots = {
        each: _luks1_keyslot(each, metadata.keyslots[each], header, places, key_size)
        for each in sorted(metadata.keyslots)
    }
    return header.updated(replace(header.metadata, keyslots=keyslots))


def lost_in_luks1(metadata: Metadata) -> tuple[str, ...]:
    """What a LUKS1 header has no place for, and what the volume works without."""
    priorities = {k: v.priority for k, v in metadata.keyslots.items() if v.priority is not None}
    texts = {
        f"label {metadata.label!r}": metadata.label,
        f"subsystem {metadata.subsystem!r}": metadata.subsystem,
        f"persistent flags {', '.join(metadata.config.flags)}": metadata.config.flags,
        f"priority of keyslot {', '.join(map(str, sorted(priorities)))}": priorities,
    }
    return tuple(f"LUKS1 has no place for the {text}" for text, value in texts.items() if value)


def _luks1_segment(metadata: Metadata) -> tuple[CryptSegment, int]:
    segment, key_size = metadata.segments[0], metadata.volume_key_size
    if not isinstance(segment, CryptSegment) or key_size is None:
        raise UnsupportedError("header: no LUKS1 segment")
    return segment, key_size


def _keyslots_area(metadata: Metadata, key_size: int, storage: Storage) -> Extent:
    """From the end of both headers to the data; with a detached header, to the file's end.

    Such a file is extended where the areas need more.
    """
    needed = _AREAS_START + KEYSLOT_COUNT * place_size(key_size)
    end = metadata.data_offset or max(storage.size, needed)
    if end < needed:
        raise UnsupportedError(
            f"data starts at {end:#x}, the keyslots of a LUKS2 header would end at {needed:#x}"
        ).about(storage.name)
    tail = align_up(areas_end(key_size), FIRST_AREA)
    if storage.size >= tail + len(_LUKSMETA) and storage.read_at(tail, len(_LUKSMETA)) == _LUKSMETA:
        raise UnsupportedError(
            f"data of the luksmeta tool lies at {tail:#x}, where keyslots would be"
        ).about(storage.name)
    size = align_down(end - _AREAS_START, AREA_ALIGNMENT)
    return Extent(_AREAS_START, min(size, KEYSLOTS_AREA_MAX))


def _at(keyslot: AnyKeyslot, place: Extent) -> AnyKeyslot:
    """A LUKS1 keyslot with its area in a LUKS2 place."""
    if not isinstance(keyslot, Keyslot):
        return keyslot
    area = replace(keyslot.area, offset=place.offset, size=place.size)
    return replace(keyslot, area=area)


def _checked_luks2(metadata: Metadata) -> tuple[CryptSegment, Pbkdf2Digest, int]:
    """What every LUKS1 volume has: one segment, one digest, one size of keys."""
    if metadata.config.requirements:
        raise _no_place(f"requirement {', '.join(metadata.config.requirements)}")
    if metadata.tokens:
        raise _no_place(f"tokens ({', '.join(map(str, sorted(metadata.tokens)))})")
    segment = metadata.segments.get(0)
    if len(metadata.segments) != 1 or not isinstance(segment, CryptSegment):
        raise UnsupportedError(
            f"header: {counted(len(metadata.segments), 'segment')}, LUKS1 has one, of type crypt"
        )
    _check_segment(segment)
    digest = metadata.digests.get(0)
    if len(metadata.digests) != 1 or not isinstance(digest, Pbkdf2Digest):
        raise UnsupportedError(
            f"header: digests {', '.join(map(str, sorted(metadata.digests)))}, LUKS1 has one, of "
            "type pbkdf2; unbound keyslots have others"
        )
    _check_names(segment.encryption, digest.hash)
    key_size = metadata.volume_key_size
    if not metadata.keyslots or key_size is None:
        raise UnsupportedError("header: no keyslot in use, so the key's size is not known")
    _check_data_offset(segment.offset, key_size)
    return segment, digest, key_size


def _check_segment(segment: CryptSegment) -> None:
    given = {
        "sector_size": (segment.sector_size, SECTOR_SIZE),
        "iv_tweak": (segment.iv_tweak, 0),
        "size": (segment.size, DYNAMIC),
        "integrity": (segment.integrity, None),
    }
    for name, (value, only) in given.items():
        if value != only:
            wanted = only.value if only is DYNAMIC else only
            raise UnsupportedError(f"segment 0: {name} {value}, in LUKS1 it is always {wanted}")
    if segment.encryption.startswith("capi:") or "-" not in segment.encryption:
        raise _no_place(f"cipher specification {segment.encryption}")


def _check_names(encryption: str, hash_name: str) -> None:
    """LUKS1 has fields of 32 bytes for each, the NUL at the end included."""
    cipher, _, mode = encryption.partition("-")
    for what, name in (("cipher name", cipher), ("cipher mode", mode), ("hash", hash_name)):
        if len(name.encode("utf-8", "surrogateescape")) > _NAME_MAX or "\0" in name:
            raise _no_place(f"{what} {name[:40]!r}, at most {_NAME_MAX} bytes fit")


def _check_data_offset(offset: int, key_size: int) -> None:
    end = areas_end(key_size)
    if offset and offset < end:
        raise UnsupportedError(
            f"segment 0: data starts at {offset:#x}, the keyslots of LUKS1 end at {end:#x}"
        )
    if offset > LUKS1_OFFSET_MAX:
        raise UnsupportedError(
            f"segment 0: data starts at {offset:#x}, at most {LUKS1_OFFSET_MAX:#x} fit in LUKS1"
        )


def _luks1_keyslot(
    keyslot_id: int, keyslot: AnyKeyslot, header: Luks1Header, places: Places, key_size: int
) -> Keyslot:
    """The keyslot as LUKS1 has it; what else is wrong with it shows when the header is made."""
    if keyslot_id not in header.keyslot_ids:
        raise UnsupportedError(
            f"keyslot {keyslot_id}: LUKS1 has ids from 0 to {KEYSLOT_COUNT - 1} only"
        )
    place = places[keyslot_id]
    if not isinstance(keyslot, Keyslot) or not isinstance(keyslot.kdf, Pbkdf2):
        raise UnsupportedError(
            f"keyslot {keyslot_id}: LUKS1 knows PBKDF2 only; convert-key can change that"
        )
    if keyslot.key_size != key_size or keyslot.area.size != place.size:
        raise UnsupportedError(
            f"keyslot {keyslot_id}: key of {counted(keyslot.key_size, 'byte')} in an area of "
            f"{keyslot.area.size}, in LUKS1 it is {key_size} in {place.size}"
        )
    area = replace(
        keyslot.area, offset=place.offset, size=header.place_area(keyslot_id, key_size).size
    )
    return replace(keyslot, priority=None, area=area)


def _no_place(what: str) -> UnsupportedError:
    return UnsupportedError(f"header: LUKS1 has no place for the {what}")
