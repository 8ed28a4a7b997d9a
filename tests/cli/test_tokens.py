"""``token``, and what ``add-key``, ``config`` and ``dump`` do with recovery keys and notes."""

from __future__ import annotations

import json
import re
import stat
import subprocess
from pathlib import Path

import pytest

from tests import builders
from tests.builders import FIRST, SECOND
from tests.cli.runner import CHEAP, COMMAND, Argument, done, key_file, luksmeta, opens, refused

KEY = re.compile(r"\b(?:[cbdefghijklnrtuv]{8}-){7}[cbdefghijklnrtuv]{8}\b")
ACME = {"type": "acme", "keyslots": ["0"], "é": [1.5, None]}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return builders.file(tmp_path / "volume.img", "luks2", FIRST, SECOND)


def imported(image: Path, token: object = ACME, *options: Argument) -> None:
    done(luksmeta("token", "import", image, *options, stdin=json.dumps(token).encode()))


def test_list_shows_what_is_there(image: Path) -> None:
    assert done(luksmeta("token", "list", image)).out == f"{image}: no tokens\n"
    assert done(luksmeta("token", "list", image, "--json")).json == {"tokens": {}}
    imported(image)
    done(luksmeta("token", "add", image, "--key-description", "home", "--token-id", "5"))
    done(luksmeta("token", "add", image, "--key-description", "x", "--unbound"))
    assert done(luksmeta("token", "list", image)).out == (
        "0: acme, keyslot 0\n1: luks2-keyring, no keyslot\n5: luks2-keyring, keyslots 0, 1\n"
    )
    tokens = done(luksmeta("token", "list", image, "--json")).json["tokens"]
    assert tokens["0"] == ACME
    assert tokens["5"]["key_description"] == "home"


def test_add_says_which_token_it_made(image: Path) -> None:
    line = ("token", "add", image, "--key-description", "home")
    assert done(luksmeta(*line)).out == f"{image}: token 0 added; keyslots 0, 1\n"
    answer = done(luksmeta(*line, "-S", "1", "--json"))
    assert answer.json == {"token": 1, "keyslots": [1]}
    refused(luksmeta(*line, "-S", "7"), 1, str(image), "keyslot 7: not in use")
    refused(luksmeta(*line, "--token-id", "1"), 1, str(image), "token 1: in use")
    refused(luksmeta(*line, "--token-id", "32"), 1, str(image), "0 to 31")
    refused(luksmeta(*line, "--token-replace"), 1, "--token-id")
    refused(luksmeta(*line, "-S", "1", "--unbound"), 1, "exclude")
    refused(luksmeta("token", "add", image, "--key-description", ""), 1, "key_description")
    refused(luksmeta("token", "add", image), 1, "--key-description")
    done(luksmeta(*line, "--token-id", "1", "--token-replace"))
    assert luksmeta("token", "list", image, "--json").json["tokens"]["1"]["keyslots"] == ["0", "1"]


def test_what_is_exported_can_be_imported(image: Path, tmp_path: Path) -> None:
    imported(image)
    target = tmp_path / "token"
    line = ("token", "export", image, "--token-id", "0")
    text = done(luksmeta(*line, "--json-file", target)).out
    assert text == f"{target}: token 0 of {image}\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert target.read_bytes() == '{"type":"acme","keyslots":["0"],"é":[1.5,null]}'.encode()
    refused(luksmeta(*line, "--json-file", target), 5, str(target), "exists")
    for output in ((), ("--json-file", "-"), ("--json",)):
        shown = done(luksmeta(*line, *output)).out
        assert json.loads(shown) == ACME
        assert shown.isascii()
    done(luksmeta("token", "import", image, "--json-file", target, "-S", "1", "--token-id", "9"))
    document = luksmeta("token", "list", image, "--json").json["tokens"]
    assert document["9"] == {**ACME, "keyslots": ["0", "1"]}
    refused(luksmeta(*line, "--dry-run"), 1, "--json-file")
    refused(luksmeta("token", "export", image, "--token-id", "3"), 1, "token 3: not in use")


