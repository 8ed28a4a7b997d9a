"""A header as it was when it was read, whatever happens to the disk afterwards.

Headers are not authenticated, and whoever can write to the disk can change one between the check
and the use. So nothing is read twice: what was checked is what is used.
"""

from __future__ import annotations

import threading
from typing import Final

from luksmeta.errors import StorageError
from luksmeta.extents import Extent, align_down, align_up
from luksmeta.secret import BytesLike
from luksmeta.storage import Storage

_PAGE: Final = 16 << 10  # bytes: the usual size of one copy, so that most reads lie in one


class HeaderSnapshot(Storage):
    """A storage of which every byte is read once, and kept.

    Until :meth:`hold`, all that is read is kept, and nothing can be written. Afterwards the header
    is in memory for good and cannot be written; what lies behind it is read and written as in the
    base. Header and data of a volume in one file are the same snapshot, so that no reader of the
    data sees another header. Threads may read and write at once.
    """

    def __init__(self, base: Storage) -> None:
        super().__init__(base.name, writable=base.writable)
        self._base = base
        self._size = base.size
        self._pages: dict[int, bytes] = {}  # by offset
        self._end: int | None = None
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """The size of the base at the beginning."""
        return self._size

    @property
    def base(self) -> Storage:
        """What it lies over."""
        return self._base

    @property
    def sector_size(self) -> int:
        """That of the base."""
        return self._base.sector_size

    def hold(self, end: int) -> None:
        """Read what is missing of the first ``end`` bytes; what lies behind is free from now on."""
        self._require_bounds("read", 0, end)
        self._load(Extent(0, end))
        self._end = end
        self._pages = {at: page for at, page in self._pages.items() if at < end}

    def _read(self, offset: int, size: int) -> bytes:
        end = self._end
        if end is None or offset + size <= end:
            return self._held(offset, size)
        held = max(0, end - offset)
        behind = self._base.read_at(offset + held, size - held)
        return self._held(offset, held) + behind if held else behind

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer``; StorageError when the bytes are not all there."""
        if self._end is not None and offset >= self._end:
            self._base.read_into(offset, buffer)
        else:
            super().read_into(offset, buffer)

    def _write(self, offset: int, data: BytesLike) -> None:
        if self._end is None or offset < self._end:
            raise StorageError(
                "the header is held as it was checked; it can be changed only when the volume is "
                "opened without a policy"
            ).about(self.name)
        self._base.write_at(offset, data)

    def flush(self) -> None:
        """Flush the base."""
        self._base.flush()

    def close(self) -> None:
        """Close the base."""
        self._base.close()

    def _held(self, offset: int, size: int) -> bytes:
        start = offset % _PAGE
        page = self._pages.get(offset - start)
        if page is not None and start + size <= _PAGE:
            return page[start : start + size]
        wanted = Extent(offset, size)
        self._load(wanted)
        pages = [self._pages[at] for at in _pages(wanted)]
        return b"".join(pages)[start : start + size]

    def _load(self, wanted: Extent) -> None:
        """Read the pages of ``wanted`` that are not there, as few times as possible."""
        with self._lock:
            run: list[int] = []
            for at in _pages(wanted):
                if at in self._pages:
                    self._load_run(run)
                    run = []
                else:
                    run.append(at)
            self._load_run(run)

    def _load_run(self, run: list[int]) -> None:
        if not run:
            return
        start = run[0]
        data = self._base.read_at(start, min(run[-1] + _PAGE, self._size) - start)
        for at in run:
            self._pages[at] = data[at - start : at - start + _PAGE]


def _pages(extent: Extent) -> range:
    """The offsets of the pages that an extent touches."""
    return range(align_down(extent.offset, _PAGE), align_up(extent.end, _PAGE), _PAGE)
