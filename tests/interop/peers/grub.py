"""GRUB's own LUKS1 and LUKS2 code, through grub-fstest. It has no Argon2 and no SHA-3.

GRUB reads the passphrase as a line: no newline may be in it.
"""

from __future__ import annotations

from pathlib import Path

from tests.interop.peers.process import Argument, Tool

TOOL = Tool("grub-fstest", "grub-common")


def unlocks(path: Path, secret: bytes) -> bool:
    """Whether the passphrase opens the volume: told by the text, the exit status is always 0."""
    result = TOOL.answer("-C", path, "ls", "(crypto0)", stdin=secret + b"\n")
    return b"opened" in result.stdout + result.stderr


def cat(path: Path, secret: bytes, file: str) -> bytes:
    """The content of ``/file`` in the file system inside the volume."""
    words: list[Argument] = ["-C", "-r", "crypto0", path, "cat", f"(crypto0)/{file}"]
    output = TOOL.run(*words, stdin=secret + b"\n")
    return output.partition(b"opened\n")[2]
