"""Where headers and data lie: files, block devices, memory, slices of these.

Every read and write names its offset, so no two users of a storage share a position. All offsets
and sizes are in bytes. A short read is an error: callers bound what they ask for by ``size``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

from luksmeta.closing import Closing
from luksmeta.errors import StorageError
from luksmeta.secret import BytesLike
from luksmeta.sizes import counted


class Storage(Closing):
    """A view of bytes by offset; the base of all storages, and what a caller's own derives from."""

    def __init__(self, name: str, *, writable: bool) -> None:
        self.name = name
        self.writable = writable

    @property
    @abstractmethod
    def size(self) -> int:
        """The size now."""

    @property
    def sector_size(self) -> int:
        """The sector size that suits it best: 4096, unless a device says otherwise."""
        return 4096

    @property
    def base(self) -> Storage | None:
        """The storage that this one is a view of, where it is one."""
        return None

    @abstractmethod
    def _read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes within the bounds; fewer only where the storage fails."""

    @abstractmethod
    def _write(self, offset: int, data: BytesLike) -> None:
        """All of ``data``, within the bounds."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Exactly ``size`` bytes; StorageError when they are not all there."""
        self._require_bounds("read", offset, size)
        data = self._read(offset, size)
        if len(data) != size:
            raise StorageError(
                f"short read at {offset:#x}, {len(data)} of {counted(size, 'byte')}"
            ).about(self.name)
        return data

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer``; StorageError when the bytes are not all there."""
        self._require_bounds("read", offset, len(buffer))
        filled = self._read_into(offset, buffer)
        if filled != len(buffer):
            raise StorageError(
                f"short read at {offset:#x}, {filled} of {counted(len(buffer), 'byte')}"
            ).about(self.name)

    def _read_into(self, offset: int, buffer: memoryview) -> int:
        """Like ``_read``, into a buffer; how many bytes there were."""
        data = self._read(offset, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write_at(self, offset: int, data: BytesLike) -> None:
        """Write all of ``data`` inside the present size; StorageError when that is impossible."""
        self._require_writable()
        self._require_bounds("write", offset, len(data))
        self._write(offset, data)

    def resize(self, size: int) -> None:
        """Make the storage ``size`` bytes large; new bytes read as zeroes."""
        if size != self.size:
            raise StorageError(f"size {self.size} cannot be changed to {size}").about(self.name)

    def reserve(self, size: int) -> None:  # nothing to do, unless overridden
        """Make sure that the first ``size`` bytes can be written without running out of space."""

    def flush(self) -> None:  # nothing to do, unless overridden
        """Return only when everything written is on stable storage."""

    def close(self) -> None:  # nothing to do, unless overridden
        """Give back what the storage holds."""

    def _require_writable(self) -> None:
        if not self.writable:
            raise StorageError("opened read-only").about(self.name)

    def _require_bounds(self, verb: str, offset: int, size: int) -> None:
        if offset < 0 or size < 0 or offset + size > self.size:
            raise StorageError(
                f"cannot {verb} {counted(size, 'byte')} at {offset:#x}, it ends at {self.size:#x}"
            ).about(self.name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} size={self.size:#x}>"


class MemoryStorage(Storage):
    """Bytes in memory, for tests and for headers that came from elsewhere."""

    def __init__(
        self, data: BytesLike | int = b"", *, name: str = "memory", writable: bool = True
    ) -> None:
        super().__init__(name, writable=writable)
        self.data = bytearray(data)

    @property
    def size(self) -> int:
        """The number of bytes."""
        return len(self.data)

    def _read(self, offset: int, size: int) -> bytes:
        return bytes(self.data[offset : offset + size])

    def _write(self, offset: int, data: BytesLike) -> None:
        self.data[offset : offset + len(data)] = data

    def resize(self, size: int) -> None:
        """Cut, or extend with zeroes."""
        self._require_writable()
        del self.data[size:]
        self.data.extend(bytes(size - len(self.data)))


class SliceStorage(Storage):
    """A part of another storage, from ``offset`` on; slices nest."""

    def __init__(self, base: Storage, offset: int, size: int | None = None) -> None:
        super().__init__(f"{base.name}+{offset:#x}", writable=base.writable)
        if offset < 0 or offset + (size or 0) > base.size:
            raise StorageError(
                f"no slice of {size} bytes at {offset:#x}, it ends at {base.size:#x}"
            ).about(base.name)
        self._base = base
        self._offset = offset
        self._size = size

    @property
    def size(self) -> int:
        """The slice's size; where none was given, up to the base's end as it is now."""
        return self._base.size - self._offset if self._size is None else self._size

    @property
    def sector_size(self) -> int:
        """That of the base."""
        return self._base.sector_size

    def _read(self, offset: int, size: int) -> bytes:
        return self._base.read_at(self._offset + offset, size)

    def _write(self, offset: int, data: BytesLike) -> None:
        self._base.write_at(self._offset + offset, data)

    def below(self, offset: int, size: int) -> Iterator[tuple[Storage, int, int]]:
        """Where ``size`` bytes from ``offset`` on lie: the base, an offset in it, bytes."""
        yield self._base, self._offset + offset, size

    def flush(self) -> None:
        """Flush the base."""
        self._base.flush()

    def close(self) -> None:
        """Close the base."""
        self._base.close()
