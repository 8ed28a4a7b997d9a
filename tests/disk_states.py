"""Every state that a disk can be left in while write plans are applied to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from luksmeta import MemoryStorage
from luksmeta.write_plan import Barrier, Fill, Write, WritePlan

SECTOR = 512
"""What a disk writes whole or not at all."""


def states(before: bytes, plans: Iterable[WritePlan]) -> Iterator[tuple[str, bytes]]:
    """The disk, with a name, before the first step, after each, and within each write.

    A header's write is torn at every sector, from its start and from its end, because a disk may
    take the sectors of one write in any order; the write of an area at a few places.
    """
    disk = bytearray(before)
    yield "before", bytes(disk)
    for plan in plans:
        for number, step in enumerate(plan.steps):
            if not isinstance(step, Write | Fill):
                continue
            after = MemoryStorage(disk)
            WritePlan.of(plan.what, [step]).apply(after)
            start, end = step.extent.offset, step.extent.end
            name = f"{plan.what}, step {number} ({step.what})"
            for cut in _cuts(step):
                torn = bytearray(disk)
                torn[start : start + cut] = after.data[start : start + cut]
                yield f"{name} torn at {cut}", bytes(torn)
                torn = bytearray(disk)
                torn[start + cut : end] = after.data[start + cut : end]
                yield f"{name} torn at {cut}, its end first", bytes(torn)
            disk = after.data
            yield f"{name} done", bytes(disk)


def _cuts(step: Write | Fill) -> Iterable[int]:
    size = step.extent.size
    if "header" in step.what:
        return range(SECTOR, size, SECTOR)
    return (SECTOR, size // 2 // SECTOR * SECTOR, size - SECTOR)


def writes_without_barrier(plan: WritePlan) -> list[str]:
    """The writes that no barrier separates from the next one."""
    steps = [*plan.steps, None]
    return [
        step.what
        for step, behind in pairwise(steps)
        if isinstance(step, Write | Fill) and not isinstance(behind, Barrier)
    ]
