"""Prompts, confirmations and progress, on a real terminal."""

from __future__ import annotations

import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from luksmeta.format_options import Version
from tests import builders
from tests.builders import FIRST, SECOND
from tests.cli.runner import CHEAP, COMMAND, Argument, luksmeta, opens
from tests.corpus import Corpus

pexpect = pytest.importorskip("pexpect")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such terminals")
SECONDS = 20
PROMPT = "Passphrase for .*: "
YES = "Type YES in capital letters\\): "


class Terminal:
    """A command on a terminal."""

    def __init__(self, arguments: tuple[Argument, ...]) -> None:
        line = [*COMMAND[1:], *map(str, arguments)]
        self._child = pexpect.spawn(
            COMMAND[0], line, timeout=SECONDS, encoding="utf-8", dimensions=(30, 300)
        )
        self.seen = ""

    def answer(self, question: str, text: str) -> Terminal:
        """Wait for the question, whose text is a pattern, and type."""
        self._child.expect(question)
        self.seen += self._child.before + self._child.after
        self._child.send(text)
        return self

    def echoes(self) -> bool:
        """Whether the terminal shows what is typed."""
        return bool(termios.tcgetattr(self._child.child_fd)[3] & termios.ECHO)

    def wait_for_echo(self, wanted: bool) -> bool:
        """Wait until the terminal echoes, or no longer does."""
        return bool(self._child.waitnoecho(SECONDS)) if not wanted else self.echoes()

    def end(self) -> tuple[int | None, str]:
        """The exit status and everything that was shown."""
        self._child.expect(pexpect.EOF)
        self.seen += self._child.before
        self.echo_at_end = self.echoes()
        self._child.close()
        return self._child.exitstatus, self.seen


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    started: list[Terminal] = []

    def start(*arguments: Argument) -> Terminal:
        started.append(Terminal(arguments))
        return started[-1]

    yield start
    for each in started:
        each._child.close(force=True)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return builders.file(tmp_path / "volume.img", "luks2", FIRST, SECOND)


Start = Callable[..., Terminal]


def typed(secret: bytes) -> str:
    return secret.decode() + "\n"


def test_a_passphrase_is_asked_for_without_echo(terminal: Start, image: Path) -> None:
    run = terminal("unlock", image)
    assert run.wait_for_echo(False)
    status, seen = run.answer(PROMPT, typed(FIRST)).end()
    assert (status, run.echo_at_end) == (0, True)
    assert FIRST.decode() not in seen
    assert f"{image}: keyslot 0 opens" in seen


def test_a_wrong_passphrase_may_be_typed_three_times(terminal: Start, image: Path) -> None:
    run = terminal("unlock", image)
    for wrong in ("one\n", "two\n"):
        run.answer(PROMPT, wrong)
    assert run.answer(PROMPT, typed(FIRST)).end()[0] == 0
    run = terminal("unlock", image)
    for wrong in ("one\n", "two\n", "three\n"):
        run.answer(PROMPT, wrong)
    status, seen = run.end()
    assert status == 2
    assert seen.count("luksmeta: error: ") == 1
    assert terminal("unlock", image, "-T", "1").answer(PROMPT, "no\n").end()[0] == 2


