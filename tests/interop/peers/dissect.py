"""dissect.fve: LUKS1 and LUKS2, AES, all key derivations; it checks no checksums and no digests."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tests.requirement import missing


def available() -> bool:
    """Whether the module is installed."""
    return importlib.util.find_spec("dissect") is not None


def read(path: Path, secret: bytes, length: int, offset: int = 0) -> bytes:
    """``length`` bytes of payload at ``offset``; the passphrase must be UTF-8 text.

    ``ValueError`` where it opens nothing. It decrypts about 3 MB a second.
    """
    if not available():
        missing("dissect.fve is not installed (PyPI)")
    from dissect.fve.luks.luks import LUKS

    with path.open("rb") as file:
        volume = LUKS(file)
        volume.unlock_with_passphrase(secret.decode())
        stream = volume.open()
        stream.seek(offset)
        payload: bytes = stream.read(length)
    return payload
