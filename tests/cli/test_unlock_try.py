"""``unlock --try`` and ``--words``: volumes of cryptsetup's whose passphrase went wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from luksmeta.forensics.guessing.state import State
from tests import builders
from tests.builders import FIRST, SECOND
from tests.cli.runner import COMMAND, done, key_file, luksmeta, refused
from tests.interop.peers import cryptsetup

MANY = [b"word %d\n" % number for number in range(4000)]
DEADLINE = 30.0


@pytest.mark.parametrize(
    ("stored", "typed", "variant"),
    [
        (b"secret\n", b"secret", "with the trailing newline"),
        ("Grüße".encode("latin-1"), "Grüße".encode(), "in Latin-1"),
        (b"cafe\xcc\x81", "café".encode(), "in Unicode form NFD"),
        (b"sECRET", b"Secret", "with Caps Lock on"),
        (b"Yaun]", b"Zaun+", "typed on a German layout read as US"),
        (b"GR\xc3\x9cN\n", "grün".encode(), "with Caps Lock on, with the trailing newline"),
    ],
)
def test_the_variant_that_opens_is_said_in_words(
    tmp_path: Path, stored: bytes, typed: bytes, variant: str
) -> None:
    path = tmp_path / "image"
    cryptsetup.luks_format(path, stored)
    before = path.read_bytes(), path.stat().st_mtime_ns
    answer = done(luksmeta("unlock", path, "--try", "--json", stdin=typed + b"\n"))
    assert (answer.json["keyslot"], answer.json["variant"]) == (0, variant)
    assert answer.json["found_file"] is None
    assert stored not in answer.raw
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_what_is_found_goes_to_a_key_file_and_nowhere_else(tmp_path: Path) -> None:
    path = builders.file(tmp_path / "image", "luks1", FIRST + b"\r\n")
    found = tmp_path / "found"
    answer = done(luksmeta("unlock", path, "--try", "--found-file", found, stdin=FIRST + b"\n"))
    first, second, third = answer.out.splitlines()
    assert first == (f"{path}: keyslot 0 opens, the passphrase is with a trailing CR and newline")
    assert "guesses tried" in second
    assert third == f"{found}: the passphrase, as a key file"
    assert FIRST.decode() not in answer.out
    assert found.read_bytes() == FIRST + b"\r\n"
    assert found.stat().st_mode & 0o777 == 0o600
    done(luksmeta("unlock", path, "--key-file", found))


def test_words_through_rules(tmp_path: Path) -> None:
    path = builders.file(tmp_path / "image", "luks2", FIRST, b"Summer2024")
    words, rules = tmp_path / "words", tmp_path / "rules"
    words.write_bytes(b"winter\nsummer\nspring\n")
    rules.write_bytes(b":\nc $2 $0 $2 $4\n")
    answer = done(luksmeta("unlock", path, "--words", words, "--rules", rules, "--json"))
    assert answer.json["keyslot"] == 1
    assert answer.json["variant"] == f"line 2 of {words}, rule 'c $2 $0 $2 $4' (line 2)"
    assert answer.json["guesses"] == 6
    assert sorted(answer.json["keyslots_tried"]) == [0, 1]
    text = "none of 6 guesses opens a keyslot (tried 0)"
    only = ("unlock", path, "--words", words, "--rules", rules, "-S", "0")
    refused(luksmeta(*only), 2, f"{path}: {text}")


def test_rules_are_for_the_passphrase_too(tmp_path: Path) -> None:
    path = builders.file(tmp_path / "image", "luks2", b"abcabc9")
    rules = tmp_path / "rules"
    rules.write_bytes(b"d $9\n")
    answer = done(luksmeta("unlock", path, "--try", "--rules", rules, "--json", stdin=b"abc\n"))
    assert answer.json["variant"] == "as given, rule 'd $9' (line 1)"


def test_words_come_from_standard_input_after_the_passphrase(tmp_path: Path) -> None:
    path = builders.file(tmp_path / "image", "luks2", FIRST)
    both = luksmeta("unlock", path, "--try", "--words", "-", "--json", stdin=b"pw\nno\n" + FIRST)
    assert done(both).json["variant"] == "line 2 of standard input"
    assert both.json["guesses"] is None
    alone = luksmeta("unlock", path, "--words", "-", "--json", stdin=FIRST + b"\n")
    assert done(alone).json["variant"] == "line 1 of standard input"
    words = key_file(tmp_path, FIRST, "words")  # nobody gives a passphrase
    assert done(luksmeta("unlock", path, "--try", "--words", words, "--json")).json["tried"] == 1


def test_a_wrong_passphrase_is_status_2_with_the_number_tried(tmp_path: Path) -> None:
    path = builders.file(tmp_path / "image", "luks2", FIRST)
    found = tmp_path / "found"
    answer = luksmeta("unlock", path, "--try", "--found-file", found, "--json", stdin=b"1\n")
    line = refused(answer, 2, "guesses opens a keyslot (tried 0)")
    assert int(line.partition("none of ")[2].split()[0]) > 30
    assert not found.exists()


@pytest.mark.parametrize(
    ("options", "status", "text"),
    [
        (["--rules", "x"], 1, "--rules needs --try or --words"),
        (["--state", "x"], 1, "--state needs --try or --words"),
        (["--processes", "2"], 1, "--processes needs --try or --words"),
        (["--found-file", "x"], 1, "--found-file needs --try or --words"),
        (["--try", "--volume-key-file", "x"], 1, "--volume-key-file is no passphrase"),
        (["--words", "x", "--key-file", "y"], 1, "--key-file needs --try"),
        (["--try", "--words", "-", "--key-file", "-"], 1, "read once only"),
        (["--words", "-", "--words", "-"], 1, "read once only"),
        (["--words", "-", "--state", "x"], 1, "--state needs word lists"),
        (["--words", "x", "--found-file", "-"], 1, "standard output cannot be it"),
        (["--words", "nowhere"], 4, "nowhere: no such file"),
        (["--try", "--rules", "nowhere"], 4, "nowhere: no such file"),
        (["--try"], 1, "nothing to read on standard input"),
        (["--words", "x", "-S", "5"], 1, "keyslot 5: not in use"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, options: list[str], status: int, text: str
) -> None:
    path = builders.file(tmp_path / "image", "luks2", FIRST)
    refused(luksmeta("unlock", path, *options), status, text)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = builders.file(tmp_path / "image", "luks2", FIRST)
    taken = key_file(tmp_path, SECOND)
    options = ("unlock", path, "--try", "--found-file", taken)
    refused(luksmeta(*options, stdin=FIRST + b"\n"), 5, f"{taken}: file exists")
    refused(luksmeta("unlock", path, "--try", "--state", path, stdin=b"x\n"), 1, "is no state")
    assert taken.read_bytes() == SECOND
    assert path.read_bytes() == builders.image("luks2", (FIRST,))


def test_limits_and_seals_are_those_of_unlock(tmp_path: Path) -> None:
    path = builders.file(tmp_path / "image", "luks2", FIRST)
    slow = luksmeta("unlock", path, "--try", "--max-time", "0.001", stdin=FIRST + b"\n")
    assert slow.status in (0, 3)  # an estimate: a millisecond is about what it takes
    unsealed = luksmeta("unlock", path, "--try", "--require-seal", stdin=FIRST + b"\n")
    refused(unsealed, 2, "seal")


def test_argon2_processes_must_fit_into_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "image"
    cryptsetup.luks_format(path, FIRST, pbkdf="argon2id")
    options = ("unlock", path, "--try", "--processes", "4", "--max-memory")
    refused(luksmeta(*options, "100", stdin=FIRST + b"\n"), 3, "4 processes", "128 KiB", "100 KiB")
    done(luksmeta(*options, "128", stdin=FIRST + b"\n"))


def slow(folder: Path) -> Path:
    """A volume of which some dozens of guesses a second are tried."""
    path = folder / "image"
    options = ("--size", "20M", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "40000")
    done(luksmeta("format", path, *options, stdin=FIRST + b"\n"))
    return path


def started(path: Path, words: Path, state: Path) -> subprocess.Popen[bytes]:
    """A search on its way, which has a process group of its own as on a terminal."""
    command = [*COMMAND, "unlock", path, "--words", words, "--state", state, "--processes", "2"]
    process = subprocess.Popen(
        list(map(str, command)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + DEADLINE
    while not position_in(state):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    return process


def position_in(state: Path) -> int:
    """How many guesses have been tried, as the file says."""
    if not state.exists():
        return 0
    position: int = json.loads(state.read_bytes())["position"]
    return position


def group(leader: int) -> list[int]:
    """The processes of a group that still run."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == leader and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found


