"""A header whose data lies elsewhere than it said.

A LUKS2 header refuses data that begins before its keyslots area ends, also where the two lie apart;
LUKS1 the same of its areas. The first can have a smaller area.
"""

from __future__ import annotations

from dataclasses import replace

from luksmeta.errors import UnsupportedError
from luksmeta.extents import Extent, align_down
from luksmeta.forensics.recovery.data_start import DataPlace
from luksmeta.header import Header
from luksmeta.luks1.header import Luks1Header
from luksmeta.luks2.header import Luks2Header
from luksmeta.luks2.limits import AREA_ALIGNMENT
from luksmeta.model import SECTOR_SIZE, CryptSegment, Metadata, Segment


def areas_end(metadata: Metadata) -> int:
    """Where the last keyslot's area ends: data can begin there."""
    ends = (each.area.offset + each.area.size for each in metadata.keyslots.values())
    least = metadata.keyslots_area.offset
    return metadata.keyslots_area.end if metadata.version == 1 else max(ends, default=least)


def with_place(header: Header, place: DataPlace) -> Header:
    """The header with its only data segment there, and encrypted so; UnsupportedError."""
    if isinstance(header, Luks1Header):
        return _luks1_at(header, place.offset)
    segment_id = header.metadata.data_segments[0]
    segment = header.metadata.segments[segment_id]
    if not isinstance(segment, CryptSegment):
        raise UnsupportedError(f"segment {segment_id}: of type {segment.type}, not crypt")
    placed = replace(
        segment, offset=place.offset, encryption=place.cipher, sector_size=place.sector_size
    )
    return _luks2_with(header, {**header.metadata.segments, segment_id: placed})


def moved(header: Header, by: int) -> Header:
    """The header with all data so many bytes farther on; UnsupportedError where it cannot be."""
    if isinstance(header, Luks1Header):
        return _luks1_at(header, header.metadata.data_offset + by)
    segments = header.metadata.segments.items()
    return _luks2_with(header, {n: replace(each, offset=each.offset + by) for n, each in segments})


def _luks2_with(header: Header, segments: dict[int, Segment]) -> Header:
    if not isinstance(header, Luks2Header):
        raise TypeError(f"{header!r} is no LUKS2 header")
    metadata, area = header.metadata, header.metadata.keyslots_area
    first = min(each.offset for each in segments.values())
    _refuse_overlap(first, areas_end(metadata))
    size = min(area.size, align_down(first - area.offset, AREA_ALIGNMENT)) if first else area.size
    smaller = Extent(area.offset, size)
    return header.updated(replace(metadata, segments=segments, keyslots_area=smaller))


def _luks1_at(header: Luks1Header, offset: int) -> Luks1Header:
    _refuse_overlap(offset, areas_end(header.metadata))
    if offset % SECTOR_SIZE:
        raise UnsupportedError(f"data at {offset:#x}, LUKS1 counts in sectors of {SECTOR_SIZE}")
    return Luks1Header.of(replace(header.record, payload_offset=offset // SECTOR_SIZE))


def _refuse_overlap(offset: int, end: int) -> None:
    if offset and offset < end:
        raise UnsupportedError(
            f"data at {offset:#x}: no header allows data before the end of its keyslots, {end:#x}, "
            "not even a detached one"
        )
