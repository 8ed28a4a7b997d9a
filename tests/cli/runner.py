"""Running the command line: in this process, as a process of its own, or on a terminal."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luksmeta.cli.root import run
from tests import builders

COMMAND = (sys.executable, "-m", "luksmeta")
CHEAP = ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")
Argument = str | Path


@dataclass(frozen=True)
class Answer:
    """What a command left: its exit status, standard output and standard error."""

    status: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        """Standard output as text."""
        return self.raw.decode()

    @property
    def json(self) -> Any:  # noqa: ANN401  # whatever the document says
        """The one document on standard output."""
        return json.loads(self.out)


def luksmeta(*arguments: Argument, stdin: bytes = b"") -> Answer:
    """Run a command in this process; ``stdin`` is a regular file there."""
    with _standard_input(stdin):
        return _answer(arguments)


def piped(*arguments: Argument, stdin: bytes) -> Answer:
    """Run a command in this process with a pipe, which holds ``stdin`` (64 KiB at most), for input.

    Nothing but the command has the pipe's end, so it ends where ``stdin`` does.
    """
    reader, writer = os.pipe()
    os.write(writer, stdin)
    os.close(writer)
    with _as_descriptor_0(reader):
        return _answer(arguments)


def process(
    *arguments: Argument,
    stdin: bytes = b"",
    prefix: Sequence[str] = (),
    timeout: float = 60,
    **options: Any,  # noqa: ANN401  # those of subprocess
) -> Answer:
    """Run a command as a process of its own."""
    result = subprocess.run(
        [*prefix, *COMMAND, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=timeout,
        check=False,
        **options,
    )
    return Answer(result.returncode, result.stdout, result.stderr.decode())


def as_ordinary_user(*arguments: Argument, stdin: bytes = b"") -> Answer:
    """Run a command as somebody to whom files' modes apply: root without its capabilities.

    Root as another user could not reach an interpreter below /root.
    """
    prefix = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    return process(*arguments, stdin=stdin, prefix=prefix if os.geteuid() == 0 else [])


def done(answer: Answer) -> Answer:
    """The same answer; fails where the command did, or where it warned."""
    assert (answer.status, answer.err) == (0, "")
    return answer


def refused(answer: Answer, status: int, *parts: str) -> str:
    """The one line of an error with this status, which has all ``parts``."""
    assert answer.status == status, answer.err
    line, *others = answer.err.splitlines()
    assert not others, answer.err
    assert answer.raw == b""
    assert line.startswith("luksmeta: error: ")
    for part in parts:
        assert part in line
    return line


def key_file(folder: Path, secret: bytes = builders.FIRST, name: str = "key") -> Path:
    """A key file with this passphrase."""
    path = folder / name
    path.write_bytes(secret)
    return path


def opens(path: Path, secret: bytes, *options: Argument) -> bool:
    """Whether the passphrase opens the volume."""
    answer = luksmeta("unlock", path, *options, stdin=secret + b"\n")
    assert answer.status in (0, 2), answer.err
    return answer.status == 0


def _answer(arguments: tuple[Argument, ...]) -> Answer:
    out, err = (io.TextIOWrapper(io.BytesIO(), write_through=True) for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err):
        status = run([str(argument) for argument in arguments])
    return Answer(status, _content(out), _content(err).decode())


def _content(stream: io.TextIOWrapper) -> bytes:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue()


@contextmanager
def _standard_input(content: bytes) -> Iterator[None]:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        with _as_descriptor_0(os.dup(file.fileno())):
            yield


@contextmanager
def _as_descriptor_0(descriptor: int) -> Iterator[None]:
    """``descriptor`` is standard input in here, and is closed afterwards."""
    before, stream = os.dup(0), sys.stdin
    os.dup2(descriptor, 0)
    os.close(descriptor)
    try:
        with os.fdopen(os.dup(0), "r") as sys.stdin:
            yield
    finally:
        sys.stdin = stream
        os.dup2(before, 0)
        os.close(before)
