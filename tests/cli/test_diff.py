"""``diff``."""

from __future__ import annotations

from pathlib import Path

import pytest

from luksmeta.formatting import Version
from tests import builders
from tests.builders import FIRST, SECOND, THIRD, VERSIONS, VOLUME_KEY
from tests.cli.runner import CHEAP, done, key_file, luksmeta, refused
from tests.cli.volumes import detach
from tests.interop.peers import cryptsetup

on_versions = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def changed(folder: Path, version: Version) -> Path:
    """A volume whose backup knows a passphrase that it no longer has, and lacks a new one."""
    image = builders.file(folder / "volume.img", version, FIRST, SECOND)
    cryptsetup.header_backup(image, folder / "backup")
    done(luksmeta("kill-slot", image, "1", "-q"))
    new = key_file(folder, THIRD, "new")
    done(
        luksmeta("add-key", image, "-d", key_file(folder), "--new-keyfile", new, "-S", "4", *CHEAP)
    )
    return image


@on_versions
def test_diff_says_which_passphrases_a_backup_still_honours(version: Version, backup: Path) -> None:
    image = changed(backup.parent, version)
    lines = [line.strip() for line in done(luksmeta("diff", image, backup)).out.splitlines()]
    assert lines[0] == f"{image} -> {backup}"
    assert "keyslot 0: the same passphrase opens both" in lines
    assert f"keyslot 1: in {backup} only, which honours its passphrase still" in lines
    assert f"keyslot 4: in {image} only, {backup} does not honour its passphrase" in lines
    assert "the same in both" in lines
    document = done(luksmeta("diff", image, backup, "--json")).json
    assert (document["equal"], document["same_volume_key"]) == (False, True)
    assert document["tried"] is None
    assert [(each["state"], each["one"], each["other"]) for each in document["keyslots"]] == [
        ("same", 0, 0),
        ("only in other", None, 1),
        ("only in one", 4, None),
    ]


@on_versions
def test_what_is_equal_is_said_in_one_line(version: Version, backup: Path) -> None:
    image = builders.file(backup.parent / "volume.img", version)
    done(luksmeta("backup-header", image, "-o", backup))
    said = done(luksmeta("diff", image, backup, "--exit-code")).out
    assert said == f"{image} and {backup}: equal headers, keyslots and key material\n"


def test_the_exit_status_tells_only_when_asked(backup: Path) -> None:
    image = changed(backup.parent, "luks2")
    assert luksmeta("diff", image, backup).status == 0
    answer = luksmeta("diff", image, backup, "--exit-code", "--json")
    assert (answer.status, answer.json["equal"]) == (1, False)


def test_diff_takes_a_detached_header_and_writes_nothing(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks2")
    whole = tmp_path / "whole.img"
    whole.write_bytes(image.read_bytes())
    header = detach(image)
    for path in (whole, header):
        path.chmod(0o400)
    assert done(luksmeta("diff", whole, header, "--json")).json["equal"]


@on_versions
def test_a_passphrase_is_tried_on_both_sides(version: Version, backup: Path) -> None:
    image = changed(backup.parent, version)
    opened = {
        secret: done(luksmeta("diff", image, backup, "--try", "--json", stdin=secret)).json["tried"]
        for secret in (FIRST, SECOND, THIRD)
    }
    assert opened == {
        FIRST: {"one": {"keyslot": 0}, "other": {"keyslot": 0}},
        SECOND: {"one": None, "other": {"keyslot": 1}},
        THIRD: {"one": {"keyslot": 4}, "other": None},
    }
    said = done(luksmeta("diff", image, backup, "--try", stdin=SECOND)).out
    assert f"  {image}: does not open\n  {backup}: keyslot 1 opens\n" in said
    refused(luksmeta("diff", image, backup, "--try", stdin=b"wrong"), 2, "no keyslot opens")


def test_the_volume_key_itself_can_be_tried(backup: Path) -> None:
    image = changed(backup.parent, "luks2")
    key = key_file(backup.parent, VOLUME_KEY, "volume-key")
    said = done(luksmeta("diff", image, backup, "--volume-key-file", key)).out
    assert f"  {image}: opens\n  {backup}: opens\n" in said


def test_a_passphrase_of_both_proves_whose_volume_keys_they_are(tmp_path: Path) -> None:
    """Two volumes with the same passphrase: digests differ, so only the keys themselves tell."""
    one, key = builders.file(tmp_path / "one.img", "luks2"), key_file(tmp_path)
    same, another = tmp_path / "same.img", tmp_path / "another.img"
    volume_key = key_file(tmp_path, VOLUME_KEY, "volume-key")
    line = ("--offset", str(builders.data_offset("luks2") // 512), "-s", "256", "-d", key, *CHEAP)
    with_key = ("--volume-key-file", volume_key)
    done(luksmeta("format", same, "-q", "--size", "1M", *line, *with_key))
    done(luksmeta("format", another, "-q", "--size", "1M", *line))
    for other, expected in ((same, True), (another, False)):
        untried = done(luksmeta("diff", one, other, "--json")).json
        assert untried["same_volume_key"] is None
        assert "--try" in done(luksmeta("diff", one, other)).out
        tried = done(luksmeta("diff", one, other, "-d", key, "--json")).json
        assert tried["same_volume_key"] is expected


def test_what_is_no_header_is_named(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks2")
    (tmp_path / "noise").write_bytes(b"noise" * 1000)
    refused(luksmeta("diff", image, tmp_path / "noise"), 4, "noise: not a LUKS volume")
    refused(luksmeta("diff", tmp_path / "missing", image), 4, "missing: no such file")
    refused(luksmeta("diff", image), 1, "OTHER")


def test_a_damaged_copy_is_warned_of(tmp_path: Path, backup: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks2")
    done(luksmeta("backup-header", image, "-o", backup))
    with image.open("r+b") as file:
        file.seek(5000)
        file.write(b"\xff")
    answer = luksmeta("diff", image, backup)
    assert answer.status == 0
    assert answer.err.startswith(f"luksmeta: warning: {image}: primary header copy")
    assert "header_copies.primary" in answer.out


def test_text_from_disk_cannot_steer_the_terminal(tmp_path: Path) -> None:
    one = builders.file(tmp_path / "one.img", "luks2")
    other = builders.file(tmp_path / "other.img", "luks2")
    done(luksmeta("config", other, "--label", "a\x1b[31mb"))
    said = done(luksmeta("diff", one, other)).out
    assert "\x1b" not in said
    assert "label" in said
