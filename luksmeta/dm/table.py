"""Device-mapper tables as text: a ``START LENGTH TARGET ARGUMENTS`` line for each target.

As ``dmsetup`` reads them (libdm: tools/dmsetup.c, _parse_line) and the kernel splits the arguments
(drivers/md/dm-table.c: dm_split_args, adjoin). Starts and lengths are in sectors of 512 bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from luksmeta.errors import LuksError
from luksmeta.model import SECTOR_SIZE
from luksmeta.sizes import counted

TEXT_MAX: Final = 16 << 20  # characters; a bound of ours
TARGETS_MAX: Final = 1 << 16  # a bound of ours: the kernel's is 2^20
SECTORS_MAX: Final = (1 << 63) // SECTOR_SIZE  # what a block device can have (loff_t)
TYPE_MAX: Final = 15  # characters: DM_MAX_TYPE_NAME, less the end

_SPACE: Final = " \t\v\f\r"  # the kernel's and C's, within a line
_NUMBER: Final = re.compile(r"[0-9]{1,20}")
_WORD: Final = re.compile(r"(?:\\.|[^ \t\v\f\r\\]|\\\Z)+", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_TO_ESCAPE: Final = re.compile(r"([ \t\v\f\r\\])")
_BREAKS: Final = re.compile(r"[\n\v\f\r\x85\u2028\u2029\0\ud800-\udfff]")
_NAMED: Final = re.compile(r"\S.*: [0-9]")


class TableError(LuksError):
    """A table that makes no sense, or one that cannot be run here; it names the line."""


@dataclass(frozen=True, slots=True)
class TableLine:
    """One target: ``length`` sectors from ``start`` on, and its arguments as words.

    ``number`` is that of the line in its text, from 1; for errors only.
    """

    start: int
    length: int
    target: str
    arguments: tuple[str, ...] = ()
    number: int = 1

    @property
    def end(self) -> int:
        """The first sector behind it."""
        return self.start + self.length

    def error(self, text: str) -> TableError:
        """An error about this line."""
        return TableError(f"line {self.number}: {self.target}: {text}")

    def __str__(self) -> str:
        words = (_TO_ESCAPE.sub(r"\\\1", each) for each in self.arguments)
        return " ".join([str(self.start), str(self.length), self.target, *words])

    def __repr__(self) -> str:  # a crypt line has a key in it
        return f"<TableLine {self.number}: {self.start} {self.length} {self.target}>"


def parse_table(text: str) -> tuple[TableLine, ...]:
    """The lines of a table; empty lines and those that start with ``#`` are left out.

    Raises TableError for a line that is none, and for lines that do not follow one another from
    sector 0 on, as the kernel wants them.
    """
    if len(text) > TEXT_MAX:
        raise TableError(f"a table of {len(text)} characters, the most are {TEXT_MAX}")
    table = []
    for number, row in enumerate(text.split("\n"), start=1):
        if (content := row.lstrip(_SPACE)) and not content.startswith("#"):
            table.append(_parse_line(number, content))
            if len(table) > TARGETS_MAX:
                raise TableError(f"line {number}: target {len(table)}, the most are {TARGETS_MAX}")
    check_order(table)
    return tuple(table)


def print_table(table: Iterable[TableLine]) -> str:
    """The table as text, a line for each target; what :func:`parse_table` reads.

    Raises TableError for a word that no line can have: with a line's end, or bytes of no text.
    """
    return "".join(f"{_printable(line)}\n" for line in table)


def _printable(line: TableLine) -> TableLine:
    for number, word in enumerate(line.arguments, start=1):
        if _BREAKS.search(word):
            raise line.error(
                f"argument {number} has a line's end or bytes that are no text in it"
            ).advise("--device NAME says what else to call a device")
    return line


def check_order(table: Iterable[TableLine]) -> None:
    """Raise TableError where the lines have a gap, overlap, or do not start at 0."""
    end, line = 0, None
    for line in table:
        if line.start != end:
            raise line.error(f"starts at sector {line.start}, what is before it ends at {end}")
        if not 0 < line.length <= SECTORS_MAX - line.start:
            raise line.error(
                f"{counted(line.length, 'sector')}, from 1 to {SECTORS_MAX - line.start} "
                "can be there"
            )
        end = line.end
    if line is None:
        raise TableError("a table without a target")


def _parse_line(number: int, row: str) -> TableLine:
    words = _split(row)
    if len(words) < 3 or not all(map(_NUMBER.fullmatch, words[:2])):
        raise TableError(
            f"line {number}: START LENGTH TARGET … is expected"
            + (", without the device's name" if _NAMED.match(row) else "")
        )
    start, length, target, *arguments = words
    if len(target) > TYPE_MAX:
        raise TableError(
            f"line {number}: a target of {len(target)} characters, the most are {TYPE_MAX}"
        )
    return TableLine(int(start), int(length), target, tuple(arguments), number)


def _split(row: str) -> list[str]:
    """The words of a line; a backslash quotes the character behind it, and itself at the end."""
    return [_ESCAPED.sub(r"\1", each) for each in _WORD.findall(row)]
