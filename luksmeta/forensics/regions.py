"""The map of a header's device up to the data: what every byte is for, and what lies there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from luksmeta.errors import StorageError
from luksmeta.extents import Extent, align_up, uncovered
from luksmeta.forensics.copies import CopyContent
from luksmeta.forensics.randomness import STEP, Run, StepState, runs_of
from luksmeta.luks1.header import Luks1Header
from luksmeta.luks1.partition_header import INACTIVE, KEYSLOT_COUNT
from luksmeta.luks1.partition_header import SIZE as PARTITION_HEADER_SIZE
from luksmeta.luks2.limits import BINARY_HEADER_SIZE
from luksmeta.model import STRIPES, AnyKeyslot, Keyslot, Metadata
from luksmeta.signatures import Signature, find_signatures
from luksmeta.storage import SliceStorage, Storage

EXAMINED_MAX: Final = 128 << 20
"""Bytes of one region that are looked at: as many as the largest keyslots area has."""

_ALIGNMENT: Final = 4096  # luksmeta's data begins at a multiple of it, and who copies by hand does
_RUNS_SHOWN: Final = 1000  # of one region, for programs


class RegionKind(StrEnum):
    """What a range of bytes is for."""

    PARTITION_HEADER = "partition-header"
    BINARY_HEADER = "binary-header"
    JSON_TEXT = "json-text"
    SLACK = "slack"
    """Behind a header's content, or behind key material within its area."""
    MATERIAL = "key-material"
    FOREIGN_AREA = "foreign-area"
    """Of a keyslot of another type: a reencryption's."""
    UNUSED_AREA = "unused-area"
    """LUKS1 keeps a place for every keyslot, in use or not."""
    GAP = "gap"
    """Between the areas, and up to the data: claimed by nothing."""
    UNKNOWN = "unknown"
    """No header says what lies here."""


HEADER_KINDS: Final = (RegionKind.PARTITION_HEADER, RegionKind.BINARY_HEADER, RegionKind.JSON_TEXT)
"""What a header's own content is: never random, and not judged by that."""


@dataclass(frozen=True, slots=True)
class Place:
    """A range of bytes with a purpose; ``keyslot`` is the one that it belongs to."""

    kind: RegionKind
    name: str
    extent: Extent
    keyslot: int | None = None


@dataclass(frozen=True, slots=True)
class Region:
    """A place with what lies there.

    ``examined`` is how many bytes were looked at, from the start on. ``signatures`` are of formats
    that begin where the region does.
    """

    place: Place
    examined: int
    runs: tuple[Run, ...]
    signatures: tuple[Signature, ...]

    @property
    def states(self) -> tuple[StepState, ...]:
        """The states that occur, in the order in which they first do."""
        return tuple(dict.fromkeys(run.state for run in self.runs))

    def describe(self) -> dict[str, object]:
        """The same for programs; at most a thousand runs."""
        return {
            "kind": str(self.place.kind),
            "name": self.place.name,
            "offset": self.place.extent.offset,
            "size": self.place.extent.size,
            "keyslot": self.place.keyslot,
            "examined": self.examined,
            "states": [str(state) for state in self.states],
            "runs": [run.describe() for run in self.runs[:_RUNS_SHOWN]],
            "runs_left_out": max(len(self.runs) - _RUNS_SHOWN, 0),
            "signatures": [{"name": each.name, "offset": each.offset} for each in self.signatures],
        }


_PARTITION_HEADER: Final = Place(
    RegionKind.PARTITION_HEADER, "partition header", Extent(0, PARTITION_HEADER_SIZE)
)


def material_extent(keyslot: Keyslot) -> Extent:
    """Where a keyslot's key material lies, in whole sectors, as it is encrypted."""
    size = align_up(keyslot.key_size * STRIPES, STEP)
    return Extent(keyslot.area.offset, min(size, keyslot.area.size))


def map_of(
    storage: Storage,
    metadata: Metadata | None,
    copies: Iterable[CopyContent],
    luks1: Luks1Header | None,
) -> tuple[Region, ...]:
    """Every region from the device's start to the data, in order, each byte in one of them."""
    headers = [_PARTITION_HEADER] if luks1 else [*_copy_places(copies)]
    unused = _unused_places(luks1) if luks1 else ()
    places = [*headers, *_keyslot_places(metadata), *unused]
    end = min(_end(metadata, places), storage.size)
    places = [*_apart(places, end)]
    taken = [each.extent for each in places]
    for kind, name, part in _parts(metadata, end):
        places += [Place(kind, name, gap) for gap in uncovered([part], taken)]
    return tuple(
        examine(storage, each) for each in sorted(places, key=lambda each: each.extent.offset)
    )


