"""Remains of other volumes where a header was looked for: a candidate says that they are not its.

Both formats have the UUID in the same place: LUKS1 specification, figure 1; LUKS2 specification
1.1.4, section 2.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from luksmeta.forensics.randomness import STEP
from luksmeta.forensics.recovery.candidates import Candidate, first_bytes_of
from luksmeta.forensics.recovery.from_luks2 import SEARCHED
from luksmeta.storage import Storage

_UUID_AT: Final = 168
_UUID: Final = re.compile(rb"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\0", re.IGNORECASE)
_VERSIONS: Final = (b"\0\1", b"\0\2")
_TOLD_MAX: Final = 4


def with_remains_told(candidates: Iterable[Candidate], storage: Storage) -> tuple[Candidate, ...]:
    """The candidates, each with the UUIDs in the searched bytes that are not its own."""
    places = _uuids_in(first_bytes_of(storage, SEARCHED))
    return tuple(_told(each, places) for each in candidates)


def _told(candidate: Candidate, places: Mapping[str, int]) -> Candidate:
    own = candidate.metadata.uuid.lower()
    others = [(uuid, place) for uuid, place in places.items() if uuid != own]
    reasons = [
        f"a header of another UUID, {uuid}, or what is left of it, lies at {place:#x}: scan finds "
        "all of them"
        for uuid, place in others[:_TOLD_MAX]
    ]
    return replace(candidate, reasons=(*candidate.reasons, *reasons))


def _uuids_in(data: bytes) -> dict[str, int]:
    """The UUIDs of headers, and where the first header with each begins."""
    places: dict[str, int] = {}
    for uuid, place in _headers_in(data):
        places.setdefault(uuid, place)
    return places


def _headers_in(data: bytes) -> Iterator[tuple[str, int]]:
    """At the start also without its version: there something else may lie over the rest."""
    for place in range(0, len(data), STEP):
        if place and data[place + 6 : place + 8] not in _VERSIONS:
            continue
        found = _UUID.match(data, place + _UUID_AT)
        if found is not None:
            yield found[1].decode().lower(), place
