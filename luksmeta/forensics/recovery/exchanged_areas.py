"""Headers whose keyslots' areas lie in each other's place: a copy by hand that went wrong.

Salt and cost of a keyslot stand in the header, its key material in its area. Whose area is whose
only a passphrase can tell, by opening.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

from luksmeta.extents import Extent
from luksmeta.forensics.recovery.candidates import (
    Candidate,
    Confidence,
    candidate_of,
    made,
    read_what_can,
)
from luksmeta.forensics.regions import material_extent
from luksmeta.model import Keyslot
from luksmeta.write_plan import Write

_PAIRS_MAX: Final = 28  # those of eight keyslots; each costs two derivations


def exchanged(candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    """Each candidate with the areas of two of its keyslots exchanged, all pairs of one size."""
    for each in candidates:
        pairs = itertools.combinations(sorted(_areas(each).items()), 2)
        alike = (pair for pair in pairs if pair[0][1].size == pair[1][1].size)
        for (one, area), (other, other_area) in itertools.islice(alike, _PAIRS_MAX):
            names = f"keyslots {one} and {other}"
            yield from made(partial(_exchanged, each, names, area, other_area))


def _areas(candidate: Candidate) -> dict[int, Extent]:
    return {
        keyslot_id: material_extent(keyslot)
        for keyslot_id, keyslot in candidate.metadata.keyslots.items()
        if isinstance(keyslot, Keyslot)
    }


def _exchanged(candidate: Candidate, names: str, one: Extent, other: Extent) -> Candidate:
    view = candidate.view
    steps = [
        Write(to.offset, read_what_can(view, origin.offset, origin.size), "exchanged key material")
        for to, origin in ((one, other), (other, one))
    ]
    return candidate_of(
        view,
        [*candidate.plan.steps, *steps],
        way=f"{candidate.way}, areas exchanged",
        confidence=Confidence.POSSIBLE,
        reasons=[*candidate.reasons, f"{names} have their key material in each other's area"],
        sources=candidate.sources,
        lost=candidate.lost,
        base=candidate.base,
        needs=max(one.end, other.end),
        data_is_supposed=candidate.data_is_supposed,
    )
