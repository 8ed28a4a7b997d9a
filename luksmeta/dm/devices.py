"""The devices that a table names, and what is known of them while tables run.

Whoever runs a table says which storage each name stands for: no file is opened because a table
names it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from luksmeta.closing import Closing
from luksmeta.dm.areas import areas, storages_below
from luksmeta.dm.table import TableError, TableLine
from luksmeta.extents import Extent
from luksmeta.model import SECTOR_SIZE
from luksmeta.storage import SliceStorage, Storage

Opener: TypeAlias = Callable[["Devices"], Storage]


class Part(SliceStorage):
    """What a target uses of a device, which is closed by those who have opened it.

    ``line`` is the target's; ``is_own`` says that nobody else may use it: a COW device.
    """

    def __init__(
        self,
        users: dict[int, Part],
        line: TableLine,
        base: Storage,
        extent: Extent,
        *,
        is_own: bool,
    ) -> None:
        super().__init__(base, extent.offset, extent.size)
        self._users = users
        self.line = line
        self.is_own = is_own
        users[id(self)] = self

    def close(self) -> None:
        """Use it no longer; the device stays open, others may use it. Harmless when repeated."""
        self._users.pop(id(self), None)


class Keeper(Protocol):
    """What wants to know a device's bytes before they change: a snapshot."""

    def keep(self, offset: int, size: int) -> None:
        """Keep what is there; the origin's lock is held."""


class Origin:
    """A device with its snapshots. Its lock is held from the look at an exception to the read."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.keepers: list[Keeper] = []
        self.lock = threading.RLock()


class Devices(Closing):
    """Names as tables spell them (``8:1``, ``/dev/vg/lv``), each with its storage.

    A storage is opened when it is first asked for, once; an opener gets these devices, so that it
    may run another table on them. A context manager: closes what it has opened.
    """

    def __init__(self, openers: Mapping[str, Opener | Storage]) -> None:
        self._openers = dict(openers)
        self._opened: dict[str, Storage] = {}
        self._being_opened: list[str] = []
        self._origins: dict[int, Origin] = {}  # by the identity of the storage
        self._users: dict[int, Part] = {}  # by identity, as the next
        self._owners: dict[int, Part] = {}

    def open(self, name: str) -> Storage:
        """The storage of this name; TableError for one that is not known, or lies upon itself."""
        if name in self._opened:
            return self._opened[name]
        if name in self._being_opened:
            raise TableError(f"device {name} lies upon itself: {' on '.join(self._being_opened)}")
        if name not in self._openers:
            known = ", ".join(sorted(self._openers)) or "none"
            raise TableError(f"device {name} is not given, known: {known}").advise(
                f"--device {name}=FILE says what it is"
            )
        opener = self._openers[name]
        self._being_opened.append(name)
        try:
            self._opened[name] = opener if isinstance(opener, Storage) else opener(self)
        finally:
            self._being_opened.pop()
        return self._opened[name]

    def require(self, line: TableLine, name: str, what: str) -> None:
        """Raise TableError, which does not say the name, where it is not known."""
        if name not in self._openers:
            known = ", ".join(sorted(self._openers)) or "none"
            raise line.error(f"{what}, is not given, known: {known}")

    def open_all(self) -> None:
        """Open every device: snapshots are kept up by their origin only once they are known."""
        for name in self._openers:
            self.open(name)

    def part(self, line: TableLine, name: str, start: int, length: int) -> Storage:
        """``length`` sectors of a device from ``start`` on; TableError where it has not as many.

        The kernel looks for that as well (dm-table.c: device_area_is_invalid).
        """
        storage = self.open(name)
        require_sectors(line, name, storage, start + length)
        extent = Extent(start * SECTOR_SIZE, length * SECTOR_SIZE)
        return self._claim(line, name, storage, extent, is_own=False)

    def own(self, line: TableLine, name: str) -> Storage:
        """All of a device for one target alone; TableError where another uses a byte of it.

        One that is read-only may be shared.
        """
        storage = self.open(name)
        whole = Extent(0, storage.size)
        part = self._claim(line, name, storage, whole, is_own=storage.writable)
        part.name = storage.name
        return part

    def _claim(
        self, line: TableLine, name: str, storage: Storage, extent: Extent, *, is_own: bool
    ) -> Part:
        part = Part(self._owners if is_own else self._users, line, storage, extent, is_own=is_own)
        others = [*self._owners.values(), *(self._users.values() if is_own else ())]
        for other in others:
            if other is not part and _collide(part, other):
                part.close()
                raise line.error(
                    f"{name}: a COW device is one target's alone, and on a byte of it lies what "
                    f"line {other.line.number} ({other.line.target}) uses"
                )
        return part

    def origin(self, name: str) -> Origin:
        """A device that has snapshots or may get some; the same for every line that names it."""
        storage = self.open(name)
        return self._origins.setdefault(id(storage), Origin(storage))

    def close(self) -> None:
        """Close what was opened, the last first; harmless when repeated."""
        for storage in reversed(self._opened.values()):
            storage.close()
        self._opened.clear()
        self._origins.clear()
        self._users.clear()
        self._owners.clear()


def _collide(part: Part, other: Part) -> bool:
    """Whether both lie on one byte, other than one upon the other."""
    if _lies_upon(part, other) or _lies_upon(other, part):
        return False
    own, others = (part, other) if part.is_own else (other, part)
    taken = list(areas(own, 0, own.size))
    return any(area.overlaps(each) for area in areas(others, 0, others.size) for each in taken)


def _lies_upon(part: Part, other: Part) -> bool:
    return any(each is other for each in storages_below(part, 0, part.size))


def require_sectors(line: TableLine, name: str, storage: Storage, end: int) -> None:
    """Raise TableError where a device has fewer than ``end`` sectors."""
    if end * SECTOR_SIZE > storage.size:
        raise line.error(f"ends at sector {end} of {name}, which has {storage.size // SECTOR_SIZE}")
