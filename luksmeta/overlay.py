"""A storage whose writes are kept apart from what they change."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

from luksmeta.secret import BytesLike
from luksmeta.storage import Storage

_PAGE = 1 << 16  # bytes; the unit of what is kept apart
_SPOOL_IN_MEMORY = 32 << 20


class OverlayStorage(Storage):
    """Writes are kept apart, the base is not changed before :meth:`commit`.

    What a dry run works on, and a change whose extent shows only at its end. Beyond 32 MiB the
    changed pages go to an unnamed temporary file. Threads may read and write at once.
    """

    def __init__(self, base: Storage) -> None:
        import tempfile  # only here: 3 ms for commands that write nothing

        super().__init__(base.name, writable=True)
        self._base = base
        self._size = base.size
        self._spool = tempfile.SpooledTemporaryFile(max_size=_SPOOL_IN_MEMORY)  # noqa: SIM115  # closed in close
        self._places: dict[int, int] = {}  # page number -> its place in the spool, in pages
        self._free_place = itertools.count()
        self._lock = threading.RLock()  # the spool has one position
        self._shown = base.size  # bytes of the base: what was cut off does not come back

    @property
    def size(self) -> int:
        """The size as this overlay shows it."""
        return self._size

    @property
    def base(self) -> Storage:
        """What it lies over."""
        return self._base

    @property
    def sector_size(self) -> int:
        """That of the base."""
        return self._base.sector_size

    def _read(self, offset: int, size: int) -> bytes:
        with self._lock:
            return b"".join(
                self._read_base(number * _PAGE + start, length)
                if (page := self._page(number)) is None
                else page[start : start + length]
                for number, start, length in _page_parts(offset, size)
            )

    def _write(self, offset: int, data: BytesLike) -> None:
        view = memoryview(data).cast("B")
        with self._lock:
            for number, start, length in _page_parts(offset, len(view)):
                self._write_page(number, start, view[:length])
                view = view[length:]

    def _write_page(self, number: int, start: int, data: memoryview) -> None:
        page = bytearray(self._page(number) or self._read_base(number * _PAGE, _PAGE))
        page[start : start + len(data)] = data
        if number not in self._places:
            self._places[number] = next(self._free_place)
        self._spool.seek(self._places[number] * _PAGE)
        self._spool.write(page)

    def resize(self, size: int) -> None:
        """Show another size; the base keeps its own."""
        if size < self._size:
            self._write(size, bytes(-size % _PAGE))
            self._places = {n: place for n, place in self._places.items() if n * _PAGE < size}
            self._shown = min(self._shown, size)
        self._size = size

    def commit(self) -> None:
        """Write every changed page to the base, which must have this size, and flush it."""
        for number in sorted(self._places):
            page = self._page(number) or b""
            self._base.write_at(number * _PAGE, page[: self._size - number * _PAGE])
        self._base.flush()

    def discard(self) -> None:
        """Forget what was written, and with it the overlay; the base stays open."""
        self._places.clear()
        self._spool.close()

    def close(self) -> None:
        """Forget what was written and close the base."""
        self.discard()
        self._base.close()

    def _page(self, number: int) -> bytes | None:
        place = self._places.get(number)
        if place is None:
            return None
        self._spool.seek(place * _PAGE)
        return self._spool.read(_PAGE)

    def _read_base(self, offset: int, size: int) -> bytes:
        within = max(0, min(size, self._shown - offset))
        return self._base.read_at(offset, within).ljust(size, b"\0") if within else bytes(size)


def _page_parts(offset: int, size: int) -> Iterator[tuple[int, int, int]]:
    """The pages that a range touches: number, start within the page, length."""
    while size:
        number, start = divmod(offset, _PAGE)
        length = min(size, _PAGE - start)
        yield number, start, length
        offset += length
        size -= length
