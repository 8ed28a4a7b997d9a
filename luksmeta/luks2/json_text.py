"""The JSON area as bytes: a text, a zero byte, and zeroes to the end of the area.

What cryptsetup reads and writes through json-c, so bytes that are no UTF-8 survive (as
surrogates), of equal member names the last one counts, the order of members is kept, and so is the
text of a number with a fraction or an exponent. Of what json-c takes beyond JSON only control
characters in strings are taken here; nothing writes the rest.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Final, NoReturn, cast

from luksmeta.errors import JsonAreaFullError, MetadataError, Violation
from luksmeta.luks2.limits import JSON_DEPTH_MAX, JSON_VALUES_MAX
from luksmeta.model import JsonObject, JsonValue
from luksmeta.rules import Statement

_SOURCE: Final = "lib/luks2/luks2_disk_metadata.c"
STATEMENTS: Final = (
    Statement("json-start", "The JSON area starts with an opening brace.", _SOURCE),
    Statement("json-end", "A zero byte ends the text within the area.", _SOURCE),
    Statement("json-tail", "Zeroes alone follow the text.", _SOURCE),
    Statement("json-values", "The text has at most JSON_VALUES_MAX values.", "limits.py"),
    Statement("json-syntax", "The text is JSON.", _SOURCE),
    Statement("json-object", "The text is one object.", _SOURCE),
    Statement("json-depth", "At most 31 objects and arrays lie around a value.", "json-c"),
)
"""The rules that :func:`parse_json_area` holds an area to; it stops at the first."""

# Possessive, and never a match for what is kept: a megabyte of backslashes takes no memory.
_SURROGATES: Final = re.compile(
    r"(?<!\\)(?P<backslashes>(?:\\\\)*+)"
    r"(?:(?P<pair>\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
_NOT_PRINTABLE: Final = re.compile(r"[^ -~]+")
_SCALAR: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_PLAIN: Final = frozenset({str, int, bool, type(None)})


class LiteralFloat(float):
    """A number that was read: it counts as a float, and is written as it was spelled.

    What json-c does for ``1.10``, ``1E2``, or more digits than a double has
    (``json_object_new_double_s``).
    """

    __slots__ = ("literal",)

    def __init__(self, literal: str) -> None:
        self.literal = literal


def parse_json_area(area: bytes) -> JsonObject:
    """The document in a JSON area of whole length, checked as far as bytes and syntax go.

    MetadataError when the area does not start with ``{``, does not end in zeroes after the text,
    or holds no single JSON object of at most the depth that json-c reads (specification 2.2;
    cryptsetup ``lib/luks2/luks2_disk_metadata.c``), or more values than ``JSON_VALUES_MAX``.
    :func:`luksmeta.luks2.validation.validate` judges the document itself.
    """
    return _parse_object(_text_of(area))


def parse_json(text: bytes) -> JsonObject:
    """The one JSON object in a text that is no area, with the same limits; MetadataError."""
    return _parse_object(text.decode("utf-8", "surrogateescape"))


def _parse_object(text: str) -> JsonObject:
    _check_value_count(text)
    document = _parse(text)
    if not isinstance(document, dict):
        raise _broken("json-object", "holds no JSON object")
    brackets = text.count("{") + text.count("[")  # no value lies inside more than there are
    if brackets > JSON_DEPTH_MAX and _is_deeper(document, JSON_DEPTH_MAX):
        raise _too_deep()
    return document


def dump_json(document: JsonObject, area_size: int) -> bytes:
    """A JSON area of ``area_size`` bytes holding the document as cryptsetup would write it.

    JsonAreaFullError when the text and its zero byte need more than that, MetadataError when the
    document holds what no JSON text can say (cryptsetup ``lib/luks2/luks2_disk_metadata.c``).
    """
    text = compact_text(document)
    needed = len(text) + 1
    if needed > area_size:
        raise JsonAreaFullError(
            f"no room in the JSON area: {needed} bytes, {area_size} fit",
            needed=needed,
            size=area_size,
        )
    return text.ljust(area_size, b"\0")


def compact_text(document: JsonObject) -> bytes:
    """The document without white space or escaped slashes, non-ASCII as UTF-8.

    MetadataError for what no JSON text can say: infinities, lone surrogates, bottomless nesting.
    """
    try:
        text = _SCALAR.encode(document) if _is_plain(document) else _json_text(document)
        return text.encode("utf-8", "surrogateescape")
    except (ValueError, RecursionError) as error:
        raise MetadataError(f"json area: document cannot be written: {error}") from error


def ascii_text(document: JsonObject) -> str:
    """The document in characters that no terminal acts on: all others are JSON escapes."""
    text = compact_text(document).decode("utf-8", "surrogateescape")
    return _NOT_PRINTABLE.sub(lambda found: json.dumps(found[0])[1:-1], text)


def _json_text(value: JsonValue) -> str:
    """What ``json`` writes, but for the numbers: its encoders spell every float their own way."""
    match value:
        case LiteralFloat():
            return value.literal
        case str() | int() | float() | None:
            return _SCALAR.encode(value)
        case list():
            return f"[{','.join(map(_json_text, value))}]"
        case Mapping():
            members = (f"{_json_text(name)}:{_json_text(inner)}" for name, inner in value.items())
            return f"{{{','.join(members)}}}"
        case _:
            raise TypeError(f"{type(value).__name__} is no JSON value")


def _is_plain(value: JsonValue) -> bool:
    """Whether ``json`` writes the value as it should be: there is no float in it."""
    if type(value) is dict:
        return all(type(inner) in _PLAIN or _is_plain(inner) for inner in value.values())
    if type(value) is list:
        return all(type(inner) in _PLAIN or _is_plain(inner) for inner in value)
    return type(value) in _PLAIN


def _text_of(area: bytes) -> str:
    """The text before the zeroes, bytes that are no UTF-8 as surrogates."""
    if not area.startswith(b"{"):
        raise _broken("json-start", f"starts with {bytes(area[:1])!r}, not with '{{'", area[:8])
    end = area.find(b"\0")
    if end < 0:
        raise _broken("json-end", f"no zero byte ends the text in {len(area)} bytes")
    if area[end:] != bytes(len(area) - end):
        at = len(area) - len(area[end:].lstrip(b"\0"))
        fault = f"text ends at {end:#x}, other bytes follow at {at:#x}"
        raise _broken("json-tail", fault, area[at : at + 8])
    return bytes(area[:end]).decode("utf-8", "surrogateescape")


def _check_value_count(text: str) -> None:
    """Refuse a text of too many values before any of them takes memory.

    Every value but the first follows a comma or an opening bracket; those in strings count too.
    """
    most = sum(map(text.count, ",[{"))
    if most > JSON_VALUES_MAX:
        fault = f"{most} commas and opening brackets, at most {JSON_VALUES_MAX} are read"
        raise _broken("json-values", fault)


def _parse(text: str) -> JsonValue:
    try:
        plain = _SURROGATES.sub(_without_lone_surrogate, text) if r"\u" in text else text
        return cast("JsonValue", _DECODER.decode(plain))
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:  # syntax, or an integer of thousands of digits
        raise _broken("json-syntax", f"no JSON text: {error}") from error


def _without_lone_surrogate(escape: re.Match[str]) -> str:
    # As json-c does; otherwise an escaped half pair and a byte that is no UTF-8 would look alike.
    return escape[0] if escape["pair"] else escape["backslashes"] + r"\ufffd"


def _finite_float(literal: str) -> LiteralFloat:
    value = LiteralFloat(literal)
    if math.isinf(value):
        raise ValueError(f"number {literal[:40]} is out of range")
    return value


def _refuse_constant(literal: str) -> NoReturn:
    raise ValueError(f"{literal} is no JSON value")


_DECODER: Final = json.JSONDecoder(
    strict=False,  # json-c takes control characters in strings
    parse_float=_finite_float,
    parse_constant=_refuse_constant,
)


def _too_deep() -> MetadataError:
    return _broken("json-depth", f"nested deeper than {JSON_DEPTH_MAX} levels")


def _broken(rule: str, fault: str, found: bytes | None = None) -> MetadataError:
    text = f"json area: {fault}"
    value = None if found is None else bytes(found).hex()
    return MetadataError(text, violations=(Violation("json_area", rule, text, value),))


def _is_deeper(document: JsonValue, limit: int) -> bool:
    """Whether any value lies inside more than ``limit`` objects and arrays."""
    level: list[JsonValue] = [document]
    for _ in range(limit + 1):
        level = [inner for value in level for inner in _children(value)]
    return bool(level)


def _children(value: JsonValue) -> Iterable[JsonValue]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list) else ()
