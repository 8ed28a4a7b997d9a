"""The fields of a LUKS1 header <-> the model (LUKS1 specification 1.2.3; lib/luks1/keymanage.c)."""

from __future__ import annotations

from dataclasses import replace

from luksmeta.binary import c_text
from luksmeta.errors import UnsupportedError
from luksmeta.extents import Extent
from luksmeta.kdf.pbkdf import Pbkdf2
from luksmeta.luks1.partition_header import (
    ACTIVE,
    INACTIVE,
    VERSION,
    KeyslotRecord,
    PartitionHeader,
)
from luksmeta.luks1.validation import Table
from luksmeta.model import (
    DYNAMIC,
    SECTOR_SIZE,
    AntiForensic,
    AnyKeyslot,
    CryptSegment,
    Keyslot,
    Metadata,
    Pbkdf2Digest,
    RawArea,
)


def to_metadata(record: PartitionHeader) -> Metadata:
    """What a sound record means."""
    key_size = record.key_bytes
    cipher_name, cipher_mode = c_text(record.cipher_name), c_text(record.cipher_mode)
    encryption = f"{cipher_name}-{cipher_mode}" if cipher_mode else cipher_name
    hash_name = c_text(record.hash_spec)
    areas = Table.of(record).areas
    keyslots = {
        keyslot_id: _to_keyslot(entry, areas[keyslot_id], encryption, hash_name, key_size)
        for keyslot_id, entry in enumerate(record.keyslot_records())
        if entry.is_active
    }
    segment = CryptSegment(
        offset=record.payload_offset * SECTOR_SIZE,
        size=DYNAMIC,
        iv_tweak=0,
        encryption=encryption,
        sector_size=SECTOR_SIZE,
        key_size=key_size,
    )
    digest = Pbkdf2Digest(
        keyslots=tuple(keyslots),
        segments=(0,),
        hash=hash_name,
        iterations=record.mk_digest_iter,
        salt=record.mk_digest_salt,
        digest=record.mk_digest,
    )
    start = min(area.offset for area in areas)
    return Metadata(
        version=VERSION,
        uuid=c_text(record.uuid),
        keyslots_area=Extent(start, max(area.end for area in areas) - start),
        keyslots=keyslots,
        segments={0: segment},
        digests={0: digest},
    )


def _to_keyslot(
    entry: KeyslotRecord, area: Extent, encryption: str, hash_name: str, key_size: int
) -> Keyslot:
    return Keyslot(
        key_size=key_size,
        kdf=Pbkdf2(hash=hash_name, iterations=entry.iterations),
        salt=entry.salt,
        af=AntiForensic(hash=hash_name, stripes=entry.stripes),
        area=RawArea(offset=area.offset, size=area.size, encryption=encryption, key_size=key_size),
    )


def keyslot_record(old: KeyslotRecord, keyslot: AnyKeyslot | None) -> KeyslotRecord:
    """The table entry for a keyslot; an unused one keeps its place and its stripes."""
    if keyslot is None and not old.is_active:
        return old
    if not isinstance(keyslot, Keyslot) or not isinstance(keyslot.kdf, Pbkdf2):
        return replace(old, active=INACTIVE, iterations=0, salt=bytes(32))
    return KeyslotRecord(
        active=ACTIVE,
        iterations=keyslot.kdf.iterations,
        salt=keyslot.salt,
        key_material_offset=keyslot.area.offset // SECTOR_SIZE,
        stripes=keyslot.af.stripes,
    )


def refuse_what_luks1_lacks(metadata: Metadata, header_hash: str) -> None:
    """Raise UnsupportedError for what a LUKS1 header of this hash has no place for."""
    if metadata.label or metadata.subsystem:
        raise UnsupportedError("header: LUKS1 has no label and no subsystem")
    if metadata.tokens or metadata.config.flags:
        raise UnsupportedError("header: LUKS1 has no tokens and no persistent flags")
    segment = metadata.segments[0]
    data_cipher = segment.encryption if isinstance(segment, CryptSegment) else ""
    for keyslot_id, keyslot in metadata.keyslots.items():
        if not isinstance(keyslot, Keyslot) or not isinstance(keyslot.kdf, Pbkdf2):
            raise UnsupportedError(f"keyslot {keyslot_id}: LUKS1 knows PBKDF2 only")
        if keyslot.priority is not None:
            raise UnsupportedError(f"keyslot {keyslot_id}: LUKS1 has no keyslot priorities")
        _refuse_other_cipher(keyslot_id, keyslot, data_cipher)
        if keyslot.kdf.hash != keyslot.af.hash or keyslot.af.hash != header_hash:
            raise UnsupportedError(
                f"keyslot {keyslot_id}: hash {keyslot.kdf.hash}, a LUKS1 header has one for all: "
                f"{header_hash}"
            )


def _refuse_other_cipher(keyslot_id: int, keyslot: Keyslot, data_cipher: str) -> None:
    if (keyslot.area.encryption, keyslot.area.key_size) != (data_cipher, keyslot.key_size):
        raise UnsupportedError(
            f"keyslot {keyslot_id}: {keyslot.area.encryption} with {keyslot.area.key_size} "
            f"bytes of key, LUKS1 encrypts keyslots as the data: {data_cipher} with "
            f"{keyslot.key_size}"
        )


def only_digest(metadata: Metadata) -> Pbkdf2Digest:
    """The one digest that LUKS1 has; UnsupportedError for others, or more."""
    match metadata.digests:
        case {0: Pbkdf2Digest() as digest} if len(metadata.digests) == 1:
            return digest
    raise UnsupportedError("header: LUKS1 has one digest, a pbkdf2 one")
