"""A real Linux kernel with dm-crypt, in the shared virtual machine (../shared/kernelvm).

A boot takes 5 seconds, so give it many images at once. Its first run on a machine installs a
kernel and takes a minute.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.corpus import shared
from tests.interop.peers.process import Argument, Result, scratch
from tests.requirement import missing

DISKS_MAX = 24  # what one boot takes; a detached header is a disk as well
_TIMEOUT = 300  # seconds


@dataclass(frozen=True)
class Opening:
    """One volume for the kernel to open; ``options`` are further ones of ``cryptsetup open``."""

    image: Path
    secret: bytes = field(repr=False)
    header: Path | None = None
    type: str = "luks"
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Opened:
    """What came of it: cryptsetup's exit status and, if 0, the plaintext's length and digest."""

    status: int
    size: int = 0  # bytes
    sha256: str = ""


@cache
def _build() -> str:
    """Make the machine, or find it made; what is in the way, if something is."""
    result = subprocess.run([shared("kernelvm/build")], capture_output=True, check=False, text=True)
    return "" if result.returncode == 0 else result.stderr.strip().rpartition("\n")[2]


def require() -> None:
    """End the running test where the machine cannot be made."""
    if problem := _build():
        missing(f"no virtual machine: {problem}")


def run(
    script: str, disks: Sequence[str | Path] = (), files: Sequence[Path] = (), *, python: str = ""
) -> Result:
    """Boot and run a shell script as root with ``disks`` as /dev/vda, /dev/vdb, …

    A disk is a raw image, perhaps with ``:ro`` or ``:snapshot`` after its path; ``files`` are
    copied to the script's directory; ``python`` names a virtual environment the guest shall have.
    """
    require()
    words: list[Argument] = [shared("kernelvm/run"), "--timeout", str(_TIMEOUT)]
    for disk in disks:
        words += ["--disk", disk]
    for file in files:
        words += ["--file", file]
    if python:
        words += ["--python", python]
    return subprocess.run(
        [*map(str, words), "-"],
        input=script.encode(),
        capture_output=True,
        timeout=_TIMEOUT * 2,  # its own timeout comes first
        check=False,
    )


def payload_digests(openings: Sequence[Opening]) -> list[Opened]:
    """Open every volume in one boot, on snapshots of the images: none is changed."""
    disks: list[str] = []
    lines: list[str] = []
    with scratch(**{f"key{n}": opening.secret for n, opening in enumerate(openings)}) as folder:
        for number, opening in enumerate(openings):
            lines.append(_open_line(number, opening, disks))
        keys = [folder / f"key{number}" for number in range(len(openings))]
        result = run(_GUEST_FUNCTION + "\n".join(lines), disks, keys)
    if result.returncode != 0:
        raise RuntimeError(f"kernelvm: status {result.returncode}: {result.stderr.decode()}")
    return [_opened(line) for line in result.stdout.decode().splitlines()]


_GUEST_FUNCTION = """
try_open() {
    cryptsetup open --batch-mode "$@" opened
    status=$?
    if [ $status != 0 ]; then echo $status; return; fi
    digest=$(sha256sum </dev/mapper/opened)
    echo "0 $(blockdev --getsize64 /dev/mapper/opened) ${digest%% *}"
    cryptsetup close opened
}
"""


def _open_line(number: int, opening: Opening, disks: list[str]) -> str:
    """The guest's call for one volume, whose disks are added to ``disks``."""
    words = ["try_open", "--type", opening.type, "--key-file", f"key{number}", *opening.options]
    if opening.header is not None:
        words += ["--header", _attach(opening.header, disks)]
    return shlex.join([*words, _attach(opening.image, disks)])


def _attach(image: Path, disks: list[str]) -> str:
    """Add a disk; its name in the guest."""
    if len(disks) == DISKS_MAX:
        raise ValueError(f"one boot takes {DISKS_MAX} disks")
    disks.append(f"{image}:snapshot")
    return f"/dev/vd{chr(ord('a') + len(disks) - 1)}"


def _opened(line: str) -> Opened:
    status, *found = line.split()
    return Opened(int(status), int(found[0]), found[1]) if found else Opened(int(status))