def test_a_key_file_is_tried_once_also_on_a_terminal(
    terminal: Start, image: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_bytes(b"wrong")
    status, seen = terminal("unlock", image, "-d", wrong).end()
    assert status == 2
    assert "Passphrase for" not in seen


def test_a_new_passphrase_is_asked_for_twice(terminal: Start, image: Path) -> None:
    run = terminal("add-key", image, *CHEAP).answer(PROMPT, typed(FIRST))
    run.answer("New passphrase: ", "novel\n").answer("New passphrase again: ", "novel\n")
    assert run.end()[0] == 0
    assert opens(image, b"novel")


def test_two_new_passphrases_that_differ_are_status_2(terminal: Start, tmp_path: Path) -> None:
    image = tmp_path / "new.img"
    run = terminal("format", image, "--size", "20M", *CHEAP)
    run.answer(PROMPT, "one\n").answer("again: ", "other\n")
    status, seen = run.end()
    assert status == 2
    assert f"luksmeta: error: {image}: passphrases do not match" in seen
    assert not image.exists()


def test_standard_input_as_key_file_is_asked_for_too(terminal: Start, image: Path) -> None:
    run = terminal("unlock", image, "-d", "-")
    assert run.wait_for_echo(False)
    assert run.answer(PROMPT, typed(FIRST)).end()[0] == 0
    status, seen = terminal("unlock", image, "--keyfile-offset", "1").end()
    assert status == 1
    assert "keyfile offset" in seen


def test_questions_do_not_steer_the_terminal(terminal: Start, tmp_path: Path) -> None:
    image = builders.file(tmp_path / "\x1b]0;owned\x07\x1b[2J", "luks2", FIRST)
    status, seen = terminal("unlock", image).answer(PROMPT, typed(FIRST)).end()
    assert status == 0
    assert "\x1b" not in seen
    status, seen = terminal("erase", image).answer(YES, "no\n").end()
    assert status == 2
    assert "\x1b" not in seen


def test_batch_mode_asks_once(terminal: Start, image: Path) -> None:
    run = terminal("add-key", image, *CHEAP, "-q").answer(PROMPT, typed(FIRST))
    assert run.answer("New passphrase: ", "novel\n").end()[0] == 0
    assert opens(image, b"novel")


@pytest.mark.parametrize(
    ("command", "refused"),
    [
        ("format", 1),
        ("restore-header", 2),
        ("erase", 2),
        ("convert", 2),
        ("remove-key", 2),
        ("kill-slot", 2),
    ],
)
def test_what_destroys_wants_yes_in_capital_letters(
    terminal: Start, tmp_path: Path, command: str, refused: int
) -> None:
    version: Version = "luks1" if command == "convert" else "luks2"
    image = builders.file(tmp_path / "volume.img", version, FIRST)
    key = tmp_path / "key"
    key.write_bytes(FIRST)
    luksmeta("backup-header", image, "-o", tmp_path / "backup")
    lines: dict[str, tuple[Argument, ...]] = {
        "format": (image, "-d", key, *CHEAP),
        "restore-header": (image, "-i", tmp_path / "backup"),
        "erase": (image,),
        "convert": (image, "--type", "luks2"),
        "remove-key": (image, "-d", key),
        "kill-slot": (image, "0", "-d", key),
    }
    before = image.read_bytes()
    for answer in ("yes\n", "\n", "Y\n", "\x04"):
        status, seen = terminal(command, *lines[command]).answer(YES, answer).end()
        assert status == refused
        assert "luksmeta: error: " in seen
        assert image.read_bytes() == before
    assert terminal(command, *lines[command]).answer(YES, "YES\n").end()[0] == 0
    assert command == "restore-header" or image.read_bytes() != before


def test_restore_says_what_will_change_before_it_asks(terminal: Start, tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks2", FIRST, SECOND)
    luksmeta("backup-header", image, "-o", tmp_path / "backup")
    luksmeta("kill-slot", image, "1", "-q")
    run = terminal("restore-header", image, "-i", tmp_path / "backup")
    run.answer("keyslot 0: stays as it is", "").answer("keyslot 1: the backup's", "")
    assert run.answer(YES, "no\n").end()[0] == 2
    run = terminal("restore-header", image, "-i", tmp_path / "backup")
    status, seen = run.answer(YES, "YES\n").end()
    assert (status, seen.count("keyslot 1: the backup's")) == (0, 1)


def test_the_volume_key_is_shown_after_yes(terminal: Start, image: Path) -> None:
    run = terminal("volume-key", image).answer(YES, "YES\n").answer(PROMPT, typed(FIRST))
    status, seen = run.end()
    assert status == 0
    assert builders.VOLUME_KEY.hex() in seen
    assert terminal("volume-key", image).answer(YES, "no\n").end()[0] == 2


def test_the_last_keyslot_is_called_by_its_number(terminal: Start, tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks2", FIRST)
    run = terminal("kill-slot", image, "0").answer("Passphrase of keyslot 0: ", typed(FIRST))
    status, seen = run.answer(YES, "YES\n").end()
    assert status == 0
    assert "its data will be lost for good" in seen


def test_what_goes_by_class_is_listed_before_anything_is_asked(
    terminal: Start, tmp_path: Path
) -> None:
    image = builders.file(tmp_path / "volume.img", "luks2", FIRST, FIRST)
    before = image.read_bytes()
    key = tmp_path / "key"
    key.write_bytes(FIRST)
    status, seen = terminal("remove-key", image, "--matching", key).answer(YES, "no\n").end()
    assert status == 2
    assert image.read_bytes() == before
    assert seen.index("Keyslot 0 goes: opened by key file") < seen.index("Keyslot 1 goes")
    assert seen.index("Keyslot 1 goes") < seen.index("Are you sure?")


def test_control_c_at_a_prompt_is_status_130_and_restores_the_echo(
    terminal: Start, image: Path
) -> None:
    before = image.read_bytes()
    for command, question in (("unlock", PROMPT), ("add-key", PROMPT), ("erase", YES)):
        run = terminal(command, image)
        if question == PROMPT:
            assert run.wait_for_echo(False)
        status, seen = run.answer(question, "\x03").end()
        assert (status, run.echo_at_end) == (130, True)
        assert seen.rstrip().endswith(f"luksmeta: error: {image}: interrupted")
        assert "Traceback" not in seen
    assert image.read_bytes() == before


def test_control_d_at_a_prompt_is_an_empty_input(terminal: Start, image: Path) -> None:
    status, seen = terminal("unlock", image).answer(PROMPT, "\x04").end()
    assert status == 1
    assert "nothing to read on the terminal" in seen


def test_plaintext_is_not_written_to_a_terminal(terminal: Start, image: Path) -> None:
    status, seen = terminal("read", image).end()
    assert status == 1
    assert "-o FILE" in seen


def test_work_that_takes_a_while_shows_a_bar_which_goes_away(
    terminal: Start, tmp_path: Path
) -> None:
    image, key = tmp_path / "big.img", tmp_path / "key"
    key.write_bytes(b"key")
    luksmeta("format", image, "--size", "600M", "-d", key, *CHEAP)
    started = time.monotonic()
    run = terminal("read", image, "-d", key, "-o", "/dev/null")
    status, seen = run.end()
    assert status == 0
    if time.monotonic() - started > 3:  # a fast machine needs no bar
        assert "Reading" in seen
        assert "MiB" in seen
        assert seen.rindex("\x1b[?25h") > seen.rindex("Reading")  # the cursor is back


def test_quick_work_shows_nothing_but_its_result(terminal: Start, image: Path) -> None:
    status, seen = terminal("unlock", image).answer(PROMPT, typed(FIRST)).end()
    assert status == 0
    assert "\x1b" not in seen


@pytest.mark.parametrize(("said", "status"), [("YES\n", 0), ("yes\n", 2)])
def test_a_repair_shows_its_fields_before_it_asks(
    said: str, status: int, image: Path, terminal: Callable[..., Terminal]
) -> None:
    with image.open("r+b") as file:
        file.write(bytes(4096))
    before = image.read_bytes()
    ended, seen = terminal("repair", image).answer(YES, said).end()
    assert ended == status
    assert seen.index("object ") < seen.index("primary header  magic") < seen.index("Are you sure")
    assert (image.read_bytes() == before) == (status != 0)
    assert image.with_name("volume.img.before-repair").exists() == (status == 0)


def test_a_mistyped_passphrase_does_not_end_a_repair(
    corpus: Corpus, terminal: Start, tmp_path: Path
) -> None:
    base = corpus("made/l2-reencrypt-init-checksum").read_bytes()
    document = builders.document_of(base)
    document["config"]["requirements"]["mandatory"] = ["online-reencrypt"]
    image = tmp_path / "volume.img"
    image.write_bytes(builders.with_document(base, document))
    question = "to prove its reencryption: "
    right = typed(b"correct horse battery staple")
    run = terminal("repair", image, "-T", "2").answer(question, typed(b"wrong"))
    status, seen = run.answer(question, right).answer(YES, "YES\n").end()
    assert status == 0
    assert "warning" in seen
    assert "reencrypt-v2" in seen
