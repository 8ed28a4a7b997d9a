"""A table as a storage: what a kernel would show under ``/dev/mapper``, without one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Final, TypeAlias

from luksmeta.closing import Closing
from luksmeta.dm.areas import Piece, first_overlap
from luksmeta.dm.devices import Devices, Opener
from luksmeta.dm.table import TableLine, check_order, parse_table
from luksmeta.errors import LuksError, StorageError
from luksmeta.model import SECTOR_SIZE
from luksmeta.secret import BytesLike
from luksmeta.segment import SegmentRun
from luksmeta.segment_stream import SegmentStream
from luksmeta.storage import Storage
from luksmeta.target import Target, open_storage

_Open: TypeAlias = Callable[[TableLine, Devices], Storage]

_TARGETS: Final = {
    "linear": "linear",
    "striped": "striped",
    "crypt": "crypt",
    "mirror": "mirror",
    "zero": "simple",
    "error": "simple",
    "snapshot": "snapshot",
    "snapshot-origin": "snapshot",
}


class MappedDevice(Storage):
    """The targets of a table one behind the other.

    ``devices`` stay the caller's, open until this is closed. Raises TableError for a table that
    cannot be run, StorageError where a device cannot be read.
    """

    def __init__(
        self, table: str | tuple[TableLine, ...], devices: Devices, *, name: str = "table"
    ) -> None:
        self._table = parse_table(table) if isinstance(table, str) else table
        check_order(self._table)
        self._starts = [line.start for line in self._table]
        self._targets: list[Storage] = []
        try:
            for line in self._table:
                self._targets.append(_open_target(line, devices))
            super().__init__(name, writable=all(each.writable for each in self._targets))
            self._require_no_overlap()
        except BaseException:
            self.close()
            raise

    @property
    def size(self) -> int:
        """The end of the last target."""
        return self._table[-1].end * SECTOR_SIZE

    def _parts(self, offset: int, size: int) -> Iterator[tuple[Storage, int, int]]:
        """Where a range lies: the target, the offset in it, how many bytes."""
        number = bisect_right(self._starts, offset // SECTOR_SIZE) - 1
        while size:
            line = self._table[number]
            length = min(size, line.end * SECTOR_SIZE - offset)
            yield self._targets[number], offset - line.start * SECTOR_SIZE, length
            offset += length
            size -= length
            number += 1

    def _read(self, offset: int, size: int) -> bytes:
        return b"".join(
            target.read_at(at, length) for target, at, length in self._parts(offset, size)
        )

    def _read_into(self, offset: int, buffer: memoryview) -> int:
        filled = 0
        for target, at, length in self._parts(offset, len(buffer)):
            target.read_into(at, buffer[filled : filled + length])
            filled += length
        return filled

    def _write(self, offset: int, data: BytesLike) -> None:
        view = memoryview(data).cast("B")
        for target, at, length in self._parts(offset, len(view)):
            target.write_at(at, view[:length])
            view = view[length:]

    def _require_no_overlap(self) -> None:
        """Raise TableError where a byte could be written at two places of the table."""
        if self.writable and (number := first_overlap(self._targets)) is not None:
            raise self._table[number].error(
                "writes where this or a line before it writes already; read-only it can be opened"
            )

    def below(self, offset: int, size: int) -> Iterator[Piece]:
        """The targets' bytes."""
        yield from self._parts(offset, size)

    def flush(self) -> None:
        """Flush every target."""
        for target in self._targets:
            target.flush()

    def close(self) -> None:
        """Wipe the keys of the table; the devices stay open. Harmless when repeated."""
        for target in self._targets:
            target.close()


def _open_target(line: TableLine, devices: Devices) -> Storage:
    module = _TARGETS.get(line.target)
    if module is None:
        raise line.error(f"no target of ours; there are {', '.join(_TARGETS)}")
    opener: _Open = getattr(
        import_module(f"luksmeta.dm.targets.{module}"), f"open_{line.target.replace('-', '_')}"
    )
    try:
        return opener(line, devices)
    except LuksError:
        raise
    except ValueError as error:
        raise line.error(str(error)) from error


class TableVolume(Closing):
    """A table with its devices: gives what it shows as a stream, as a volume does its plaintext.

    A context manager: wipes the table's keys and closes the devices.
    """

    def __init__(self, table: str, devices: Devices, *, name: str = "table") -> None:
        self._devices = devices
        try:
            devices.open_all()
            self.data_storage = MappedDevice(table, devices, name=name)
        except BaseException:
            devices.close()
            raise

    def open(self, *, writable: bool = False, storage: Storage | None = None) -> SegmentStream:
        """All that the table shows; ``storage`` stands in for it, an overlay of it, say.

        Raises StorageError to write where one of the devices is read-only.
        """
        storage = storage or self.data_storage
        if writable and not storage.writable:
            raise StorageError("opened read-only").about(storage.name)
        run = SegmentRun(0, storage.size, 0, SECTOR_SIZE, 0, None)
        return SegmentStream(storage, (run,), writable=writable)

    def close(self) -> None:
        """Wipe the keys and close the devices; harmless when repeated."""
        self.data_storage.close()
        self._devices.close()


def open_table(table: str, devices: Mapping[str, Target], *, writable: bool = False) -> TableVolume:
    """Run a device-mapper table, ``START LENGTH TARGET …`` lines, on these devices.

    ``devices`` are paths, storages or file objects, by their names in the table; all are closed
    with what this gives. A storage may be a :class:`MappedDevice`. Raises TableError for a table
    that makes no sense or cannot be run here, StorageError.
    """

    def opener(target: Target) -> Opener:
        return lambda _devices: open_storage(target, writable=writable)

    return TableVolume(table, Devices({name: opener(each) for name, each in devices.items()}))
