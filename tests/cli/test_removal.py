"""``remove-key`` by class: which keyslots go, what must be proved, what is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from luksmeta.format_options import Version
from tests import builders
from tests.builders import FIRST, SECOND, THIRD, VERSIONS
from tests.cli.runner import done, key_file, luksmeta, opens, refused
from tests.corpus import Corpus
from tests.interop.peers import cryptsetup


def made(folder: Path, *passphrases: bytes, version: Version = "luks2") -> Path:
    for name, secret in (("first", FIRST), ("second", SECOND)):
        key_file(folder, secret, name)
    return builders.file(folder / "volume.img", version, *passphrases)


def keyslots(image: Path) -> list[str]:
    return list(luksmeta("dump", image, "--json").json["keyslots"])


def with_recovery(folder: Path) -> Path:
    """Keyslots 0 and 1 with passphrases, 2 and 3 with recovery keys."""
    image = made(folder, FIRST, SECOND)
    for _ in range(2):
        done(luksmeta("add-key", image, "--recovery", stdin=FIRST))
    return image


def test_recovery_keys_go_with_their_tokens(tmp_path: Path) -> None:
    image = with_recovery(tmp_path)
    answer = done(luksmeta("remove-key", image, "--recovery", stdin=SECOND))
    assert answer.out == (
        f"{image}: keyslot 2 removed: of a systemd-recovery token\n"
        f"{image}: keyslot 3 removed: of a systemd-recovery token\n"
        f"{image}: token 0 removed\n"
        f"{image}: token 1 removed\n"
    )
    assert keyslots(image) == ["0", "1"]
    assert cryptsetup.dump_json(image)["tokens"] == {}
    answer = done(luksmeta("remove-key", image, "--recovery"))
    assert answer.out == f"{image}: nothing to remove\n"
    answer = done(luksmeta("remove-key", image, "--recovery", "--json"))
    assert answer.json == {"keyslots": [], "tokens": [], "not_tried": []}


def test_by_token_a_passphrase_of_a_keyslot_that_stays_is_wanted(tmp_path: Path) -> None:
    image = made(tmp_path, FIRST, SECOND)
    key = done(luksmeta("add-key", image, "--recovery", stdin=FIRST)).out.split()[-1].encode()
    before = image.read_bytes()
    for arguments, stdin, status in (
        ((), b"wrong", 2),
        ((), key, 2),
        ((), b"", 1),
        (("-q",), b"wrong\n", 2),
        (("-S", "2"), FIRST, 1),
        (("-S", "1"), FIRST, 2),
    ):
        answer = luksmeta("remove-key", image, "--recovery", *arguments, stdin=stdin)
        assert (answer.status, image.read_bytes() == before) == (status, True), arguments
    done(luksmeta("remove-key", image, "--recovery", "-q"))
    assert keyslots(image) == ["0", "1"]


def test_a_dry_run_by_class_shows_the_plan_alone(tmp_path: Path) -> None:
    image = with_recovery(tmp_path)
    before = image.read_bytes()
    line = ("remove-key", image, "--recovery", "--dry-run", "-d", tmp_path / "first")
    text = done(luksmeta(*line)).out
    assert text.startswith("Nothing was written.")
    plan = done(luksmeta(*line, "--json")).json["plan"]
    assert [step["what"] for step in plan if step["step"] == "random"] == [
        "keyslot 2 area wiped", "keyslot 3 area wiped"
    ]  # fmt: skip
    assert image.read_bytes() == before


@pytest.mark.parametrize("version", VERSIONS)
def test_keyslots_without_a_passphrase_go(version: Version, tmp_path: Path) -> None:
    image = made(tmp_path, b"", FIRST, b"", version=version)
    answer = done(luksmeta("remove-key", image, "--empty", "--json"))
    assert answer.json == {"keyslots": [0, 2], "tokens": [], "not_tried": []}
    assert keyslots(image) == ["1"]
    assert cryptsetup.unlocked_slot(image, FIRST) == 1
    assert not opens(image, b"")


@pytest.mark.parametrize("version", VERSIONS)
def test_all_that_a_key_file_opens_goes(version: Version, tmp_path: Path) -> None:
    image = made(tmp_path, FIRST, SECOND, FIRST, version=version)
    answer = done(luksmeta("remove-key", image, "--matching", tmp_path / "first"))
    reason = f"opened by key file {tmp_path / 'first'}"
    assert answer.out.splitlines() == [
        f"{image}: keyslot {keyslot} removed: {reason}" for keyslot in (0, 2)
    ]
    assert keyslots(image) == ["1"]
    assert opens(image, SECOND)
    before = image.read_bytes()
    again = luksmeta("remove-key", image, "--matching", tmp_path / "first")
    refused(again, 2, str(image), "no keyslot opens with key file")
    assert image.read_bytes() == before


def test_keyslots_that_are_tried_only_when_named_are_found(tmp_path: Path) -> None:
    image = made(tmp_path, FIRST, SECOND)
    done(luksmeta("config", image, "-S", "1", "--priority", "ignore"))
    done(luksmeta("remove-key", image, "--matching", tmp_path / "second"))
    assert keyslots(image) == ["0"]


def test_the_key_to_match_may_be_standard_input(tmp_path: Path) -> None:
    image = made(tmp_path, FIRST, SECOND)
    done(luksmeta("remove-key", image, "--matching", "-", stdin=SECOND))
    assert keyslots(image) == ["0"]


def test_a_given_passphrase_is_held_to_be_one_of_a_keyslot_that_stays(tmp_path: Path) -> None:
    image = made(tmp_path, FIRST, SECOND)
    line = ("remove-key", image, "--matching", tmp_path / "second", "-d")
    answer = luksmeta(*line, tmp_path / "second")
    assert answer.status == 2
    assert "another keyslot" in answer.err
    assert keyslots(image) == ["0", "1"]
    done(luksmeta(*line, tmp_path / "first"))


def test_classes_add_up_and_foreign_tokens_stay(tmp_path: Path) -> None:
    image = made(tmp_path, FIRST, SECOND, b"", THIRD)
    document = builders.document_of(image.read_bytes())
    document["tokens"] = {
        "0": {"type": "acme", "keyslots": ["1"]},
        "1": {"type": "systemd-tpm2", "keyslots": ["3"]},
    }
    image.write_bytes(builders.with_document(image.read_bytes(), document))
    types = ("--token-type", "acme", "--token-type", "systemd-tpm2")
    answer = done(luksmeta("remove-key", image, *types, "--empty", "--json", stdin=FIRST))
    assert answer.json == {"keyslots": [1, 2, 3], "tokens": [1], "not_tried": []}
    assert luksmeta("token", "list", image, "--json").json["tokens"] == {
        "0": {"type": "acme", "keyslots": []}
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_the_last_ones_need_q_without_a_terminal(version: Version, tmp_path: Path) -> None:
    image = made(tmp_path, FIRST, FIRST, version=version)
    before = image.read_bytes()
    line = ("remove-key", image, "--matching", tmp_path / "first")
    refused(luksmeta(*line, "--json"), 1, str(image), "keyslot 0, 1", "lost for good", "-q")
    assert image.read_bytes() == before
    done(luksmeta(*line, "-q"))
    assert keyslots(image) == []


def test_what_cannot_be_tried_is_told(tmp_path: Path) -> None:
    image = made(tmp_path, FIRST, SECOND, THIRD)
    document = builders.document_of(image.read_bytes())
    document["keyslots"]["0"]["area"]["encryption"] = "unknown-xts-plain64"
    image.write_bytes(builders.with_document(image.read_bytes(), document))
    answer = luksmeta("remove-key", image, "--matching", tmp_path / "second", "--json")
    assert (answer.status, answer.json["not_tried"]) == (0, [0])
    assert answer.err.startswith("luksmeta: warning: keyslot 0 was not tried: ")


def test_luks1_has_no_classes_by_token(tmp_path: Path) -> None:
    image = made(tmp_path, FIRST, version="luks1")
    for options in (("--recovery",), ("--token-type", "acme")):
        refused(luksmeta("remove-key", image, *options), 1, str(image), "LUKS1 has no tokens")


# During a reencryption, which has two keys

SECRET = b"correct horse battery staple"


def reencrypting(corpus: Corpus, folder: Path) -> Path:
    """Keyslots 0 and 1 have the same passphrase, and the key of some of the data each."""
    image = corpus.copy("made/l2-reencrypt-midway-none", folder)
    image.chmod(0o600)
    return image


@pytest.mark.parametrize("keyslot", ["0", "1"])
@pytest.mark.parametrize("command", ["kill-slot", "remove-key", "matching"])
def test_no_key_that_data_needs_goes_unasked(
    corpus: Corpus, tmp_path: Path, command: str, keyslot: str
) -> None:
    image = reencrypting(corpus, tmp_path)
    key = key_file(tmp_path, SECRET)
    line = {
        "kill-slot": ("kill-slot", image, keyslot, "-d", key),
        "remove-key": ("remove-key", image, "-S", keyslot, "-d", key),
        "matching": ("remove-key", image, "--matching", key),
    }[command]
    before = image.read_bytes()
    what = "opens the volume" if command == "matching" else f"keyslot {keyslot}: the last one of"
    refused(luksmeta(*line), 1, str(image), what, "lost for good", "-q")
    assert image.read_bytes() == before
    answer = luksmeta(*line, "-q")
    assert (answer.status, image.read_bytes() == before) == (0, False)
    if command != "matching":
        assert answer.err.startswith(f"luksmeta: warning: {image}: keyslot {keyslot}: the last one")


def test_the_other_keys_passphrase_proves_no_way_in(corpus: Corpus, tmp_path: Path) -> None:
    """Keyslot 5 has the key of keyslot 0, and another passphrase; keyslot 1 opens the other key."""
    image = reencrypting(corpus, tmp_path)
    document = builders.document_of(image.read_bytes())
    keyslots = document["keyslots"]
    hotzone, area = keyslots["2"]["area"], keyslots["0"]["area"]
    hotzone["size"] = str(int(hotzone["size"]) - int(area["size"]))
    place = {**area, "offset": str(int(hotzone["offset"]) + int(hotzone["size"]))}
    keyslots["5"] = {**keyslots["0"], "area": place}
    document["digests"]["0"]["keyslots"].append("5")
    image.write_bytes(builders.with_document(image.read_bytes(), document))
    before = image.read_bytes()
    key = key_file(tmp_path, SECRET)
    answer = luksmeta("kill-slot", image, "0", "-d", key)  # 5 would do, and does not open
    refused(answer, 2, "the passphrase must be that of another keyslot", "tried 5")
    answer = luksmeta("kill-slot", image, "0", "-d", key, "-S", "1")
    refused(answer, 1, "keyslot 1: opens another key than keyslot 0")
    assert image.read_bytes() == before
    done(luksmeta("kill-slot", image, "5", "-d", key))
