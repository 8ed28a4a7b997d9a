"""``striped COUNT CHUNK (DEVICE OFFSET)…``: chunks in turns over devices (dm-stripe.c).

Chunk n of the target is chunk n div COUNT of device n mod COUNT; CHUNK is in sectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from luksmeta.dm.areas import Piece
from luksmeta.dm.arguments import Arguments
from luksmeta.dm.devices import Devices
from luksmeta.dm.table import TableLine
from luksmeta.model import SECTOR_SIZE
from luksmeta.secret import BytesLike
from luksmeta.storage import Storage

_CHUNK_MAX = (1 << 32) - 1  # sectors; the kernel's type


class StripedStorage(Storage):
    """Chunks of ``chunk_size`` bytes over stripes that are equally large."""

    def __init__(self, stripes: Sequence[Storage], chunk_size: int) -> None:
        super().__init__("striped", writable=all(each.writable for each in stripes))
        self._stripes = stripes
        self._chunk_size = chunk_size

    @property
    def size(self) -> int:
        """That of all stripes together."""
        return len(self._stripes) * self._stripes[0].size

    def _parts(self, offset: int, size: int) -> Iterator[tuple[Storage, int, int]]:
        """Where a range lies: the stripe, the offset in it, how many bytes."""
        while size:
            chunk, within = divmod(offset, self._chunk_size)
            row, stripe = divmod(chunk, len(self._stripes))
            length = min(size, self._chunk_size - within)
            yield self._stripes[stripe], row * self._chunk_size + within, length
            offset += length
            size -= length

    def _read(self, offset: int, size: int) -> bytes:
        return b"".join(
            stripe.read_at(at, length) for stripe, at, length in self._parts(offset, size)
        )

    def _write(self, offset: int, data: BytesLike) -> None:
        view = memoryview(data).cast("B")
        for stripe, at, length in self._parts(offset, len(view)):
            stripe.write_at(at, view[:length])
            view = view[length:]

    def below(self, offset: int, size: int) -> Iterator[Piece]:
        """The bytes of each stripe, which follow one another there.

        They start in the first row of chunks and end in the last.
        """
        row = min(size, self._chunk_size * len(self._stripes))
        places: dict[int, tuple[Storage, int, int]] = {}
        for start in (offset, offset + size - row):
            for stripe, at, length in self._parts(start, row):
                _, first, end = places.get(id(stripe), (stripe, at, at + length))
                places[id(stripe)] = stripe, min(first, at), max(end, at + length)
        yield from ((stripe, first, end - first) for stripe, first, end in places.values())

    def flush(self) -> None:
        """Flush every stripe."""
        for stripe in self._stripes:
            stripe.flush()

    def close(self) -> None:
        """Give back the stripes; harmless when repeated."""
        for stripe in self._stripes:
            stripe.close()


def open_striped(line: TableLine, devices: Devices) -> Storage:
    """The stripes, each an equal share of whole chunks."""
    arguments = Arguments(line)
    count = arguments.number("the number of stripes", 1, len(line.arguments))
    chunk = arguments.number("the chunk size", 1, _CHUNK_MAX)
    if line.length % count:
        raise line.error(f"{line.length} sectors are no multiple of {count}, the stripes")
    width = line.length // count
    if width % chunk:
        raise line.error(f"a stripe's {width} sectors are no multiple of {chunk}, the chunk size")
    places = [
        (arguments.word("a stripe's device"), arguments.number("a stripe's offset"))
        for _ in range(count)
    ]
    arguments.end()
    stripes = [devices.part(line, name, start, width) for name, start in places]
    return StripedStorage(stripes, chunk * SECTOR_SIZE)
