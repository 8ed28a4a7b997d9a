"""The bytes of the LUKS1 partition header (LUKS1 specification 1.2.3, figures 1 and 2)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, Self

from construct import Bytes, Int16ub, Int32ub, Struct

from luksmeta.binary import build_fields, parse_fields
from luksmeta.extents import align_up
from luksmeta.model import SECTOR_SIZE, STRIPES

MAGIC: Final = b"LUKS\xba\xbe"
VERSION: Final = 1
SIZE: Final = 592
WRITTEN_SIZE: Final = 1024  # two sectors, zero padded: lib/luks1/keymanage.c LUKS_write_phdr
KEYSLOT_COUNT: Final = 8
FIRST_AREA: Final = 4096  # LUKS_ALIGN_KEYSLOTS, lib/luks1/luks.h
KEY_SIZE_MAX: Final = 512  # bytes; the longest key of any dm-crypt mode, to bound the areas
ACTIVE: Final = 0x00AC71F3
INACTIVE: Final = 0x0000DEAD

PARTITION_HEADER = Struct(
    "magic" / Bytes(6),  #               0  b"LUKS\xba\xbe"
    "version" / Int16ub,  #              6
    "cipher_name" / Bytes(32),  #        8
    "cipher_mode" / Bytes(32),  #       40
    "hash_spec" / Bytes(32),  #         72  of PBKDF2, anti-forensic splitter and digest
    "payload_offset" / Int32ub,  #     104  in sectors; 0 in a detached header
    "key_bytes" / Int32ub,  #          108
    "mk_digest" / Bytes(20),  #        112
    "mk_digest_salt" / Bytes(32),  #   132
    "mk_digest_iter" / Int32ub,  #     164
    "uuid" / Bytes(40),  #             168
    "keyslots" / Bytes(8 * 48),  #     208  eight of KEYSLOT
)

KEYSLOT = Struct(
    "active" / Int32ub,  #               0
    "iterations" / Int32ub,  #           4
    "salt" / Bytes(32),  #               8
    "key_material_offset" / Int32ub,  # 40  in sectors
    "stripes" / Int32ub,  #             44
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyslotRecord:
    """One of the eight entries of the keyslot table."""

    active: int
    iterations: int
    salt: bytes = field(repr=False)
    key_material_offset: int
    stripes: int

    @property
    def is_active(self) -> bool:
        """Whether the keyslot holds a key."""
        return self.active == ACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionHeader:
    """The 592 bytes at the start of a LUKS1 volume ("phdr")."""

    magic: bytes
    version: int
    cipher_name: bytes
    cipher_mode: bytes
    hash_spec: bytes
    payload_offset: int
    key_bytes: int
    mk_digest: bytes = field(repr=False)
    mk_digest_salt: bytes = field(repr=False)
    mk_digest_iter: int
    uuid: bytes
    keyslots: bytes = field(repr=False)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The record of ``SIZE`` bytes; HeaderError when there are more or fewer."""
        return cls(**parse_fields(PARTITION_HEADER, data, "partition header"))

    def to_bytes(self) -> bytes:
        """The ``SIZE`` bytes of this record."""
        return build_fields(PARTITION_HEADER, self)

    def keyslot_records(self) -> tuple[KeyslotRecord, ...]:
        """The eight entries of the keyslot table."""
        size = KEYSLOT.sizeof()
        return tuple(
            KeyslotRecord(**parse_fields(KEYSLOT, self.keyslots[at : at + size], "keyslot"))
            for at in range(0, len(self.keyslots), size)
        )

    def with_keyslot_records(self, records: tuple[KeyslotRecord, ...]) -> Self:
        """The same header with another keyslot table."""
        return replace(self, keyslots=b"".join(build_fields(KEYSLOT, each) for each in records))


def area_size(key_size: int) -> int:
    """The size of a keyslot's area: the split key in whole sectors (lib/luks1/af.c)."""
    return align_up(key_size * STRIPES, SECTOR_SIZE)


def area_offset(keyslot_id: int, key_size: int) -> int:
    """Where a new header puts a keyslot's area (lib/luks1/keymanage.c LUKS_generate_phdr)."""
    return FIRST_AREA + keyslot_id * align_up(key_size * STRIPES, FIRST_AREA)


def areas_end(key_size: int) -> int:
    """The end of the last keyslot's area in a new header."""
    return area_offset(KEYSLOT_COUNT - 1, key_size) + area_size(key_size)
