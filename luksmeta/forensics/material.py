"""Whether a keyslot's key material is still whole, and what lies where no keyslot claims it.

The anti-forensic splitter spreads the key over all of the material: one wrong bit, and no
passphrase opens the keyslot (LUKS1 specification 1.2.3, section 2.4). There is no checksum over it,
so that nothing proves material right but a passphrase that opens it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from luksmeta.extents import Extent
from luksmeta.forensics.randomness import Run, StepState
from luksmeta.forensics.regions import Region, RegionKind, material_extent
from luksmeta.model import STRIPES, AnyKeyslot, Keyslot
from luksmeta.sizes import format_size

LEFTOVER_MIN: Final = 16 * STRIPES
"""Bytes of random data that could be key material: the split key of 128 bits has as many."""


class Condition(StrEnum):
    """What can be said of a keyslot's key material without a passphrase."""

    LOOKS_WHOLE = "looks whole"
    DAMAGED = "damaged"
    GONE = "gone"
    """Not one step of it looks random."""
    CUT_OFF = "cut off"
    """The device ends before it does."""
    NOT_JUDGED = "not judged"
    """It holds no key under a passphrase."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyslotCondition:
    """The condition of one keyslot; ``damage`` is in device order.

    ``can_open`` is False where no passphrase opens it any more, None where nothing speaks against
    it: only a passphrase could prove it.
    """

    keyslot_id: int
    material: Extent
    condition: Condition
    damage: tuple[Run, ...] = ()

    @property
    def can_open(self) -> bool | None:
        """False for never again, None for perhaps."""
        return None if self.condition in (Condition.LOOKS_WHOLE, Condition.NOT_JUDGED) else False

    @property
    def text(self) -> str:
        """The condition in a sentence, with the byte ranges."""
        match self.condition:
            case Condition.LOOKS_WHOLE:
                return (
                    f"looks whole: all of {self.material} looks random; a passphrase can prove it"
                )
            case Condition.NOT_JUDGED:
                return "not judged: of another type, or its area is out of the map"
            case Condition.GONE:
                return f"gone, cannot open: nothing in {self.material} looks random"
            case Condition.CUT_OFF:
                return f"cannot open: {self.material} is not all there"
        size = sum(run.extent.size for run in self.damage)
        first, last = self.damage[0].extent, self.damage[-1].extent
        where = f"{first.offset:#x}..{last.end:#x}"
        return f"damaged, cannot open: {format_size(size)} of it do not look random, in {where}"

    def describe(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "condition": str(self.condition),
            "can_open": self.can_open,
            "text": self.text,
            "material": {"offset": self.material.offset, "size": self.material.size},
            "damage": [run.describe() for run in self.damage],
        }


@dataclass(frozen=True, slots=True)
class Leftover:
    """Random data of the size of key material in a place that no keyslot claims."""

    place: str
    extent: Extent

    def describe(self) -> dict[str, object]:
        """The same for programs."""
        return {"place": self.place, "offset": self.extent.offset, "size": self.extent.size}


def condition_of(
    keyslot_id: int, keyslot: AnyKeyslot, regions: Iterable[Region], device_size: int
) -> KeyslotCondition:
    """The condition of a keyslot, by what the map says of its key material."""
    if not isinstance(keyslot, Keyslot):
        return KeyslotCondition(
            keyslot_id=keyslot_id, material=keyslot.area.extent, condition=Condition.NOT_JUDGED
        )
    material = material_extent(keyslot)
    runs = [run for region in regions for run in _within(region, material)]
    damage = tuple(run for run in runs if run.state is not StepState.RANDOM)
    return KeyslotCondition(
        keyslot_id=keyslot_id,
        material=material,
        condition=_condition(material, runs, damage, device_size),
        damage=damage,
    )


def leftovers_of(regions: Iterable[Region]) -> Iterator[Leftover]:
    """Where key material may lie that no keyslot claims."""
    for region in regions:
        if region.place.kind not in (RegionKind.UNUSED_AREA, RegionKind.GAP, RegionKind.UNKNOWN):
            continue
        for run in region.runs:
            if run.state is StepState.RANDOM and run.extent.size >= LEFTOVER_MIN:
                yield Leftover(region.place.name, run.extent)


def _within(region: Region, material: Extent) -> Iterator[Run]:
    for run in region.runs:
        part = run.within(material)
        if part is not None:
            yield part


def _condition(
    material: Extent, runs: list[Run], damage: tuple[Run, ...], device_size: int
) -> Condition:
    if not material.size:
        return Condition.NOT_JUDGED
    if material.end > device_size:
        return Condition.CUT_OFF
    if sum(run.extent.size for run in runs) < material.size:
        return Condition.NOT_JUDGED
    if not damage:
        return Condition.LOOKS_WHOLE
    return Condition.GONE if len(damage) == len(runs) else Condition.DAMAGED
