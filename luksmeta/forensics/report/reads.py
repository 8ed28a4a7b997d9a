"""A read log that is kept, for the report that says which bytes it goes by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from luksmeta.extents import Extent
from luksmeta.forensics.read_log import ReadLog


@dataclass(frozen=True, slots=True)
class Read:
    """A run of bytes of a file that were read one behind the other."""

    file: str
    extent: Extent
    sha256: str

    @classmethod
    def of(cls, entry: dict[str, object]) -> Self:
        """A line of the log that is about bytes."""
        return cls(
            str(entry["file"]),
            Extent(int(str(entry["offset"])), int(str(entry["size"]))),
            str(entry["sha256"]),
        )


def widest(reads: Iterable[Read]) -> list[Read]:
    """Those that do not lie within another of the same file."""
    kept: list[Read] = []
    for read in sorted(reads, key=lambda each: (each.file, each.extent.offset, -each.extent.size)):
        last = kept[-1] if kept else None
        if last is None or last.file != read.file or read.extent.end > last.extent.end:
            kept.append(read)
    return kept


class KeptReads(ReadLog):
    """The log of one exhibit, kept in memory, and passed on to ``further``."""

    def __init__(self, further: ReadLog | None = None) -> None:
        self._further = further  # which has the line that names the format
        self._entries: list[dict[str, object]] = []

    def write(self, entry: dict[str, object]) -> None:
        """Keep one line, and pass it on."""
        self._entries.append(entry)
        if self._further is not None:
            self._further.write(entry)

    def runs(self) -> tuple[Read, ...]:
        """What was read, each run once, by file and place; complete when the files are closed."""
        found = (Read.of(entry) for entry in self._entries if "sha256" in entry)
        return tuple(sorted(set(found), key=lambda each: (each.file, each.extent, each.sha256)))
