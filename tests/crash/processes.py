"""The command line as a process that strace looks at, or kills."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.cli.runner import COMMAND, Argument
from tests.interop.peers.process import Tool

STRACE = Tool("strace", "strace")
_WROTE = re.compile(r"pwrite64\(\d+<(?P<file>[^>]*)>.*, (?P<length>\d+), (?P<offset>\d+)\) = ")
_FLUSHED = re.compile(r"f(?:data)?sync\(\d+<(?P<file>[^>]*)>\) += 0")


@dataclass(frozen=True)
class Call:
    """A write, or a flush, which has neither offset nor length."""

    file: Path
    offset: int | None = None
    length: int | None = None


def traced(folder: Path, *arguments: Argument) -> list[Call]:
    """The writes and flushes of a command that must succeed, on whatever file."""
    trace = folder / "trace"
    options: list[Argument] = ["-f", "-y", "-s", "0", "-e", "trace=pwrite64,fsync,fdatasync"]
    STRACE.run(*options, "-o", trace, *COMMAND, *arguments)
    return [call for line in trace.read_text().splitlines() if (call := _call(line))]


def killed(call: str, turn: int, *arguments: Argument) -> bool:
    """Kill a command with SIGKILL at its ``turn``-th ``call``, from 1; whether it came to that."""
    inject = f"inject={call}:signal=SIGKILL:when={turn}"
    result = STRACE.answer("-f", "-o", "/dev/null", "-e", inject, *COMMAND, *arguments)
    assert result.returncode in (0, -9, 137), result.stderr
    return result.returncode != 0


def _call(line: str) -> Call | None:
    if match := _WROTE.search(line):
        return Call(Path(match["file"]), int(match["offset"]), int(match["length"]))
    if match := _FLUSHED.search(line):
        return Call(Path(match["file"]))
    return None
