"""The plaintext of a volume as a raw stream."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from luksmeta import holes
from luksmeta.extents import Extent, align_down, align_up
from luksmeta.model import SECTOR_SIZE
from luksmeta.range_lock import RangeLock
from luksmeta.segment import SegmentRun
from luksmeta.sizes import counted
from luksmeta.storage import Storage

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_CHUNK: Final = 1 << 20  # bytes decrypted at a time: a multiple of every sector size


@dataclass(frozen=True, slots=True)
class Allocation:
    """Plaintext bytes that are alike: in a hole of the device or not, known to be zeroes or not.

    A hole of an encrypted segment reads as noise, what its zeroes decrypt to.
    """

    extent: Extent
    is_hole: bool
    is_zero: bool


class SegmentStream(io.RawIOBase):
    """A raw stream over the plaintext: reads and writes any offset and length.

    A write that does not cover whole sectors reads, changes and writes the sectors at its edges.
    Nothing can be read or written past the end, and the size cannot be changed. Reads and writes
    fill the whole request, so the stream is usable without a buffer around it.

    Threads may read and write at named offsets at once. Where they meet in a sector, one comes
    after the other, and nothing is lost of what either wrote beside the bytes that both did.
    """

    def __init__(self, storage: Storage, runs: tuple[SegmentRun, ...], *, writable: bool) -> None:
        super().__init__()
        self._storage = storage
        self._runs = runs
        self._size = runs[-1].end if runs else 0
        self._writable = writable
        self._position = 0
        self._ranges = RangeLock()

    @property
    def size(self) -> int:
        """The number of plaintext bytes."""
        return self._size

    @property
    def sector_size(self) -> int:
        """Bytes of the largest encryption sector: the logical block size that a kernel shows."""
        return max((run.sector_size for run in self._runs), default=SECTOR_SIZE)

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes at ``offset``, fewer only at the end; the position stays."""
        self._require_open()
        if offset < 0:
            raise ValueError(f"read at {offset}")
        out = bytearray(max(0, min(size, self.size - offset)))
        self._read_into(offset, memoryview(out))
        return bytes(out)

    def read_into_at(self, offset: int, buffer: WriteableBuffer) -> None:
        """Fill all of ``buffer`` from ``offset`` on; the position stays. Threads may do so at once.

        Raises OSError past the end.
        """
        self._require_open()
        view = memoryview(buffer).cast("B")
        if offset < 0 or offset + len(view) > self.size:
            raise OSError(
                f"{counted(len(view), 'byte')} at {offset:#x} would reach past the volume's end, "
                f"{self.size:#x}"
            )
        self._read_into(offset, view)

    def write_at(self, offset: int, data: ReadableBuffer, *, in_place: bool = False) -> None:
        """Write all of ``data`` at ``offset``; OSError past the end, and nothing is written.

        ``in_place`` allows ``data``, which is no longer needed, to be encrypted where it lies.
        """
        self._require_writable()
        view = memoryview(data).cast("B")
        if offset < 0 or offset + len(view) > self.size:
            raise OSError(
                f"{counted(len(view), 'byte')} at {offset:#x} would reach past the volume's end, "
                f"{self.size:#x}"
            )
        for run, at, part in self._parts(offset, view):
            self._write_part(run, at, part, in_place=in_place)

    def allocation(self, offset: int, size: int) -> Iterator[Allocation]:
        """What ``size`` bytes at ``offset`` are like, in order, without gaps."""
        self._require_open()
        for run in self._runs:
            start, end = max(offset, run.start), min(offset + size, run.end)
            if start >= end:
                continue
            shift = run.offset - run.start
            for stretch in holes.stretches(self._storage, start + shift, end - start):
                extent = Extent(stretch.extent.offset - shift, stretch.extent.size)
                is_zero = stretch.is_hole and run.cipher is None
                yield Allocation(extent, stretch.is_hole, is_zero)

    def discard(self, offset: int, size: int) -> None:
        """Give back the room of the whole sectors in a range; what they read as then is undefined.

        Raises UnsupportedError where the storage cannot, StorageError.
        """
        self._require_writable()
        for run in self._runs:
            start, end = max(offset, run.start), min(offset + size, run.end)
            first = align_up(start - run.start, run.sector_size)
            last = align_down(end - run.start, run.sector_size)
            if first < last:
                with self._ranges.held(run.start + first, run.start + last, shared=False):
                    holes.punch(self._storage, run.offset + first, last - first)

    def device_extents(self, offset: int, size: int) -> tuple[Extent, ...]:
        """The whole sectors of the device that hold ``size`` bytes at ``offset``, in order."""
        extents = []
        for run in self._runs:
            start, end = max(offset, run.start), min(offset + size, run.end)
            if start < end:
                first = align_down(start - run.start, run.sector_size)
                last = align_up(end - run.start, run.sector_size)
                extents.append(Extent(run.offset + first, last - first))
        return tuple(extents)

    # --- io.RawIOBase ---

    def readable(self) -> bool:
        """Always."""
        return True

    def writable(self) -> bool:
        """Whether the stream was opened for writing."""
        return self._writable

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position; past the end is allowed, before the start is not."""
        self._require_open()
        bases = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}
        if whence not in bases:
            raise ValueError(f"seek from {whence}: 0, 1 and 2 are known")
        base = bases[whence]
        if base + offset < 0:
            raise ValueError(f"seek to {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill ``buffer`` from the position on; fewer bytes only at the end."""
        self._require_open()
        view = memoryview(buffer).cast("B")
        view = view[: max(0, min(len(view), self.size - self._position))]
        self._read_into(self._position, view)
        self._position += len(view)
        return len(view)

    def readall(self) -> bytes:
        """All bytes from the position to the end, a bounded piece at a time.

        A header may claim any size: no more memory is taken than there is data.
        """
        return b"".join(iter(lambda: self.read(_CHUNK) or b"", b""))

    def write(self, data: ReadableBuffer) -> int:
        """Write all of ``data`` at the position; OSError past the end, and nothing is written."""
        size = memoryview(data).nbytes
        self.write_at(self._position, data)
        self._position += size
        return size

    def flush(self) -> None:
        """Return when everything written is on stable storage."""
        if not self.closed and self._writable:
            self._storage.flush()

    def close(self) -> None:
        """Flush, and wipe the keys of the stream's ciphers; the storage stays open."""
        if self.closed:
            return
        try:
            super().close()
        finally:
            for run in self._runs:
                run.close()

    # --- inside ---

    def _require_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on a closed volume stream")

    def _require_writable(self) -> None:
        self._require_open()
        if not self._writable:
            raise io.UnsupportedOperation("the volume stream was opened for reading only")

    def _parts(self, offset: int, view: memoryview) -> Iterator[tuple[SegmentRun, int, memoryview]]:
        """Cut ``view``, which lies at ``offset``, at the borders of runs and of chunks."""
        for run in self._runs:
            while view and run.start <= offset < run.end:
                at = offset - run.start
                size = min(len(view), run.size - at, _CHUNK - at % _CHUNK)
                yield run, at, view[:size]
                offset += size
                view = view[size:]

    def _read_into(self, offset: int, view: memoryview) -> None:
        for run, at, part in self._parts(offset, view):
            first = align_down(at, run.sector_size)
            last = align_up(at + len(part), run.sector_size)
            with self._reading(run, first, last):
                self._read_part(run, at, part, first, last)

    def _reading(self, run: SegmentRun, first: int, last: int) -> AbstractContextManager[None]:
        """No half-written sector is read: it would decrypt to what nobody wrote."""
        if not self._writable:
            return nullcontext()
        return self._ranges.held(run.start + first, run.start + last, shared=True)

    def _read_part(self, run: SegmentRun, at: int, part: memoryview, first: int, last: int) -> None:
        whole = last - first == len(part)
        sectors = part if whole else memoryview(bytearray(last - first))
        self._storage.read_into(run.offset + first, sectors)
        run.decrypt(first, sectors)
        if not whole:
            part[:] = sectors[at - first : at - first + len(part)]

    def _write_part(self, run: SegmentRun, at: int, part: memoryview, *, in_place: bool) -> None:
        first = align_down(at, run.sector_size)
        last = align_up(at + len(part), run.sector_size)
        with self._ranges.held(run.start + first, run.start + last, shared=False):
            if last - first == len(part):
                out = part if in_place else memoryview(bytearray(last - first))
                run.encrypt(first, part, out)
            else:
                out = memoryview(bytearray(last - first))
                self._read_part(run, first, out, first, last)
                out[at - first : at - first + len(part)] = part
                run.encrypt(first, out, out)
            self._storage.write_at(run.offset + first, out)
