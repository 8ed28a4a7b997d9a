"""Areas of devices, followed down through tables to where their bytes lie in the end."""

from __future__ import annotations

import os
from bisect import bisect
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from luksmeta.extents import Extent
from luksmeta.file_storage import FileStorage
from luksmeta.storage import Storage

Piece: TypeAlias = tuple[Storage, int, int]  # a storage, an offset in it, bytes


@runtime_checkable
class LiesOn(Protocol):
    """A storage whose bytes are others' bytes."""

    def below(self, offset: int, size: int) -> Iterator[Piece]:
        """Where ``size`` bytes from ``offset`` on lie, whatever their order."""


@dataclass(frozen=True, slots=True)
class Area:
    """A run of a device that lies on no other; ``device`` is the same for each way to it."""

    device: Hashable
    extent: Extent

    def overlaps(self, other: Area) -> bool:
        """Whether the two share a byte."""
        return self.device == other.device and self.extent.overlaps(other.extent)


def areas(storage: Storage, offset: int, size: int) -> Iterator[Area]:
    """Where these bytes lie in the end. A snapshot's lie on itself: its COW device is its own."""
    if not size:
        return
    if not isinstance(storage, LiesOn):
        yield Area(_identity(storage), Extent(offset, size))
        return
    for piece in storage.below(offset, size):
        yield from areas(*piece)


def storages_below(storage: Storage, offset: int, size: int) -> Iterator[Storage]:
    """The storage, and each that these bytes are reached through."""
    yield storage
    if isinstance(storage, LiesOn):
        for piece in storage.below(offset, size):
            yield from storages_below(*piece)


def first_overlap(targets: Iterable[Storage]) -> int | None:
    """The number of the first target that lies on a byte which it, or one before, lies on too."""
    taken: dict[Hashable, list[Extent]] = defaultdict(list)
    for number, target in enumerate(targets):
        for area in areas(target, 0, target.size):
            extents = taken[area.device]
            at = bisect(extents, area.extent)
            if any(area.extent.overlaps(each) for each in extents[max(at - 1, 0) : at + 1]):
                return number
            extents.insert(at, area.extent)
    return None


def _identity(storage: Storage) -> Hashable:
    """What two storages of one file have in common; another storage is only itself."""
    if not isinstance(storage, FileStorage):
        return id(storage)
    status = os.fstat(storage.fileno())
    return (status.st_dev, status.st_ino) if storage.is_regular else status.st_rdev
