"""What happens to headers in the world: bytes that other programs and broken disks leave there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

Damage: TypeAlias = Callable[[bytearray], None]

HDR_SIZE: Final = 0x4000
MBR: Final = b"\x00\x02\x00\x83".ljust(64, b"\1") + b"\x55\xaa"  # from byte 446 on


def bytes_at(offset: int, data: bytes) -> Damage:
    """``data`` written at ``offset``."""

    def damage(disk: bytearray) -> None:
        disk[offset : offset + len(data)] = data

    return damage


def all_of(*damages: Damage) -> Damage:
    """One after another."""

    def damage(disk: bytearray) -> None:
        for each in damages:
            each(disk)

    return damage


_NO_MAGIC: Final = bytes(6)
_BOTH_MAGICS: Final = all_of(bytes_at(0, _NO_MAGIC), bytes_at(HDR_SIZE, _NO_MAGIC))

LUKS2_REPAIRABLE: Final[Mapping[str, Damage]] = {
    "first 4 KiB zeroed": bytes_at(0, bytes(4096)),
    "whole primary zeroed": bytes_at(0, bytes(HDR_SIZE)),
    "secondary zeroed": bytes_at(HDR_SIZE, bytes(4096)),
    "partition table": bytes_at(446, MBR),
    "JSON of the primary": bytes_at(5000, b"\xff"),
    "JSON of the secondary": bytes_at(HDR_SIZE + 5000, b"\xff"),
    "seqid of the secondary": bytes_at(HDR_SIZE + 16, bytes(8)),
    "wipefs": _BOTH_MAGICS,
    "mkswap": all_of(
        _BOTH_MAGICS, bytes_at(0x400, b"\1\0\0\0\xff"), bytes_at(0xFF6, b"SWAPSPACE2")
    ),
    "magic of the primary": bytes_at(0, _NO_MAGIC),
}
"""Damages of a volume with 16 KiB of metadata from which one copy can be had again."""

LUKS2_BEYOND_REPAIR: Final[Mapping[str, Damage]] = {
    "both copies zeroed": bytes_at(0, bytes(2 * HDR_SIZE)),
    "a byte in each copy": all_of(bytes_at(300, b"\1"), bytes_at(HDR_SIZE + 300, b"\1")),
    "magics and a byte in each": all_of(
        _BOTH_MAGICS, bytes_at(300, b"\1"), bytes_at(HDR_SIZE + 300, b"\1")
    ),
}


def _entry(keyslot: int, field: int) -> int:
    return 208 + 48 * keyslot + field


LUKS1_REPAIRED_BY_CRYPTSETUP: Final[Mapping[str, Damage]] = {
    "partition signature": bytes_at(510, b"\x55\xaa"),
    "partition table over unused keyslots": bytes_at(448, MBR[2:]),
    "stripes of an unused keyslot": bytes_at(_entry(5, 44), bytes(4)),
    "place of an unused keyslot": bytes_at(_entry(3, 40), b"\0\0\0\2"),
    "place beyond the data": bytes_at(_entry(7, 40), b"\x7f\0\0\0"),
    "unused keyslots zeroed": bytes_at(_entry(4, 0), bytes(4 * 48)),
    "hash in capitals": bytes_at(72, b"SHA256"),
    "ecb with an IV": bytes_at(40, b"ecb-plain\0\0\0"),
    "capitals and a partition signature": all_of(
        bytes_at(72, b"Sha256"), bytes_at(510, b"\x55\xaa")
    ),
}
"""Damages of a LUKS1 volume with the keyslots 0 and 1 in use."""

LUKS1_BEYOND_REPAIR: Final[Mapping[str, Damage]] = {
    "place of a keyslot in use": bytes_at(_entry(1, 40), b"\0\0\0\2"),
    "key size": bytes_at(108, b"\0\0\0\x21"),
    "place of keyslot 0": bytes_at(_entry(0, 40), b"\0\0\0\1"),
    "hash of 16 bytes": bytes_at(72, b"md5\0\0\0\0"),
}
