"""hashcat's own extractor of LUKS1 keyslots, ``tools/luks2hashcat.py``.

hashcat itself is not run: compiling its kernels takes minutes.
"""

from __future__ import annotations

import sys
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
