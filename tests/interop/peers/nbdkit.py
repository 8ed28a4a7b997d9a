"""nbdkit's luks filter: reads and writes LUKS1 payloads (AES in xts and cbc, plain and plain64)."""

from __future__ import annotations

from pathlib import Path

from tests.interop.peers.process import Argument, Tool, scratch

TOOL = Tool("nbdkit", "nbdkit")
COPY = Tool("nbdcopy", "libnbd-bin")


def _serve(path: Path, folder: Path, command: str) -> None:
    COPY.require()
    served: list[Argument] = ["file", path, "--filter=luks", f"passphrase=+{folder / 'secret'}"]
    TOOL.run("-U", "-", *served, "--run", command)


def read(path: Path, secret: bytes) -> bytes:
    """The whole payload of a LUKS1 volume."""
    with scratch(secret=secret) as folder:
        _serve(path, folder, f'nbdcopy "$uri" {folder}/plain')
        return (folder / "plain").read_bytes()


def write(path: Path, secret: bytes, payload: bytes) -> None:
    """Replace the beginning of a LUKS1 volume's payload."""
    with scratch(secret=secret, plain=payload) as folder:
        _serve(path, folder, f'nbdcopy {folder}/plain "$uri"')
