"""The persistent exception store: which chunks of a snapshot lie on its COW device, and where.

Source: drivers/md/dm-snap-persistent.c. Chunk 0 is the header. Behind it follow areas: a chunk of
metadata, 16 bytes for each exception, and as many chunks of data. All numbers are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final

from luksmeta.errors import StorageError
from luksmeta.extents import Extent
from luksmeta.model import SECTOR_SIZE
from luksmeta.secret import BytesLike
from luksmeta.signatures import find_signatures, first_data
from luksmeta.sizes import counted
from luksmeta.storage import Storage
from luksmeta.write_plan import Barrier, Fill, Step, Write, WritePlan

MAGIC: Final = 0x70416E53  # "SnAp"
VERSION: Final = 1
CHUNK_DEFAULT: Final = 32  # sectors; DM_CHUNK_SIZE_DEFAULT_SECTORS
CHUNK_MAX: Final = 1 << 15  # sectors; a bound of ours: LVM's largest is 1024

_HEADER: Final = struct.Struct("<IIII")  # magic, valid, version, chunk size in sectors
_EXCEPTION: Final = struct.Struct("<QQ")  # the origin's chunk, the COW device's chunk


class StoreError(StorageError):
    """The COW device holds no store that can be used."""


class StoreFullError(StoreError):
    """The COW device has no room for another chunk; nothing of the write was done."""


class ExceptionStore:
    """The store on a COW device; a new one where nothing is there yet, written when first needed.

    ``chunk_size`` is in bytes: the header's, else ``sectors`` of the table, 0 for the default.
    Raises StoreError for what is no store, and for exceptions that lead nowhere. Zeroes where the
    magic should be are not enough for a new one: an ext4 file system has them too.
    """

    def __init__(self, storage: Storage, sectors: int = 0) -> None:
        self._storage = storage
        magic, valid, version, stored = _HEADER.unpack(storage.read_at(0, _HEADER.size))
        self.is_new = magic == 0
        self.is_valid = self.is_new or bool(valid)
        if not self.is_new:
            self._check_header(magic, version)
        self.chunk_size = self._checked_chunk_size(
            (sectors or CHUNK_DEFAULT) if self.is_new else stored
        )
        if self.is_new:
            self._require_nothing()
        self.exceptions: dict[int, int] = {}  # the origin's chunk -> ours
        self._area = 0  # the last one
        self._last: list[tuple[int, int]] = []  # its exceptions
        self._free = 2  # the chunk to use next
        if self.is_valid and not self.is_new:
            self._read_areas()

    # --- reading ---

    def place(self, chunk: int) -> int | None:
        """Where a chunk of the origin lies on the COW device, in bytes; None: on the origin."""
        own = self.exceptions.get(chunk)
        return None if own is None else own * self.chunk_size

    def require_valid(self) -> None:
        """Raise StoreError where the snapshot is lost."""
        if not self.is_valid:
            raise StoreError(
                "the snapshot is marked invalid: it has missed a write to its origin"
            ).about(self._storage.name)

    def _check_header(self, magic: int, version: int) -> None:
        if magic != MAGIC:
            raise self._error(f"magic {magic:#010x}, an exception store has {MAGIC:#010x}")
        if version != VERSION:
            raise self._error(f"exception store of version {version}, {VERSION} is known")

    def _require_nothing(self) -> None:
        """Raise StoreError where a new store would destroy something."""
        end = 2 * self.chunk_size
        if signatures := find_signatures(self._storage):
            found = ", ".join(map(str, signatures))
        elif (offset := first_data(self._storage, end)) is not None:
            found = f"data at {offset:#x}"
        else:
            return
        raise self._error(f"is no exception store: {found}").advise(
            f"is it the COW device? for a new store its first {end} bytes have to be zeroes"
        )

    def _checked_chunk_size(self, sectors: int) -> int:
        if not 1 <= sectors <= CHUNK_MAX or sectors & (sectors - 1):
            raise self._error(
                f"chunks of {counted(sectors, 'sector')}, powers of two up to {CHUNK_MAX} can be"
            )
        if 2 * sectors * SECTOR_SIZE > self._storage.size:
            raise self._error(
                f"{self._storage.size} bytes, two chunks of {sectors} sectors are needed"
            )
        return sectors * SECTOR_SIZE

    @property
    def _per_area(self) -> int:
        return self.chunk_size // _EXCEPTION.size

    @property
    def _chunks(self) -> int:
        """How many chunks the device has."""
        return self._storage.size // self.chunk_size

    def _area_chunk(self, area: int) -> int:
        return 1 + area * (self._per_area + 1)

    def _is_metadata(self, chunk: int) -> bool:
        return chunk == 0 or chunk % (self._per_area + 1) == 1

    def _read_areas(self) -> None:
        """Every exception, up to the first that is zeroes."""
        taken: set[int] = set()
        while True:
            self._last = list(self._read_area(self._area, taken))
            self.exceptions.update(self._last)
            if len(self._last) < self._per_area:
                break
            self._area += 1
        self._free = max(self.exceptions.values(), default=1) + 1
        self._skip_metadata()

    def _read_area(self, area: int, taken: set[int]) -> Iterator[tuple[int, int]]:
        """The exceptions of an area; ``taken`` are the chunks of all so far."""
        chunk = self._area_chunk(area)
        if chunk >= self._chunks:
            raise self._error(f"metadata area {area} is chunk {chunk}, there are {self._chunks}")
        content = self._storage.read_at(chunk * self.chunk_size, self.chunk_size)
        seen: set[int] = set()
        for number, (old, new) in enumerate(_EXCEPTION.iter_unpack(content)):
            if not new:
                return
            what = f"metadata area {area}, exception {number}"
            if new >= self._chunks or self._is_metadata(new):
                raise self._error(f"{what}: chunk {new} of {self._chunks} holds no data")
            if old in seen or old in self.exceptions:
                raise self._error(f"{what}: chunk {old} of the origin again")
            if new in taken:
                raise self._error(f"{what}: chunk {new} is another exception's already")
            seen.add(old)
            taken.add(new)
            yield old, new

    # --- changes, as values ---

    def start(self) -> WritePlan:
        """A new store: an empty area, then the header that makes it one."""
        header = _HEADER.pack(MAGIC, 1, VERSION, self.chunk_size // SECTOR_SIZE)
        steps: list[Step] = [self._empty_area(0), Barrier(), self._header(header), Barrier()]
        return WritePlan.of("new exception store", steps)

    def invalidate(self) -> WritePlan:
        """The snapshot marked as lost."""
        header = _HEADER.pack(MAGIC, 0, VERSION, self.chunk_size // SECTOR_SIZE)
        return WritePlan.of("snapshot invalid", [self._header(header), Barrier()])

    def add(self, chunks: Sequence[tuple[int, BytesLike]]) -> WritePlan:
        """Chunks of the origin, by number and content, made exceptions; the store has them at once.

        The data, and the emptied area that is to follow a full one, are on stable storage before
        an exception leads there. Raises StoreFullError, and the store is as it was.
        """
        if len(chunks) > self._room():
            raise StoreFullError(
                f"{counted(len(chunks), 'chunk')} cannot fit, {self._room()} of "
                f"{counted(self.chunk_size, 'byte')} can"
            ).about(self._storage.name)
        data, areas = [], []
        for chunk, content in chunks:
            data.append(Write(self._free * self.chunk_size, content, "chunk"))
            self._last.append((chunk, self._free))
            self.exceptions[chunk] = self._free
            self._free += 1
            self._skip_metadata()
            if len(self._last) == self._per_area:
                areas.append(self._write_area())
                self._area, self._last = self._area + 1, []
        empty = [self._empty_area(self._area - n) for n in range(len(areas))]
        if self._last:
            areas.append(self._write_area())
        steps: list[Step] = [*data, *empty, Barrier()]
        for area in areas:
            steps += [area, Barrier()]
        return WritePlan.of("copy on write", steps)

    def _room(self) -> int:
        """The exceptions that still fit; what fills an area needs room for the next one's chunk."""
        areas, rest = divmod(max(self._chunks - 1, 0), self._per_area + 1)
        data = areas * self._per_area + max(rest - 1, 0)
        if not rest:
            data -= 1
        return data - self._used()

    def _used(self) -> int:
        """The chunks before the next free one that are no metadata, used or not."""
        before = self._free - 1  # less the header
        return before - (before // (self._per_area + 1)) - bool(before % (self._per_area + 1))

    def _skip_metadata(self) -> None:
        if self._is_metadata(self._free):
            self._free += 1

    def _header(self, header: bytes) -> Write:
        return Write(0, header.ljust(self.chunk_size, b"\0"), "exception store header")

    def _empty_area(self, area: int) -> Fill:
        place = Extent(self._area_chunk(area) * self.chunk_size, self.chunk_size)
        return Fill(place, "empty metadata area", random=False)

    def _write_area(self) -> Write:
        content = b"".join(_EXCEPTION.pack(old, new) for old, new in self._last)
        offset = self._area_chunk(self._area) * self.chunk_size
        return Write(offset, content.ljust(self.chunk_size, b"\0"), "metadata area")

    def _error(self, text: str) -> StoreError:
        return StoreError(text).about(self._storage.name)
