"""Partitions and logical volumes of a disk, by what its tables say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from luksmeta.disks import dissect
from luksmeta.disks.dissect import StorageFile
from luksmeta.disks.part_storage import PartStorage
from luksmeta.disks.partition_table import SECTOR_SIZE, read_partition_table
from luksmeta.errors import LuksError, StorageError
from luksmeta.extents import Extent
from luksmeta.sizes import parse_size
from luksmeta.storage import Storage

_PLACES_MAX: Final = 4096
_SEGMENTS_MAX: Final = 1 << 16
_LABEL_SECTORS: Final = 4  # lib/label/label.h LABEL_SCAN_SECTORS
_LABEL: Final = b"LABELONE"
OFFSET: Final = "offset="


@dataclass(frozen=True, slots=True)
class Place:
    """A partition or a logical volume: its ``extents`` on the disk, in its own order.

    ``name`` is what follows ``#``. ``is_whole`` is false where parts lie on other disks or in no
    simple order, and then the extents are those that are known.
    """

    name: str
    extents: tuple[Extent, ...]
    partition: int | None = None
    logical_volume: str | None = None
    is_whole: bool = True

    @property
    def start(self) -> int:
        """Where it starts on the disk."""
        return self.extents[0].offset

    @property
    def size(self) -> int:
        """The sum of its extents."""
        return sum(extent.size for extent in self.extents)

    def offset_of(self, offset: int) -> int | None:
        """Where in here an offset of the disk is; None where it is elsewhere."""
        at = 0
        for extent in self.extents:
            if extent.offset <= offset < extent.end:
                return at + offset - extent.offset
            at += extent.size
        return None


@dataclass(frozen=True, slots=True)
class Layout:
    """The places of a disk, and notes of what could not be made out."""

    places: tuple[Place, ...] = ()
    notes: tuple[str, ...] = ()

    def place_of(self, offset: int) -> Place | None:
        """The innermost place of an offset of the disk."""
        holding = [place for place in self.places if place.offset_of(offset) is not None]
        return min(holding, key=lambda place: place.size, default=None)


def layout_of(storage: Storage) -> Layout:
    """What the partition table and LVM's labels of a disk say; what is broken is noted."""
    places: list[Place] = []
    notes: list[str] = []
    try:
        table = read_partition_table(storage)
    except StorageError as error:
        return Layout(notes=(f"partition table: {error.text}",))
    if table is not None:
        places += [
            Place(f"part={each.number}", (each.extent,), partition=each.number)
            for each in table.partitions
        ]
        notes += [table.note] if table.note else []
    for place in (Place("", (Extent(0, storage.size),)), *places):
        try:
            places += _logical_volumes(storage, place)
        except LuksError as error:
            notes.append(f"LVM{' of ' if place.name else ''}{place.name}: {error.text}")
    notes += [
        f"{each.name}: parts of it lie elsewhere or in no simple order, and were searched singly"
        for each in places
        if not each.is_whole
    ]
    known = [place for place in places if place.extents]
    return Layout(tuple(known[:_PLACES_MAX]), tuple(notes))


def place_named(storage: Storage, name: str) -> Place:
    """The partition or logical volume of this name, or from a byte on; StorageError otherwise."""
    if name.startswith(OFFSET):
        return _from_byte(storage, name)
    layout = layout_of(storage)
    for place in layout.places:
        if place.name == name and place.is_whole:
            return place
    known = ", ".join(place.name for place in layout.places if place.is_whole) or "none"
    why = "".join(f"; {note}" for note in layout.notes)
    raise StorageError(f"no {name}; there are: {known}{why}").about(storage.name)


def _from_byte(storage: Storage, name: str) -> Place:
    start = parse_size(name.removeprefix(OFFSET))
    if start >= storage.size:
        raise StorageError(f"byte {start} lies past its end, {storage.size}").about(storage.name)
    return Place(name, (Extent(start, storage.size - start),))


# --- LVM2 --------------------------------------------------------------------------------------


def _logical_volumes(storage: Storage, place: Place) -> list[Place]:
    """The logical volumes with segments in the physical volume that the place is, if it is one."""
    if not _is_physical_volume(storage, place):
        return []
    lvm2 = dissect.module("dissect.volume.lvm", "a logical volume of LVM")
    inside = PartStorage(storage, place.extents, storage.name)
    with dissect.parsing(storage.name, "metadata cannot be read"):
        group = lvm2.LVM2(StorageFile(inside)).volume_group
        return [_logical_volume(place, group, volume) for volume in group.lv]


def _is_physical_volume(storage: Storage, place: Place) -> bool:
    first = min(_LABEL_SECTORS * SECTOR_SIZE, place.size)
    start = storage.read_at(place.start, first)
    return any(start.startswith(_LABEL, at) for at in range(0, first, SECTOR_SIZE))


def _logical_volume(place: Place, group: Any, volume: Any) -> Place:  # noqa: ANN401  # dissect's
    """The volume as far as it lies in ``place``."""
    segments = sorted(volume.segments, key=lambda segment: segment.start_extent)
    runs = [_run(place, group, segment) for segment in segments[:_SEGMENTS_MAX]]
    extents = tuple(run for run in runs if run is not None)
    name = f"{group.name}/{volume.name}"
    prefix = f"{place.name}," if place.name else ""
    return Place(
        f"{prefix}lv={name}",
        extents,
        partition=place.partition,
        logical_volume=name,
        is_whole=None not in runs,
    )


def _run(place: Place, group: Any, segment: Any) -> Extent | None:  # noqa: ANN401  # dissect's
    """Where a linear segment lies on the disk; None for others, and those on other disks."""
    stripes: list[tuple[str, int]] = getattr(segment, "stripes", [])
    if segment.type not in ("striped", "linear") or len(stripes) != 1:
        return None
    volume_name, first = stripes[0]
    physical = group.physical_volumes[volume_name]
    if physical.dev is None:
        return None
    extent_size = group.extent_size * SECTOR_SIZE
    start = physical.pe_start * SECTOR_SIZE + first * extent_size
    size = segment.extent_count * extent_size
    if start < 0 or size <= 0 or start + size > place.size:
        raise StorageError(
            f"{segment.name} ends at {start + size:#x}, its physical volume at {place.size:#x}"
        )
    return Extent(place.start + start, size)