def test_an_import_that_makes_no_sense_changes_nothing(image: Path, tmp_path: Path) -> None:
    before = image.read_bytes()
    line = ("token", "import", image)
    refused(luksmeta(*line, stdin=b"[]"), 1, str(image), "no JSON object")
    refused(luksmeta(*line, stdin=b'{"type":"luks2-x","keyslots":[]}'), 1, "luks2-x")
    refused(luksmeta(*line, stdin=b'{"type":"x","keyslots":["9"]}'), 1, "keyslot 9")
    refused(luksmeta(*line, stdin=b'{"type":"x","keyslots":[7]}'), 1, "'7'")
    refused(luksmeta(*line, stdin=b" " * (5 << 20)), 1, "4194304")
    refused(luksmeta(*line, "--json-file", tmp_path / "none"), 1, "none", "no such file")
    refused(luksmeta(*line, "--json-file", tmp_path), 1, "is a directory")
    assert image.read_bytes() == before


def test_assign_unassign_and_remove(image: Path) -> None:
    imported(image)
    which = ("--token-id", "0")
    assert done(luksmeta("token", "assign", image, *which)).out.endswith("keyslots 0, 1\n")
    done(luksmeta("token", "unassign", image, *which, "-S", "0"))
    refused(luksmeta("token", "unassign", image, *which, "-S", "0"), 1, "not assigned")
    answer = done(luksmeta("token", "assign", image, *which, "-S", "0", "--json"))
    assert answer.json == {"token": 0, "keyslots": [1, 0]}
    assert done(luksmeta("token", "remove", image, *which, "--json")).json == {"token": 0}
    refused(luksmeta("token", "remove", image, *which), 1, str(image), "token 0: not in use")
    refused(luksmeta("token", "remove", image), 1, "--token-id")


