"""What a JSON member's value must be: each kind says what is wrong with a value, or nothing.

The shapes are cryptsetup's (``lib/luks2/luks2_json_metadata.c``): a text is never empty, a 64-bit
number is a string of decimal digits (specification 3), other numbers are JSON integers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from luksmeta.luks2.limits import STRINGS_MAX
from luksmeta.model import SECTOR_SIZE, JsonValue

Kind: TypeAlias = Callable[[JsonValue], str | None]
"""Gives the fault of a value as the end of a sentence (``is no text``), None when it has none."""

UINT32_MAX: Final = (1 << 32) - 1
UINT64_MAX: Final = (1 << 64) - 1
# Leading zeroes pass, as with strtoull; bounded, for int() refuses text of more than 4300 digits.
_DIGITS: Final = re.compile(r"0{0,1000}[0-9]{1,20}")


def an_object(value: JsonValue) -> str | None:
    """A JSON object."""
    return None if isinstance(value, Mapping) else "is no object"


def text(value: JsonValue) -> str | None:
    """A string that a C program does not take for empty."""
    if not isinstance(value, str):
        return "is no string"
    return "is empty" if value.startswith("\0") or not value else None


def texts(value: JsonValue) -> str | None:
    """An array of strings, not too many of them."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return "is no array of strings"
    return None if len(value) <= STRINGS_MAX else f"has {len(value)} strings, {STRINGS_MAX} may be"


def integer(value: JsonValue) -> str | None:
    """A JSON integer."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return None if whole else "is no integer"


def uint32(value: JsonValue) -> str | None:
    """A JSON integer of 32 bits."""
    if not isinstance(value, int) or isinstance(value, bool):
        return "is no integer"
    return (
        None if 0 <= value <= UINT32_MAX else f"{hex(value)[:40]} is not within 0..{UINT32_MAX:#x}"
    )


def uint64(value: JsonValue) -> str | None:
    """A string of decimal digits, without sign or white space, that fits 64 bits."""
    if not isinstance(value, str) or not _DIGITS.fullmatch(value):
        return "is no string of decimal digits that fits 64 bits"
    return None if int(value) <= UINT64_MAX else f"{int(value):#x} does not fit 64 bits"


def size(value: JsonValue) -> str | None:
    """A 64-bit size above zero."""
    return uint64(value) or ("is 0" if _number(value) == 0 else None)


def sector_offset(value: JsonValue) -> str | None:
    """A 64-bit offset in whole 512-byte sectors."""
    return uint64(value) or _unaligned(_number(value))


def sector_count(value: JsonValue) -> str | None:
    """A 64-bit size above zero in whole 512-byte sectors."""
    return size(value) or _unaligned(_number(value))


def segment_size(value: JsonValue) -> str | None:
    """``dynamic``, or a size in whole 512-byte sectors."""
    return None if value == "dynamic" else sector_count(value)


def sector_size(value: JsonValue) -> str | None:
    """A segment's sector size: any multiple of 512 passes, as with cryptsetup."""
    return uint32(value) or _bad_sector_size(value, lambda bytes_: bytes_ % SECTOR_SIZE == 0)


def power_sector_size(value: JsonValue) -> str | None:
    """The sector size of a reencryption's checksums: a power of two, 512 or more."""
    return uint32(value) or _bad_sector_size(value, lambda bytes_: bytes_.bit_count() == 1)


def one_of(*allowed: str) -> Kind:
    """One of these strings."""
    names = " or ".join(allowed)

    def kind(value: JsonValue) -> str | None:
        return None if value in allowed else f"is not {names}"

    kind.__doc__ = f"{names}."
    return kind


def exactly(number: int) -> Kind:
    """This integer and no other."""

    def kind(value: JsonValue) -> str | None:
        return integer(value) or (None if value == number else f"is not {number}")

    kind.__doc__ = f"{number}."
    return kind


def described(kind: Kind) -> str:
    """What a value of this kind is, in a sentence."""
    text = (kind.__doc__ or "").partition("\n")[0]
    return text[:1].lower() + text[1:]


def _number(value: JsonValue) -> int:
    return int(str(value))


def _unaligned(number: int) -> str | None:
    if number % SECTOR_SIZE == 0:
        return None
    return f"{number:#x} is no multiple of {SECTOR_SIZE}"


def _bad_sector_size(value: JsonValue, fits: Callable[[int], bool]) -> str | None:
    number = _number(value)
    return None if number >= SECTOR_SIZE and fits(number) else f"{number} is no sector size"
