"""Whether bytes look like the output of a cipher, judged in steps of 512 bytes.

Key material is encrypted, and an overwritten part of it mostly is not: the step in which it lies
shows an uneven histogram, too many or too few bits set, or one byte over and over. What was
overwritten with other ciphertext, or with well compressed data, cannot be told from it.

Random bytes fail one of the tests in less than one of 10^10 steps; spec/forensics.md has the
figures and how they were computed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Self

from luksmeta.errors import StorageError
from luksmeta.extents import Extent, align_down
from luksmeta.storage import Storage

STEP: Final = 512
"""Bytes judged at once: a sector, the least that a disk overwrites."""

CHI_SQUARE_MIN: Final = 130.0
"""Of 512 random bytes, one step in 6·10^11 has a histogram that is as even as this."""

CHI_SQUARE_MAX: Final = 450.0
"""One step in 3·10^10 has a histogram that is as uneven."""

BITS_OFF_MAX: Final = 216
"""Bits set, more or fewer than the half: one step in 6·10^10 is as far off."""

SAME_BYTES_MAX: Final = 7
"""Equal bytes in a row: one step in 5·10^11 has so many."""

_SAME_BYTES: Final = bytes(SAME_BYTES_MAX - 1)  # what they leave of neighbours' differences
_PERIOD_MAX: Final = 64  # bytes of what is repeated and counts as a pattern
_CHUNK: Final = 128 * STEP
_SAMPLE: Final = 16
_SQUARES: Final = tuple(count * count for count in range(STEP + 1))
_C_LOG_C: Final = (0.0, *(count * math.log2(count) for count in range(1, STEP + 1)))


class StepState(StrEnum):
    """What 512 bytes look like."""

    ZERO = "zero"
    PATTERN = "pattern"
    """At most 64 bytes, over and over."""
    RANDOM = "random"
    OTHER = "other"
    """Neither: text, structures, program code."""
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Figures:
    """The statistics of some bytes.

    ``chi_square`` against equally frequent bytes, 255 being the mean of random ones; ``entropy`` of
    the histogram in bits a byte, which for 512 random bytes is about 7.6.
    """

    chi_square: float
    entropy: float

    @classmethod
    def of(cls, data: bytes) -> Self:
        """The figures of 1 to 512 bytes."""
        size, counts = len(data), Counter(data).values()
        return cls(
            sum(map(_SQUARES.__getitem__, counts)) * 256 / size - size,
            math.log2(size) - sum(map(_C_LOG_C.__getitem__, counts)) / size,
        )


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring steps of one state; ``sample`` is how they begin.

    The figures are the least and the greatest of the steps; None where they cannot be read.
    """

    extent: Extent
    state: StepState
    sample: bytes = b""
    chi_square: tuple[float, float] | None = None
    entropy: tuple[float, float] | None = None

    def followed_by(self, other: Run) -> Run:
        """Both as one."""
        extent = Extent(self.extent.offset, other.extent.end - self.extent.offset)
        chi_square = _span(self.chi_square, other.chi_square)
        return Run(extent, self.state, self.sample, chi_square, _span(self.entropy, other.entropy))

    def within(self, extent: Extent) -> Run | None:
        """The part that lies in ``extent``; None where there is none."""
        start, end = max(self.extent.offset, extent.offset), min(self.extent.end, extent.end)
        return replace(self, extent=Extent(start, end - start)) if start < end else None

    def describe(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "offset": self.extent.offset,
            "size": self.extent.size,
            "state": str(self.state),
            "begins_with": self.sample.hex(),
            "chi_square": _rounded(self.chi_square),
            "entropy": _rounded(self.entropy),
        }


def looks_random(step: bytes) -> bool:
    """Whether 512 bytes pass every test for ciphertext."""
    return _passes(step, Figures.of(step))


