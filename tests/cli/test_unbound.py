"""Unbound keyslots by commands: ``add-key``, ``volume-key`` and ``kill-slot``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import builders
from tests.builders import FIRST, SECOND, VOLUME_KEY
from tests.cli.runner import CHEAP, done, key_file, luksmeta, opens, refused
from tests.interop.peers import cryptsetup

NEW, KEY = b"new passphrase", bytes(range(20))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    for name, secret in (("first", FIRST), ("second", SECOND), ("new", NEW), ("raw", KEY)):
        key_file(tmp_path, secret, name)
    return builders.file(tmp_path / "volume.img", "luks2", FIRST)


@pytest.fixture
def with_unbound(image: Path, tmp_path: Path) -> Path:
    raw = ("--volume-key-file", tmp_path / "raw")
    line = ("add-key", image, "--unbound", *raw, "--new-keyfile", tmp_path / "new", "-S", "5")
    answer = done(luksmeta(*line, *CHEAP))
    assert answer.out == f"{image}: keyslot 5 added, unbound\n"
    return image


def test_a_given_key_is_stored_without_any_passphrase_of_the_volume(with_unbound: Path) -> None:
    keyslot = done(luksmeta("dump", with_unbound, "--json")).json["keyslots"]["5"]
    assert (keyslot["state"], keyslot["key_size"], keyslot["digest"]) == ("unbound", 20, 1)
    assert "Keyslot 5  unbound" in done(luksmeta("dump", with_unbound)).out
    assert "5: luks2 (unbound)" in cryptsetup.dump(with_unbound)
    digest = cryptsetup.dump_json(with_unbound)["digests"]["1"]
    assert (digest["keyslots"], digest["segments"], digest["iterations"]) == (["5"], [], 1000)


def test_a_random_key_has_the_size_that_is_asked_for(image: Path, tmp_path: Path) -> None:
    line = ("add-key", image, "--unbound", "-s", "256", *CHEAP, "--json", "--priority", "ignore")
    assert done(luksmeta(*line, stdin=NEW + b"\n")).json == {"keyslot": 1}
    theirs = cryptsetup.run(
        "luksDump", "--unbound", "--key-slot", "1", "--key-file", tmp_path / "new", image
    ).decode()
    shown = "".join(theirs.partition("Unbound Key:")[2].split())
    ours = luksmeta("volume-key", image, "-q", "--unbound", "-S", "1", "-d", tmp_path / "new")
    assert done(ours).out == shown + "\n"
    assert len(shown) == 64


def test_part_of_a_longer_file_may_be_the_key(image: Path, tmp_path: Path) -> None:
    raw = ("--volume-key-file", tmp_path / "raw")
    done(luksmeta("add-key", image, "--unbound", *raw, "-s", "128", *CHEAP, stdin=NEW))
    answer = luksmeta("volume-key", image, "-q", "--unbound", "-S", "1", stdin=NEW)
    assert done(answer).out == KEY[:16].hex() + "\n"
    (tmp_path / "raw").write_bytes(bytes(513))
    refused(luksmeta("add-key", image, "--unbound", *raw, stdin=NEW), 1, "513 bytes", "512")


def test_a_passphrase_of_the_volume_that_is_given_must_open_it(image: Path, tmp_path: Path) -> None:
    line = ("add-key", image, "--unbound", "-s", "256", *CHEAP, "--new-keyfile", tmp_path / "new")
    refused(luksmeta(*line, "-d", tmp_path / "second"), 2, "tried 0")
    done(luksmeta(*line, "-d", tmp_path / "first", "--new-key-slot", "3", "-S", "0"))
    assert list(cryptsetup.dump_json(image)["keyslots"]) == ["0", "3"]


def test_an_unbound_keyslot_opens_only_when_named(with_unbound: Path) -> None:
    assert not opens(with_unbound, NEW)
    assert opens(with_unbound, NEW, "-S", "5")
    refused(luksmeta("read", with_unbound, "-S", "5", stdin=NEW), 2, "segment 0", "not opened")


def test_the_unbound_key_goes_to_a_file_or_is_shown(with_unbound: Path, tmp_path: Path) -> None:
    line = ("volume-key", with_unbound, "--unbound", "-S", "5", "-d", tmp_path / "new")
    target = tmp_path / "key"
    answer = done(luksmeta(*line, "-o", target))
    assert answer.out == f"{target}: unbound key of 160 bits\n"
    assert target.read_bytes() == KEY
    document = {"key_size": 20, "keyslot": 5, "unbound_key": KEY.hex()}
    assert done(luksmeta(*line, "-q", "--json")).json == document
    refused(luksmeta(*line), 1, "unbound key will be shown", "-q")


def test_an_unbound_key_is_never_taken_for_the_volume_key(
    with_unbound: Path, tmp_path: Path
) -> None:
    line = ("volume-key", with_unbound, "-q")
    refused(luksmeta(*line, "-S", "5", stdin=NEW), 1, "keyslot 5: is unbound", "--unbound")
    bound = luksmeta(*line, "--unbound", "-S", "0", stdin=FIRST)
    text = refused(bound, 1, "keyslot 0: is bound")
    assert VOLUME_KEY.hex() not in text
    refused(luksmeta(*line, "--unbound", "-S", "6", stdin=NEW), 1, "keyslot 6: not in use")


def test_an_unbound_keyslot_is_killed_without_a_question(
    with_unbound: Path, tmp_path: Path
) -> None:
    line = ("kill-slot", with_unbound, "5")
    refused(luksmeta(*line, "-d", tmp_path / "new"), 2, "another keyslot")
    done(luksmeta(*line, "-d", tmp_path / "first"))
    document = cryptsetup.dump_json(with_unbound)
    assert (list(document["keyslots"]), list(document["digests"])) == (["0"], ["0"])


def test_luks1_has_no_unbound_keyslots(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks1")
    before = image.read_bytes()
    line = ("add-key", image, "--unbound", "-s", "256", *CHEAP)
    refused(luksmeta(*line, stdin=NEW), 1, str(image), "LUKS1 has no unbound keyslots")
    assert image.read_bytes() == before


@pytest.mark.parametrize("command", ["change-key", "convert-key"])
def test_an_unbound_keyslot_is_changed_by_its_passphrase_as_in_cryptsetup(
    with_unbound: Path, tmp_path: Path, command: str
) -> None:
    new = ("--new-keyfile", tmp_path / "second") if command == "change-key" else ()
    line = (command, with_unbound, "-d", tmp_path / "new", *new, *CHEAP, "--json")
    assert done(luksmeta(*line)).json == {"keyslot": 5}
    secret = SECOND if command == "change-key" else NEW
    answer = luksmeta("volume-key", with_unbound, "-q", "--unbound", "-S", "5", stdin=secret)
    assert done(answer).out == KEY.hex() + "\n"
