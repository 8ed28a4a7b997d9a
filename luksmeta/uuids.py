"""The form of the UUIDs that headers have (RFC 9562, section 4)."""

from __future__ import annotations

import re
from typing import Final

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def is_uuid(text: str) -> bool:
    """Whether a text is a UUID as programs write it: 36 characters, in whatever case."""
    return _UUID.fullmatch(text) is not None