def runs_of(storage: Storage, extent: Extent) -> tuple[Run, ...]:
    """The states of all steps of ``extent``, neighbours of one state as one run.

    Steps begin at multiples of 512; a shorter one at the end counts as the one before it, where it
    is no pattern. What cannot be read is a run of its own; what lies behind the storage's end is
    left out.
    """
    runs: list[Run] = []
    for run in steps_of(storage, extent):
        is_too_short = run.extent.size < STEP and run.state is StepState.RANDOM
        if runs and (runs[-1].state is run.state or is_too_short):
            runs[-1] = runs[-1].followed_by(run)
        else:
            runs.append(run)
    return tuple(runs)


def steps_of(storage: Storage, extent: Extent) -> Iterator[Run]:
    """Each step of ``extent`` as a run of its own, but for zeroes, and what is not readable."""
    for part in _cut(Extent(extent.offset, min(extent.end, storage.size) - extent.offset), _CHUNK):
        try:
            yield from _judged(part.offset, storage.read_at(part.offset, part.size))
        except StorageError:
            yield from _one_by_one(storage, part)


def _one_by_one(storage: Storage, extent: Extent) -> Iterator[Run]:
    """Where a chunk cannot be read, perhaps most of its steps can."""
    for step in _cut(extent, STEP):
        try:
            yield from _judged(step.offset, storage.read_at(step.offset, step.size))
        except StorageError:
            yield Run(step, StepState.UNREADABLE)


def _cut(extent: Extent, size: int) -> Iterator[Extent]:
    """Parts that end at multiples of ``size``, or with the extent."""
    at = extent.offset
    while at < extent.end:
        end = min(align_down(at, size) + size, extent.end)
        yield Extent(at, end - at)
        at = end


def _judged(offset: int, chunk: bytes) -> Iterator[Run]:
    if chunk.count(0) == len(chunk):
        yield replace(_run(offset, chunk[:STEP], StepState.ZERO), extent=Extent(offset, len(chunk)))
        return
    has_rows = _has_row(chunk)  # hardly ever in ciphertext: then no step needs to be asked
    for step in _cut(Extent(offset, len(chunk)), STEP):
        start = step.offset - offset
        yield _run(step.offset, chunk[start : start + step.size], None, has_rows=has_rows)


def _run(offset: int, step: bytes, state: StepState | None, *, has_rows: bool = True) -> Run:
    """The run of one step, of this state or of the one that its bytes show."""
    figures = Figures.of(step)
    return Run(
        Extent(offset, len(step)),
        state or _state(step, figures, has_rows=has_rows),
        step[:_SAMPLE],
        (figures.chi_square, figures.chi_square),
        (figures.entropy, figures.entropy),
    )


def _state(step: bytes, figures: Figures, *, has_rows: bool) -> StepState:
    if not any(step):
        return StepState.ZERO
    if _passes(step, figures, has_rows=has_rows):
        return StepState.RANDOM
    periods = range(1, min(_PERIOD_MAX, len(step) // 2) + 1)
    if any(step[period:] == step[:-period] for period in periods):
        return StepState.PATTERN
    return StepState.OTHER


def _passes(step: bytes, figures: Figures, *, has_rows: bool = True) -> bool:
    if has_rows and _has_row(step):
        return False
    return len(step) < STEP or (
        CHI_SQUARE_MIN < figures.chi_square < CHI_SQUARE_MAX
        and abs(int.from_bytes(step, "big").bit_count() - 4 * STEP) < BITS_OFF_MAX
    )


def _has_row(data: bytes) -> bool:
    """Whether SAME_BYTES_MAX equal bytes follow each other: their differences are zeroes."""
    value = int.from_bytes(data, "big")
    return _SAME_BYTES in (value ^ value >> 8).to_bytes(len(data), "big")[1:]


def _span(
    one: tuple[float, float] | None, other: tuple[float, float] | None
) -> tuple[float, float] | None:
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), max(one[1], other[1])


def _rounded(span: tuple[float, float] | None) -> list[float] | None:
    return None if span is None else [round(each, 3) for each in span]
