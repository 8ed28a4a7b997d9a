"""A command that changes a volume, as a recipe; and the acts and volumes that recipes share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

import luksmeta
from luksmeta import MemoryStorage, Volume
from luksmeta.format_options import Version
from luksmeta.header_copies import HeaderCopy
from luksmeta.storage import Storage
from luksmeta.unlocked_volume import UnlockedVolume
from tests import builders
from tests.builders import FIRST, KDF, KEYSLOTS_THAT_FIT, SECOND, VOLUME_KEY
from tests.corpus import stream

NEW = b"new passphrase"
OTHER_KEY = stream("crash/other volume key", 32)
OTHER_UUID = "c0ffee00-0000-4000-8000-000000000002"
OTHER_KDF = luksmeta.Argon2id(time=4, memory=32, cpus=1)

Act = Callable[[Storage], object]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recipe:
    """``act`` does to ``image`` what ``command`` does.

    ``before`` and ``after`` open the volume before and afterwards, to ``keys``. Between the two,
    and in every state that a crash leaves, one of them does; not so from the places of
    ``may_close`` on, plans or steps of plans: by intent, or because the format has no other way.
    """

    command: str
    case: str
    version: Version
    image: bytes = field(repr=False)
    act: Act = field(repr=False)
    before: tuple[bytes, ...]
    after: tuple[bytes, ...]
    may_close: tuple[str, ...] = ()
    keys: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return f"{self.version} {self.command} {self.case}"

    @property
    def passphrases(self) -> tuple[bytes, ...]:
        """All, each once."""
        return tuple(dict.fromkeys((*self.before, *self.after)))

    def key_of(self, passphrase: bytes) -> bytes:
        """The volume key that this passphrase must open."""
        return self.keys.get(passphrase, VOLUME_KEY)


def on_volume(do: Callable[[Volume], object]) -> Act:
    def act(storage: Storage) -> None:
        with luksmeta.open(storage, writable=True) as volume:
            do(volume)

    return act


def with_key(do: Callable[[UnlockedVolume], object]) -> Act:
    """With the volume key, which no keyslot has to be opened for."""

    def act(storage: Storage) -> None:
        with (
            luksmeta.open(storage, writable=True) as volume,
            volume.unlock(volume_key=VOLUME_KEY) as unlocked,
        ):
            do(unlocked)

    return act


def add(passphrase: bytes, keyslot: int | None = None) -> Act:
    """``add-key``."""
    return with_key(lambda volume: volume.add_keyslot(passphrase, keyslot=keyslot, pbkdf=KDF))


def change(keyslot: int, passphrase: bytes, *, keep_id: bool = True) -> Act:
    """``change-key``."""
    return with_key(
        lambda volume: volume.change_keyslot(keyslot, passphrase, pbkdf=KDF, keep_id=keep_id)
    )


def remove(keyslot: int) -> Act:
    """``kill-slot``."""
    return on_volume(lambda volume: volume.remove_keyslot(keyslot, allow_last=True))


def after(image: bytes, *acts: Act) -> bytes:
    """The image after these acts."""
    storage = MemoryStorage(image)
    for act in acts:
        act(storage)
    return bytes(storage.data)


def full(version: Version) -> tuple[bytes, ...]:
    """A passphrase for every keyslot that there is room for."""
    count = 8 if version == "luks1" else KEYSLOTS_THAT_FIT
    return tuple(b"passphrase %d" % number for number in range(count))


@cache
def with_one_area() -> bytes:
    """A LUKS2 volume with room for a single keyslot."""
    storage = MemoryStorage((32 << 10) + (128 << 10) + builders.DATA_SIZE)
    luksmeta.format(
        storage,
        FIRST,
        volume_key=VOLUME_KEY,
        pbkdf=KDF,
        digest_iterations=1000,
        data_offset=(32 << 10) + (128 << 10),
    ).close()
    return bytes(storage.data)


@cache
def only_keyslot_6() -> bytes:
    """A LUKS1 volume whose only keyslot has its table entry across two sectors."""
    return after(builders.image("luks1"), add(SECOND, 6), remove(0))


def damaged(image: bytes, copy: HeaderCopy) -> bytes:
    """A LUKS2 volume that has lost one copy of its header."""
    at = 0 if copy is HeaderCopy.PRIMARY else 16 << 10
    return image[:at] + bytes(4096) + image[at + 4096 :]


def outdated(image: bytes, copy: HeaderCopy) -> bytes:
    """A LUKS2 volume on which a crash has kept one copy of its header from being written."""
    at = 0 if copy is HeaderCopy.PRIMARY else 16 << 10
    newer = after(image, on_volume(lambda volume: volume.configure(label="newer")))
    return newer[:at] + image[at : at + (16 << 10)] + newer[at + (16 << 10) :]