def ended(leader: int) -> bool:
    deadline = time.monotonic() + DEADLINE
    while group(leader) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not group(leader)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_an_interrupted_search_goes_on(tmp_path: Path) -> None:
    path, words, state = slow(tmp_path), tmp_path / "words", tmp_path / "state"
    words.write_bytes(b"".join(MANY[:250]) + FIRST + b"\n")
    process = started(path, words, state)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out) == (130, b"")
    position = position_in(state)
    assert 0 < position < 250
    assert err.decode().splitlines() == [
        f"luksmeta: warning: {state}: {position} guesses tried; the same command goes on",
        f"luksmeta: error: {path}: interrupted",
    ]
    assert ended(process.pid)

    answer = done(luksmeta("unlock", path, "--words", words, "--state", state, "--json"))
    assert answer.json["resumed_at"] == position
    assert answer.json["variant"] == f"line 251 of {words}"
    assert position < answer.json["tried"] <= 251
    words.write_bytes(b"other\n")
    other = luksmeta("unlock", path, "--words", words, "--state", state)
    refused(other, 1, f"{state}: of another search: other words")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_no_process_outlives_the_command(tmp_path: Path) -> None:
    path, words, state = slow(tmp_path), tmp_path / "words", tmp_path / "state"
    words.write_bytes(b"".join(MANY))
    process = started(path, words, state)
    running = group(process.pid)
    assert len(running) >= 3  # two of them try guesses
    for each in running:
        arguments = Path(f"/proc/{each}/cmdline").read_bytes()
        assert b"word 1" not in arguments
    process.kill()
    process.communicate(timeout=DEADLINE)
    assert ended(process.pid)


