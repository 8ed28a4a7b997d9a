"""Running the programs that make file systems."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from luksmeta.errors import FilesystemToolError

_SBIN: Final = ("/usr/local/sbin", "/usr/sbin", "/sbin")  # not where an ordinary user's PATH looks


def find_tool(program: str, package: str) -> str:
    """The path of a program; FilesystemToolError that names it and the Debian package with it."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_SBIN])
    found = shutil.which(program, path=path)
    if found is None:
        raise FilesystemToolError(f"{program} is not installed").advise(
            f"on Debian it is in the package {package}"
        )
    return found


def run_tool(
    command: Sequence[str],
    descriptor: int,
    *,
    environment: Mapping[str, str] | None = None,
    script: bytes = b"",
) -> None:
    """Run a program that writes the file behind ``descriptor``; FilesystemToolError where it fails.

    ``script`` is its standard input. ``environment`` is added to this process's own, less
    SOURCE_DATE_EPOCH, with which mksquashfs refuses an option that sets the time.
    """
    own = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    result = subprocess.run(  # noqa: S603  # a list of words, no shell
        command,
        input=script,
        capture_output=True,
        pass_fds=[descriptor],
        env={**own, "LC_ALL": "C", **(environment or {})},
        check=False,
    )
    if result.returncode:
        program = Path(command[0]).name
        said = _last_line(result.stderr) or _last_line(result.stdout) or "it does not say why"
        text = said.removeprefix(f"{program}: ")
        raise FilesystemToolError(f"{program}: {text} (exit status {result.returncode})")


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
