"""The table of damages: what is done to which volume, and what is left by information theory.

An expectation is about information: which passphrases there still is everything for, header and key
material, in whatever place. ``lost`` says why it is not both. Which bytes change is not written
here but found by comparing with the original.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.forensics.laboratory import ways
from tests.forensics.laboratory.volumes import (
    AREA,
    LUKS1,
    LUKS2,
    LUKS2_1M,
    LUKS2_64K,
    MATERIAL,
    Kind,
)
from tests.forensics.laboratory.ways import Way, all_of, cut, flip, noise, ones, swap, zeroes

BOTH: Final = ("first", "second")
FIRST_ONLY: Final = ("first",)
SECOND_ONLY: Final = ("second",)
NONE: Final = ()

# Why not all comes back. The salts of LUKS2 stand in the JSON text.
KEYSLOT_0: Final = "key material of keyslot 0"
KEYSLOT_1: Final = "key material of keyslot 1"
KEYSLOTS: Final = "key material of both keyslots"
SALTS: Final = "salts of both keyslots"
SALT_0: Final = "salt of keyslot 0"


@dataclass(frozen=True)
class Damage:
    """One way to damage a volume, and what is left: the passphrases that can open it again.

    ``lost`` is what is gone for the others; ``unseen`` why an inspection cannot see the damage, or
    not all of it.
    """

    name: str
    kind: Kind
    way: Way
    opens: tuple[str, ...] = BOTH
    lost: str = ""
    unseen: str = ""

    @property
    def title(self) -> str:
        """The name with that of the volume: unique."""
        return f"{self.kind.name}: {self.name}"


# --- LUKS2 with the usual 16 KiB of metadata -----------------------------------------------------

_JSON: Final = 0x1000  # of a copy, from its start
_SECOND: Final = LUKS2.hdr_size
_SLOT_0, _SLOT_1 = LUKS2.slot(0), LUKS2.slot(1)
_SALT, _CSUM = 104, 448  # in a binary header


def _luks2(
    name: str,
    *parts: Way,
    opens: tuple[str, ...] = BOTH,
    lost: str = "",
    unseen: str = "",
) -> Damage:
    return Damage(name, LUKS2, all_of(*parts), opens, lost, unseen)


_OF_COPIES: Final = (
    _luks2("first sector zeroed", zeroes(0, 512)),
    _luks2("first 4 KiB zeroed", zeroes(0, 0x1000)),
    _luks2("first 4 KiB overwritten with noise", noise(0, 0x1000)),
    _luks2("primary copy zeroed", zeroes(0, _SECOND)),
    _luks2("JSON of the primary zeroed", zeroes(_JSON, _SECOND - _JSON)),
    _luks2("a page behind the JSON text overwritten", noise(0x3000, 0x1000)),
    _luks2("secondary copy zeroed", zeroes(_SECOND, _SECOND)),
    _luks2("secondary copy overwritten with noise", noise(_SECOND, _SECOND)),
    _luks2("secondary binary header zeroed", zeroes(_SECOND, 0x1000)),
    _luks2("JSON of the secondary zeroed", zeroes(_SECOND + _JSON, _SECOND - _JSON)),
    _luks2("one bit of the primary's JSON", flip(_JSON + 700)),
    _luks2("one bit of the primary's salt", flip(_SALT + 5)),
    _luks2("one bit of each copy's salt", flip(_SALT + 5), flip(_SECOND + _SALT + 9)),
    _luks2(
        "one bit of each copy's JSON, at different places",
        flip(_JSON + 700),
        flip(_SECOND + _JSON + 300),
    ),
    _luks2("both checksums zeroed", zeroes(_CSUM, 64), zeroes(_SECOND + _CSUM, 64)),
    _luks2("both header sizes overwritten", ones(8, 8), ones(_SECOND + 8, 8)),
    _luks2("both binary headers zeroed", zeroes(0, 0x1000), zeroes(_SECOND, 0x1000)),
    _luks2("both binary headers erased to ones", ones(0, 0x1000), ones(_SECOND, 0x1000)),
    _luks2(
        "binary header of the primary, JSON of the secondary",
        zeroes(0, 0x1000),
        zeroes(_SECOND + _JSON, 0x3000),
    ),
    _luks2(
        "JSON of the primary, binary header of the secondary",
        zeroes(_JSON, 0x3000),
        zeroes(_SECOND, 0x1000),
    ),
    _luks2(
        "primary zeroed, one bit of the secondary's salt", zeroes(0, _SECOND), flip(_SECOND + 110)
    ),
    _luks2(
        "JSON of both zeroed",
        zeroes(_JSON, 0x3000),
        zeroes(_SECOND + _JSON, 0x3000),
        opens=NONE,
        lost=SALTS,
    ),
    _luks2("both copies zeroed", zeroes(0, 2 * _SECOND), opens=NONE, lost=SALTS),
    _luks2("copies exchanged", swap(0, _SECOND, _SECOND)),
)
_BY_PROGRAMS: Final = (
    _luks2("wipefs -a", ways.WIPEFS),
    _luks2("mkswap", ways.MKSWAP),
    _luks2("sfdisk: MBR", ways.SFDISK_MBR),
    _luks2("parted: MBR", ways.PARTED_MBR),
    _luks2("sfdisk: GPT", ways.SFDISK_GPT),
    _luks2("sgdisk: GPT", ways.SGDISK_GPT),
    _luks2("parted: GPT", ways.PARTED_GPT),
    _luks2("sgdisk --zap-all", ways.SGDISK_ZAP),
    _luks2("mkfs.ext4", ways.MKFS_EXT4, opens=NONE, lost=SALTS),
    _luks2("mkfs.ext4 -E nodiscard", ways.MKFS_EXT4_NODISCARD, opens=NONE, lost=SALTS),
    _luks2("mkfs.vfat", ways.MKFS_VFAT, opens=NONE, lost=SALTS),
    _luks2("mkfs.ntfs", ways.MKFS_NTFS, opens=NONE, lost=SALTS),
    _luks2("mkfs.xfs", ways.MKFS_XFS, opens=NONE, lost=SALTS),
    _luks2("mkfs.btrfs", ways.MKFS_BTRFS, opens=NONE, lost=SALTS),
    _luks2("pvcreate", ways.PVCREATE, zeroes(_SECOND, 6)),
    _luks2("RAID superblock 1.2", ways.RAID_SUPERBLOCK),
)
_NOT_SEEN: Final = "noise in noise"
_OF_MATERIAL: Final = (
    _luks2(
        "keyslot 0: first sector zeroed", zeroes(_SLOT_0, 512), opens=SECOND_ONLY, lost=KEYSLOT_0
    ),
    _luks2(
        "keyslot 0: last sector zeroed",
        zeroes(_SLOT_0 + MATERIAL - 512, 512),
        opens=SECOND_ONLY,
        lost=KEYSLOT_0,
    ),
    _luks2(
        "keyslot 0: a page of ones",
        ones(_SLOT_0 + 0x6000, 0x1000),
        opens=SECOND_ONLY,
        lost=KEYSLOT_0,
    ),
    _luks2("keyslot 0 zeroed", zeroes(_SLOT_0, AREA), opens=SECOND_ONLY, lost=KEYSLOT_0),
    _luks2(
        "keyslot 1: a sector of noise",
        noise(_SLOT_1 + 0x2000, 512),
        opens=FIRST_ONLY,
        lost=KEYSLOT_1,
        unseen=_NOT_SEEN,
    ),
    _luks2("keyslot 0: bytes behind the key material", ones(_SLOT_0 + MATERIAL, 1024)),
    _luks2("keyslots exchanged", swap(_SLOT_0, _SLOT_1, AREA), unseen=_NOT_SEEN),
    _luks2(
        "a sector of each keyslot zeroed",
        zeroes(_SLOT_0 + 512, 512),
        zeroes(_SLOT_1 + 512, 512),
        opens=NONE,
        lost=KEYSLOTS,
    ),
    _luks2("dd of 64 KiB over the start", zeroes(0, 64 << 10), opens=NONE, lost=SALTS),
    _luks2(
        "dd of 32 KiB over the keyslots",
        zeroes(_SLOT_0, 32 << 10),
        opens=SECOND_ONLY,
        lost=KEYSLOT_0,
    ),
    _luks2(
        "dd of 256 KiB over the keyslots", zeroes(_SLOT_0, 256 << 10), opens=NONE, lost=KEYSLOTS
    ),
    _luks2("dd of 2 MiB over the start", zeroes(0, 2 << 20), opens=NONE, lost=SALTS),
    _luks2(
        "cut off in keyslot 1",
        cut(_SLOT_1 + 0x1000),
        opens=FIRST_ONLY,
        lost=KEYSLOT_1,
    ),
    _luks2("cut off in keyslot 0", cut(_SLOT_0 + 512), opens=NONE, lost=KEYSLOTS),
    _luks2("cut off in the secondary", cut(_SECOND + 0x800), opens=NONE, lost=KEYSLOTS),
    _luks2("cut off where the data begins", cut(LUKS2.data)),
)

# --- LUKS2 with more metadata, Argon2 and sectors of 4096 bytes -----------------------------------

_FAR: Final = LUKS2_64K.hdr_size


def _luks2_64k(
    name: str, *parts: Way, opens: tuple[str, ...] = BOTH, lost: str = "", unseen: str = ""
) -> Damage:
    return Damage(name, LUKS2_64K, all_of(*parts), opens, lost, unseen)


def _luks2_1m(name: str, *parts: Way, opens: tuple[str, ...] = BOTH, lost: str = "") -> Damage:
    return Damage(name, LUKS2_1M, all_of(*parts), opens, lost)


_OF_LARGER: Final = (
    _luks2_64k("wipefs -a", ways.WIPEFS),
    _luks2_64k("sgdisk: GPT", ways.SGDISK_GPT),
    _luks2_64k("sfdisk: MBR", ways.SFDISK_MBR),
    _luks2_64k("mkfs.vfat", ways.MKFS_VFAT, opens=NONE, lost=SALTS),
    _luks2_64k("mkfs.btrfs -K", ways.MKFS_BTRFS_NODISCARD, opens=NONE, lost=SALTS),
    _luks2_64k("mkfs.xfs", ways.MKFS_XFS, opens=NONE, lost=SALTS),
    _luks2_64k("mkfs.ntfs", ways.MKFS_NTFS),
    _luks2_64k("dd of 64 KiB over the start", zeroes(0, _FAR)),
    _luks2_64k("dd of 128 KiB over the start", zeroes(0, 2 * _FAR), opens=NONE, lost=SALTS),
    _luks2_64k("both binary headers zeroed", zeroes(0, 0x1000), zeroes(_FAR, 0x1000)),
    _luks2_64k(
        "keyslot 0: one bit",
        flip(LUKS2_64K.slot(0) + 0x1234),
        opens=SECOND_ONLY,
        lost=KEYSLOT_0,
        unseen=_NOT_SEEN,
    ),
    _luks2_1m("mkfs.ext4 -E nodiscard", ways.MKFS_EXT4_NODISCARD),
    _luks2_1m("mkfs.vfat", ways.MKFS_VFAT),
    _luks2_1m("mkfs.btrfs -K", ways.MKFS_BTRFS_NODISCARD, opens=NONE, lost=SALTS),
    _luks2_1m("mkfs.ntfs", ways.MKFS_NTFS),
    _luks2_1m("mkfs.xfs", ways.MKFS_XFS),
    _luks2_1m("dd of 1 MiB over the start", zeroes(0, 1 << 20)),
    _luks2_1m("dd of 1 MiB and a sector", zeroes(0, (1 << 20) + 512)),
)

# --- LUKS1 ---------------------------------------------------------------------------------------

_IN_HEADER: Final = {
    "version": (6, 2),
    "cipher name": (8, 32),
    "cipher mode": (40, 32),
    "hash": (72, 32),
    "payload offset": (104, 4),
    "key size": (108, 4),
    "digest": (112, 20),
    "digest's salt": (132, 32),
    "digest's iterations": (164, 4),
    "UUID": (168, 40),
}


def _entry(keyslot: int, field: int) -> int:
    return 208 + 48 * keyslot + field


def _luks1(
    name: str,
    *parts: Way,
    opens: tuple[str, ...] = BOTH,
    lost: str = "",
    unseen: str = "",
) -> Damage:
    return Damage(name, LUKS1, all_of(*parts), opens, lost, unseen)


_OF_LUKS1: Final = (
    *(_luks1(f"{name} zeroed", zeroes(*place)) for name, place in _IN_HEADER.items()),
    _luks1("magic zeroed", zeroes(0, 6)),
    _luks1(
        "keyslot 0: salt overwritten",
        noise(_entry(0, 8), 32),
        opens=SECOND_ONLY,
        lost=SALT_0,
        unseen=_NOT_SEEN,
    ),
    _luks1("both keyslots: state overwritten", ones(_entry(0, 0), 4), ones(_entry(1, 0), 4)),
    _luks1("both keyslots: place zeroed", zeroes(_entry(0, 40), 4), zeroes(_entry(1, 40), 4)),
    _luks1("both keyslots: stripes zeroed", zeroes(_entry(0, 44), 4), zeroes(_entry(1, 44), 4)),
    _luks1("first sector zeroed", zeroes(0, 512), opens=NONE, lost=SALTS),
    _luks1("second sector overwritten with ones", ones(512, 512)),
    _luks1("wipefs -a", ways.WIPEFS),
    _luks1("mkswap", ways.MKSWAP, opens=NONE, lost=SALTS),
    _luks1("sfdisk: MBR", ways.SFDISK_MBR),
    _luks1("sfdisk: GPT", ways.SFDISK_GPT, opens=SECOND_ONLY, lost=KEYSLOT_0),
    _luks1("mkfs.ext4", ways.MKFS_EXT4, opens=NONE, lost=SALTS),
    _luks1("mkfs.btrfs -K", ways.MKFS_BTRFS_NODISCARD, opens=NONE, lost=SALTS),
    _luks1("pvcreate", ways.PVCREATE, opens=NONE, lost=SALTS),
    _luks1(
        "keyslot 0: a sector zeroed",
        zeroes(LUKS1.slot(0) + 0x400, 512),
        opens=SECOND_ONLY,
        lost=KEYSLOT_0,
    ),
    _luks1(
        "keyslot 1: one bit",
        flip(LUKS1.slot(1) + 0x4321),
        opens=FIRST_ONLY,
        lost=KEYSLOT_1,
        unseen=_NOT_SEEN,
    ),
    _luks1("keyslots exchanged", swap(LUKS1.slot(0), LUKS1.slot(1), AREA), unseen=_NOT_SEEN),
    _luks1("dd of 2 MiB over the start", zeroes(0, 2 << 20), opens=NONE, lost=SALTS),
    _luks1(
        "cut off in keyslot 1",
        cut(LUKS1.slot(1) + 0x1000),
        opens=FIRST_ONLY,
        lost=KEYSLOT_1,
    ),
)

DAMAGES: Final = (*_OF_COPIES, *_BY_PROGRAMS, *_OF_MATERIAL, *_OF_LARGER, *_OF_LUKS1)
"""All of them, in the order of the README."""
