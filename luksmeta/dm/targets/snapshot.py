"""``snapshot ORIGIN COW P|PO CHUNK`` and ``snapshot-origin ORIGIN`` (drivers/md/dm-snap.c).

A snapshot shows its origin as it was, and takes writes of its own; what differs lies on the COW
device. Sectors are not counted from the target's start but from the mapped device's, as in the
kernel. An origin keeps up the snapshots that run beside it, and knows no others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from luksmeta.dm.areas import Piece
from luksmeta.dm.arguments import Arguments
from luksmeta.dm.devices import Devices, Origin
from luksmeta.dm.exception_store import CHUNK_MAX, ExceptionStore, StoreFullError
from luksmeta.dm.table import TableLine
from luksmeta.errors import StorageError
from luksmeta.model import SECTOR_SIZE
from luksmeta.secret import BytesLike
from luksmeta.storage import Storage

_STORES: Final = ("P", "PO")
_FEATURES: Final = frozenset({"discard_zeroes_cow", "discard_passdown_origin"})


class Snapshot(Storage):
    """The ``area`` of an origin, from ``start`` on, as the exception store on ``cow`` has it.

    A write that does not fit raises StoreFullError and changes nothing.
    """

    def __init__(
        self, origin: Origin, area: Storage, cow: Storage, store: ExceptionStore, start: int
    ) -> None:
        super().__init__(f"snapshot on {cow.name}", writable=cow.writable)
        self._origin = origin
        self._area = area
        self._cow = cow
        self._store = store
        self._start = start
        self._size = area.size
        self._failure: StorageError | None = None  # what is stored is good, what we hold is not
        origin.keepers.append(self)

    @property
    def size(self) -> int:
        """As the table says."""
        return self._size

    def _parts(self, at: int, size: int) -> Iterator[tuple[int, int, int]]:
        """The chunks that a range of the origin touches: number, start within it, length."""
        while size:
            chunk, within = divmod(at, self._store.chunk_size)
            length = min(size, self._store.chunk_size - within)
            yield chunk, within, length
            at += length
            size -= length

    def _read(self, offset: int, size: int) -> bytes:
        parts = self._parts(self._start + offset, size)
        with self._origin.lock:
            self._require_usable()
            return b"".join(self._read_part(*part) for part in parts)

    def _read_part(self, chunk: int, within: int, length: int) -> bytes:
        place = self._store.place(chunk)
        if place is None:
            at = chunk * self._store.chunk_size + within
            return self._origin.storage.read_at(at, length)
        return self._cow.read_at(place + within, length)

    def _write(self, offset: int, data: BytesLike) -> None:
        view = memoryview(data).cast("B")
        with self._origin.lock:
            self._require_usable()
            added: list[tuple[int, BytesLike]] = []
            known: list[tuple[int, memoryview]] = []
            for chunk, within, length in self._parts(self._start + offset, len(view)):
                place = self._store.place(chunk)
                if place is None:
                    added.append((chunk, self._changed(chunk, within, view[:length])))
                else:
                    known.append((place + within, view[:length]))
                view = view[length:]
            self._add(added)
            for at, part in known:
                self._cow.write_at(at, part)

    def _changed(self, chunk: int, within: int, data: memoryview) -> bytes:
        """A chunk of the origin with other data in it."""
        content = bytearray(self._origin_chunk(chunk))
        content[within : within + len(data)] = data
        return bytes(content)

    def _origin_chunk(self, chunk: int) -> bytes:
        """What the origin has there; less at its end."""
        at, origin = chunk * self._store.chunk_size, self._origin.storage
        return origin.read_at(at, min(self._store.chunk_size, origin.size - at))

    def keep(self, offset: int, size: int) -> None:
        """Copy what the origin has there, before it changes.

        Where that does not fit the snapshot is lost, and marked so.
        """
        if self._failure is not None:
            raise self._failure
        size = min(size, self._start + self._size - offset)
        if not self._store.is_valid or size <= 0:
            return
        chunks = [chunk for chunk, _, _ in self._parts(offset, size)]
        try:
            self._add(
                [
                    (chunk, self._origin_chunk(chunk))
                    for chunk in chunks
                    if self._store.place(chunk) is None
                ]
            )
        except StoreFullError:
            self._store.invalidate().apply(self._cow)
            self._store.is_valid = False

    def _require_usable(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._store.require_valid()

    def _add(self, chunks: list[tuple[int, BytesLike]]) -> None:
        if not chunks:
            return
        if not self._cow.writable:
            raise StorageError("opened read-only").about(self._cow.name)
        if self._store.is_new:
            self._store.start().apply(self._cow)
            self._store.is_new = False
        plan = self._store.add(chunks)
        try:
            plan.apply(self._cow)
        except StorageError as error:
            self._failure = error
            raise

    def flush(self) -> None:
        """Flush the COW device."""
        self._cow.flush()

    def close(self) -> None:
        """Be no longer kept up by the origin; the devices stay open. Harmless when repeated."""
        if self in self._origin.keepers:
            self._origin.keepers.remove(self)
        self._area.close()
        self._cow.close()


class SnapshotOrigin(Storage):
    """The ``area`` of an origin from ``start`` on: a write to it reaches its snapshots first."""

    def __init__(self, origin: Origin, area: Storage, start: int) -> None:
        super().__init__(f"origin {origin.storage.name}", writable=origin.storage.writable)
        self._origin = origin
        self._area = area
        self._start = start

    @property
    def size(self) -> int:
        """As the table says."""
        return self._area.size

    def below(self, offset: int, size: int) -> Iterator[Piece]:
        """The origin's bytes."""
        yield self._area, offset, size

    def _read(self, offset: int, size: int) -> bytes:
        return self._area.read_at(offset, size)

    def _write(self, offset: int, data: BytesLike) -> None:
        at = self._start + offset
        with self._origin.lock:
            for keeper in self._origin.keepers:
                keeper.keep(at, len(data))
            self._area.write_at(offset, data)

    def flush(self) -> None:
        """Flush the origin."""
        self._area.flush()

    def close(self) -> None:
        """Give back the area; harmless when repeated."""
        self._area.close()


