"""How random each 512-byte step of a keyslot's area is: what its heat map shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from luksmeta.extents import Extent
from luksmeta.forensics.randomness import STEP, Run, StepState, steps_of
from luksmeta.forensics.regions import Region, RegionKind
from luksmeta.storage import Storage

STEPS_MAX: Final = 4096
"""Steps of one area that are shown: 2 MiB, eight times the material of a key of 512 bits."""
AREAS_MAX: Final = 64
"""Areas that are shown: twice as many keyslots as cryptsetup makes."""

_LOW, _MIDDLE = 4.0, 6.5  # bits a byte of entropy: text is between, machine code at the second


class Heat(IntEnum):
    """What a cell shows, the least random first."""

    ZERO = 0
    PATTERN = 1
    LOW = 2
    MIDDLE = 3
    HIGH = 4
    """As much entropy as random bytes have, and yet a test of theirs is failed."""
    RANDOM = 5
    UNREADABLE = 6


@dataclass(frozen=True, slots=True)
class StepMap:
    """A keyslot's area; ``heats`` has one byte a step from its start on, at most STEPS_MAX.

    ``material`` is the part that must be random, None where nothing must.
    """

    name: str
    area: Extent
    material: Extent | None
    heats: bytes


def step_maps(storage: Storage, regions: Iterable[Region]) -> Iterator[StepMap]:
    """A map for each keyslot's area, in device order."""
    by_keyslot: dict[int, list[Region]] = {}
    for region in regions:
        if region.place.keyslot is not None:
            by_keyslot.setdefault(region.place.keyslot, []).append(region)
    for parts in list(by_keyslot.values())[:AREAS_MAX]:
        yield _map_of(storage, parts)


def _map_of(storage: Storage, parts: list[Region]) -> StepMap:
    first, last = parts[0].place, parts[-1].place
    area = Extent(first.extent.offset, last.extent.end - first.extent.offset)
    examined = Extent(area.offset, min(area.size, STEPS_MAX * STEP))
    is_material = first.kind is RegionKind.MATERIAL
    heats = b"".join(_cells(each) for each in steps_of(storage, examined))
    return StepMap(first.name, area, first.extent if is_material else None, heats)


def _cells(run: Run) -> bytes:
    return bytes([_heat(run)]) * -(-run.extent.size // STEP)


def _heat(run: Run) -> Heat:
    match run.state:
        case StepState.ZERO:
            return Heat.ZERO
        case StepState.PATTERN:
            return Heat.PATTERN
        case StepState.RANDOM:
            return Heat.RANDOM
        case StepState.UNREADABLE:
            return Heat.UNREADABLE
    entropy = run.entropy[0] if run.entropy else 0
    if entropy < _LOW:
        return Heat.LOW
    return Heat.MIDDLE if entropy < _MIDDLE else Heat.HIGH
