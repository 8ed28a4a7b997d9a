"""Ranges of bytes on a device: overlap, alignment, first fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Extent:
    """``size`` bytes from ``offset`` on."""

    offset: int
    size: int

    @property
    def end(self) -> int:
        """The offset of the first byte behind it."""
        return self.offset + self.size

    def overlaps(self, other: Extent) -> bool:
        """Whether the two share a byte."""
        return self.offset < other.end and other.offset < self.end

    def contains(self, other: Extent) -> bool:
        """Whether every byte of ``other`` lies in this extent."""
        return self.offset <= other.offset and other.end <= self.end

    def __str__(self) -> str:
        return f"{self.offset:#x}..{self.end:#x}"


def align_up(value: int, alignment: int) -> int:
    """The smallest multiple of ``alignment`` that is not below ``value``."""
    return -(-value // alignment) * alignment


def align_down(value: int, alignment: int) -> int:
    """The largest multiple of ``alignment`` that is not above ``value``."""
    return value // alignment * alignment


def gaps(within: Extent, taken: Iterable[Extent]) -> Iterator[Extent]:
    """What of ``within`` is not taken, in order."""
    offset = within.offset
    for extent in sorted(taken):
        if offset < min(extent.offset, within.end):
            yield Extent(offset, min(extent.offset, within.end) - offset)
        offset = max(offset, extent.end)
    if offset < within.end:
        yield Extent(offset, within.end - offset)


def first_fit(size: int, within: Extent, taken: Iterable[Extent]) -> Extent | None:
    """The lowest free place of ``size`` bytes in ``within``, or None when there is none."""
    fitting = (Extent(gap.offset, size) for gap in gaps(within, taken) if gap.size >= size)
    return next(fitting, None)


def uncovered(extents: Iterable[Extent], covers: Iterable[Extent]) -> list[Extent]:
    """What of ``extents`` no cover shares a byte with, in order, each byte once."""
    left: list[Extent] = []
    taken = sorted(covers)
    reached = 0
    for extent in sorted(extents):
        at = max(extent.offset, reached)
        for cover in taken:
            if at < min(cover.offset, extent.end):
                left.append(Extent(at, min(cover.offset, extent.end) - at))
            at = max(at, cover.end)
        if at < extent.end:
            left.append(Extent(at, extent.end - at))
        reached = max(reached, extent.end)
    return left
