"""The sequence of guesses, the state of a search, and the target that they are tried on."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import luksmeta
from luksmeta import MemoryStorage, Volume
from luksmeta.errors import (
    AlgorithmError,
    KeyslotError,
    KeyslotNotFoundError,
    PassphraseError,
    ResourceLimitError,
    StorageError,
)
from luksmeta.forensics.guessing.guesses import LINE_MAX, Guesses, WordList, WordListError
from luksmeta.forensics.guessing.rules import Rule, parse
from luksmeta.forensics.guessing.search import Search
from luksmeta.forensics.guessing.state import Inputs, State, StateError
from luksmeta.forensics.guessing.target import Target
from luksmeta.forensics.guessing.variants import variants_of
from luksmeta.format_options import Version
from luksmeta.kdf import machine
from luksmeta.kdf.pbkdf import Argon2id, Limits, Pbkdf2, derive
from luksmeta.secret import SecretBytes
from tests import builders
from tests.builders import FIRST, SECOND, THIRD

ANSWERS = ("passphrase", "words", "rules", "keyslots")


def word_list(folder: Path, content: bytes, name: str = "words") -> WordList:
    path = folder / name
    path.write_bytes(content)
    return WordList(str(path))


def rules(text: bytes) -> tuple[Rule, ...]:
    return tuple(parse(text))


def texts(guesses: Guesses) -> list[bytes]:
    return [guess.passphrase for guess in guesses]


# --- the sequence ---


def test_a_word_is_a_line_without_its_end(tmp_path: Path) -> None:
    words = word_list(tmp_path, b"one\r\n\ntwo words \n$HEX[c3a90a]\n$HEX[0]\nlast")
    assert list(words.words()) == [
        (1, b"one"),
        (3, b"two words "),
        (4, b"\xc3\xa9\n"),
        (5, b"$HEX[0]"),
        (6, b"last"),
    ]
    assert words.measure()[0] == 6


def test_what_is_no_word_list_is_refused(tmp_path: Path) -> None:
    disk = word_list(tmp_path, b"a\n" + b"\0" * (LINE_MAX + 1))
    with pytest.raises(WordListError, match=rf"words: line 2 has more than {LINE_MAX} bytes"):
        list(disk.words())
    with pytest.raises(StorageError, match="no such file"):
        list(WordList(str(tmp_path / "none")).words())


def test_words_come_after_the_variants_each_through_the_rules(tmp_path: Path) -> None:
    lists = (word_list(tmp_path, b"a\nb\n"), word_list(tmp_path, b"c\n", "more"))
    with SecretBytes(b"pw") as passphrase:
        guesses = Guesses(passphrase, lists, rules(b":\nu\n$1\n"))
        variants = [each.passphrase for each in variants_of(b"pw")]
        made = [b"pw", b"PW", b"pw1", b"a", b"A", b"a1", b"b", b"B", b"b1", b"c", b"C", b"c1"]
        assert texts(guesses) == [*variants, *made]
        assert guesses.at_most(lines=3) == len(variants) + len(made)
        assert [guess.variant for guess in guesses][-3:] == [
            f"line 1 of {tmp_path}/more, rule ':' (line 1)",
            f"line 1 of {tmp_path}/more, rule 'u' (line 2)",
            f"line 1 of {tmp_path}/more, rule '$1' (line 3)",
        ]


def test_what_two_rules_make_alike_is_one_guess(tmp_path: Path) -> None:
    words = word_list(tmp_path, b"A1\n")
    assert texts(Guesses(None, (words,), rules(b":\nu\nc\nl\n]]\n"))) == [b"A1", b"a1"]


def test_the_passphrase_stays_out_of_representations() -> None:
    guess = next(iter(Guesses(SecretBytes(b"secret"))))
    assert "secret" not in repr(guess)
    assert "secret" not in repr(next(variants_of(b"secret")))


# --- the target ---


def two_keyslots() -> Volume:
    volume = builders.opened("luks2", FIRST)
    with volume.unlock(FIRST) as unlocked:
        unlocked.add_keyslot(SECOND, pbkdf=Pbkdf2(hash="sha256", iterations=200_000))
        unlocked.add_keyslot(THIRD, pbkdf=Argon2id(time=4, memory=1024, cpus=1), priority="ignore")
    return volume


def test_the_cheapest_keyslot_is_tried_first_and_ignored_ones_are_too() -> None:
    with two_keyslots() as volume:
        target = Target.of(volume)
        assert target.keyslots[0] == 0
        assert set(target.keyslots) == {0, 1, 2}
        assert target.cheapest == builders.KDF
        for passphrase, keyslot in ((FIRST, 0), (SECOND, 1), (THIRD, 2), (b"no", None)):
            assert target.opened_by(passphrase) == keyslot
        assert Target.of(volume, (1,)).opened_by(FIRST) is None


@pytest.mark.parametrize("version", builders.VERSIONS)
def test_nothing_is_read_of_the_evidence_once_it_is_taken(version: Version) -> None:
    volume = builders.opened(version)
    target = Target.of(volume)
    storage = volume.header_storage
    assert isinstance(storage, MemoryStorage)
    storage.data[:] = bytes(len(storage.data))
    assert target.opened_by(FIRST) == 0


def test_a_keyslot_that_cannot_be_tried_is_left_out_and_named() -> None:
    with two_keyslots() as volume:
        target = Target.of(volume, limits=Limits(memory=512))
        assert set(target.keyslots) == {0, 1}
        assert target.hindered == {
            2: "keyslot 2: argon2id: memory is 1024 KiB, the limit 512 KiB",
        }
        with pytest.raises(ResourceLimitError, match="keyslot 2"):
            Target.of(volume, (2,), Limits(memory=512))
        with pytest.raises(KeyslotNotFoundError):
            Target.of(volume, (7,))
        with pytest.raises(PassphraseError, match="no keyslot is there"):
            Target.of(volume, ())


@pytest.mark.parametrize(
    ("keyslot", "error", "text"),
    [
        ({"encryption": "rot13-xts-plain64"}, AlgorithmError, "keyslot 0: .*rot13"),
        ({"key_size": 4096}, KeyslotError, "keyslot 0: a key of 4096 bytes, 1 to 512"),
    ],
)
def test_what_no_cipher_has_is_refused_before_the_first_guess(
    keyslot: dict[str, Any], error: type[Exception], text: str
) -> None:
    base = builders.image("luks2")
    document = builders.document_of(base)
    document["keyslots"]["0"]["area"].update(keyslot)
    volume = luksmeta.open(MemoryStorage(builders.with_document(base, document)))
    with pytest.raises(error, match=text):
        Target.of(volume)


def test_all_processes_together_keep_to_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_cpus", lambda: 16)
    monkeypatch.setattr(machine, "physical_memory", lambda: 8192)
    with two_keyslots() as volume:
        target = Target.of(volume, limits=Limits(memory=4096))
        assert target.memory == 1024
        assert target.processes(None, None) == 4  # half of the machine's
        assert target.processes(None, 3000) == 2
        assert target.processes(None, 100) == 1
        assert target.processes(8, 8192) == 8
        with pytest.raises(ResourceLimitError, match=r"9 processes .* need 9216 KiB, .* 8192 KiB"):
            target.processes(9, 8192)
        assert Target.of(volume, (0,)).processes(None, 1) == 16  # PBKDF2 needs none


# --- the search ---


def searched(words: WordList, processes: int = 2, position: int = 0) -> Search:
    return Search(Target.of(builders.opened("luks2")), Guesses(None, (words,)), processes, position)


def test_a_search_finds_the_word_and_says_where_it_is(tmp_path: Path) -> None:
    run = searched(word_list(tmp_path, b"a\nb\n" + FIRST + b"\nc\n"))
    found = run.run()
    assert found is not None
    assert (found.keyslot, found.guess.passphrase) == (0, FIRST)
    assert found.guess.variant == f"line 3 of {tmp_path}/words"
    assert run.position <= 2 < run.tried + 2


def test_a_search_in_vain_tries_every_guess_once(tmp_path: Path) -> None:
    run = searched(word_list(tmp_path, b"".join(b"%d\n" % n for n in range(20))), position=5)
    seen: list[tuple[int, int]] = []
    assert run.run(lambda position, tried: seen.append((position, tried))) is None
    assert [tried for _, tried in seen] == list(range(6, 21))
    assert run.position == run.tried == 20
    assert all(position <= tried for position, tried in seen)


def test_a_process_that_is_killed_is_told_of(tmp_path: Path) -> None:
    run = searched(word_list(tmp_path, b"".join(b"%d\n" % n for n in range(2000))))

    def kill(position: int, tried: int) -> None:
        for each in multiprocessing.active_children():
            assert each.pid is not None
            os.kill(each.pid, signal.SIGKILL)

    with pytest.raises(ResourceLimitError, match="has been ended from outside") as caught:
        run.run(kill)
    assert caught.value.hint == "fewer --processes need less memory"


def test_what_goes_wrong_in_a_process_is_the_searchs_error(tmp_path: Path) -> None:
    words = word_list(tmp_path, b"a\nb\n")
    run = searched(words)
    run.target = replace(run.target, areas={0: b""})
    with pytest.raises(StorageError, match="cannot read"):
        run.target.opened_by(b"a")
    with pytest.raises(KeyslotError, match="cannot read"):
        run.run()
    run = searched(words)
    run.target = replace(run.target, limits=Limits(iterations=10))
    with pytest.raises(ResourceLimitError, match="keyslot 0: pbkdf2: iterations"):
        run.run()


def test_a_search_is_one_call() -> None:
    with builders.opened("luks2", FIRST, SECOND + b"\n") as volume:
        found = luksmeta.find_passphrase(volume, luksmeta.Guesses(SECOND), processes=1)
        assert found is not None
        assert (found.keyslot, found.guess.variant) == (1, "with the trailing newline")
        only = luksmeta.Guesses(b"1")
        assert luksmeta.find_passphrase(volume, only, keyslots=(0,), processes=2) is None


def test_no_process_outlives_a_search(tmp_path: Path) -> None:
    assert searched(word_list(tmp_path, FIRST + b"\n")).run() is not None
    assert multiprocessing.active_children() == []


# --- the state ---


def inputs(
    passphrase: bytes | None = b"pw", words: bytes = b"w" * 32, rule: bytes = b"l"
) -> Inputs:
    secret = None if passphrase is None else SecretBytes(passphrase)
    return Inputs(Target.of(builders.opened("luks2")), secret, words, rules(rule))


def test_a_state_goes_on_with_the_same_inputs(tmp_path: Path) -> None:
    path = tmp_path / "state"
    state = State.of(str(path), inputs())
    assert state.position == 0
    state.save(1234)
    assert State.of(str(path), inputs()).position == 1234
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["state"]


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (inputs(b"other"), "other passphrase"),
        (inputs(None), "other passphrase"),
        (inputs(words=b"v" * 32), "other words"),
        (inputs(rule=b"u"), "other rules"),
        (
            Inputs(Target.of(builders.opened("luks1")), SecretBytes(b"pw"), b"w" * 32, rules(b"l")),
            "other keyslots",
        ),
    ],
)
def test_other_inputs_are_refused(tmp_path: Path, other: Inputs, text: str) -> None:
    path = str(tmp_path / "state")
    State.of(path, inputs()).save(7)
    with pytest.raises(StateError, match=f"state: of another search: {text}"):
        State.of(path, other)


def test_a_state_holds_nothing_by_which_a_guess_is_cheaper(tmp_path: Path) -> None:
    path = tmp_path / "state"
    proofs = []
    for _ in range(2):
        State.of(str(path), inputs())
        proofs.append(json.loads(path.read_text()))
        path.unlink()
    one, other = proofs
    assert set(one) == {"format", "salt", "position", *ANSWERS}
    for secret in ("passphrase", "words"):
        assert one[secret] != other[secret]  # each under a salt of its own, by the volume's KDF
        kdf = builders.KDF
        given = b"pw" if secret == "passphrase" else b"w" * 32
        with derive(kdf, given, bytes.fromhex(one["salt"]), 32) as derived:
            assert derived.view().hex() == one[secret]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b'{"format": "luksmeta-guessing-9"}',
        b'{"format": "luksmeta-guessing-1"}',
        b'{"format": "luksmeta-guessing-1", "salt": "xx", "position": 1}',
        b'{"format": "luksmeta-guessing-1", "salt": "00", "position": -1}',
        b'{"format": "luksmeta-guessing-1", "salt": "00", "position": "1"}',
        b" " * 70000,
        b"\xff\xfe",
    ],
)
def test_what_is_no_state_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state"
    path.write_bytes(content)
    with pytest.raises(StateError, match="state: "):
        State.of(str(path), inputs())
    assert path.read_bytes() == content
