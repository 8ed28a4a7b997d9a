"""Ctrl-C: status 130 soon, no half-written file, the volume as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import builders
from tests.builders import FIRST
from tests.cli.runner import CHEAP, COMMAND, Argument, done, key_file, luksmeta, opens

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
DEADLINE = 30.0
ANSWER_SECONDS = 2.5  # half a second of patience, and the noise of a busy machine
HOURS = (1 << 31) - 1  # iterations of PBKDF2


@contextmanager
def started(*arguments: Argument) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def interrupt(process: subprocess.Popen[bytes]) -> str:
    """Send SIGINT; the error's line, after the checks of status and time."""
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130, err
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


@needs_proc
def test_a_long_key_derivation_is_left_at_once(tmp_path: Path) -> None:
    image = with_endless_kdf(tmp_path / "volume.img")
    before = image.read_bytes()
    with started("unlock", image, "-d", key_file(tmp_path)) as process:
        wait_until_busy(process)
        assert interrupt(process) == "luksmeta: error: interrupted"
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


def test_read_in_the_middle_leaves_neither_its_file_nor_a_temporary_one(tmp_path: Path) -> None:
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
        line = interrupt(process)
    assert line == f"luksmeta: error: {image}: interrupted"
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


@needs_proc
def test_what_would_stay_behind_is_removed_when_the_process_is_ended(tmp_path: Path) -> None:
    """A main thread that does not answer stands for an fsync that takes long."""
    file = tmp_path / "half-written"
    script = f"""
import hashlib
from luksmeta.cli import interrupts
with interrupts.answered_at_once(), interrupts.incomplete({str(file)!r}):
    open({str(file)!r}, "w").close()
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", {HOURS})
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert file.exists()
        wait_until_busy(process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=DEADLINE)
    assert process.returncode == 130
    assert not file.exists()