def open_snapshot(line: TableLine, devices: Devices) -> Storage:
    """The snapshot; its exception store is read now."""
    arguments = Arguments(line)
    origin_name, cow_name = arguments.word("the origin"), arguments.word("the COW device")
    kind = arguments.word("the exception store")
    if kind.upper() not in _STORES:
        raise line.error(f"exception store {kind[:40]!r}; only {' and '.join(_STORES)} last")
    chunk = arguments.number("the chunk size", most=CHUNK_MAX)
    for feature in arguments.group("features", len(_FEATURES)):
        if feature not in _FEATURES:
            raise line.error(f"feature {feature[:40]!r}, known are {', '.join(sorted(_FEATURES))}")
    arguments.end()
    origin = devices.origin(origin_name)
    if devices.open(cow_name) is origin.storage:
        raise line.error(f"origin and COW device are both {cow_name}")
    area = devices.part(line, origin_name, line.start, line.length)
    cow = devices.own(line, cow_name)
    store = ExceptionStore(cow, chunk)
    start = line.start * SECTOR_SIZE
    if start % store.chunk_size:  # the kernel takes it, and mixes up what crosses a chunk's border
        raise line.error(
            f"starts at sector {line.start}, no multiple of {store.chunk_size // SECTOR_SIZE}, "
            "the chunk size"
        )
    return Snapshot(origin, area, cow, store, start)


def open_snapshot_origin(line: TableLine, devices: Devices) -> Storage:
    """The origin, with the snapshots that run on the same devices."""
    arguments = Arguments(line)
    name = arguments.word("the origin")
    arguments.end()
    origin = devices.origin(name)
    area = devices.part(line, name, line.start, line.length)
    return SnapshotOrigin(origin, area, line.start * SECTOR_SIZE)
