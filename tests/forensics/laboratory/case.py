"""One damage done: what changed, and what is left by information theory."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import luksmeta
from luksmeta import MemoryStorage
from luksmeta.extents import Extent
from luksmeta.model import Keyslot
from tests.forensics.laboratory.damages import Damage
from tests.forensics.laboratory.volumes import (
    CONTENT_SIZE,
    MATERIAL,
    PASSPHRASES,
    Original,
    original,
)

STEP = 512


@dataclass(frozen=True)
class Case:
    """A damaged disk beside the volume that it was; ``content`` is the part that was volume."""

    damage: Damage
    disk: Path
    before: Original
    content: bytes
    size: int

    @classmethod
    def made(cls, damage: Damage, folder: Path) -> Self:
        """Do the damage to a fresh copy in ``folder``."""
        before = original(damage.kind)
        disk = before.copy_to(folder / "damaged.img")
        damage.way(disk)
        with disk.open("rb") as file:
            content = file.read(CONTENT_SIZE)
        return cls(damage, disk, before, content, disk.stat().st_size)

    @cached_property
    def changed(self) -> frozenset[int]:
        """The steps of 512 bytes that are not as they were, those that are cut off included."""
        was, now = self.before.content, self.content
        steps = range(0, CONTENT_SIZE, STEP)
        return frozenset(at for at in steps if was[at : at + STEP] != now[at : at + STEP])

    def step(self, at: int) -> bytes:
        """What lies in a step now."""
        return self.content[at : at + STEP]

    @cached_property
    def survivors(self) -> tuple[str, ...]:
        """The passphrases of which salt and key material still are there, wherever."""
        return tuple(
            name
            for name, parts in zip(PASSPHRASES, _secrets(self.before), strict=True)
            if all(part in self.content for part in parts)
        )

    def data(self) -> Iterator[tuple[int, bytes]]:
        """The sectors of plaintext whose ciphertext is as it was, with their offset."""
        kind, plaintext = self.before.kind, self.before.plaintext
        for at in range(0, len(plaintext), kind.sector_size):
            steps = range(kind.data + at, kind.data + at + kind.sector_size, STEP)
            if self.changed.isdisjoint(steps):
                yield at, plaintext[at : at + kind.sector_size]


def _secrets(volume: Original) -> Iterator[tuple[bytes, bytes]]:
    """Of each keyslot the salt, as it is written, and the key material."""
    with luksmeta.open(MemoryStorage(volume.content)) as opened:
        for keyslot in opened.metadata.keyslots.values():
            if isinstance(keyslot, Keyslot):
                salt = keyslot.salt
                written = salt if volume.kind.version == "luks1" else b64encode(salt)
                area = Extent(keyslot.area.offset, MATERIAL)
                yield written, volume.content[area.offset : area.end]
