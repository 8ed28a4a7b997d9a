"""One pass over a disk that finds the places worth a closer look.

At 512-byte alignment only the bytes at fixed places of each sector are compared: slices with a
stride of 512 take them out, and what follows is looked at where they fit. A chunk stays in the
processor's cache between reading and comparing; larger chunks made it slower (4.5 GB/s at 256 KiB,
2.5 at 8 MiB). Unaligned, every byte is compared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from luksmeta.binary import field_offsets
from luksmeta.errors import StorageError
from luksmeta.extents import Extent, align_down, align_up
from luksmeta.header_copies import HeaderCopy
from luksmeta.luks1.partition_header import ACTIVE, INACTIVE, PARTITION_HEADER
from luksmeta.luks2.binary_header import MAGIC
from luksmeta.model import SECTOR_SIZE
from luksmeta.storage import Storage

CHUNK: Final = 256 << 10
_PIECE: Final = 4096  # what is given up at once where the system reports an error
_BEFORE: Final = 256  # what an unaligned mark may need of the chunk before: _TABLE and a bit

PRIMARY: Final = MAGIC[HeaderCopy.PRIMARY]
SECONDARY: Final = MAGIC[HeaderCopy.SECONDARY]
LUKSMETA_MAGIC: Final = b"LUKSMETA"
_JSON: Final = re.compile(rb'\{\s*"(?:keyslots|tokens|segments|digests|config)"\s*:')
_TABLE: Final = field_offsets(PARTITION_HEADER)["keyslots"]
_STATES: Final = tuple(state.to_bytes(4, "big") for state in (ACTIVE, INACTIVE))
_LUKS1_VERSION: Final = b"\0\1"

Progress = Callable[[int, int], None]


class Mark(Enum):
    """What a hit looks like."""

    MAGIC = "magic"
    JSON = "JSON"
    KEYSLOT_TABLE = "keyslot table"
    LUKSMETA = "luksmeta"


@dataclass(frozen=True, slots=True)
class Hit:
    """A place worth a closer look; ``offset`` is where the structure starts, in bytes."""

    offset: int
    mark: Mark


class Sweep:
    """A pass over ``extents`` of a storage: ``done`` of ``total`` bytes.

    What could not be read is in ``unreadable``.
    """

    def __init__(
        self,
        storage: Storage,
        extents: Iterable[Extent],
        *,
        unaligned: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self._storage = storage
        self._extents = _whole_sectors(extents, storage.size)
        self._find = _unaligned_hits if unaligned else _aligned_hits
        self._progress = progress
        self._buffer = bytearray(_BEFORE + CHUNK)
        self.unreadable: list[Extent] = []
        self.done = 0
        self.total = sum(extent.size for extent in self._extents)

    def hits(self) -> Iterator[Hit]:
        """All hits, in order where the chunks are."""
        for extent in self._extents:
            before = 0
            for offset in range(extent.offset, extent.end, CHUNK):
                size = min(CHUNK, extent.end - offset)
                self._fill(offset, size)
                self.done += size
                yield from self._find(self._buffer, _BEFORE - before, _BEFORE + size, offset)
                self._buffer[:_BEFORE] = self._buffer[size : _BEFORE + size]
                before = _BEFORE
                if self._progress is not None:
                    self._progress(self.done, self.total)

    def _fill(self, offset: int, size: int) -> None:
        """Read a chunk behind the first ``_BEFORE`` bytes; what cannot be read is zeroes."""
        self._buffer[_BEFORE + size :] = bytes(CHUNK - size)
        with memoryview(self._buffer)[_BEFORE : _BEFORE + size] as view:
            try:
                self._storage.read_into(offset, view)
            except StorageError:
                self._fill_by_pieces(offset, view)

    def _fill_by_pieces(self, offset: int, view: memoryview) -> None:
        """Read what can be read; behind a chunk that is all lost, the ends stand for the next."""
        pieces = [(at, view[at : at + _PIECE]) for at in range(0, len(view), _PIECE)]
        before = self.unreadable[-1] if self.unreadable else Extent(0, 0)
        is_behind_lost = before.end == offset and before.size >= CHUNK
        first, *middle = pieces
        last = middle.pop() if middle else first
        ends = [self._is_filled(offset + at, piece) for at, piece in (first, last)]
        if is_behind_lost and not any(ends):
            view[:] = bytes(len(view))
            self._lost(Extent(offset, len(view)))
            return
        for at, piece in pieces:
            if not self._is_filled(offset + at, piece):
                piece[:] = bytes(len(piece))
                self._lost(Extent(offset + at, len(piece)))

    def _is_filled(self, offset: int, piece: memoryview) -> bool:
        try:
            self._storage.read_into(offset, piece)
        except StorageError:
            return False
        return True

    def _lost(self, extent: Extent) -> None:
        last = self.unreadable[-1] if self.unreadable else Extent(0, 0)
        if last.size and last.end == extent.offset:
            self.unreadable[-1] = Extent(last.offset, last.size + extent.size)
        else:
            self.unreadable.append(extent)


def _whole_sectors(extents: Iterable[Extent], size: int) -> list[Extent]:
    """The extents widened to whole sectors, each byte once: holes need not end at sectors."""
    found: list[Extent] = []
    for extent in extents:
        start = align_down(extent.offset, SECTOR_SIZE)
        end = min(align_up(extent.end, SECTOR_SIZE), size)
        if found and start <= found[-1].end:
            start = found.pop().offset
        found.append(Extent(start, end - start))
    return found


# --- aligned ---------------------------------------------------------------------------------

_FIRST: Final = re.compile(rb"[LS{]")
_STATE_END: Final = re.compile(b"[" + b"".join(re.escape(state[3:]) for state in _STATES) + b"]")


def _aligned_hits(buffer: bytearray, _start: int, end: int, offset: int) -> Iterator[Hit]:
    """The hits at the sectors of a chunk, which lies behind ``_BEFORE`` and is from ``offset``."""
    for match in _FIRST.finditer(buffer[_BEFORE:end:SECTOR_SIZE]):
        at = _BEFORE + match.start() * SECTOR_SIZE
        mark = _mark_at(buffer, at)
        if mark is not None:
            yield Hit(offset + at - _BEFORE, mark)
    for match in _STATE_END.finditer(buffer[_BEFORE + _TABLE + 3 : end : SECTOR_SIZE]):
        at = _BEFORE + match.start() * SECTOR_SIZE
        if _is_table(buffer, at):
            yield Hit(offset + at - _BEFORE, Mark.KEYSLOT_TABLE)


def _mark_at(buffer: bytearray, at: int) -> Mark | None:
    if buffer.startswith((PRIMARY, SECONDARY), at):
        return Mark.MAGIC
    if buffer.startswith(LUKSMETA_MAGIC, at):
        return Mark.LUKSMETA
    return Mark.JSON if _JSON.match(buffer, at) else None


def _is_table(buffer: bytearray, at: int) -> bool:
    """Whether a LUKS1 header without its magic may start here; with it, it is a hit already."""
    return (
        buffer.startswith(_STATES, at + _TABLE)
        and buffer.startswith(_LUKS1_VERSION, at + len(PRIMARY))
        and not buffer.startswith(PRIMARY, at)
    )


# --- unaligned -------------------------------------------------------------------------------

# What is looked for, how far behind the start of its mark it lies, and how long the mark is: single
# bytes that are rare (memchr passes 100 GB/s of zeroes and 1 GB/s of random bytes), or whole words.
_SIGNS: Final[tuple[tuple[bytes, int, int], ...]] = (
    (PRIMARY[4:5], 4, len(PRIMARY)),
    (LUKSMETA_MAGIC, 0, len(LUKSMETA_MAGIC)),
    (b'{"keyslots":', 0, 12),
    (_STATES[0][1:], _TABLE + 1, _TABLE + 4),
    (_STATES[1][2:], _TABLE + 2, _TABLE + 4),
)


def _unaligned_hits(buffer: bytearray, start: int, end: int, offset: int) -> Iterator[Hit]:
    """The hits whose mark ends in this chunk, wherever it begins; before ``start`` is nothing."""
    found: set[Hit] = set()
    for sign, distance, length in _SIGNS:
        # What ends before the chunk was found with the chunk before it.
        at = buffer.find(sign, max(start, _BEFORE - length + 1) + distance, end)
        while at >= 0:
            first = at - distance
            mark = _mark_at(buffer, first) if first + length <= end else None
            if mark is None and first + length <= end and _is_table(buffer, first):
                mark = Mark.KEYSLOT_TABLE
            if mark is not None:
                found.add(Hit(offset + first - _BEFORE, mark))
            at = buffer.find(sign, at + 1, end)
    yield from sorted(found, key=lambda hit: hit.offset)
