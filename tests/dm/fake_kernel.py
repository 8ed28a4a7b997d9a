"""A ``dmsetup`` and a ``losetup`` that note how they were called: what a kernel would be told."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from luksmeta.dm.kernel_keys import with_keyring

_SCRIPT = """#!/bin/sh
echo "$(basename "$0") $*" >>'{log}/calls'
case "$*" in
create*) cat >'{log}/table'; cat /proc/keys >'{log}/keys' 2>/dev/null ;;
info*) cat '{log}/info' 2>/dev/null || {{ echo 'Device does not exist.' >&2; exit 1; }} ;;
table*) cat '{log}/table' ;;
*--find*) echo /dev/null ;;
esac
case "$*" in *"$(cat '{log}/word' 2>/dev/null)"*) ;; *) exit 0 ;; esac
test ! -e '{log}/fails' || {{ cat '{log}/fails' >&2; exit 1; }}
"""


@dataclass(frozen=True)
class FakeKernel:
    """Where the calls are noted; ``fails`` and ``info`` are what the programs answer."""

    folder: Path

    @property
    def calls(self) -> list[str]:
        """The command lines, in order."""
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def table(self) -> str:
        """What was written to dmsetup create."""
        return (self.folder / "table").read_text()

    @property
    def keys(self) -> str:
        """The keys that dmsetup create could see."""
        return (self.folder / "keys").read_text()

    def answer(self, info: str, table: str) -> None:
        """There is a mapping now."""
        (self.folder / "info").write_text(f"{info}\n")
        (self.folder / "table").write_text(table)

    def fail(self, text: str) -> None:
        """Every call fails from now on."""
        (self.folder / "fails").write_text(text)

    def fail_to(self, word: str, text: str) -> None:
        """Every call fails that has the word."""
        (self.folder / "word").write_text(word)
        self.fail(text)


@cache
def has_keyring() -> bool:
    """Whether keys may be added: containers often forbid it; the virtual machine does not."""
    try:
        with_keyring({}, lambda: None)
    except OSError:
        return False
    return True


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    """Put the programs first in PATH; whoever runs the test counts as root."""
    folder.mkdir()
    for name in ("dmsetup", "losetup"):
        program = folder / name
        program.write_text(_SCRIPT.format(log=folder))
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return FakeKernel(folder)
