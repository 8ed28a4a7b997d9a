"""Ctrl-C and its kin: the status soon, no half-written file, the volume as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import builders
from tests.builders import FIRST
from tests.cli.runner import CHEAP, COMMAND, Argument, done, key_file, luksmeta, opens

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
DEADLINE = 30.0
ANSWER_SECONDS = 2.5  # half a second of patience, and the noise of a busy machine
SIGNALS = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "ended by SIGTERM",
    signal.SIGHUP: "ended by SIGHUP",
}
HOURS = (1 << 31) - 1  # iterations of PBKDF2


def hear_every_signal() -> None:
    """Undo what the tests' own parent may have ignored (``nohup``, a shell's background)."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def started(*arguments: Argument) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=hear_every_signal,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def interrupt(process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGINT) -> str:
    """Send the signal; the error's line, after the checks of status and time."""
    sent = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 128 + number, err
    assert time.monotonic() - sent < ANSWER_SECONDS
    line, *others = err.decode().splitlines()
    assert not others, err.decode()
    return line


def wait_until_busy(process: subprocess.Popen[bytes]) -> None:
    """Wait for a second and a half of processor time: nothing but a key derivation takes that."""
    tick = os.sysconf("SC_CLK_TCK")
    wait_for(lambda: sum(map(int, state_of(process)[11:13])) / tick > 1.5)


def wait_until_idle(process: subprocess.Popen[bytes]) -> None:
    """Wait until the process sleeps whenever it is looked at: it waits for its input by then."""
    wait_for(lambda: all(state_of(process)[0] == "S" for _ in _looks(10)))


def state_of(process: subprocess.Popen[bytes]) -> list[str]:
    """The fields of proc(5)'s stat from the state on."""
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def _looks(count: int) -> Iterator[int]:
    for number in range(count):
        time.sleep(0.04)
        yield number


def with_endless_kdf(path: Path) -> Path:
    """A volume whose first keyslot takes hours to try."""
    document = builders.document_of(builders.image("luks2"))
    document["keyslots"]["0"]["kdf"]["iterations"] = HOURS
    path.write_bytes(builders.with_document(builders.image("luks2"), document))
    return path


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
every_signal = pytest.mark.parametrize("number", SIGNALS)


@needs_proc
@every_signal
def test_a_long_key_derivation_is_left_at_once(tmp_path: Path, number: signal.Signals) -> None:
    image = with_endless_kdf(tmp_path / "volume.img")
    before = image.read_bytes()
    with started("unlock", image, "-d", key_file(tmp_path)) as process:
        wait_until_busy(process)
        assert interrupt(process, number) == f"luksmeta: error: {SIGNALS[number]}"
    assert image.read_bytes() == before


@needs_proc
def test_format_that_still_derives_its_key_leaves_no_file(tmp_path: Path) -> None:
    key = key_file(tmp_path)
    kdf = ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", str(HOURS))
    line = ("format", tmp_path / "new.img", "--header", tmp_path / "new.hdr", "-d", key)
    with started(*line, "--size", "4M", *kdf) as process:
        wait_until_busy(process)
        interrupt(process)
    assert list(tmp_path.iterdir()) == [key]


@needs_proc
def test_add_key_that_still_derives_its_key_changes_nothing(tmp_path: Path) -> None:
    image, key = builders.file(tmp_path / "volume.img", "luks2"), key_file(tmp_path)
    before = image.read_bytes()
    kdf = ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", str(HOURS))
    with started("add-key", image, "-d", key, "--new-keyfile", key, *kdf) as process:
        wait_until_busy(process)
        interrupt(process)
    assert image.read_bytes() == before


