"""Which keyslots of a candidate no passphrase opens any more, by how their key material looks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from luksmeta.forensics.material import condition_of
from luksmeta.forensics.recovery.candidates import Candidate
from luksmeta.forensics.regions import areas_of, examine
from luksmeta.model import Keyslot


def with_damage_told(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """The candidates, those keyslots among their losses whose key material is damaged."""
    known: dict[tuple[int, str], str | None] = {}
    return tuple(
        replace(each, lost=(*each.lost, *filter(None, _damage_of(each, known))))
        for each in candidates
    )


def _damage_of(
    candidate: Candidate, known: dict[tuple[int, str], str | None]
) -> Iterator[str | None]:
    """A sentence for each keyslot, which candidates with the same key material share."""
    for keyslot_id, sha256 in candidate.material.items():
        if (keyslot_id, sha256) not in known:
            known[keyslot_id, sha256] = _sentence(candidate, keyslot_id)
        yield known[keyslot_id, sha256]


def _sentence(candidate: Candidate, keyslot_id: int) -> str | None:
    keyslot = candidate.metadata.keyslots[keyslot_id]
    if not isinstance(keyslot, Keyslot) or keyslot.area.extent.end > candidate.view.size:
        return None  # what is not all there is told already
    overlay = candidate.restored()
    try:
        regions = [examine(overlay, place) for place in areas_of(keyslot_id, keyslot)]
        condition = condition_of(keyslot_id, keyslot, regions, overlay.size)
    finally:
        overlay.discard()
    return None if condition.can_open is None else f"keyslot {keyslot_id}: {condition.text}"
