"""qemu-img: reads and writes the payload of LUKS1 volumes with code of its own, and makes them."""

from __future__ import annotations

import re
from pathlib import Path

from tests.interop.peers.process import Argument, PeerError, Tool, scratch

TOOL = Tool("qemu-img", "qemu-utils")
_NOT_MEASURED = b"Unable to get accurate CPU usage"
_MEASUREMENTS = 5


def _secret(folder: Path) -> list[Argument]:
    return ["--object", f"secret,id=s0,file={folder / 'secret'}"]


def _options(path: Path) -> str:
    return f"driver=luks,file.filename={path},key-secret=s0"


def read(path: Path, secret: bytes) -> bytes:
    """The whole payload of a LUKS1 volume."""
    with scratch(secret=secret) as folder:
        source: list[Argument] = ["--image-opts", _options(path), "-O", "raw"]
        TOOL.run("convert", *_secret(folder), *source, folder / "plain")
        return (folder / "plain").read_bytes()


def write(path: Path, secret: bytes, payload: bytes) -> None:
    """Replace the payload of a LUKS1 volume; ``payload`` must be as long as it is."""
    with scratch(secret=secret, plain=payload) as folder:
        target: list[Argument] = ["--target-image-opts", _options(path)]
        TOOL.run("convert", "-n", *_secret(folder), "-f", "raw", folder / "plain", *target)


def create(path: Path, secret: bytes, size: int, *options: str) -> None:
    """Make a LUKS1 volume with ``size`` bytes of payload; options as ``cipher-alg=aes-256``.

    QEMU measures its key derivation however short it is told to be, 0.7 to 4 seconds, and gives up
    when the clock of its thread stood still meanwhile, as it may on a busy machine.
    """
    with scratch(secret=secret) as folder:
        chosen = ",".join(["key-secret=s0", "iter-time=10", *options])
        made: list[Argument] = ["-f", "luks", "-o", chosen, path, str(size)]
        for left in reversed(range(_MEASUREMENTS)):
            result = TOOL.answer("create", "-q", *_secret(folder), *made)
            if not (left and _NOT_MEASURED in result.stderr):
                break
        if result.returncode != 0:
            raise PeerError(TOOL.command, result)


def payload_size(path: Path, secret: bytes) -> int:
    """The payload's length in bytes."""
    with scratch(secret=secret) as folder:
        info = TOOL.run("info", *_secret(folder), "--image-opts", _options(path))
    found = re.search(rb"\((\d+) bytes\)", info)
    if found is None:
        raise ValueError(info)
    return int(found[1])
