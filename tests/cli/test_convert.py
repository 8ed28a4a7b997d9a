"""``convert``."""

from __future__ import annotations

from pathlib import Path

from tests import builders
from tests.builders import FIRST, SECOND
from tests.cli.runner import CHEAP, done, key_file, luksmeta, opens, refused
from tests.interop.peers import cryptsetup

KEYSLOTS = 8
CROWDED = 2 * (16 << 10) + KEYSLOTS * (128 << 10)


def full(folder: Path) -> Path:
    """A LUKS1 volume all of whose keyslots are in use, with no room for another area."""
    image = builders.file(folder / "volume.img", "luks1")
    first, second = key_file(folder), key_file(folder, SECOND, "second")
    for _ in range(KEYSLOTS - 1):
        done(luksmeta("add-key", image, "-d", first, "--new-keyfile", second, *CHEAP))
    return image


def test_convert_there_and_back(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks1", FIRST, SECOND)
    before = image.read_bytes()
    refused(luksmeta("convert", image, "--type", "luks2"), 1, str(image), "LUKS2", "-q")
    assert image.read_bytes() == before
    answer = done(luksmeta("convert", image, "--type", "luks2", "-q"))
    assert answer.out == f"{image}: converted to LUKS2\n"
    assert cryptsetup.is_luks(image, 2)
    assert cryptsetup.unlocked_slot(image, SECOND) == 1
    document = done(luksmeta("convert", image, "--type", "luks1", "-q", "--json")).json
    uuid = cryptsetup.uuid(image)
    assert document == {"format": "luks1", "uuid": uuid, "keyslots": [0, 1], "notes": []}
    assert cryptsetup.is_luks(image, 1)
    assert image.read_bytes()[:1024] == before[:1024]


def test_convert_needs_a_type_that_the_volume_has_not(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks2")
    refused(luksmeta("convert", image), 1, "--type")
    refused(luksmeta("convert", image, "--type", "luks3"), 1, "luks3")
    refused(luksmeta("convert", image, "--type", "luks2", "-q"), 1, f"{image}: LUKS2 already")


def test_convert_says_what_gets_lost(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks1")
    done(luksmeta("convert", image, "--type", "luks2", "-q"))
    done(luksmeta("config", image, "--label", "mine"))
    answer = luksmeta("convert", image, "--type", "luks1", "-q", "--json")
    assert answer.status == 0
    note = "LUKS1 has no place for the label 'mine'"
    assert answer.err == f"luksmeta: warning: {image}: {note}\n"
    assert answer.json["notes"] == [note]


def test_without_room_convert_makes_a_backup_first_and_says_so(tmp_path: Path) -> None:
    image = full(tmp_path)
    backup = Path(f"{image}.header-backup")
    before = image.read_bytes()
    dry = luksmeta("convert", image, "--type", "luks2", "--dry-run")
    assert dry.status == 0
    assert str(backup) in dry.err
    assert image.read_bytes() == before
    assert not backup.exists()
    backup.write_bytes(b"precious")
    answer = luksmeta("convert", image, "--type", "luks2", "-q")
    assert (answer.status, backup.read_bytes()) == (5, b"precious")
    assert "exists" in answer.err
    assert image.read_bytes() == before
    backup.unlink()
    answer = luksmeta("convert", image, "--type", "luks2", "-q")
    assert answer.status == 0
    assert f"{backup} brings them back with restore-header" in answer.err
    assert not backup.exists()
    assert cryptsetup.is_luks(image, 2)
    assert opens(image, FIRST)
    assert opens(image, SECOND)
