"""Tokens and recovery keys, ours and those of cryptsetup and systemd, each used by the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import luksmeta
from luksmeta import TokenError
from luksmeta.volume import Volume
from tests import builders
from tests.builders import FIRST, SECOND, document_of
from tests.interop.peers import PeerError, cryptsetup, systemd

ACME = {"type": "acme", "keyslots": ["0"], "pin": {"tries": 3}, "é": "/"}


@pytest.fixture
def twins(tmp_path: Path) -> tuple[Path, Path]:
    """The same volume with two keyslots, twice: for us and for the other."""
    ours = builders.file(tmp_path / "ours", "luks2", FIRST, SECOND)
    return ours, builders.file(tmp_path / "theirs", "luks2", FIRST, SECOND)


def tokens_on_disk(path: Path) -> str:
    """Down to the order of members."""
    return json.dumps(document_of(path.read_bytes())["tokens"])


def ours_does(path: Path, act: Callable[[Volume], object]) -> None:
    with luksmeta.open(path, writable=True) as volume:
        act(volume)


def add_keyring(path: Path, *options: str) -> None:
    cryptsetup.run("token", "add", path, "--key-description", "home", *options)


def test_what_token_commands_leave_is_what_cryptsetups_leave(twins: tuple[Path, Path]) -> None:
    ours, theirs = twins
    steps: list[tuple[Callable[[Volume], object], Callable[[], object]]] = [
        (lambda v: v.tokens.add_keyring("home"), lambda: add_keyring(theirs)),
        (
            lambda v: v.tokens.add_keyring("home", keyslots=[1]),
            lambda: add_keyring(theirs, "--key-slot", "1"),
        ),
        (
            lambda v: v.tokens.add_keyring("home", keyslots=[], token_id=31),
            lambda: add_keyring(theirs, "--unbound", "--token-id", "31"),
        ),
        (lambda v: v.tokens.remove(0), lambda: cryptsetup.token_remove(theirs, 0)),
        (lambda v: v.tokens.add(ACME), lambda: cryptsetup.token_import(theirs, ACME)),
        (
            lambda v: v.tokens.add(ACME, token_id=7),
            lambda: cryptsetup.token_import(theirs, ACME, 7),
        ),
        (
            lambda v: v.tokens.unassign(1, [1]),
            lambda: cryptsetup.run(
                "token", "unassign", theirs, "--token-id", "1", "--key-slot", "1"
            ),
        ),
        (
            lambda v: v.tokens.add_keyring("home", token_id=7, replacing=True),
            lambda: add_keyring(theirs, "--token-id", "7", "--token-replace"),
        ),
    ]
    for ours_step, their_step in steps:
        ours_does(ours, ours_step)
        their_step()
        left, right = (json.loads(tokens_on_disk(path)) for path in twins)
        assert left == right
        for token in left.values():
            assert list(token)[:2] == ["type", "keyslots"]


def test_each_exports_what_the_other_imported(twins: tuple[Path, Path]) -> None:
    ours, theirs = twins
    ours_does(ours, lambda volume: volume.tokens.add(ACME))
    cryptsetup.token_import(theirs, ACME)
    assert cryptsetup.token_export(ours, 0) == ACME
    with luksmeta.open(theirs) as volume:
        assert json.loads(volume.tokens.export_json(0)) == ACME


@pytest.mark.parametrize(
    "token",
    [
        {},
        {"type": "x"},
        {"type": "", "keyslots": []},
        {"type": "x", "keyslots": {}},
        {"type": "x", "keyslots": [0]},
        {"type": "x", "keyslots": ["9"]},
        {"type": "luks2-x", "keyslots": []},
        {"type": "luks2-keyring", "keyslots": []},
        {"type": "luks2-keyring", "keyslots": [], "key_description": ""},
        {"type": "luks2-keyring", "keyslots": [], "key_description": 5},
        {"type": "luks2-keyring", "keyslots": [], "key_description": "x", "more": 1},
    ],
)
def test_both_refuse_the_same_tokens(token: dict[str, Any], twins: tuple[Path, Path]) -> None:
    ours, theirs = twins
    with pytest.raises((TokenError, luksmeta.KeyslotNotFoundError)):
        ours_does(ours, lambda volume: volume.tokens.import_json(json.dumps(token).encode()))
    with pytest.raises(PeerError):
        cryptsetup.token_import(theirs, token)


def test_a_note_means_nothing_to_cryptsetup_and_stays(twins: tuple[Path, Path]) -> None:
    ours, _ = twins
    note = luksmeta.Note(owner="Ann", purpose="her laptop")
    ours_does(ours, lambda volume: volume.configure(notes={1: note}))
    cryptsetup.add_key(ours, FIRST, b"third")
    cryptsetup.change_key(ours, SECOND, b"another")
    with luksmeta.open(ours) as volume:
        assert volume.note(1) == note
    assert "luksmeta-note" in cryptsetup.dump(ours)
    assert cryptsetup.unlocked_slot(ours, b"another") == 1


def test_systemd_takes_our_recovery_key(twins: tuple[Path, Path]) -> None:
    ours, _ = twins
    with luksmeta.open(ours, writable=True) as volume, volume.unlock(FIRST) as unlocked:
        _, made = unlocked.add_recovery_key()
        key = bytes(made.view())
    assert systemd.keyslots(ours) == {0: "password", 1: "password", 2: "recovery"}
    assert cryptsetup.unlocked_slot(ours, key) == 2
    theirs = systemd.add_recovery_key(ours, key)
    with luksmeta.open(ours) as volume, volume.unlock(theirs.upper()) as unlocked:
        assert unlocked.keyslot == 3


def test_a_recovery_key_of_systemds_is_made_as_ours(twins: tuple[Path, Path]) -> None:
    ours, theirs = twins
    with luksmeta.open(ours, writable=True) as volume, volume.unlock(FIRST) as unlocked:
        unlocked.add_recovery_key()
    key = systemd.add_recovery_key(theirs, FIRST)
    assert tokens_on_disk(ours) == tokens_on_disk(theirs)
    left, right = (cryptsetup.dump_json(path)["keyslots"]["2"] for path in twins)
    for keyslot in (left, right):
        del keyslot["kdf"]["salt"]
    assert left == right
    with luksmeta.open(theirs) as volume:
        for typed in (key, key.upper(), key.replace(b"-", b"")):
            with volume.unlock(typed) as unlocked:
                assert unlocked.keyslot == 2


@pytest.mark.parametrize("what", ["recovery", "empty"])
def test_what_is_wiped_by_class_is_what_systemd_wipes(what: str, twins: tuple[Path, Path]) -> None:
    for path in twins:
        systemd.add_recovery_key(path, FIRST)
        with luksmeta.open(path, writable=True) as volume, volume.unlock(FIRST) as unlocked:
            unlocked.add_keyslot(b"", pbkdf=builders.KDF)
    ours, theirs = twins
    assert systemd.keyslots(ours) == {0: "password", 1: "password", 2: "recovery", 3: "password"}
    systemd.wipe(theirs, what)
    if what == "recovery":
        ours_does(ours, lambda v: v.remove_keyslot(v.tokens.keyslots_of("systemd-recovery")))
    else:
        ours_does(ours, lambda v: v.remove_keyslot(v.keyslots_that_open(b"")[0]))
    assert tokens_on_disk(ours) == tokens_on_disk(theirs)
    assert systemd.keyslots(ours) == systemd.keyslots(theirs)
