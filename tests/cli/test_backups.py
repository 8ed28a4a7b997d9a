"""``backup-header``, ``restore-header`` and ``erase``."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from luksmeta.formatting import Version
from tests import builders
from tests.builders import FIRST, SECOND, VERSIONS
from tests.cli.runner import CHEAP, done, key_file, luksmeta, opens, refused
from tests.corpus import Corpus, corpus_image
from tests.interop.peers import cryptsetup

on_versions = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    return tmp_path / "backup"


@on_versions
def test_a_backup_is_a_private_new_file(version: Version, backup: Path) -> None:
    image = builders.file(backup.parent / "volume.img", version, FIRST, SECOND)
    document = done(luksmeta("backup-header", image, "-o", backup, "--json")).json
    size = backup.stat().st_size
    uuid = cryptsetup.uuid(image)
    assert document == {"file": str(backup), "size": size, "uuid": uuid}
    assert stat.S_IMODE(backup.stat().st_mode) == 0o400
    refused(luksmeta("backup-header", image, "-o", backup), 5, str(backup), "exists")
    assert backup.stat().st_size == size


@on_versions
def test_backups_are_those_of_cryptsetup(version: Version, backup: Path) -> None:
    image = builders.file(backup.parent / "volume.img", version, FIRST, SECOND)
    theirs = backup.with_name("theirs")
    cryptsetup.header_backup(image, theirs)
    done(luksmeta("backup-header", image, "-o", backup))
    assert backup.read_bytes() == theirs.read_bytes()
    for made, restore in (
        (theirs, lambda: done(luksmeta("restore-header", image, "-i", theirs, "-q"))),
        (backup, lambda: cryptsetup.header_restore(image, backup)),
    ):
        done(luksmeta("erase", image, "-q"))
        assert not opens(image, FIRST)
        restore()
        assert cryptsetup.unlocked_slot(image, SECOND) == 1, made
        assert opens(image, FIRST)


def test_restore_asks_and_says_what_came_back(backup: Path) -> None:
    image = builders.file(backup.parent / "volume.img", "luks2", FIRST, SECOND)
    done(luksmeta("backup-header", image, "-o", backup))
    before = image.read_bytes()
    refused(luksmeta("restore-header", image, "-i", backup), 1, str(image), str(backup), "-q")
    assert image.read_bytes() == before
    document = done(luksmeta("restore-header", image, "-i", backup, "-q", "--json")).json
    assert document == {"uuid": cryptsetup.uuid(image), "keyslots": [0, 1]}


def test_restore_takes_a_backup_from_standard_input(backup: Path) -> None:
    image = builders.file(backup.parent / "volume.img", "luks2")
    done(luksmeta("backup-header", image, "-o", backup))
    content = backup.read_bytes()
    done(luksmeta("erase", image, "-q"))
    done(luksmeta("restore-header", image, "-i", "-", "-q", stdin=content))
    assert opens(image, FIRST)
    refused(
        luksmeta("restore-header", image, "-i", "-", "-q", stdin=b"no"), 4, "standard input: not"
    )
    assert opens(image, FIRST)


def test_a_new_file_is_not_standard_output(backup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = builders.file(backup.parent / "volume.img", "luks2")
    monkeypatch.chdir(backup.parent)
    for command in ("backup-header", "volume-key"):
        refused(luksmeta(command, image, "-o", "-", stdin=FIRST), 1, "standard output")
    done(luksmeta("backup-header", image, "-o", "./-"))
    assert {path.name for path in backup.parent.iterdir()} == {"volume.img", "-"}


def test_restore_notes_another_uuid_and_goes_on(backup: Path) -> None:
    image = builders.file(backup.parent / "volume.img", "luks2")
    done(luksmeta("backup-header", image, "-o", backup))
    done(luksmeta("config", image, "--uuid", "00000000-0000-4000-8000-000000000009"))
    answer = luksmeta("restore-header", image, "-i", backup, "-q", "--json")
    assert answer.status == 0
    assert answer.err.startswith(f"luksmeta: warning: {image}: the target's UUID is 00000000-")
    assert answer.err.count("\n") == 1
    assert answer.json["keyslots"] == [0]


def test_restore_over_a_lost_header_says_that_there_was_none(backup: Path) -> None:
    image = builders.file(backup.parent / "volume.img", "luks2")
    done(luksmeta("backup-header", image, "-o", backup))
    with image.open("r+b") as file:
        file.write(bytes(32 << 10))
    refused(luksmeta("unlock", image, stdin=FIRST), 4, "not a LUKS volume")
    answer = luksmeta("restore-header", image, "-i", backup, "-q")
    assert answer.status == 0
    assert "warning" in answer.err
    assert opens(image, FIRST)


def test_restore_refuses_what_does_not_fit_and_writes_nothing(backup: Path) -> None:
    folder = backup.parent
    image = builders.file(folder / "volume.img", "luks2")
    done(luksmeta("backup-header", image, "-o", backup))
    other = folder / "other.img"
    done(luksmeta("format", other, "--size", "20M", *CHEAP, stdin=b"pw"))
    small = folder / "small.img"
    small.write_bytes(bytes(1000))
    before = [other.read_bytes(), image.read_bytes()]
    for target, source, status, part in (
        (other, backup, 1, "data starts at"),
        (small, backup, 4, "1000 bytes"),
        (image, small, 4, f"{small}: not a LUKS"),
        (image, folder / "missing", 4, "missing: no such file"),
        (folder / "missing", backup, 4, "missing: no such file"),
        (image, folder, 4, "is a directory"),
    ):
        refused(luksmeta("restore-header", target, "-i", source, "-q"), status, part)
    os.truncate(backup, 20_000)
    refused(luksmeta("restore-header", image, "-i", backup, "-q"), 4, str(backup))
    assert [other.read_bytes(), image.read_bytes()] == before
    assert small.read_bytes() == bytes(1000)


@on_versions
def test_erase_removes_every_keyslot_and_says_so(version: Version, tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", version, FIRST, SECOND)
    before = image.read_bytes()
    refused(luksmeta("erase", image), 1, str(image), "2 keyslots", "-q")
    assert image.read_bytes() == before
    assert done(luksmeta("erase", image, "-q")).out == f"{image}: 2 keyslots erased\n"
    assert not cryptsetup.unlocks(image, FIRST)
    assert cryptsetup.is_luks(image)
    document = done(luksmeta("erase", image, "-q", "--json")).json
    assert document == {"erased": [], "left": []}


def test_erase_says_which_keyslots_stay(corpus: Corpus, tmp_path: Path) -> None:
    image = corpus.copy("made/l2-unbound", tmp_path)
    image.chmod(0o600)
    bound = {str(known.slot) for known in corpus_image("made/l2-unbound").passphrases}
    keyslots = luksmeta("dump", image, "--json").json["keyslots"]
    unbound = [int(key) for key, each in keyslots.items() if each["state"] == "unbound"]
    assert unbound
    assert bound
    text = done(luksmeta("erase", image, "-q")).out
    for keyslot_id in unbound:
        assert f"  keyslot {keyslot_id} (unbound) stays\n" in text
    assert luksmeta("erase", image, "-q", "--json").json["left"] == unbound


def test_erase_keeps_an_unbound_keyslot_that_cryptsetup_made(tmp_path: Path) -> None:
    image = cryptsetup.luks_format(tmp_path / "volume.img", FIRST)
    cryptsetup.add_key(image, FIRST, SECOND, extra=("--unbound", "--key-size", "256"))
    answer = done(luksmeta("erase", image, "-q"))
    assert answer.out == f"{image}: 1 keyslot erased\n  keyslot 1 (unbound) stays\n"
    done(luksmeta("unlock", image, "-S", "1", "-d", key_file(tmp_path, SECOND)))
