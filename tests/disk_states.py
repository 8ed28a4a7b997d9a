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
    take the sectors of one write in any order; the write of an area at a few places. Torn states
    that are equal, as in the zeroes behind the JSON text, come once.
    """
    disk = bytes(before)
    yield "before", disk
    for plan in plans:
        for number, step in enumerate(plan.steps):
            if not isinstance(step, Write | Fill):
                continue
            name = f"{plan.what}, step {number} ({step.what})"
            storage = MemoryStorage(disk)
            WritePlan.of(plan.what, [step]).apply(storage)
            after = bytes(storage.data)
            seen = {disk, after}
            for cut in _cuts(step):
                at = step.extent.offset + cut
                for torn, how in (
                    (after[:at] + disk[at:], f"torn at {cut}"),
                    (disk[:at] + after[at:], f"torn at {cut}, its end first"),
                ):
                    if torn not in seen:
                        seen.add(torn)
                        yield f"{name} {how}", torn
            disk = after
            yield f"{name} done", disk


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
