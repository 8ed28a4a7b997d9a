"""Running another program: where it is, what it said, and how it gets a secret."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.requirement import missing

Argument = str | Path
Result = subprocess.CompletedProcess[bytes]

# Debian keeps cryptsetup and mkfs where an ordinary user's PATH does not look.
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
_ENVIRONMENT = {**os.environ, "PATH": _PATH, "LC_ALL": "C"}


class PeerError(Exception):
    """A peer refused; ``status`` and ``message`` (its standard error) are what it answered."""

    def __init__(self, command: str, result: Result) -> None:
        self.status = result.returncode
        self.message = result.stderr.decode(errors="replace").strip()
        super().__init__(f"{command}: exit status {self.status}: {self.message}")


@dataclass(frozen=True)
class Tool:
    """One program of a peer, and the Debian package that has it."""

    command: str
    package: str

    def available(self) -> bool:
        """Whether the program is installed."""
        return shutil.which(self.command, path=_PATH) is not None

    def require(self) -> None:
        """End the running test where the program is missing."""
        if not self.available():
            missing(f"{self.command} is not installed (Debian package {self.package})")

    def answer(self, *arguments: Argument, stdin: bytes = b"", timeout: float = 120) -> Result:
        """Run it to its end, whatever its exit status."""
        self.require()
        return subprocess.run(
            [self.command, *map(str, arguments)],
            input=stdin,
            capture_output=True,
            timeout=timeout,
            env=_ENVIRONMENT,
            check=False,
        )

    def run(self, *arguments: Argument, stdin: bytes = b"", timeout: float = 120) -> bytes:
        """Run it and give its standard output; ``PeerError`` where it fails."""
        result = self.answer(*arguments, stdin=stdin, timeout=timeout)
        if result.returncode != 0:
            raise PeerError(self.command, result)
        return result.stdout


@contextmanager
def scratch(**contents: bytes) -> Iterator[Path]:
    """A private directory with these files: secrets (no newline is added) and what is read back."""
    with tempfile.TemporaryDirectory(prefix="peer-") as name:
        folder = Path(name)
        for file, content in contents.items():
            (folder / file).write_bytes(content)
        yield folder
