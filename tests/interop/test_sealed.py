"""cryptsetup and systemd work on a sealed volume as on any other; what they change is told."""

from __future__ import annotations

from pathlib import Path

import pytest

import luksmeta
from luksmeta.trust.terms import SEAL_TYPE
from tests import builders
from tests.builders import FIRST, SECOND, THIRD, VOLUME_KEY
from tests.interop.peers import cryptsetup, systemd
from tests.trust import plain


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = builders.file(tmp_path / "volume.img", "luks2", FIRST, SECOND)
    with (
        luksmeta.open(path, writable=True) as volume,
        volume.unlock(volume_key=VOLUME_KEY) as unlocked,
    ):
        unlocked.seal()
    return path


def findings(image: Path) -> set[str]:
    """The paths of what has changed; the seal itself is genuine."""
    with luksmeta.open(image) as volume, volume.unlock(volume_key=VOLUME_KEY) as unlocked:
        found = unlocked.verify_seal()
    assert found.counter is not None
    return {each.path for each in found.findings}


def accept(image: Path) -> None:
    with (
        luksmeta.open(image, writable=True) as volume,
        volume.unlock(volume_key=VOLUME_KEY) as unlocked,
    ):
        unlocked.seal(accept=volume.measure())
    assert findings(image) == set()


def test_what_only_looks_leaves_the_seal_whole(image: Path) -> None:
    before = image.read_bytes()
    assert SEAL_TYPE in cryptsetup.dump(image)
    assert cryptsetup.dump_json(image)["tokens"]["0"]["type"] == SEAL_TYPE
    assert cryptsetup.unlocked_slot(image, SECOND) == 1
    assert cryptsetup.token_export(image, 0)["counter"] == 1
    assert systemd.keyslots(image) == {0: "password", 1: "password"}
    assert cryptsetup.dump_volume_key(image, FIRST) == VOLUME_KEY
    assert image.read_bytes() == before
    assert findings(image) == set()


def test_cryptsetups_recovery_of_a_copy_leaves_the_seal_whole(image: Path) -> None:
    """It writes a fresh salt."""
    content = bytearray(image.read_bytes())
    content[:512] = bytes(512)
    image.write_bytes(content)
    assert findings(image) == {"header"}
    assert cryptsetup.unlocks(image, FIRST)
    assert image.read_bytes()[:512] != content[:512]
    assert findings(image) == set()


def test_what_cryptsetup_writes_anew_unchanged_is_the_same(image: Path) -> None:
    """It writes the JSON in its own way, and another seqid."""
    cryptsetup.config(image, "--label", "x")
    assert findings(image) == {"header.label"}
    cryptsetup.config(image, "--label", "")
    assert findings(image) == set()


def test_each_change_of_cryptsetups_is_named_and_can_be_accepted(image: Path) -> None:
    cryptsetup.add_key(image, FIRST, THIRD)
    assert findings(image) == {"keyslots.2", "areas.2", "areas.free", "digests.0.keyslots"}
    accept(image)
    cryptsetup.kill_slot(image, 1)
    assert findings(image) == {"keyslots.1", "areas.1", "areas.free", "digests.0.keyslots"}
    accept(image)
    cryptsetup.change_key(image, THIRD, SECOND, slot=2)
    assert {"keyslots.2.kdf.salt", "areas.2"} <= findings(image)
    accept(image)
    cryptsetup.config(image, "--priority", "prefer", "--key-slot", "2")
    assert findings(image) == {"keyslots.2.priority"}
    accept(image)
    cryptsetup.token_import(image, {"type": "x", "keyslots": ["0"]})
    assert findings(image) == {"tokens.1"}
    accept(image)
    cryptsetup.remove_key(image, SECOND)
    accept(image)
    assert cryptsetup.unlocks(image, FIRST)


def test_systemd_enrolls_and_wipes(image: Path) -> None:
    key = systemd.add_recovery_key(image, FIRST)
    assert {"keyslots.2", "tokens.1"} <= findings(image)
    accept(image)
    assert cryptsetup.unlocked_slot(image, key) == 2
    systemd.wipe(image, "recovery")
    assert {"keyslots.2", "tokens.1"} <= findings(image)
    assert systemd.keyslots(image) == {0: "password", 1: "password"}
    accept(image)


def test_cryptsetup_opens_what_our_changes_left(image: Path) -> None:
    with luksmeta.open(image, writable=True) as volume, volume.unlock(FIRST) as unlocked:
        unlocked.add_keyslot(THIRD, pbkdf=builders.KDF)
        unlocked.change_keyslot(1, b"fourth", pbkdf=builders.KDF)
        volume.configure(label="ours")
    assert findings(image) == set()
    assert cryptsetup.unlocked_slot(image, THIRD) == 2
    assert cryptsetup.unlocked_slot(image, b"fourth") == 1
    assert cryptsetup.dump_json(image)["tokens"]["0"]["counter"] == 5


def test_a_backup_restored_by_cryptsetup_is_told_by_the_counter(
    image: Path, tmp_path: Path
) -> None:
    cryptsetup.header_backup(image, tmp_path / "backup")
    with luksmeta.open(image, writable=True) as volume, volume.unlock(FIRST) as unlocked:
        volume.remove_keyslot(1)
        last = unlocked.verify_seal().counter
    cryptsetup.header_restore(image, tmp_path / "backup")
    assert findings(image) == set()
    with (
        luksmeta.open(image) as volume,
        pytest.raises(luksmeta.SealError, match="counter is 1, it has been 2"),
    ):
        volume.unlock(FIRST, require_seal=luksmeta.SealTerms(counter=last))


def test_plain_code_measures_what_cryptsetup_formatted(tmp_path: Path) -> None:
    for version, tree in ((1, plain.luks1), (2, plain.luks2)):
        path = cryptsetup.luks_format(tmp_path / f"luks{version}", FIRST, version=version)
        assert luksmeta.measure(path).hex() == plain.measure(tree(path.read_bytes()))
