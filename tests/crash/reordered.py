"""Every state that a disk can be left in, whatever order it takes the writes of a plan in.

:mod:`tests.disk_states` has the states of a disk that takes them in their order, and fewer.
Between two barriers a disk may take the writes, and the sectors of each write, in any order: a
crash leaves it with any subset of those sectors new. All subsets are too many. :func:`states` gives
the whole writes in every combination, and each write cut at every sector, from its start and from
its end, with the other writes done and not done, and in subsets of its sectors drawn by lot, as of
the sectors of all writes together.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from luksmeta.extents import Extent, align_down
from luksmeta.write_plan import Barrier, Copy, Fill, Reserve, Resize, Write, WritePlan

UNITS = (512, 4096)
"""What a disk writes whole or not at all, in bytes: a sector of the older and of the newer kind."""

_ALL_SUBSETS_OF = 5  # writes or sectors; of more, a choice
_DRAWN = 4  # subsets of more sectors, for each unit
_FEW = 6  # cuts from either end


@dataclass(frozen=True, slots=True)
class State:
    """A disk after a crash during the write ``place``: a plan and a step of it.

    ``disk`` is one buffer that changes: it is valid until the next state is taken.
    """

    place: str
    how: str
    disk: bytearray

    def __str__(self) -> str:
        return f"{self.place}, {self.how}"


@dataclass(frozen=True, slots=True)
class _Piece:
    place: str
    offset: int
    data: bytes

    @property
    def extent(self) -> Extent:
        return Extent(self.offset, len(self.data))

    def put(self, disk: bytearray) -> None:
        disk[self.offset : self.extent.end] = self.data

    def sectors(self, unit: int, disk: bytearray) -> Iterator[_Piece]:
        """The sectors in which it differs from ``disk``; nobody sees whether the others came."""
        for start in range(align_down(self.offset, unit), self.extent.end, unit):
            at, end = max(start, self.offset), min(start + unit, self.extent.end)
            data = self.data[at - self.offset : end - self.offset]
            if disk[at:end] != data:
                yield _Piece(self.place, at, data)


def states(
    before: bytes, plans: Iterable[WritePlan], *, coarse: tuple[str, ...] = ()
) -> Iterator[State]:
    """The disk before the first step, in the states between, and after each barrier.

    Writes whose :attr:`State.place` starts with one of ``coarse`` are cut at a few sectors only.
    """
    disk = bytearray(before)
    yield State("before", "untouched", disk)
    for plan in plans:
        for epoch in _epochs(plan, disk):
            for piece, how, torn in _within(epoch, disk, coarse):
                yield State(piece.place, how, torn)
            for piece in epoch:
                piece.put(disk)
            yield State(epoch[-1].place, "done", disk)


def _epochs(plan: WritePlan, disk: bytearray) -> Iterator[list[_Piece]]:
    """What is written between barriers; what random fills write is drawn here."""
    epoch: list[_Piece] = []
    for step in (*plan.steps, Barrier()):
        match step:
            case Write() | Fill() | Copy():
                place = f"{plan.what}: {step.what}"
                epoch += [_Piece(place, at, bytes(data)) for at, data in step.pieces()]
            case Resize():
                disk.extend(bytes(max(0, step.size - len(disk))))
            case Reserve():
                pass
            case Barrier():
                _refuse_overlaps(epoch)
                if epoch:
                    yield epoch
                epoch = []


def _refuse_overlaps(epoch: list[_Piece]) -> None:
    """Of two writes to one place, without a barrier between them, either could come last."""
    for one, other in itertools.combinations(epoch, 2):
        assert not one.extent.overlaps(other.extent), f"{one.place} and {other.place} overlap"


def _within(
    epoch: list[_Piece], disk: bytearray, coarse: tuple[str, ...]
) -> Iterator[tuple[_Piece, str, bytearray]]:
    for chosen in _subsets(len(epoch)):
        yield epoch[chosen[-1]], f"only writes {chosen}", _with(disk, [epoch[n] for n in chosen])
    if len(epoch) > 1:
        for unit in UNITS:
            sectors = [sector for piece in epoch for sector in piece.sectors(unit, disk)]
            for some in _drawn(sectors):
                yield epoch[-1], f"sectors of {unit} bytes of all writes", _with(disk, some)
    for number, piece in enumerate(epoch):
        before, behind = epoch[:number], epoch[number + 1 :]
        cuts = _FEW if piece.place.startswith(coarse) else None
        contexts = {"": before}
        if len(epoch) > 1:
            contexts |= {", nothing else": [], ", all else": before + behind}
        for context, done in contexts.items():
            for how, torn in _torn(piece, _with(disk, done), cuts):
                yield piece, how + context, torn


def _with(disk: bytearray, done: Iterable[_Piece]) -> bytearray:
    changed = bytearray(disk)
    for piece in done:
        piece.put(changed)
    return changed


def _subsets(count: int) -> Iterator[tuple[int, ...]]:
    """Of whole writes, neither none nor all: every one of few; ends and single ones of many."""
    numbers = tuple(range(count))
    if count <= _ALL_SUBSETS_OF:
        for size in range(1, count):
            yield from itertools.combinations(numbers, size)
        return
    for cut in range(1, count):
        yield numbers[:cut]
        yield numbers[cut:]
        yield numbers[cut : cut + 1]
        yield numbers[:cut] + numbers[cut + 1 :]


def _torn(piece: _Piece, disk: bytearray, cuts: int | None) -> Iterator[tuple[str, bytearray]]:
    """``disk`` with a part of ``piece``; it has none of it before and after."""
    absent = _Piece(piece.place, piece.offset, bytes(disk[piece.offset : piece.extent.end]))
    sectors = list(piece.sectors(UNITS[0], disk))
    every = 1 if cuts is None else -(-len(sectors) // cuts)
    for number, sector in enumerate(sectors[:-1]):
        sector.put(disk)
        if number % every == 0:
            yield f"torn at {sector.extent.end - piece.offset}", disk
    absent.put(disk)
    for number, sector in enumerate(sectors[:0:-1]):
        sector.put(disk)
        if number % every == 0:
            yield f"torn at {sector.offset - piece.offset}, its end first", disk
    absent.put(disk)
    for unit in UNITS:
        for chosen in _drawn(list(piece.sectors(unit, disk))):
            for sector in chosen:
                sector.put(disk)
            yield f"{len(chosen)} of its sectors of {unit} bytes", disk
            absent.put(disk)


def _drawn(sectors: list[_Piece]) -> Iterator[list[_Piece]]:
    """Subsets of sectors: of few all those that no cut gives, of many some by lot."""
    if len(sectors) <= _ALL_SUBSETS_OF:
        for size in range(2, len(sectors)):
            yield from map(list, itertools.combinations(sectors, size))
        return
    lot = random.Random(len(sectors))
    for _ in range(_DRAWN):
        yield [sector for sector in sectors if lot.random() < 0.5]
