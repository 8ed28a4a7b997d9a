"""The devices that a table names, and what is known of them while tables run.

Whoever runs a table says which storage each name stands for: no file is opened because a table
names it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from luksmeta.closing import Closing
from luksmeta.dm.table import TableError, TableLine
from luksmeta.model import SECTOR_SIZE
from luksmeta.storage import SliceStorage, Storage

Opener: TypeAlias = Callable[["Devices"], Storage]


class Part(SliceStorage):
    """A part of a device, which is closed by those who have opened it."""

    def close(self) -> None:
        """Leave the device open: others may use it."""


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
        return Part(storage, start * SECTOR_SIZE, length * SECTOR_SIZE)

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


def require_sectors(line: TableLine, name: str, storage: Storage, end: int) -> None:
    """Raise TableError where a device has fewer than ``end`` sectors."""
    if end * SECTOR_SIZE > storage.size:
        raise line.error(f"ends at sector {end} of {name}, which has {storage.size // SECTOR_SIZE}")
