"""What cryptsetup's ``repair`` mends in a LUKS1 header (lib/luks1/keymanage.c _keyslot_repair).

Everything is computed from what the header says of itself: where areas of its key size lie, and
that there are 4000 stripes. What holds a key, its salt and its iterations, cannot be.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from luksmeta.binary import c_text
from luksmeta.errors import HeaderError
from luksmeta.luks1.partition_header import (
    FIRST_AREA,
    INACTIVE,
    KeyslotRecord,
    PartitionHeader,
    area_offset,
)
from luksmeta.luks1.validation import check, validate, warnings
from luksmeta.model import SECTOR_SIZE, STRIPES
from luksmeta.sizes import counted

_KEY_SIZES: Final = (16, 32, 64)
_BOOT_SIGNATURE: Final = b"\x55\xaa"
_BOOT_SIGNATURE_OFFSET: Final = 510
_KEYSLOT_UNDER_IT: Final = 6  # its entry holds the two bytes in its salt
_MENDABLE_ODDITIES: Final = ("hash-lower-case", "cipher-mode-ecb")


def needs_repair(record: PartitionHeader) -> bool:
    """Whether something is wrong that cryptsetup's repair looks for."""
    odd = any(each.rule in _MENDABLE_ODDITIES for each in warnings(record))
    return odd or bool(validate(record))


def repaired(record: PartitionHeader) -> PartitionHeader:
    """The header as repair leaves it; HeaderError for one that cannot be mended.

    Entries in use keep all but their number of stripes, which is always the same; an unused entry
    whose place or stripes were wrong loses salt and iterations with it.
    """
    _refuse_other_layouts(record)
    mended = replace(
        record,
        cipher_name=_terminated(record.cipher_name),
        cipher_mode=_without_iv_of_ecb(_terminated(record.cipher_mode)),
        hash_spec=_terminated(record.hash_spec).lower(),
        uuid=_terminated(record.uuid),
    )
    has_boot_signature = record.to_bytes()[_BOOT_SIGNATURE_OFFSET:].startswith(_BOOT_SIGNATURE)
    mended = mended.with_keyslot_records(
        tuple(
            _entry(entry, keyslot_id, record.key_bytes, has_boot_signature)
            for keyslot_id, entry in enumerate(record.keyslot_records())
        )
    )
    check(mended)
    return mended


def _entry(
    entry: KeyslotRecord, keyslot_id: int, key_size: int, has_boot_signature: bool
) -> KeyslotRecord:
    if entry.is_active:
        return replace(entry, stripes=STRIPES)
    offset = area_offset(keyslot_id, key_size) // SECTOR_SIZE
    is_good = (entry.key_material_offset, entry.stripes) == (offset, STRIPES)
    if is_good and not (keyslot_id == _KEYSLOT_UNDER_IT and has_boot_signature):
        return entry
    return KeyslotRecord(
        active=INACTIVE,
        iterations=0,
        salt=bytes(len(entry.salt)),
        key_material_offset=offset,
        stripes=STRIPES,
    )


def _refuse_other_layouts(record: PartitionHeader) -> None:
    if record.key_bytes not in _KEY_SIZES:
        raise HeaderError(
            f"partition header: a key of {counted(record.key_bytes, 'byte')}, the places "
            "of areas are known "
            f"for {', '.join(map(str, _KEY_SIZES))}",
            offset=108,
        )
    first = record.keyslot_records()[0].key_material_offset * SECTOR_SIZE
    if first < FIRST_AREA:
        raise HeaderError(
            f"keyslot 0: area starts at {first:#x}, the places of the others are known where it is "
            f"{FIRST_AREA:#x} or more"
        )


def _terminated(text: bytes) -> bytes:
    return text[:-1] + b"\0"


def _without_iv_of_ecb(mode: bytes) -> bytes:
    return b"ecb".ljust(len(mode), b"\0") if c_text(mode).startswith("ecb-") else mode
