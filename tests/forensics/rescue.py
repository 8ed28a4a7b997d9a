"""Damaged volumes with a file system in them, and what a recovery makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import luksmeta
from luksmeta import MemoryStorage, Recovery
from luksmeta.format_options import Version
from tests import builders
from tests.builders import FIRST, SECOND
from tests.corpus import stream
from tests.defects.damage import Damage
from tests.interop.peers import cryptsetup
from tests.storages import UntouchedStorage

SLOT = {"luks1": 0x1000, "luks2": 0x8000}  # of keyslot 0
MATERIAL = 128000  # bytes, of a key of 256 bits
AREA = 0x20000  # from one keyslot's area to the next
PASSPHRASES = (FIRST, SECOND)


def ext_super_block() -> bytes:
    """The first 4 KiB of a file system: an empty boot block and what a super block must have."""
    block = bytearray(4096)
    for offset, value in ((1024, 64), (1028, 256), (1048, 0)):  # inodes, blocks, 1 KiB each
        block[offset : offset + 4] = value.to_bytes(4, "little")
    for offset, value in ((1080, 0xEF53), (1082, 1), (1084, 1)):  # magic, state, errors
        block[offset : offset + 2] = value.to_bytes(2, "little")
    return bytes(block)


PLAINTEXT = ext_super_block() + stream("rescue/file", 4096) + bytes(builders.DATA_SIZE - 8192)


@cache
def volume(version: Version, passphrases: tuple[bytes, ...] = PASSPHRASES) -> bytes:
    """A cheap volume whose data is :data:`PLAINTEXT`."""
    storage = builders.memory(version, *passphrases)
    with (
        luksmeta.open(storage, writable=True) as opened,
        opened.unlock(volume_key=builders.VOLUME_KEY) as unlocked,
        unlocked.open(writable=True) as data,
    ):
        data.write(PLAINTEXT)
    return bytes(storage.data)


def damaged(version: Version, *damages: Damage) -> bytes:
    """That volume after some damage."""
    disk = bytearray(volume(version))
    for damage in damages:
        damage(disk)
    return bytes(disk)


@contextmanager
def recovering(disk: bytes, **options: Any) -> Iterator[Recovery]:  # noqa: ANN401  # of recover
    """The recovery of a disk that must not be written to."""
    with luksmeta.recover(UntouchedStorage(disk), **options) as recovery:
        yield recovery


def rescued(
    folder: Path,
    disk: bytes,
    passphrase: bytes = FIRST,
    **options: Any,  # noqa: ANN401  # the same
) -> Recovery:
    """A recovery that the passphrase has proved: here, by cryptsetup, and by the data."""
    with recovering(disk, **options) as recovery:
        recovery.prove(passphrase)
        check_written(folder, disk, recovery, passphrase)
        return recovery


def check_written(folder: Path, disk: bytes, recovery: Recovery, passphrase: bytes) -> None:
    """The header that is written opens the image: here, by cryptsetup, and to the same data."""
    image, header = folder / "image", folder / "header"
    image.write_bytes(disk)
    recovery.write_header(header)
    assert header.stat().st_mode & 0o777 == 0o600
    assert content(image, header, passphrase) == PLAINTEXT
    assert cryptsetup.unlocks(image, passphrase, header=header)
    assert image.read_bytes() == disk


def content(image: Path, header: Path, passphrase: bytes) -> bytes:
    """The plaintext of an image with a detached header."""
    with (
        luksmeta.open(image, header=header) as opened,
        opened.unlock(passphrase) as unlocked,
        unlocked.open() as data,
    ):
        return data.read(len(PLAINTEXT)) or b""


def keyslots(recovery: Recovery) -> list[int]:
    """The keyslots of the chosen candidate."""
    assert recovery.chosen is not None
    return sorted(recovery.chosen.metadata.keyslots)


def way(recovery: Recovery) -> str:
    """How the chosen candidate was found."""
    assert recovery.chosen is not None
    return recovery.chosen.way


def backup_of(disk: bytes) -> MemoryStorage:
    """A header backup of a volume."""
    with luksmeta.open(MemoryStorage(disk)) as opened:
        return MemoryStorage(disk[: opened.header.backup_size], name="backup", writable=False)
