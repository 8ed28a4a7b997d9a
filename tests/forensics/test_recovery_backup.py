"""Header backups put together with what is left on the device."""

from __future__ import annotations

from pathlib import Path

import pytest

import luksmeta
from luksmeta import MemoryStorage, PassphraseError
from luksmeta.format_options import Version
from tests import builders
from tests.builders import FIRST, SECOND, THIRD, VERSIONS
from tests.corpus import stream
from tests.defects.damage import HDR_SIZE, bytes_at
from tests.forensics.rescue import (
    AREA,
    SLOT,
    backup_of,
    damaged,
    keyslots,
    recovering,
    rescued,
    volume,
    way,
)

NOISE = stream("recovery/noise", 1 << 20)
on_versions = pytest.mark.parametrize("version", VERSIONS)


def header_gone(version: Version) -> bytes:
    return damaged(version, bytes_at(0, NOISE[: SLOT[version]]))


def all_gone(version: Version) -> bytes:
    return damaged(version, bytes_at(0, NOISE[: builders.data_offset(version)]))


@on_versions
def test_a_backup_alone(version: Version, tmp_path: Path) -> None:
    recovery = rescued(tmp_path, all_gone(version), backup=backup_of(volume(version)))
    assert way(recovery).startswith("header backup")
    assert recovery.chosen is not None
    assert "backup" in {each.file for each in recovery.chosen.sources}


@on_versions
def test_a_backup_whose_key_material_is_missing(version: Version, tmp_path: Path) -> None:
    """The header is the backup's, the material the device's."""
    cut = MemoryStorage(backup_of(volume(version)).data[: SLOT[version]], name="backup")
    recovery = rescued(tmp_path, header_gone(version), backup=cut)
    assert recovery.chosen is not None
    files = {each.what: each.file for each in recovery.chosen.sources}
    assert files["key material of keyslot 0"] == "memory"


@on_versions
def test_each_keyslot_from_where_it_is_whole(version: Version, tmp_path: Path) -> None:
    """Keyslot 0 is damaged in the backup, 1 on the device: both open."""
    backup = backup_of(volume(version))
    backup.data[SLOT[version] : SLOT[version] + 512] = bytes(512)
    disk = bytearray(header_gone(version))
    at = SLOT[version] + AREA
    disk[at : at + 512] = bytes(512)
    for passphrase in (FIRST, SECOND):
        folder = tmp_path / passphrase.decode()
        folder.mkdir()
        assert keyslots(rescued(folder, bytes(disk), passphrase, backup=backup)) == [0, 1]


@on_versions
def test_the_devices_header_gets_its_material_from_the_backup(
    version: Version, tmp_path: Path
) -> None:
    at = SLOT[version]
    disk = damaged(version, bytes_at(at, bytes(2048)))
    backup = backup_of(volume(version))
    recovery = rescued(tmp_path, disk, backup=backup)
    assert recovery.proof is not None
    with recovering(disk) as alone, pytest.raises(PassphraseError):
        alone.prove(FIRST)


@on_versions
def test_an_older_backup_opens_with_the_passphrases_of_its_day(
    version: Version, tmp_path: Path
) -> None:
    old = backup_of(volume(version))
    storage = MemoryStorage(volume(version))
    with (
        luksmeta.open(storage, writable=True) as opened,
        opened.unlock(FIRST) as unlocked,
    ):
        unlocked.change_keyslot(0, THIRD, pbkdf=builders.KDF)
    for passphrase in (FIRST, THIRD):
        folder = tmp_path / passphrase.decode()
        folder.mkdir()
        rescued(folder, bytes(storage.data), passphrase, backup=old)


def test_a_backup_of_another_metadata_size(tmp_path: Path) -> None:
    old = backup_of(volume("luks2"))
    storage = MemoryStorage(volume("luks2"))
    with luksmeta.open(storage, writable=True) as opened:
        opened.configure(metadata_size=2 * HDR_SIZE)
    disk = bytearray(storage.data)
    disk[: 4 * HDR_SIZE] = NOISE[: 4 * HDR_SIZE]
    rescued(tmp_path, bytes(disk), backup=old)


def test_a_backup_of_another_volume_is_said_to_be_one() -> None:
    other = backup_of(builders.image("luks2", (THIRD,)))
    with recovering(volume("luks2"), backup=other) as recovery:
        reasons = [reason for each in recovery.candidates for reason in each.reasons]
    assert any("its digest is another than on the image" in reason for reason in reasons)


def test_a_backup_with_a_wiped_magic(tmp_path: Path) -> None:
    backup = backup_of(volume("luks2"))
    backup.data[:6] = backup.data[HDR_SIZE : HDR_SIZE + 6] = bytes(6)
    rescued(tmp_path, all_gone("luks2"), backup=backup)
