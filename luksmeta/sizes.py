"""Sizes and numbers of things as people write them."""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
_SIZE: Final = re.compile(r"([0-9]{1,19})([KMGTP]?)(?:iB|B)?", re.IGNORECASE)
_LARGEST: Final = 1 << 63


def parse_size(text: str) -> int:
    """The bytes that ``512``, ``16k``, ``64M`` or ``2TiB`` mean: powers of 1024; ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"size {text!r}: a number is expected, perhaps with K, M, G, T or P")
    size = int(match[1]) << 10 * _UNITS[match[2].upper()]
    if size >= _LARGEST:
        raise ValueError(f"size {text!r}: more than {_LARGEST - 1} bytes")
    return size


def format_size(size: int) -> str:
    """``size`` bytes with the largest unit that divides it: ``16 MiB``, ``1000 bytes``."""
    for unit, power in (("TiB", 4), ("GiB", 3), ("MiB", 2), ("KiB", 1)):
        if size and size % (1 << 10 * power) == 0:
            return f"{size >> 10 * power} {unit}"
    return counted(size, "byte")


def counted(number: int | str, noun: str, plural: str | None = None) -> str:
    """So many of a thing: ``1 keyslot``, ``2 keyslots``; ``plural`` where an s is not enough."""
    return f"{number} {noun if str(number) == '1' else plural or f'{noun}s'}"