@pytest.mark.parametrize(
    "line",
    [
        ("list",),
        ("add", "--key-description", "x"),
        ("import",),
        ("export", "--token-id", "0"),
        ("remove", "--token-id", "0"),
        ("assign", "--token-id", "0"),
        ("unassign", "--token-id", "0", "-S", "0"),
    ],
)
def test_luks1_has_no_tokens(line: tuple[str, ...], tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks1")
    before = image.read_bytes()
    refused(luksmeta("token", line[0], image, *line[1:]), 1, str(image), "LUKS1 has no tokens")
    assert image.read_bytes() == before


# --- recovery keys ---


def test_a_recovery_key_is_shown_once_and_opens_however_it_is_typed(image: Path) -> None:
    answer = done(luksmeta("add-key", image, "--recovery", stdin=FIRST))
    first, key, *rest = answer.out.splitlines()
    assert first == f"{image}: keyslot 2 added; its recovery key, shown only now:"
    assert KEY.fullmatch(key)
    assert not rest
    for typed in (key, key.upper(), key.replace("-", "")):
        assert opens(image, typed.encode())
    assert not opens(image, key.replace("-", "", 1).encode())
    dumped = luksmeta("dump", image, "--json")
    assert key not in dumped.out
    kdf = dumped.json["keyslots"]["2"]["kdf"]
    assert (kdf["type"], kdf["hash"], kdf["iterations"]) == ("pbkdf2", "sha512", 1000)


def test_a_recovery_key_in_json_with_costs_of_ones_own(image: Path, tmp_path: Path) -> None:
    line = ("add-key", image, "-d", key_file(tmp_path), "--recovery", "--json", "-S", "5")
    document = done(luksmeta(*line, "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "2000")).json
    assert list(document) == ["keyslot", "recovery_key"]
    assert document["keyslot"] == 5
    assert opens(image, document["recovery_key"].encode(), "-S", "5")
    kdf = luksmeta("dump", image, "--json").json["keyslots"]["5"]["kdf"]
    assert (kdf["hash"], kdf["iterations"]) == ("sha512", 2000)


def test_a_recovery_key_that_cannot_be_made_is_refused(image: Path, tmp_path: Path) -> None:
    line = ("add-key", image, "-d", key_file(tmp_path), "--recovery")
    before = image.read_bytes()
    refused(luksmeta(*line, "--new-keyfile", tmp_path / "key"), 1, "--recovery makes the key")
    refused(luksmeta("add-key", image, "--recovery", "--unbound", "-s", "256"), 1, "for the data")
    answer = done(luksmeta(*line, "--dry-run"))
    assert not KEY.search(answer.out)
    assert answer.out.startswith("Nothing was written.")
    assert image.read_bytes() == before
    old = builders.file(tmp_path / "old.img", "luks1")
    refused(luksmeta("add-key", old, "--recovery"), 1, str(old), "LUKS1 has no tokens")


@pytest.mark.parametrize("option", [(), ("--json",)])
def test_a_keyslot_goes_again_when_its_recovery_key_cannot_be_shown(
    image: Path, option: tuple[str, ...]
) -> None:
    line = [*COMMAND, "add-key", str(image), "--recovery", *option]
    with Path("/dev/full").open("wb") as full:
        answer = subprocess.run(line, input=FIRST, stdout=full, stderr=subprocess.PIPE, check=False)
    assert (answer.returncode, b"standard output: no space left" in answer.stderr) == (4, True)
    document = luksmeta("dump", image, "--json").json
    assert (list(document["keyslots"]), document["tokens"]) == (["0", "1"], {})


# --- notes ---


def test_a_note_is_made_with_its_keyslot_and_shown_beside_it(image: Path, tmp_path: Path) -> None:
    new = ("-d", key_file(tmp_path), "--new-keyfile", key_file(tmp_path, b"new", "new"), *CHEAP)
    done(luksmeta("add-key", image, *new, "--owner", "Ann", "--note", "her laptop"))
    document = luksmeta("dump", image, "--json").json["keyslots"]
    note = document["2"]["note"]
    assert (note["owner"], note["purpose"]) == ("Ann", "her laptop")
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", note["created"])
    assert (document["0"]["note"], document["0"]["tokens"]) == (None, [])
    assert document["2"]["tokens"] == [0]
    page = luksmeta("dump", image).out
    section = page[page.index("Keyslot 2") : page.index("Digest 0")]
    for line in ("Owner           Ann", "Note            her laptop", f"Created         {note['created']}"):  # fmt: skip  # noqa: E501
        assert line in section


def test_an_unbound_keyslot_has_a_note_too(image: Path, tmp_path: Path) -> None:
    new = ("--new-keyfile", key_file(tmp_path, b"new", "new"), *CHEAP)
    done(luksmeta("add-key", image, "--unbound", "-s", "128", *new, "--owner", "Ann"))
    keyslot = luksmeta("dump", image, "--json").json["keyslots"]["2"]
    assert (keyslot["state"], keyslot["note"]["owner"]) == ("unbound", "Ann")


def test_config_sets_the_note_of_a_keyslot_that_is_there(image: Path) -> None:
    def note() -> object:
        return luksmeta("dump", image, "--json").json["keyslots"]["1"]["note"]

    done(luksmeta("config", image, "-S", "1", "--owner", "Bob"))
    assert note() == {"owner": "Bob"}
    done(luksmeta("config", image, "-S", "1", "--note", "spare", "--priority", "ignore"))
    assert note() == {"owner": "Bob", "purpose": "spare"}
    done(luksmeta("config", image, "-S", "1", "--owner", ""))
    assert note() == {"purpose": "spare"}
    done(luksmeta("config", image, "-S", "1", "--note", ""))
    assert note() is None
    assert luksmeta("token", "list", image, "--json").json["tokens"] == {}


def test_a_note_that_makes_no_sense_is_refused(image: Path, tmp_path: Path) -> None:
    before = image.read_bytes()
    refused(luksmeta("config", image, "--note", "x"), 1, "-S")
    refused(luksmeta("config", image, "-S", "9", "--note", "x"), 1, str(image), "keyslot 9")
    refused(luksmeta("config", image, "-S", "0", "--owner", "x" * 129), 1, "129 bytes, 128")
    refused(luksmeta("config", image, "-S", "0", "--note", "\x1b[2J"), 1, "control character")
    refused(
        luksmeta("add-key", image, *CHEAP, "--note", "\n", stdin=FIRST + b"\nx\n"),
        1,
        "control character",
    )
    assert image.read_bytes() == before
    old = builders.file(tmp_path / "old.img", "luks1")
    refused(luksmeta("add-key", old, *CHEAP, "--owner", "Ann"), 1, str(old), "LUKS1 has no tokens")
    refused(luksmeta("config", old, "-S", "0", "--note", "x"), 1, str(old), "LUKS1 has no tokens")


@pytest.mark.parametrize("line", [(), ("--json-file", "-")])
def test_nothing_to_import_is_said_as_such(image: Path, line: tuple[str, ...]) -> None:
    text = refused(luksmeta("token", "import", image, *line), 1, str(image))
    assert "nothing to read on standard input" in text


def test_an_empty_file_to_import_is_named(image: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    line = ("token", "import", image, "--json-file", tmp_path / "empty")
    refused(luksmeta(*line), 1, f"nothing to read on {tmp_path / 'empty'}")


def test_an_id_in_use_names_the_way_to_replace_it(image: Path) -> None:
    add = ("token", "add", image, "--key-description", "home", "--token-id", "3")
    assert ": token 3 added;" in done(luksmeta(*add)).out
    refused(luksmeta(*add), 1, "token 3: in use already", "--token-replace")
    assert ": token 3 replaced;" in done(luksmeta(*add, "--token-replace")).out
    new = ("token", "import", image, "--token-id", "3", "--token-replace")
    assert ": token 3 replaced;" in done(luksmeta(*new, stdin=b'{"type":"x","keyslots":[]}')).out
    new = ("token", "import", image, "--token-id", "4", "--token-replace")
    assert ": token 4 imported;" in done(luksmeta(*new, stdin=b'{"type":"x","keyslots":[]}')).out


def test_a_text_without_room_is_no_damaged_header(image: Path) -> None:
    before = image.read_bytes()
    add = ("token", "add", image, "--key-description", "x" * 20_000)
    text = refused(luksmeta(*add), 1, f"{image}: no room in the JSON area: 2", " bytes, 12288 fit")
    assert text.endswith("(config --luks2-metadata-size makes it larger)")
    assert image.read_bytes() == before


@pytest.mark.parametrize(
    "line",
    [
        ("config", "--label", "a\udcffb"),
        ("config", "--label", "two\nlines"),
        ("config", "--subsystem", "\x1b[2J"),
        ("token", "add", "--key-description", "a\udcff"),
        ("config", "-S", "0", "--owner", "\udcff"),
    ],
)
def test_texts_that_are_none_are_refused(image: Path, line: tuple[str, ...]) -> None:
    before = image.read_bytes()
    at = 2 if line[0] == "token" else 1
    answer = luksmeta(*line[:at], image, *line[at:])
    refused(answer, 1, str(image))
    assert "is no UTF-8" in answer.err or "control character" in answer.err
    assert image.read_bytes() == before


def test_a_type_with_a_nul_is_refused(image: Path) -> None:
    text = rb'{"type":"a\u0000b","keyslots":[]}'
    refused(luksmeta("token", "import", image, stdin=text), 1, "its type", "control character")


def test_removing_a_keyslot_says_which_tokens_went_with_it(image: Path, tmp_path: Path) -> None:
    for keyslot in ("0", "1"):
        done(luksmeta("config", image, "-S", keyslot, "--owner", "Ann"))
    key = tmp_path / "first"
    key.write_bytes(FIRST)
    other = tmp_path / "other.img"
    other.write_bytes(image.read_bytes())
    answer = done(luksmeta("remove-key", image, "-d", key, "--json"))
    assert answer.json == {"keyslot": 0, "tokens": [0]}
    assert done(luksmeta("kill-slot", other, "1", "-q")).out == (
        f"{other}: keyslot 1 removed\n{other}: token 1 removed\n"
    )
