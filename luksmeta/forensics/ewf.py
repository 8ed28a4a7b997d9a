"""The disk in an E01 image, with every checksum compared: a damaged image is an error, not a disk.

Each chunk of the disk has a checksum, and each segment file its number, so that neither a flipped
bit nor a file that is not there can pass for what was on the disk.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from luksmeta.errors import StorageError
from luksmeta.forensics.evidence import Evidence
from luksmeta.forensics.ewf_segments import (
    CHECKSUM,
    CHUNK_MAX,
    IS_COMPRESSED,
    damaged,
    geometry_of,
    sections_of,
    tables_of,
    without_checksum,
)
from luksmeta.storage import Storage

_OVERHEAD: Final = CHUNK_MAX // 1024  # bytes; more than zlib adds to what does not get smaller


class EwfDisk(Evidence):
    """What was on the disk; ``close`` closes the files below.

    Raises StorageError for files that are not one whole image, and on a read for a chunk whose
    checksum is wrong.
    """

    def __init__(
        self, name: str, files: Sequence[Storage], close: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(name)
        self._close = close
        sections = [(file, list(sections_of(file))) for file in files]
        self._geometry = geometry_of(sections)
        self._tables = [table for file, found in sections for table in tables_of(file, found)]
        self._starts: list[int] = []
        count = 0
        for table in self._tables:
            self._starts.append(count)
            count += table.count
        if count != self._geometry.chunks:
            raise StorageError(
                f"E01 image: its tables have {count} chunks, {self._geometry.chunks} are stated"
            ).about(name)
        self._chunk = lru_cache(maxsize=4)(self._read_chunk)
        self._entries = lru_cache(maxsize=4)(self._read_entries)

    @property
    def size(self) -> int:
        """The size of the disk."""
        return self._geometry.size

    def _read(self, offset: int, size: int) -> bytes:
        parts, end, step = [], offset + size, self._geometry.chunk_size
        while offset < end:
            number, start = divmod(offset, step)
            part = self._chunk(number)[start : start + end - offset]
            parts.append(part)
            offset += len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Close the files below, and forget what was read."""
        self._chunk.cache_clear()
        self._close()

    def _read_chunk(self, number: int) -> bytes:
        index = bisect_right(self._starts, number) - 1
        table, own = self._tables[index], number - self._starts[index]
        offsets = [each & ~IS_COMPRESSED for each in self._entries(index)[own : own + 2]]
        is_compressed = self._entries(index)[own] != offsets[0]
        start = table.base + offsets[0]
        end = table.end if len(offsets) == 1 else table.base + offsets[1]
        place, room = number * self._geometry.chunk_size, self._geometry.chunk_size
        room += _OVERHEAD if is_compressed else CHECKSUM
        stored = _stored(table.file, start, min(end - start, room), place)
        size = min(self._geometry.chunk_size, self.size - place)
        data = _inflated(stored, size) if is_compressed else without_checksum(stored)
        if data is None or len(data) < size:
            raise damaged(table.file, f"chunk {number}, {size} bytes of the disk at {place:#x}")
        return data[:size]

    def _read_entries(self, index: int) -> Sequence[int]:
        table = self._tables[index]
        size = 4 * table.count
        for place in (table.entries, table.mirror):
            if place is None:
                continue
            data = table.file.read_at(place, size + CHECKSUM)
            if self._geometry.is_smart or without_checksum(data) is not None:
                entries = array("I", data[:size])
                if sys.byteorder == "big":
                    entries.byteswap()
                return entries
        raise damaged(table.file, f"table of {table.count} chunks at {table.entries:#x}")


def _stored(file: Storage, start: int, size: int, place: int) -> bytes:
    """A chunk as it lies in its file; ``place`` is its own on the disk."""
    if size <= 0 or start + size > file.size:
        raise StorageError(
            f"the E01 image has the disk's bytes at {place:#x} from {start:#x} to "
            f"{start + size:#x}, the file ends at {file.size:#x}"
        ).about(file.name)
    return file.read_at(start, size)


def _inflated(raw: bytes, size: int) -> bytes | None:
    """At most ``size`` bytes, whose checksum zlib compares; None where it is wrong."""
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(raw, size + 1)
    except zlib.error:
        return None
    return data if inflater.eof else None
