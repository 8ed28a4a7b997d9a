"""libluksde (pyluksde): LUKS1 only; AES, and serpent and twofish in cbc."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tests.requirement import missing


def available() -> bool:
    """Whether the module is installed."""
    return importlib.util.find_spec("pyluksde") is not None


def read(path: Path, secret: bytes, length: int, offset: int = 0) -> bytes:
    """``length`` bytes of payload at ``offset``; the passphrase must be UTF-8 text."""
    if not available():
        missing("pyluksde is not installed (PyPI libluksde-python)")
    import pyluksde

    volume = pyluksde.volume()
    volume.set_password(secret.decode())
    volume.open(str(path))
    try:
        payload: bytes = volume.read_buffer_at_offset(length, offset)
    finally:
        volume.close()
    return payload
