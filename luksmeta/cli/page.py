"""The parts of a page for people: sections of lines, each with a name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

import click

from luksmeta.cli.output import printable

NAME_WIDTH: Final = 15
_HEX_BYTES_PER_LINE: Final = 32

Lines: TypeAlias = Iterator[tuple[str, str]]
"""Names and what stands beside them, perhaps in several lines."""


def section(title: str, lines: Iterable[tuple[str, str]]) -> str:
    """A title and its lines; texts may come from a disk."""
    rows = [click.style(in_a_line(title), bold=True)]
    for name, value in lines:
        first, *rest = printable(value).split("\n")
        rows.append(f"  {in_a_line(name):{NAME_WIDTH}} {first}".rstrip())
        rows.extend(f"  {'':{NAME_WIDTH}} {line}" for line in rest)
    return "\n".join(rows)


def in_a_line(text: str) -> str:
    """Text from a disk as a part of one line."""
    return printable(text.replace("\n", " "))


def hex_lines(data: bytes) -> str:
    """Bytes, 32 to a line."""
    if not data:
        return "(not readable)"
    lines = range(0, len(data), _HEX_BYTES_PER_LINE)
    return "\n".join(data[at : at + _HEX_BYTES_PER_LINE].hex() for at in lines)
