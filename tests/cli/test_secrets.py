"""What the command line does not give away: in its memory, its arguments, its messages, its log."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests import builders
from tests.builders import FIRST, SECOND, VOLUME_KEY
from tests.cli.runner import CHEAP, COMMAND, Answer, key_file, luksmeta
from tests.corpus import PROJECT, stream
from tests.secrets.memory import Region, found, regions

PASSPHRASE = stream("cli/secrets", 32).hex().encode()  # what can be typed
SECONDS = 30
SHOWN = {"first": FIRST, "second": SECOND, "volume key": VOLUME_KEY}


@pytest.fixture(scope="module")
def slow_volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume that takes many seconds to unlock.

    By Argon2, for which nobody copies the passphrase; OpenSSL does while it runs PBKDF2.
    """
    path = builders.file(tmp_path_factory.mktemp("slow") / "volume", "luks2")
    document = builders.document_of(path.read_bytes())
    salt = document["keyslots"]["0"]["kdf"]["salt"]
    costs = {"time": 100_000, "memory": 1 << 10, "cpus": 1}
    document["keyslots"]["0"]["kdf"] = {"type": "argon2id", **costs, "salt": salt}
    path.write_bytes(builders.with_document(path.read_bytes(), document))
    return path


@contextmanager
def by_pipe(volume: Path) -> Iterator[subprocess.Popen[bytes]]:
    with unlocking(volume, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(PASSPHRASE + b"\n")
        process.stdin.close()
        yield process


@contextmanager
def by_key_file(volume: Path) -> Iterator[subprocess.Popen[bytes]]:
    path = key_file(volume.parent, PASSPHRASE)
    with unlocking(volume, "--key-file", str(path), stdin=subprocess.DEVNULL) as process:
        yield process


@contextmanager
def by_terminal(volume: Path) -> Iterator[subprocess.Popen[bytes]]:
    ours, theirs = pty.openpty()
    try:
        with unlocking(volume, stdin=theirs) as process:
            wait_for_silence(ours)
            os.write(ours, PASSPHRASE + b"\n")
            yield process
    finally:
        os.close(ours)
        os.close(theirs)


def wait_for_silence(terminal: int) -> None:
    """Until it no longer echoes: what was typed before is dropped."""
    end = time.monotonic() + SECONDS
    while termios.tcgetattr(terminal)[3] & termios.ECHO and time.monotonic() < end:
        time.sleep(0.05)


@contextmanager
def unlocking(volume: Path, *options: str, stdin: int) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [*COMMAND, "unlock", str(volume), *options, "--debug"],
        cwd=PROJECT,
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.parametrize("given", [by_pipe, by_key_file, by_terminal])
def test_a_passphrase_lies_in_locked_memory_and_nowhere_else(
    slow_volume: Path, given: Callable[[Path], AbstractContextManager[subprocess.Popen[bytes]]]
) -> None:
    with given(slow_volume) as process:
        places = wait_for_passphrase(process.pid)
        assert not [region for region in places if region.is_dumped or not region.is_locked]
        for name in ("cmdline", "environ"):
            assert PASSPHRASE not in Path(f"/proc/{process.pid}/{name}").read_bytes()
        assert process.poll() is None  # it was looked at while it was at work


def wait_for_passphrase(process: int) -> list[Region]:
    """Where it lies once it has been read, and the key is being derived."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        time.sleep(0.3)
        places = [each for each in regions(process) if found({"it": PASSPHRASE}, each.data)]
        if places:
            time.sleep(0.2)  # by now it is in nothing but the KDF
            return [each for each in regions(process) if found({"it": PASSPHRASE}, each.data)]
    raise AssertionError(f"no passphrase was read within {SECONDS} s")


def commands(volume: Path, folder: Path) -> Iterator[tuple[list[str], bytes]]:
    first, second = (
        key_file(folder, each, name) for each, name in ((FIRST, "first"), (SECOND, "second"))
    )
    lines = FIRST + b"\n" + SECOND + b"\n"
    wrong = key_file(folder, SECOND, "wrong")
    yield ["unlock", str(volume)], lines
    yield ["unlock", str(volume), "--key-file", str(wrong)], b""
    yield ["unlock", str(volume), "--max-memory", "1", "-S", "7"], lines
    yield ["unlock", str(volume), "--volume-key-file", str(wrong)], b""
    yield ["add-key", str(volume), *CHEAP, "--dry-run"], lines
    yield (
        ["add-key", str(volume), *CHEAP, "--key-file", str(first), "--new-keyfile", str(second)],
        b"",
    )
    yield ["change-key", str(volume), *CHEAP], SECOND + b"\n" + FIRST + b"\n"
    yield ["read", str(volume), "--length", "512"], lines
    yield ["dump", str(volume), "--json"], b""
    yield ["volume-key", str(volume), "-o", str(folder / "key")], lines
    yield ["remove-key", str(volume), "-q"], lines
    yield ["read", str(volume), "--offset", "1E"], lines


def test_no_command_shows_a_secret_not_even_with_debug(tmp_path: Path) -> None:
    volume = builders.file(tmp_path / "volume", "luks2")
    statuses = []
    for arguments, stdin in commands(volume, tmp_path):
        answer = luksmeta(*arguments, "--debug", stdin=stdin)
        assert not shown(answer), arguments
        statuses.append(answer.status)
    assert {0, 2} <= set(statuses)  # some did what they should, some were refused


def shown(answer: Answer) -> list[str]:
    said = answer.raw + answer.err.encode()
    return [
        name for name, secret in SHOWN.items() if secret in said or secret.hex().encode() in said
    ]
