"""Bytes in hex, with the names of the fields that they belong to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Final
from xml.etree.ElementTree import Element

from luksmeta.forensics.report.excerpts import Excerpt, Field
from luksmeta.forensics.report.markup import tag

_WIDTH: Final = 16  # bytes a row
_BANDS: Final = 4  # colours, one after the other
_ROWS_ALIKE: Final = 3  # so many in a row are shown as one line


def hex_view(excerpt: Excerpt) -> Element:
    """A table: offset, bytes, the same as ASCII, and which fields begin in the row."""
    if excerpt.data is None:
        return tag("p", f"{excerpt.title}: not readable", class_="missing")
    last = "Fields that begin here" if excerpt.fields else ""
    names = ("Offset", "Bytes", "ASCII", last)
    head = tag("tr", (tag("th", each, scope="col") for each in names))
    return tag(
        "table",
        tag("caption", f"{excerpt.title}, {excerpt.extent}"),
        tag("thead", head),
        tag("tbody", _rows(excerpt, excerpt.data)),
        class_="hex",
    )


def _rows(excerpt: Excerpt, data: bytes) -> Iterator[Element]:
    bands = _bands(excerpt)
    starts = list(range(0, len(data), _WIDTH))
    for _, group in groupby(starts, lambda at: _sameness(excerpt, data, at)):
        rows = list(group)
        if len(rows) < _ROWS_ALIKE:
            yield from (_row(excerpt, data, at, bands) for at in rows)
            continue
        yield _row(excerpt, data, rows[0], bands)
        first, end = excerpt.extent.offset + rows[1], excerpt.extent.offset + rows[-1] + _WIDTH
        text = f"… the same up to {end:#x}"
        yield tag("tr", tag("th", f"{first:#x}", scope="row"), tag("td", text, colspan="3"))


def _sameness(excerpt: Excerpt, data: bytes, at: int) -> object:
    """Rows that are shown as one have the same: no field begins in them, and their bytes."""
    has_field = any(at <= each.extent.offset < at + _WIDTH for each in excerpt.fields)
    return at if has_field else data[at : at + _WIDTH]


def _row(excerpt: Excerpt, data: bytes, at: int, bands: Mapping[int, int]) -> Element:
    row = data[at : at + _WIDTH]
    cells = [
        tag("th", f"{excerpt.extent.offset + at:#x}", scope="row"),
        tag("td", _banded([f"{byte:02x} " for byte in row], at, bands), class_="bytes"),
        tag("td", _banded([_ascii(byte) for byte in row], at, bands), class_="ascii"),
    ]
    begun = (each for each in excerpt.fields if at <= each.extent.offset < at + _WIDTH)
    return tag("tr", cells, tag("td", _names(begun, bands), class_="fields"))


def _bands(excerpt: Excerpt) -> Mapping[int, int]:
    """The colour of each byte that a field has."""
    return {
        at: number % _BANDS
        for number, each in enumerate(excerpt.fields)
        for at in range(each.extent.offset, each.extent.end)
    }


def _banded(texts: list[str], at: int, bands: Mapping[int, int]) -> Iterator[Element | str]:
    for band, group in groupby(range(len(texts)), lambda each: bands.get(at + each)):
        text = "".join(texts[each] for each in group)
        yield text if band is None else tag("span", text, class_=f"b{band}")


def _names(fields: Iterator[Field], bands: Mapping[int, int]) -> Iterator[Element | str]:
    for number, each in enumerate(fields):
        value = "" if each.value is None else f" = {each.value}"
        yield " " if number else ""
        yield tag("span", f"{each.name}{value}", class_=f"b{bands[each.extent.offset]}")


def _ascii(byte: int) -> str:
    return chr(byte) if 0x20 <= byte < 0x7F else "."
