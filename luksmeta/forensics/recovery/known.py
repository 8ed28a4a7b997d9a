"""What is known of a volume's data before its header is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from luksmeta.forensics.recovery.data_start import DataPlace


class Contradiction(NamedTuple):
    """What was said to be known (cipher, sector_size or offset), and is otherwise; in bytes."""

    what: str
    known: str | int
    found: str | int


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the data: None is to be found out. ``offset`` is in bytes."""

    cipher: str | None = None
    sector_size: int | None = None
    offset: int | None = None
    uuid: str | None = None
    behind: int = 0
    """The data cannot begin before this byte: a header lies there."""

    def contradictions(self, place: DataPlace) -> Iterator[Contradiction]:
        """What is otherwise where the data is."""
        for what in ("cipher", "sector_size", "offset"):
            known, found = getattr(self, what), getattr(place, what)
            if known is not None and _plain64(known) != _plain64(found):
                yield Contradiction(what, known, found)


def _plain64(value: object) -> str:
    """``plain`` is the same up to 2 TiB."""
    text = str(value)
    return f"{text}64" if text.endswith("-plain") else text
