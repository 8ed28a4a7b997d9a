"""The volumes that are damaged: cheap, with a file system in them, made once for a process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import luksmeta
from luksmeta import Argon2id, Pbkdf2
from luksmeta.format_options import Version
from tests.builders import FIRST, SECOND, VOLUME_KEY
from tests.interop.peers.process import Tool, scratch

DISK_SIZE: Final = 320 << 20
"""Bytes of each disk, sparse: mkfs.xfs makes no smaller file system."""

CONTENT_SIZE: Final = 4 << 20
"""Bytes from the disk's start in which all of a volume lies; behind it are zeroes."""

DATA_SIZE: Final = 512 << 10
"""Bytes of plaintext that were written."""

AREA: Final = 0x20000
"""Bytes from one keyslot's area to the next; their key has 256 bits."""

MATERIAL: Final = 4000 * len(VOLUME_KEY)
"""Bytes of a keyslot's key material."""

PASSPHRASES: Final = {"first": FIRST, "second": SECOND}
"""Those of keyslot 0 and keyslot 1."""

_PBKDF2: Final = Pbkdf2(hash="sha256", iterations=1000)
_ARGON2ID: Final = Argon2id(time=4, memory=32, cpus=1)


@dataclass(frozen=True)
class Kind:
    """One of the volumes; ``name`` is the README's.

    ``hdr_size`` is that of each copy, ``keyslots`` where the first area lies, ``data`` the segment,
    all in bytes.
    """

    name: str
    version: Version
    hdr_size: int
    keyslots: int
    data: int
    sector_size: int = 512
    pbkdf: Pbkdf2 | Argon2id = _PBKDF2

    def slot(self, keyslot_id: int) -> int:
        """Where a keyslot's area begins."""
        return self.keyslots + keyslot_id * AREA

    @property
    def areas_end(self) -> int:
        """Where the last area ends; LUKS2's keyslots area reaches up to the data."""
        return self.data if self.version == "luks2" else self.slot(7) + MATERIAL

    @property
    def keyslots_size(self) -> int:
        """Bytes of LUKS2's keyslots area."""
        return self.data - self.keyslots


LUKS1: Final = Kind("LUKS1", "luks1", 1024, 0x1000, 0x108000)
LUKS2: Final = Kind("LUKS2", "luks2", 0x4000, 0x8000, 0x88000)
LUKS2_64K: Final = Kind(
    "LUKS2, 64 KiB", "luks2", 0x10000, 0x20000, 0xA0000, sector_size=4096, pbkdf=_ARGON2ID
)
LUKS2_1M: Final = Kind("LUKS2, 1 MiB", "luks2", 0x100000, 0x200000, 0x280000, sector_size=4096)
KINDS: Final = (LUKS2, LUKS2_64K, LUKS2_1M, LUKS1)


@dataclass(frozen=True)
class Original:
    """A volume before its damage: the first bytes of the disk, and its plaintext."""

    kind: Kind
    content: bytes
    plaintext: bytes

    def copy_to(self, path: Path) -> Path:
        """The whole disk, as a sparse file."""
        path.write_bytes(self.content)
        with path.open("r+b") as file:
            file.truncate(DISK_SIZE)
        return path


@cache
def original(kind: Kind) -> Original:
    """The volume of a kind, the same for all damages that one process does."""
    plaintext = _file_system()
    options: dict[str, Any] = {}
    if kind.version == "luks2":
        options["metadata_size"] = kind.hdr_size
        options["keyslots_size"] = kind.keyslots_size
    with scratch() as folder:
        disk = folder / "disk"
        with (
            luksmeta.format(
                disk,
                FIRST,
                size=CONTENT_SIZE,
                type=kind.version,
                volume_key=VOLUME_KEY,
                pbkdf=kind.pbkdf,
                digest_iterations=1000,
                sector_size=kind.sector_size,
                data_offset=kind.data,
                **options,
            ) as volume,
            volume.unlock(FIRST) as unlocked,
        ):
            unlocked.add_keyslot(SECOND, pbkdf=kind.pbkdf)
            with unlocked.open(writable=True) as data:
                data.write(plaintext)
        return Original(kind, disk.read_bytes(), plaintext)


@cache
def _file_system() -> bytes:
    """An ext4 file system: its first bytes are what a recovery can recognise."""
    with scratch() as folder:
        image = folder / "ext4"
        with image.open("wb") as file:
            file.truncate(DATA_SIZE)
        Tool("mkfs.ext4", "e2fsprogs").run("-Fq", "-b", "1024", image)
        return image.read_bytes()