def test_progress_is_shown_on_a_terminal(tmp_path: Path) -> None:
    pexpect = pytest.importorskip("pexpect")
    path, words = slow(tmp_path), tmp_path / "words"
    words.write_bytes(b"".join(MANY))
    line = [*COMMAND[1:], "unlock", str(path), "--words", str(words)]
    child = pexpect.spawn(COMMAND[0], line, timeout=DEADLINE, dimensions=(30, 200))
    child.expect(rb"[1-9]\d*/4000.*guesses, [\d.]+/s.*\d:\d\d:\d\d")
    child.sendintr()
    child.expect(rb"luksmeta: error: .*: interrupted")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130


def test_a_finished_search_is_not_done_again(tmp_path: Path) -> None:
    path = builders.file(tmp_path / "image", "luks2", FIRST)
    words, state = key_file(tmp_path, b"a\nb\n", "words"), tmp_path / "state"
    options = ("unlock", path, "--words", words, "--state", state)
    for _ in range(2):
        refused(luksmeta(*options), 2, "none of 2 guesses")
    assert json.loads(state.read_bytes())["position"] == 2


def test_a_result_is_not_lost_with_its_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = builders.file(tmp_path / "volume", "luks2")
    words = tmp_path / "words"
    words.write_bytes(b"one\n" + FIRST + b"\n")
    folder = tmp_path / "gone"
    folder.mkdir()
    real = State.save

    def save(state: State, position: int) -> None:
        real(state, position)
        if folder.exists():
            shutil.rmtree(folder)

    monkeypatch.setattr(State, "save", save)
    found = tmp_path / "found"
    options = ("--words", words, "--state", folder / "state", "--found-file", found)
    answer = luksmeta("unlock", volume, *options)
    assert answer.status == 0
    assert "not saved" in answer.err
    assert found.read_bytes() == FIRST


def test_the_file_beside_the_state_is_somebody_elses(tmp_path: Path) -> None:
    volume = builders.file(tmp_path / "volume", "luks2")
    words, other = tmp_path / "words", tmp_path / "state.new"
    words.write_bytes(FIRST + b"\n")
    other.write_text("precious")
    link = tmp_path / "link"
    link.symlink_to("state")
    done(luksmeta("unlock", volume, "--words", words, "--state", link))
    assert other.read_text() == "precious"
    assert link.is_symlink()
    assert json.loads((tmp_path / "state").read_text())["position"] >= 0
    assert not [each for each in tmp_path.iterdir() if each.name.startswith(".")]


def test_rules_that_differ_in_bytes_that_are_no_text_are_other_rules(tmp_path: Path) -> None:
    volume = builders.file(tmp_path / "volume", "luks2")
    words, state, rules = (tmp_path / name for name in ("words", "state", "rules"))
    words.write_bytes(b"x\ny\n")
    options = ("--words", words, "--rules", rules, "--state", state)
    rules.write_bytes(b"$\xe4\n")
    refused(luksmeta("unlock", volume, *options), 2, "none of 2 guesses")
    rules.write_bytes(b"$\xf6\n")
    refused(luksmeta("unlock", volume, *options), 1, "other rules")


def test_words_out_of_a_pipe_are_read_once(tmp_path: Path) -> None:
    volume = builders.file(tmp_path / "volume", "luks2")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    thread = threading.Thread(target=pipe.write_bytes, args=(b"one\n" + FIRST + b"\n",))
    thread.start()
    answer = done(luksmeta("unlock", volume, "--words", pipe, "--json"))
    thread.join()
    assert answer.json["keyslot"] == 0
    answer = luksmeta("unlock", volume, "--words", pipe, "--state", tmp_path / "state")
    refused(answer, 1, "no pipe")


@pytest.mark.parametrize(
    "content", ["[" * 60000, '{"format": "luksmeta-guessing-1", "salt": "00", "position": true}']
)
def test_a_broken_state_is_one_line_about_it(tmp_path: Path, content: str) -> None:
    volume = builders.file(tmp_path / "volume", "luks2")
    state, words = tmp_path / "state", tmp_path / "words"
    state.write_text(content)
    words.write_bytes(b"x\n")
    refused(luksmeta("unlock", volume, "--words", words, "--state", state), 1, str(state))


def test_what_a_killed_search_left_is_no_hindrance(tmp_path: Path) -> None:
    volume = builders.file(tmp_path / "volume", "luks2")
    words, found, state = (tmp_path / name for name in ("words", "found", "state"))
    words.write_bytes(b"x\n" + FIRST + b"\n")
    found.touch()
    options = ("--words", words, "--found-file", found, "--state", state)
    refused(luksmeta("unlock", volume, *options), 5, "exists")
    done(luksmeta("unlock", volume, "--words", words, "--state", state))
    done(luksmeta("unlock", volume, *options))
    assert found.read_bytes() == FIRST
