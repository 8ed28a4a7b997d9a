"""``backup-header`` and ``restore-header``."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from luksmeta.format_options import Version
from tests import builders
from tests.builders import FIRST, SECOND, THIRD, VERSIONS
from tests.cli.runner import CHEAP, done, key_file, luksmeta, opens, refused
from tests.interop.peers import cryptsetup
from tests.loop import loop_device

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
    assert document["comparison"]["equal"]
    assert (document["uuid"], document["keyslots"]) == (cryptsetup.uuid(image), [0, 1])


def change_keyslots(image: Path) -> None:
    """Keyslot 0 as it was, another passphrase for 1, no 2 any more, a new 3."""
    folder = image.parent
    first, third = key_file(folder, FIRST), key_file(folder, b"new", "new")
    second = key_file(folder, SECOND, "second")
    done(luksmeta("add-key", image, "-d", first, "--new-keyfile", third, "-S", "3", *CHEAP))
    done(luksmeta("kill-slot", image, "2", "-q"))
    change = ("change-key", image, "-S", "1", "-d", second, "--new-keyfile", third)
    done(luksmeta(*change, *CHEAP))


CHANGED = (
    "keyslot 0: stays as it is",
    "keyslot 1: the backup's, with another salt or KDF",
    "keyslot 2: the backup's",
    "keyslot 3: lost",
)


@on_versions
def test_restore_says_what_becomes_of_each_keyslot(version: Version, backup: Path) -> None:
    image = builders.file(backup.parent / "volume.img", version, FIRST, SECOND, THIRD)
    done(luksmeta("backup-header", image, "-o", backup))
    change_keyslots(image)
    restore = ("restore-header", image, "-i", backup, "-q")
    before = image.read_bytes()
    lines = done(luksmeta(*restore, "--dry-run")).out.splitlines()
    assert tuple(lines[-4:]) == CHANGED
    dry = done(luksmeta(*restore, "--dry-run", "--json")).json
    assert dry["plan"]
    assert image.read_bytes() == before
    states = [each["state"] for each in dry["comparison"]["keyslots"]]
    assert states == ["same", "changed", "only in other", "only in one"]
    lines = done(luksmeta(*restore)).out.splitlines()
    assert tuple(line.strip() for line in lines[1:5]) == CHANGED
    assert all(opens(image, secret) for secret in (FIRST, SECOND, THIRD))
    assert not opens(image, b"new")


def test_restore_says_when_the_volume_key_may_be_another(backup: Path) -> None:
    """A backup of the volume that was here before: same geometry, another key."""
    image = backup.parent / "volume.img"
    line = ("format", image, "--offset", str(2048), "-q", *CHEAP)
    done(luksmeta(*line, "--size", "2M", stdin=FIRST))
    done(luksmeta("backup-header", image, "-o", backup))
    done(luksmeta(*line, stdin=FIRST))
    answer = luksmeta("restore-header", image, "-i", backup, "-q", "--dry-run")
    assert "the digest of the volume key is another one" in answer.out
    assert "UUID" in answer.err


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


# What is replaced


@on_versions
def test_restore_keeps_the_header_that_it_replaces(version: Version, backup: Path) -> None:
    """The other one has another key: nothing of the present one would be left."""
    image = builders.file(backup.parent / "volume.img", version, FIRST)
    backup.write_bytes(_another(version))
    before = image.read_bytes()
    answer = luksmeta("restore-header", image, "-i", backup, "-q")
    kept = Path(f"{image}.before-restore")
    assert answer.status == 0
    assert answer.out.endswith(f"  the header as it was is in {kept}\n")
    assert kept.read_bytes() == before[: kept.stat().st_size]
    assert stat.S_IMODE(kept.stat().st_mode) == 0o400
    assert not opens(image, FIRST)
    answer = luksmeta("restore-header", image, "-i", kept, "-q", "--json")
    assert answer.json["backup"] == f"{kept}-2"
    assert image.read_bytes() == before


def _another(version: Version) -> bytes:
    """The same geometry, another volume."""
    data = bytearray(builders.image(version, (SECOND,)))
    if version == "luks1":
        data[112:132] = bytes(20)
        return bytes(data)
    document = builders.document_of(bytes(data))
    document["digests"]["0"]["digest"] = "A" * 43 + "="
    return builders.with_document(bytes(data), document)


def test_a_dry_restore_names_the_copy_that_would_be_kept(backup: Path) -> None:
    image = builders.file(backup.parent / "volume.img", "luks2", FIRST)
    backup.write_bytes(_another("luks2"))
    before = image.read_bytes()
    line = ("restore-header", image, "-i", backup, "--dry-run")
    kept = f"{image}.before-restore"
    assert f"as they are, in a new file {kept}\n" in luksmeta(*line).out
    document = luksmeta(*line, "--json").json
    assert (document["backup"], document["plan"][0]["step"]) == (kept, "copy")
    document = luksmeta(*line, "--json", "--no-backup").json
    assert (document["backup"], document["plan"][0]["step"]) == (None, "reserve")
    named = backup.with_name("named")
    assert luksmeta(*line, "--json", "--backup", named).json["backup"] == str(named)
    named.write_bytes(b"precious")
    for options in ((), ("-q",)):
        refused(luksmeta(*line[:4], "--dry-run", "--backup", named, *options), 5, "exists")
    answer = luksmeta(*line[:4], "-q", "--backup", named, "--no-backup")
    refused(answer, 1, "exclude each other")
    assert image.read_bytes() == before
    assert {path.name for path in image.parent.iterdir()} == {"volume.img", "backup", "named"}


def test_restore_keeps_nothing_where_nothing_is_lost(backup: Path) -> None:
    image = builders.file(backup.parent / "volume.img", "luks2")
    done(luksmeta("backup-header", image, "-o", backup))
    size = backup.stat().st_size
    for there in (backup.read_bytes(), bytes(size)):
        image.write_bytes(there + bytes(1 << 16))
        answer = luksmeta("restore-header", image, "-i", backup, "-q", "--json")
        assert (answer.status, answer.json["backup"]) == (0, None)
    image.write_bytes(bytes(size - 1) + b"x" + bytes(1 << 16))
    answer = luksmeta("restore-header", image, "-i", backup, "-q", "--json")
    kept = Path(answer.json["backup"])
    assert kept.read_bytes() == bytes(size - 1) + b"x"
    kept.unlink()
    answer = luksmeta("restore-header", image, "-i", backup, "-q", "--backup", kept)
    assert kept.read_bytes() == backup.read_bytes()  # named, so it is made


def test_beside_a_device_there_is_no_place_for_the_copy(backup: Path) -> None:
    backup.write_bytes(_another("luks2"))
    with loop_device(builders.file(backup.parent / "volume.img", "luks2")) as device:
        line = ("restore-header", device, "-i", backup)
        for option in ("-q", "--dry-run"):
            answer = luksmeta(*line, option)
            assert answer.status == 1
            assert f"{device} is a device: name a file with --backup" in answer.err
        kept = backup.with_name("kept")
        assert luksmeta(*line, "-q", "--backup", kept).status == 0
        assert luksmeta(*line[:3], kept, "-q", "--no-backup").status == 0
        assert opens(device, FIRST)


@on_versions
def test_what_is_wrong_with_the_backup_is_not_said_of_the_volume(
    version: Version, backup: Path
) -> None:
    image = builders.file(backup.parent / "volume.img", version)
    restore = ("restore-header", image, "-q", "-i")
    for content in (b"", bytes(1 << 20)):
        backup.write_bytes(content)
        text = refused(luksmeta(*restore, backup), 4, f"error: {backup}: not a LUKS volume")
        assert text.endswith("(another header backup is needed)")
        answer = luksmeta(*restore, "-", stdin=content)
        refused(answer, 4, "error: standard input: not a LUKS volume (another")
    backup.unlink()
    done(luksmeta("backup-header", image, "-o", backup))
    backup.chmod(0o600)
    data = bytearray(backup.read_bytes())
    for at in (5000, 16384 + 5000) if version == "luks2" else (108,):
        data[at] ^= 0xFF
    backup.write_bytes(data)
    refused(luksmeta(*restore, backup), 4, f"error: {backup}: p", "(another header backup")


def test_a_backup_in_a_state_that_must_not_come_back_is_named(backup: Path) -> None:
    image = builders.file(backup.parent / "volume.img", "luks2")
    document = builders.document_of(image.read_bytes())
    document["config"]["requirements"] = {"mandatory": ["offline-reencrypt"]}
    backup.write_bytes(builders.with_document(image.read_bytes(), document))
    answer = luksmeta("restore-header", image, "-q", "-i", backup)
    refused(answer, 1, f"error: {backup}: header: requirement 'offline-reencrypt'")


@on_versions
def test_the_json_of_restoring_says_the_same_before_and_after(
    version: Version, backup: Path
) -> None:
    image = builders.file(backup.parent / "volume.img", version, FIRST, SECOND)
    done(luksmeta("backup-header", image, "-o", backup))
    done(luksmeta("config", image, "--uuid", "11111111-2222-3333-4444-555555555555"))
    restore = ("restore-header", image, "-q", "-i", backup, "--json")
    dry, after = luksmeta(*restore, "--dry-run").json, luksmeta(*restore).json
    assert dry.pop("plan")
    assert dry == after
    assert after["keyslots"] == [0, 1]
    (note,) = after["notes"]
    assert "11111111-2222" in note
