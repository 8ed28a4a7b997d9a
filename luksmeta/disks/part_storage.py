"""A part of a disk as a storage of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from luksmeta.errors import StorageError
from luksmeta.extents import Extent
from luksmeta.secret import BytesLike
from luksmeta.storage import Storage


class PartStorage(Storage):
    """Extents of another storage, one behind the other: a partition, a logical volume.

    Nothing outside of them can be reached. ``parts`` are where each extent lies here, and its
    offset on the disk. Closing it closes the disk.
    """

    def __init__(self, base: Storage, extents: Sequence[Extent], name: str) -> None:
        super().__init__(name, writable=base.writable)
        self._base = base
        self.parts: list[tuple[Extent, int]] = []
        at = 0
        for extent in extents:
            if extent.end > base.size:
                raise StorageError(
                    f"reaches to {extent.end:#x}, {base.name} ends at {base.size:#x}"
                ).about(name)
            self.parts.append((Extent(at, extent.size), extent.offset))
            at += extent.size
        self._size = at

    @property
    def size(self) -> int:
        """The sum of the extents."""
        return self._size

    @property
    def sector_size(self) -> int:
        """That of the disk."""
        return self._base.sector_size

    @property
    def base(self) -> Storage:
        """The disk."""
        return self._base

    def below(self, offset: int, size: int) -> Iterator[tuple[Storage, int, int]]:
        """Where ``size`` bytes from ``offset`` on lie: the disk, an offset on it, bytes."""
        for at, _, length in self._pieces(offset, size):
            yield self._base, at, length

    def flush(self) -> None:
        """Flush the disk."""
        self._base.flush()

    def close(self) -> None:
        """Close the disk."""
        self._base.close()

    def _read(self, offset: int, size: int) -> bytes:
        data = bytearray(size)
        self._read_into(offset, memoryview(data))
        return bytes(data)

    def _read_into(self, offset: int, buffer: memoryview) -> int:
        for at, start, size in self._pieces(offset, len(buffer)):
            self._base.read_into(at, buffer[start : start + size])
        return len(buffer)

    def _write(self, offset: int, data: BytesLike) -> None:
        view = memoryview(data).cast("B")
        for at, start, size in self._pieces(offset, len(view)):
            self._base.write_at(at, view[start : start + size])

    def _pieces(self, offset: int, size: int) -> Iterator[tuple[int, int, int]]:
        """Where each piece lies on the disk and in the request, and its size."""
        for own, base_offset in self.parts:
            start, end = max(own.offset, offset), min(own.end, offset + size)
            if start < end:
                yield base_offset + start - own.offset, start - offset, end - start
