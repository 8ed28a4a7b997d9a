"""Virtual disks as evidence: what the parsers of :mod:`luksmeta.disks.dissect` give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from luksmeta.disks.dissect import parsing
from luksmeta.errors import StorageError
from luksmeta.extents import Extent, align_down
from luksmeta.forensics.evidence import Evidence
from luksmeta.model import SECTOR_SIZE
from luksmeta.storage import Storage

SIZE_MAX: Final = 64 << 40  # the largest VHDX; no format here has larger disks in practice


class StreamEvidence(Evidence):
    """What a file object of dissect gives, ``size`` bytes; ``close`` closes what it reads from.

    No read crosses a multiple of ``step``, where a library cannot do that.
    """

    def __init__(
        self,
        name: str,
        stream: Any,  # noqa: ANN401  # as above
        size: int,
        close: Callable[[], None] = lambda: None,
        *,
        step: int | None = None,
    ) -> None:
        super().__init__(name)
        if not 0 < size <= SIZE_MAX:
            raise StorageError(f"states a size of {size} bytes, {SIZE_MAX} are most").about(name)
        self._stream = stream
        self._size = size
        self._close = close
        self._step = step or SIZE_MAX

    @property
    def size(self) -> int:
        """The size of the virtual disk."""
        return self._size

    def _read(self, offset: int, size: int) -> bytes:
        parts, end = [], offset + size
        with parsing(self.name, f"at {offset:#x}"):
            while offset < end:
                upto = min(end, align_down(offset, self._step) + self._step)
                self._stream.seek(offset)
                parts.append(self._stream.read(upto - offset))
                offset = upto
        return b"".join(parts)

    def close(self) -> None:
        """Close the files below."""
        self._close()


class JoinedEvidence(Evidence):
    """Several storages as one, one behind the other."""

    def __init__(self, name: str, parts: Sequence[Storage]) -> None:
        super().__init__(name)
        self._parts: list[tuple[Extent, Storage]] = []
        for part in parts:
            self._parts.append((Extent(self.size, part.size), part))

    @property
    def size(self) -> int:
        """The sum of the parts."""
        return self._parts[-1][0].end if self._parts else 0

    def _read(self, offset: int, size: int) -> bytes:
        read = []
        for own, part in self._parts:
            start, end = max(own.offset, offset), min(own.end, offset + size)
            if start < end:
                read.append(part.read_at(start - own.offset, end - start))
        return b"".join(read)


class SectorStream:
    """A disk of dissect that reads sectors, as a file object."""

    def __init__(self, disk: Any) -> None:  # noqa: ANN401  # as above
        self._disk = disk
        self._position = 0

    def seek(self, offset: int) -> None:
        """Move the position."""
        self._position = offset

    def read(self, size: int) -> bytes:
        """The bytes at the position."""
        first, skipped = divmod(self._position, SECTOR_SIZE)
        count = -(-(skipped + size) // SECTOR_SIZE)
        data: bytes = self._disk.read_sectors(first, count)
        return data[skipped : skipped + size]
