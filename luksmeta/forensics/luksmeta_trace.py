"""The metadata that latchset's luksmeta keeps in LUKS1 volumes, behind the last keyslot's area.

A table for the eight keyslots (libluksmeta's luksmeta.c): magic, version, CRC-32C, then per keyslot
a UUID that says whose it is, offset, length, CRC-32C and a word that is not used, all big-endian.
Clevis keeps its pins there.
"""

from __future__ import annotations

import uuid as uuids
from typing import Final

from construct import Bytes, Int32ub, Struct

from luksmeta.binary import parse_fields
from luksmeta.forensics.findings import Confidence, Finding, Kind
from luksmeta.sizes import counted
from luksmeta.storage import Storage

_SLOT = Struct(
    "uuid" / Bytes(16),  #      0  of the program that the data is for; zero: no data
    "offset" / Int32ub,  #     16  from the table's start, in bytes
    "length" / Int32ub,  #     20
    "crc32c" / Int32ub,  #     24
    "reserved" / Int32ub,  #   28
)
_TABLE = Struct(
    "magic" / Bytes(8),  #      0  b"LUKSMETA"
    "version" / Int32ub,  #     8
    "crc32c" / Int32ub,  #     12  of the table, this field zeroed
    "slots" / Bytes(8 * 32),  # 16  eight of _SLOT
)
_VERSION: Final = 1
_CRC_AT: Final = slice(12, 16)
_CLEVIS: Final = uuids.UUID("cb6e8904-81ff-40da-a84a-07ab9ab5715e")
_POLYNOMIAL: Final = 0x82F63B78  # Castagnoli's, bits reversed


def examine_luksmeta(storage: Storage, offset: int) -> Finding | None:
    """The table at ``offset``: high where its CRC is right, low otherwise."""
    size = _TABLE.sizeof()
    if offset + size > storage.size:
        return None
    data = storage.read_at(offset, size)
    table = parse_fields(_TABLE, data, "luksmeta table")
    blanked = bytearray(data)
    blanked[_CRC_AT] = bytes(4)
    is_right = table["version"] == _VERSION and table["crc32c"] == crc32c(blanked)
    slots = [
        parse_fields(_SLOT, table["slots"][at : at + _SLOT.sizeof()], "luksmeta slot")
        for at in range(0, len(table["slots"]), _SLOT.sizeof())
    ]
    used = [
        f"keyslot {number}: {counted(slot['length'], 'byte')} for {_owner(slot['uuid'])}"
        for number, slot in enumerate(slots)
        if any(slot["uuid"])
    ]
    ends = (slot["offset"] + slot["length"] for slot in slots)
    return Finding(
        disk=storage.name,
        offset=offset,
        size=max(size, *ends) if is_right else size,
        kind=Kind.LUKSMETA,
        confidence=Confidence.HIGH if is_right else Confidence.LOW,
        reasons=("its CRC is right", *used) if is_right else ("a magic",),
        version=_VERSION,
        problem=None if is_right else "its CRC is wrong",
    )


def crc32c(data: bytes | bytearray) -> int:
    """The CRC-32C of RFC 3720, bit by bit: for the few hundred bytes of a table."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _owner(data: bytes) -> str:
    uuid = uuids.UUID(bytes=data)
    return "clevis" if uuid == _CLEVIS else str(uuid)
