"""hashcat's own extractor of LUKS1 keyslots, ``tools/luks2hashcat.py``, and its rules for words.

hashcat itself tries nothing here: compiling its kernels takes minutes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.interop.peers.process import Tool
from tests.requirement import missing

_SCRIPT: Final = Path("/usr/share/hashcat/tools/luks2hashcat.py")


def extracted(image: Path) -> list[str]:
    """A line for each active keyslot of a LUKS1 volume."""
    if not _SCRIPT.exists():
        missing(f"{_SCRIPT} is not installed (Debian package hashcat-data)")
    return Tool(sys.executable, "python3").run(_SCRIPT, image).decode().splitlines()


def made(folder: Path, word: bytes, rules: Sequence[bytes]) -> list[bytes]:
    """What each rule makes of a word."""
    (folder / "word").write_bytes(word + b"\n")
    (folder / "rules").write_bytes(b"\n".join(rules) + b"\n")
    tool = Tool("hashcat", "hashcat")
    tool.require()
    answer = tool.answer("--stdout", "-r", folder / "rules", folder / "word")
    if b"CL_PLATFORM_NOT_FOUND" in answer.stderr:
        missing("hashcat finds no OpenCL runtime (Debian package pocl-opencl-icd)")
    assert answer.returncode == 0, answer.stderr
    return [_unescaped(line) for line in answer.stdout.split(b"\n")[:-1]]


def _unescaped(line: bytes) -> bytes:
    return bytes.fromhex(line[5:-1].decode()) if line.startswith(b"$HEX[") else line
