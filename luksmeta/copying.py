"""Long stretches of plaintext out of a stream and into it.

Reading the device, ciphering and writing overlap: each worker takes a chunk through all of it, and
none of the three holds the interpreter's lock. Memory stays flat: there are ``CHUNKS_PER_WORKER``
chunks a worker.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

from luksmeta.sector.threads import available
from luksmeta.segment_stream import SegmentStream
from luksmeta.write_plan import Progress

CHUNK: Final = 1 << 20  # bytes; what a worker takes, which the engine does not split any further
CHUNKS_PER_WORKER: Final = 2

Write: TypeAlias = Callable[[memoryview], object]
"""Takes all bytes of a chunk; chunks come in order, from any thread, one at a time."""

Read: TypeAlias = Callable[[memoryview], int]
"""Fills a chunk, fewer bytes only at the input's end; gives the number of bytes."""


def copy_out(
    stream: SegmentStream, offset: int, size: int, write: Write, advance: Progress
) -> None:
    """Hand ``size`` bytes from ``offset`` on to ``write``, in order; they must all be there."""
    crew = _Crew(chunks=-(-size // CHUNK))
    output = _Output(crew, size, write, advance)
    starts = iter(range(0, size, CHUNK))  # taking the next one is atomic

    def work() -> None:
        while True:
            buffer = output.free_buffer()
            start = next(starts, None)
            if start is None:
                return
            chunk = buffer[: min(CHUNK, size - start)]
            stream.read_into_at(offset + start, chunk)
            output.put(start, chunk, buffer)

    crew.run(work)


def copy_in(stream: SegmentStream, offset: int, size: int, read: Read, advance: Progress) -> int:
    """Write up to ``size`` bytes that ``read`` gives at ``offset``; how many there were.

    Chunks end at multiples of ``CHUNK`` in the plaintext, so no two of them share a sector.
    """
    crew = _Crew(chunks=-(-size // CHUNK) + 1)
    reading = threading.Lock()
    given = done = 0

    def work() -> None:
        nonlocal given, done, size
        buffer = memoryview(bytearray(min(CHUNK, size)))
        while True:
            with reading:
                at = offset + given
                room = min(CHUNK - at % CHUNK, size - given)
                length = read(buffer[:room]) if room else 0
                given += length
                if not length:
                    size = given  # the input has ended: nobody reads again
                    return
            stream.write_at(at, buffer[:length])
            with crew.together():
                done += length
                advance(done, max(size, done))

    crew.run(work)
    return given


class _AbandonedError(Exception):
    """Another worker has failed."""


class _Crew:
    """Workers that do one thing together; where one fails, all stop.

    There are two even on a single processor, which one of them leaves idle while the other waits
    for a device.
    """

    def __init__(self, *, chunks: int) -> None:
        self.size = max(1, min(max(2, available()), chunks))
        self._changed = threading.Condition()
        self._failure: BaseException | None = None

    @contextmanager
    def together(self, comes: Callable[[], bool] = lambda: True) -> Iterator[None]:
        """Where what all share is looked at and changed, once ``comes`` says so."""
        with self._changed:
            self._changed.wait_for(lambda: self._failure or comes())
            if self._failure:
                raise _AbandonedError
            yield
            self._changed.notify_all()

    def run(self, work: Callable[[], None]) -> None:
        """Have ``work`` done by this thread and by others; raises what the first failure raised."""
        others = [
            # An interrupt must not wait for one that a stalled reader of our output holds up.
            threading.Thread(target=self._work, args=(work,), daemon=True)
            for _ in range(self.size - 1)
        ]
        for other in others:
            other.start()
        self._work(work)
        if self._failure is None or isinstance(self._failure, Exception):
            for other in others:
                other.join()
        if self._failure:
            raise self._failure

    def _work(self, work: Callable[[], None]) -> None:
        try:
            work()
        except _AbandonedError:
            pass
        except BaseException as failure:  # noqa: BLE001  # whoever called gets it
            with self._changed:
                self._failure = self._failure or failure
                self._changed.notify_all()


class _Output:
    """Chunks that come in any order, written in theirs by whoever brings the next one.

    The others go on with their next chunk. Workers that waited for their turns would all end up on
    one processor: a scheduler wakes a thread where the one runs that woke it.
    """

    def __init__(self, crew: _Crew, size: int, write: Write, advance: Progress) -> None:
        self._crew, self._size = crew, size
        self._write, self._advance = write, advance
        self._free = [
            memoryview(bytearray(min(CHUNK, size))) for _ in range(CHUNKS_PER_WORKER * crew.size)
        ]
        self._ready: dict[int, tuple[memoryview, memoryview]] = {}
        self._written = 0
        self._is_writing = False

    def free_buffer(self) -> memoryview:
        """A buffer for a chunk, once there is one."""
        with self._crew.together(lambda: bool(self._free)):
            return self._free.pop()

    def put(self, start: int, chunk: memoryview, buffer: memoryview) -> None:
        """Write the chunk, or leave it to whoever writes now."""
        with self._crew.together():
            self._ready[start] = chunk, buffer
            if self._is_writing:
                return
            self._is_writing = True
        while entry := self._next():
            chunk, buffer = entry
            self._write(chunk)
            with self._crew.together():
                self._written += len(chunk)
                self._free.append(buffer)
                self._advance(self._written, self._size)

    def _next(self) -> tuple[memoryview, memoryview] | None:
        with self._crew.together():
            entry = self._ready.pop(self._written, None)
            self._is_writing = entry is not None
            return entry
