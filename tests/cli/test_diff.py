"""``diff``."""

from __future__ import annotations

from pathlib import Path

import pytest

from luksmeta.format_options import Version
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
    nothing = "no other has its salt and key"
    assert f"keyslot 1: only in {backup}; {nothing}" in lines
    assert f"keyslot 4: only in {image}; {nothing}" in lines
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
    other.write_bytes(builders.with_label(other.read_bytes(), "a\x1b[31mb"))
    said = done(luksmeta("diff", one, other)).out
    assert "\x1b" not in said
    assert "label" in said


@on_versions
def test_errors_name_the_file_that_they_are_about(version: Version, tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", version)
    noise = tmp_path / "noise"
    noise.write_bytes(b"noise" * 1000)
    text = refused(luksmeta("diff", image, noise), 4, f"error: {noise}: not a LUKS volume")
    assert "--header" not in text
    damaged = tmp_path / "damaged"
    data = bytearray(image.read_bytes())
    for at in (5000, 16384 + 5000) if version == "luks2" else (108,):
        data[at] ^= 0xFF
    damaged.write_bytes(data)
    refused(luksmeta("diff", image, damaged), 4, f"error: {damaged}: p")
    answer = luksmeta("diff", image, image, "--try", "-S", "7", stdin=FIRST)
    refused(answer, 1, f"error: {image}: keyslot 7: not in use")


def test_diff_says_only_what_it_knows(tmp_path: Path) -> None:
    """The keyslot is made anew for the same passphrase, so the backup honours it all the same."""
    image = builders.file(tmp_path / "volume.img", "luks2", FIRST)
    backup, key = tmp_path / "backup", key_file(tmp_path)
    done(luksmeta("backup-header", image, "-o", backup))
    done(luksmeta("convert-key", image, "-d", key, *CHEAP))
    said = done(luksmeta("diff", image, backup)).out
    assert f"  keyslot 0: another salt or KDF in {backup}\n" in said
    assert "passphrase" not in said
    tried = done(luksmeta("diff", image, backup, "-d", key)).out
    _, _, results = tried.partition("\nWhat was tried\n")
    assert results == f"  {image}: keyslot 0 opens\n  {backup}: keyslot 0 opens\n"


def test_equal_headers_too_show_what_was_tried(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks2", FIRST)
    said = done(luksmeta("diff", image, image, "-d", key_file(tmp_path))).out
    first, _, results = said.partition("\n\nWhat was tried\n")
    assert first == f"{image} and {image}: equal headers, keyslots and key material"
    assert results == 2 * f"  {image}: keyslot 0 opens\n"


def test_tokens_of_one_side_alone_are_listed_each_and_not_as_a_whole(tmp_path: Path) -> None:
    one = builders.file(tmp_path / "one.img", "luks2")
    other = builders.file(tmp_path / "other.img", "luks2")
    done(luksmeta("token", "add", other, "--key-description", "home"))
    fields = done(luksmeta("diff", one, other, "--json")).json["fields"]
    assert {each["path"] for each in fields} == {
        "seqid",
        "tokens.0.type",
        "tokens.0.keyslots",
        "tokens.0.key_description",
    }


def test_fields_have_the_same_names_and_numbers_whatever_the_versions(tmp_path: Path) -> None:
    luks2 = builders.file(tmp_path / "luks2.img", "luks2", FIRST, SECOND)
    larger = tmp_path / "larger.img"
    line = ("--size", "32M", "--luks2-keyslots-size", "1M", *CHEAP)
    done(luksmeta("format", larger, *line, stdin=FIRST))
    luks1 = builders.file(tmp_path / "luks1.img", "luks1", FIRST)
    paths = {}
    for other in (larger, luks1):
        fields = done(luksmeta("diff", luks2, other, "--json")).json["fields"]
        paths[other] = {each["path"] for each in fields}
        for each in fields:
            if each["path"].endswith(("size", "offset", "iterations")):
                values = (each["one"], each["other"])
                assert all(each is None or isinstance(each, int) for each in values), values
    wanted = {"keyslots_area.size", "segments.0.offset", "keyslots.1.area.offset", "digests.0.salt"}
    assert wanted <= paths[larger]
    assert wanted <= paths[luks1]
    assert not [path for path in paths[larger] | paths[luks1] if path.startswith("config.")]
