"""Keyslot commands: which keyslot is meant, whose passphrase proves it, and the last one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from luksmeta.format_options import Version
from tests import builders
from tests.builders import FIRST, SECOND, THIRD, VERSIONS
from tests.cli.runner import CHEAP, Argument, done, key_file, luksmeta, opens, piped, refused
from tests.interop.peers import cryptsetup

on_versions = pytest.mark.parametrize("version", VERSIONS)
NEW = b"new passphrase"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return made(tmp_path, "luks2")


def made(folder: Path, version: Version, *passphrases: bytes) -> Path:
    for name, secret in (("first", FIRST), ("second", SECOND), ("third", THIRD), ("new", NEW)):
        key_file(folder, secret, name)
    return builders.file(folder / "volume.img", version, *(passphrases or (FIRST, SECOND)))


def keyslots(image: Path) -> dict[str, Any]:
    found: dict[str, Any] = luksmeta("dump", image, "--json").json["keyslots"]
    return found


def with_new(image: Path) -> tuple[Argument, ...]:
    return ("-d", image.parent / "first", "--new-keyfile", image.parent / "new", *CHEAP)


@on_versions
def test_add_key_takes_the_lowest_free_keyslot(version: Version, tmp_path: Path) -> None:
    image = made(tmp_path, version)
    assert done(luksmeta("add-key", image, *with_new(image), "--json")).json == {"keyslot": 2}
    assert cryptsetup.unlocked_slot(image, NEW) == 2
    assert opens(image, FIRST)


@on_versions
def test_add_key_s_names_the_new_keyslot(version: Version, tmp_path: Path) -> None:
    image = made(tmp_path, version, FIRST)
    answer = done(luksmeta("add-key", image, *with_new(image), "-S", "3"))
    assert answer.out == f"{image}: keyslot 3 added\n"
    assert cryptsetup.unlocked_slot(image, NEW) == 3


def test_with_new_key_slot_s_names_the_keyslot_that_unlocks(image: Path) -> None:
    line = ("add-key", image, *with_new(image))
    refused(luksmeta(*line, "--new-key-slot", "3", "-S", "1"), 2, "tried 1")
    answer = done(luksmeta(*line, "--new-key-slot", "3", "-S", "0", "--json"))
    assert answer.json == {"keyslot": 3}


def test_add_key_takes_the_volume_key(image: Path, tmp_path: Path) -> None:
    volume_key = key_file(tmp_path, builders.VOLUME_KEY, "volume-key")
    new = ("--new-keyfile", tmp_path / "new")
    done(luksmeta("add-key", image, "--volume-key-file", volume_key, *new, *CHEAP))
    assert opens(image, NEW)


def test_part_of_a_new_key_file_may_be_the_passphrase(image: Path, tmp_path: Path) -> None:
    part = ("--new-keyfile-offset", "4", "--new-keyfile-size", "10")
    done(luksmeta("add-key", image, *with_new(image), *part))
    assert opens(image, NEW[4:14])


def test_add_key_sets_what_is_asked_for(image: Path) -> None:
    line = ("add-key", image, *with_new(image)[:4])
    argon = ["--pbkdf", "argon2i", "--pbkdf-force-iterations", "5", "--pbkdf-memory", "64"]
    area = ["--keyslot-cipher", "aes-cbc-essiv:sha256", "--keyslot-key-size", "128"]
    others = ["--pbkdf-parallel", "2", "--hash", "sha512", "--priority", "prefer"]
    done(luksmeta(*line, *argon, *area, *others))
    added = cryptsetup.dump_json(image)["keyslots"]["2"]
    assert added["priority"] == 2
    assert {**added["kdf"], "salt": ""} == {
        "type": "argon2i", "time": 5, "memory": 64, "cpus": 2, "salt": ""
    }  # fmt: skip
    assert (added["area"]["encryption"], added["area"]["key_size"]) == ("aes-cbc-essiv:sha256", 16)
    assert added["af"]["hash"] == "sha512"
    assert cryptsetup.unlocked_slot(image, NEW) == 2


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--pbkdf", "argon2id"), "LUKS1 knows pbkdf2 only"),
        ((*CHEAP, "--priority", "high"), "LUKS1"),
        ((*CHEAP, "--keyslot-cipher", "aes-cbc-plain64"), "LUKS1"),
        ((*CHEAP, "--keyslot-key-size", "128"), "LUKS1"),
        ((*CHEAP, "--hash", "sha512"), "LUKS1"),
    ],
)
def test_luks1_has_no_place_for_what_luks2_keyslots_have(
    options: tuple[str, ...], part: str, tmp_path: Path
) -> None:
    image = made(tmp_path, "luks1")
    before = image.read_bytes()
    new = ("-d", tmp_path / "first", "--new-keyfile", tmp_path / "new")
    refused(luksmeta("add-key", image, *new, *options), 1, str(image), part)
    if "--priority" not in options:
        refused(luksmeta("change-key", image, *new, *options), 1, str(image), part)
    assert image.read_bytes() == before


def test_change_key_of_luks2_keeps_the_id(image: Path) -> None:
    answer = done(luksmeta("change-key", image, *with_new(image)))
    assert answer.out == f"{image}: keyslot 0 changed\n"
    assert cryptsetup.unlocked_slot(image, NEW) == 0
    assert not opens(image, FIRST)
    assert opens(image, SECOND)


def test_change_key_of_luks1_says_where_the_keyslot_went(tmp_path: Path) -> None:
    image = made(tmp_path, "luks1")
    answer = done(luksmeta("change-key", image, *with_new(image)))
    assert answer.out == f"{image}: keyslot 0 changed; it is keyslot 2 now\n"
    assert set(keyslots(image)) == {"1", "2"}
    done(luksmeta("change-key", image, "-d", tmp_path / "second",
                  "--new-keyfile", tmp_path / "third", *CHEAP, "-S", "1"))  # fmt: skip
    assert set(keyslots(image)) == {"1", "2"}
    assert cryptsetup.unlocked_slot(image, THIRD) == 1


@on_versions
def test_change_key_with_s_wants_the_passphrase_of_that_keyslot(
    version: Version, tmp_path: Path
) -> None:
    image = made(tmp_path, version)
    refused(luksmeta("change-key", image, *with_new(image), "-S", "1"), 2, "tried 1")
    assert opens(image, SECOND)


def test_change_key_by_the_volume_key_must_name_the_keyslot(image: Path, tmp_path: Path) -> None:
    volume_key = key_file(tmp_path, builders.VOLUME_KEY, "volume-key")
    line = ("change-key", image, "--volume-key-file", volume_key)
    new = ("--new-keyfile", tmp_path / "new", *CHEAP)
    refused(luksmeta(*line, *new), 1, "-S must name")
    done(luksmeta(*line, *new, "-S", "1"))
    assert cryptsetup.unlocked_slot(image, NEW) == 1


def test_convert_key_changes_the_kdf_and_keeps_the_passphrase(image: Path) -> None:
    argon = ("--pbkdf-force-iterations", "4", "--pbkdf-memory", "32", "--pbkdf-parallel", "1")
    line = ("convert-key", image, "-d", image.parent / "second")
    assert done(luksmeta(*line, *argon, "--json")).json == {"keyslot": 1}
    assert keyslots(image)["1"]["kdf"]["type"] == "argon2id"
    assert keyslots(image)["0"]["kdf"]["type"] == "pbkdf2"
    assert cryptsetup.unlocked_slot(image, SECOND) == 1
    refused(luksmeta("convert-key", image, *CHEAP, "--volume-key-file", "x"), 1, "passphrase")


def test_convert_key_is_not_for_luks1(tmp_path: Path) -> None:
    image = made(tmp_path, "luks1")
    refused(luksmeta("convert-key", image, *CHEAP, stdin=FIRST), 1, str(image), "LUKS1")


@on_versions
def test_remove_key_removes_what_the_passphrase_opens(version: Version, tmp_path: Path) -> None:
    image = made(tmp_path, version)
    answer = done(luksmeta("remove-key", image, stdin=SECOND))
    assert answer.out == f"{image}: keyslot 1 removed\n"
    assert not cryptsetup.unlocks(image, SECOND)
    assert cryptsetup.unlocked_slot(image, FIRST) == 0
    refused(luksmeta("remove-key", image, stdin=SECOND), 2, str(image))


@on_versions
@pytest.mark.parametrize("command", ["remove-key", "kill-slot"])
def test_the_last_keyslot_needs_q_without_a_terminal(
    version: Version, command: str, tmp_path: Path
) -> None:
    image = made(tmp_path, version, FIRST)
    before = image.read_bytes()
    line = (command, image, *(("0",) if command == "kill-slot" else ()))
    text = refused(luksmeta(*line, stdin=FIRST), 1, str(image), "keyslot 0", "-q")
    assert "lost for good" in text
    assert image.read_bytes() == before
    done(luksmeta(*line, "-q", stdin=FIRST))
    assert keyslots(image) == {}
    refused(luksmeta("unlock", image, stdin=FIRST), 2, "no keyslot is there")


@on_versions
def test_kill_slot_wants_a_passphrase_of_another_keyslot(version: Version, tmp_path: Path) -> None:
    image = made(tmp_path, version)
    before = image.read_bytes()
    refused(luksmeta("kill-slot", image, "1", stdin=SECOND), 2, str(image), "another keyslot")
    refused(luksmeta("kill-slot", image, "1", stdin=b"wrong"), 2, str(image))
    refused(luksmeta("kill-slot", image, "1"), 1, "nothing to read")
    refused(luksmeta("kill-slot", image, "1", "-q", "-d", tmp_path / "second"), 2)
    refused(luksmeta("kill-slot", image, "1", "-q", stdin=b"wrong\n"), 2)
    assert image.read_bytes() == before
    assert done(luksmeta("kill-slot", image, "1", stdin=FIRST)).out == (
        f"{image}: keyslot 1 removed\n"
    )
    assert not opens(image, SECOND)


@on_versions
def test_kill_slot_in_batch_mode_needs_no_passphrase(version: Version, tmp_path: Path) -> None:
    image = made(tmp_path, version)
    done(piped("kill-slot", image, "0", "-q", stdin=b""))
    assert set(keyslots(image)) == {"1"}


def test_kill_slot_s_names_the_keyslot_of_the_passphrase(tmp_path: Path) -> None:
    image = made(tmp_path, "luks2", FIRST, SECOND, THIRD)
    line = ("kill-slot", image, "2", "-d", tmp_path / "first")
    refused(luksmeta(*line, "-S", "1"), 2, str(image))
    refused(luksmeta(*line, "-S", "2"), 1, str(image), "keyslot 2: goes itself", "another")
    refused(luksmeta(*line, "-S", "7"), 1, str(image), "keyslot 7: not in use")
    done(luksmeta(*line, "-S", "0"))


def test_kill_slot_tries_every_other_keyslot(tmp_path: Path) -> None:
    image = made(tmp_path, "luks2", FIRST, SECOND, THIRD)
    document = builders.document_of(image.read_bytes())
    document["keyslots"]["0"]["area"]["encryption"] = "unknown-xts-plain64"
    image.write_bytes(builders.with_document(image.read_bytes(), document))
    line = ("kill-slot", image, "2", "-d")
    refused(luksmeta(*line, tmp_path / "first"), 2, "another keyslot", "tried 1", "unknown")
    done(luksmeta(*line, tmp_path / "second"))
    assert set(keyslots(image)) == {"0", "1"}


def test_a_keyslot_that_opens_no_data_proves_nothing(tmp_path: Path) -> None:
    image = cryptsetup.luks_format(tmp_path / "volume.img", FIRST)
    cryptsetup.add_key(image, FIRST, THIRD, extra=("--unbound", "--key-size", "256"))
    line = ("kill-slot", image, "0", "-q", "-S", "1", "-d", key_file(tmp_path, THIRD))
    refused(luksmeta(*line), 1, "keyslot 1: opens no data")
    assert opens(image, FIRST)


def test_what_may_not_be_changed_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    image = made(tmp_path, "luks2", FIRST)
    document = builders.document_of(image.read_bytes())
    document["config"]["requirements"] = {"mandatory": ["nobody-knows"]}
    image.write_bytes(builders.with_document(image.read_bytes(), document))
    before = image.read_bytes()
    for line in (("add-key",), ("change-key",), ("convert-key",), ("remove-key",), ("erase",)):
        text = refused(luksmeta(line[0], image), 1, str(image), "'nobody-knows'")
        assert "cryptsetup" not in text
    refused(luksmeta("kill-slot", image, "0"), 1, str(image), "'nobody-knows'")
    assert image.read_bytes() == before


def test_costs_that_make_no_sense_are_refused_before_anything_is_asked(image: Path) -> None:
    for command in ("add-key", "change-key", "convert-key"):
        refused(luksmeta(command, image, "--pbkdf-force-iterations", "3"), 1, "time is 3")


def test_kill_slot_takes_the_volume_key(image: Path, tmp_path: Path) -> None:
    wrong = key_file(tmp_path, bytes(32), "wrong")
    right = key_file(tmp_path, builders.VOLUME_KEY, "right")
    refused(luksmeta("kill-slot", image, "0", "--volume-key-file", wrong), 2, str(image))
    done(luksmeta("kill-slot", image, "0", "--volume-key-file", right))
    assert set(keyslots(image)) == {"1"}