@every_signal
def test_read_in_the_middle_leaves_neither_its_file_nor_a_temporary_one(
    tmp_path: Path, number: signal.Signals
) -> None:
    image, key = tmp_path / "volume.img", key_file(tmp_path)
    done(luksmeta("format", image, "--size", "8G", "-d", key, *CHEAP))
    there = tmp_path / "plain"
    there.write_bytes(b"what was there")
    with started("read", image, "-d", key, "-o", there) as process:
        wait_for(
            lambda: any(
                path.stat().st_size > 1 << 20
                for path in tmp_path.iterdir()
                if path.name.startswith(".luksmeta.")
            )
        )
        line = interrupt(process, number)
    assert line == f"luksmeta: error: {image}: {SIGNALS[number]}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "plain", "volume.img"]
    assert there.read_bytes() == b"what was there"


@needs_proc
def test_waiting_for_a_passphrase_or_for_data_is_left_at_once(tmp_path: Path) -> None:
    image, key = builders.file(tmp_path / "volume.img", "luks2"), key_file(tmp_path)
    before = image.read_bytes()
    for line in (("unlock", image), ("write", image, "-d", key), ("unlock", image, "-d", "-")):
        with started(*line) as process:
            assert process.stdin is not None
            process.stdin.write(b"no newline yet")
            process.stdin.flush()
            wait_until_idle(process)
            assert interrupt(process) == f"luksmeta: error: {image}: interrupted"
    assert image.read_bytes() == before
    assert opens(image, FIRST)


def ended(script: str, number: signal.Signals) -> subprocess.Popen[bytes]:
    """Run a script, and send the signal when it has printed that it is ready and is busy."""
    with subprocess.Popen(
        [sys.executable, "-c", f"from luksmeta.cli import interrupts\n{script}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=hear_every_signal,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        wait_until_busy(process)
        process.send_signal(number)
        process.communicate(timeout=DEADLINE)
    return process


@needs_proc
@every_signal
def test_what_would_stay_behind_is_removed_when_the_process_is_ended(
    tmp_path: Path, number: signal.Signals
) -> None:
    """A main thread that does not answer stands for an fsync that takes long."""
    file, there = tmp_path / "half-written", tmp_path / "there"
    there.write_bytes(b"somebody's")
    script = f"""
import hashlib
with interrupts.answered_at_once(), interrupts.making({str(file)!r}, {str(there)!r}):
    open({str(file)!r}, "w").close()
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", {HOURS})
"""
    assert ended(script, number).returncode == 128 + number
    assert list(tmp_path.iterdir()) == [there]


def status_of(script: str) -> int:
    """The exit status of a script, which sleeps for longer than this waits."""
    line = [sys.executable, "-c", f"from luksmeta.cli import interrupts\n{script}"]
    return subprocess.run(
        line, timeout=DEADLINE, check=False, capture_output=True, preexec_fn=hear_every_signal
    ).returncode


def test_a_second_signal_does_not_cut_the_cleaning_up_short(tmp_path: Path) -> None:
    file = tmp_path / "file"
    script = f"""
import os, signal, sys, time
from pathlib import Path
try:
    with interrupts.answered_at_once():
        try:
            Path({str(file)!r}).touch()
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
            Path({str(file)!r}).unlink()
except KeyboardInterrupt as interrupt:
    sys.exit(interrupts.status(interrupt))
"""
    assert status_of(script) == 128 + signal.SIGTERM
    assert not file.exists()


def test_a_second_signal_ends_a_process_that_does_not_get_done() -> None:
    script = """
import os, signal, time
with interrupts.answered_at_once():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
    finally:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
"""
    assert status_of(script) == 130


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    script = """
import signal
signal.signal(signal.SIGHUP, signal.SIG_IGN)
with interrupts.answered_at_once():
    signal.raise_signal(signal.SIGHUP)
"""
    assert status_of(script) == 0


def test_a_caller_gets_its_signal_handlers_back(tmp_path: Path) -> None:
    numbers = (*SIGNALS, signal.SIGPIPE)
    before = [signal.getsignal(number) for number in numbers]
    image = builders.file(tmp_path / "volume.img", "luks2")
    done(luksmeta("dump", image))
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_command_runs_in_any_thread(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks2")
    before = signal.getsignal(signal.SIGPIPE)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(luksmeta, "dump", image).result().status == 0
    assert signal.getsignal(signal.SIGPIPE) is before
