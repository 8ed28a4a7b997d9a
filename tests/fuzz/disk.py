"""A device of any size that takes no memory: some bytes at some places, zeroes around them."""

from __future__ import annotations

from collections.abc import Iterable

from luksmeta.secret import BytesLike
from luksmeta.storage import Storage


class SparseDisk(Storage):
    """Read-only; ``pieces`` are (offset, bytes), later ones over earlier ones.

    ``longest_read`` is the largest read so far: what a hostile header made its reader ask for.
    """

    def __init__(self, size: int, pieces: Iterable[tuple[int, bytes]]) -> None:
        super().__init__("disk", writable=False)
        self._size = size
        self._pieces = tuple(pieces)
        self.longest_read = 0

    @property
    def size(self) -> int:
        """The size that the device claims to have, in bytes."""
        return self._size

    def _read(self, offset: int, size: int) -> bytes:
        self.longest_read = max(self.longest_read, size)
        data = bytearray(size)
        for start, piece in self._pieces:
            first, last = max(start, offset), min(start + len(piece), offset + size)
            if first < last:
                data[first - offset : last - offset] = piece[first - start : last - start]
        return bytes(data)

    def _write(self, offset: int, data: BytesLike) -> None:
        raise AssertionError(f"{len(data)} bytes written at {offset:#x}")
