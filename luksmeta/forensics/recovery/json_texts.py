"""JSON texts of LUKS2 headers wherever they lie: in their place, in slack, or in two halves.

A text that a header no longer leads to is found by how it begins, read to where it ends, and
believed when it keeps every rule of the format.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from luksmeta.errors import LuksError
from luksmeta.extents import Extent
from luksmeta.luks2.json_text import parse_json
from luksmeta.luks2.limits import BINARY_HEADER_SIZE, HDR_SIZES
from luksmeta.luks2.validation import repair_known_faults, validate
from luksmeta.model import JsonObject

_BEGINNING: Final = re.compile(rb'\{[ \t\r\n]*"(?:keyslots|tokens|segments|digests|config)"')
_TEXT_MAX: Final = HDR_SIZES[-1] - BINARY_HEADER_SIZE
_TEXTS_MAX: Final = 64  # hostile bytes may begin a text as often as they like
_SECTOR: Final = 512
_BRANCHES_MAX: Final = 8  # sectors of which either copy could be right: 256 texts
_DECODER: Final = json.JSONDecoder()
_TEXTUAL: Final = re.compile(rb"[\t\n\r -~\x80-\xff]*\x00*")


@dataclass(frozen=True, slots=True)
class JsonText:
    """A whole text, its ``document`` valid, and the ``extents`` where its bytes lie."""

    extents: tuple[Extent, ...]
    data: bytes
    document: JsonObject
    hdr_size: int

    @property
    def offset(self) -> int:
        """Where it begins."""
        return self.extents[0].offset

    @property
    def json_area(self) -> bytes:
        """The text as a JSON area of its header's size."""
        return self.data.ljust(self.hdr_size - BINARY_HEADER_SIZE, b"\0")


def texts_in(data: bytes) -> Iterator[JsonText]:
    """The whole texts in some bytes, in order; offsets are those in ``data``."""
    end = 0
    for match in itertools.islice(_BEGINNING.finditer(data), _TEXTS_MAX):
        if match.start() < end:
            continue  # part of the text before
        text = text_at(data, match.start())
        if text is not None:
            end = match.start() + len(text.data)
            yield text


def text_at(data: bytes, start: int) -> JsonText | None:
    """The text that begins at ``start``; None where there is no whole one."""
    piece = data[start : start + _TEXT_MAX].partition(b"\0")[0]
    size = _length_of_first_value(piece)
    return valid_text(piece[:size], (Extent(start, size),)) if size else None


def valid_text(text: bytes, extents: tuple[Extent, ...]) -> JsonText | None:
    """The text, when it says a document that keeps every rule of the format."""
    try:
        document = parse_json(text)
    except LuksError:
        return None
    hdr_size = stated_hdr_size(document)
    if hdr_size is None or len(text) >= hdr_size - BINARY_HEADER_SIZE:
        return None
    if validate(repair_known_faults(document), hdr_size):
        return None
    return JsonText(extents, text, document, hdr_size)


def stated_hdr_size(document: JsonObject) -> int | None:
    """The size of a header copy by the document's own config; None where that is no legal one."""
    config = document.get("config")
    size = config.get("json_size") if isinstance(config, dict) else None
    if not isinstance(size, str) or not re.fullmatch(r"[0-9]{1,9}", size):
        return None
    hdr_size = int(size) + BINARY_HEADER_SIZE
    return hdr_size if hdr_size in HDR_SIZES else None


def _length_of_first_value(piece: bytes) -> int:
    text = piece.decode("utf-8", "surrogateescape")
    try:
        _, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return 0
    return len(text[:end].encode("utf-8", "surrogateescape"))


# --- two damaged texts that were the same --------------------------------------------------------


def merged_texts(data: bytes) -> Iterator[JsonText]:
    """Texts whose sectors come partly from the primary's JSON area, partly from the secondary's.

    Both copies hold the same text: what is damaged in one may be whole in the other.
    """
    for hdr_size in HDR_SIZES:
        areas = [
            data[start : start + hdr_size - BINARY_HEADER_SIZE]
            for start in (BINARY_HEADER_SIZE, hdr_size + BINARY_HEADER_SIZE)
        ]
        if len(areas[1]) == hdr_size - BINARY_HEADER_SIZE:
            yield from _merged(hdr_size, areas[0], areas[1])


def _merged(hdr_size: int, one: bytes, other: bytes) -> Iterator[JsonText]:
    choices = [_choices(one, other, at) for at in range(0, len(one), _SECTOR)]
    open_ones = [number for number, each in enumerate(choices) if len(each) > 1]
    if not all(choices) or len(open_ones) > _BRANCHES_MAX:
        return
    for picked in itertools.product(*choices):
        text = _text_of(one, other, picked)
        found = valid_text(text, _extents(hdr_size, picked, len(text)))
        if found is not None and found.hdr_size == hdr_size and len(found.extents) > 1:
            yield found
            return


def _text_of(one: bytes, other: bytes, picked: tuple[int, ...]) -> bytes:
    """The text that these sectors make, up to its zero byte."""
    text = b""
    for number, which in enumerate(picked):
        sector, zero, _ = (one, other)[which][number * _SECTOR : (number + 1) * _SECTOR].partition(
            b"\0"
        )
        text += sector
        if zero:
            break
    return text


def _choices(one: bytes, other: bytes, at: int) -> tuple[int, ...]:
    """Which copy's sector could be the right one: 0 and 1; both only where nothing tells."""
    sectors = one[at : at + _SECTOR], other[at : at + _SECTOR]
    if sectors[0] == sectors[1]:
        return (0,) if _TEXTUAL.fullmatch(sectors[0]) else ()
    textual = [which for which in (0, 1) if _TEXTUAL.fullmatch(sectors[which])]
    return tuple(sorted(textual, key=lambda which: not any(sectors[which])))


def _extents(hdr_size: int, picked: tuple[int, ...], size: int) -> tuple[Extent, ...]:
    """Where the sectors lie, those of one copy in a row as one."""
    extents: list[Extent] = []
    for number, which in enumerate(picked[: -(-size // _SECTOR)]):
        offset = which * hdr_size + BINARY_HEADER_SIZE + number * _SECTOR
        if extents and extents[-1].end == offset:
            extents[-1] = Extent(extents[-1].offset, extents[-1].size + _SECTOR)
        else:
            extents.append(Extent(offset, _SECTOR))
    return tuple(extents)