def examine(storage: Storage, place: Place) -> Region:
    """Look at what lies in a place."""
    room = max(storage.size - place.extent.offset, 0)
    examined = min(place.extent.size, room, EXAMINED_MAX)
    runs = runs_of(storage, Extent(place.extent.offset, examined))
    return Region(place, examined, runs, tuple(_signatures(storage, place, runs)))


def _end(metadata: Metadata | None, places: Iterable[Place]) -> int:
    """Where the data starts; without a header to tell it, what the largest header would take."""
    if metadata is None:
        return max((each.extent.end for each in places), default=EXAMINED_MAX >> 3)
    offsets = (metadata.segments[each].offset for each in metadata.data_segments)
    return max(metadata.keyslots_area.end, min(offsets, default=0))


def _parts(metadata: Metadata | None, end: int) -> Iterator[tuple[RegionKind, str, Extent]]:
    """The parts of the map, and what bytes are that nothing in them claims."""
    if metadata is None:
        yield RegionKind.UNKNOWN, "no header tells", Extent(0, end)
        return
    area = metadata.keyslots_area
    start, stop = min(area.offset, end), min(area.end, end)
    yield RegionKind.GAP, "claimed by nothing", Extent(0, start)
    yield RegionKind.GAP, "claimed by no keyslot", Extent(start, stop - start)
    yield RegionKind.GAP, "up to the data", Extent(stop, end - stop)


def _unused_places(header: Luks1Header) -> Iterator[Place]:
    entries = header.record.keyslot_records()
    for keyslot_id in range(KEYSLOT_COUNT):
        entry = entries[keyslot_id]
        if not entry.is_active:
            state = "unused" if entry.active == INACTIVE else "in no known state"
            extent = header.place_area(keyslot_id, header.record.key_bytes)
            yield Place(
                RegionKind.UNUSED_AREA, f"keyslot {keyslot_id}, {state}", extent, keyslot_id
            )


def _copy_places(copies: Iterable[CopyContent]) -> Iterator[Place]:
    for each in copies:
        start, text = each.offset, each.json_extent
        header = Extent(start, BINARY_HEADER_SIZE)
        yield Place(RegionKind.BINARY_HEADER, f"{each.copy} binary header", header)
        yield Place(RegionKind.JSON_TEXT, f"{each.copy} JSON text", text)
        rest = Extent(text.end, start + each.hdr_size - text.end)
        yield Place(RegionKind.SLACK, f"behind the {each.copy} JSON text", rest)


def _keyslot_places(metadata: Metadata | None) -> Iterator[Place]:
    for keyslot_id, keyslot in (metadata.keyslots if metadata else {}).items():
        yield from areas_of(keyslot_id, keyslot)


def areas_of(keyslot_id: int, keyslot: AnyKeyslot) -> Iterator[Place]:
    """The places within a keyslot's area."""
    area = keyslot.area.extent
    if not isinstance(keyslot, Keyslot):
        name = f"keyslot {keyslot_id}, {keyslot.area.type}"
        yield Place(RegionKind.FOREIGN_AREA, name[:40], area, keyslot_id)
        return
    material = material_extent(keyslot)
    yield Place(RegionKind.MATERIAL, f"keyslot {keyslot_id}", material, keyslot_id)
    rest = Extent(material.end, area.end - material.end)
    yield Place(RegionKind.SLACK, f"keyslot {keyslot_id}, behind its key", rest, keyslot_id)


def _apart(places: Iterable[Place], end: int) -> Iterator[Place]:
    """The places within the map; where two share bytes, which a sound header has not, the first
    keeps them.
    """
    taken: list[Extent] = []
    for place in places:
        within = Extent(
            place.extent.offset, max(min(place.extent.end, end) - place.extent.offset, 0)
        )
        for extent in uncovered([within] if within.size else [], taken):
            yield Place(place.kind, place.name, extent, place.keyslot)
        taken.append(within)


def _signatures(storage: Storage, place: Place, runs: Iterable[Run]) -> Iterator[Signature]:
    """Formats that begin in a region; not within what looks random, where magics come by chance."""
    start = align_up(place.extent.offset, _ALIGNMENT)
    if start >= min(place.extent.end, storage.size) or place.kind in HEADER_KINDS:
        return
    try:
        part = SliceStorage(storage, start, min(place.extent.end, storage.size) - start)
        found = find_signatures(part)
    except StorageError:
        return
    random = [run.extent for run in runs if run.state is StepState.RANDOM]
    for each in found:
        at = Signature(each.name, start + each.offset)
        if not any(extent.contains(Extent(at.offset, 1)) for extent in random):
            yield at
