"""Long stretches of plaintext out of a stream and into it.

Reading the device, ciphering and writing overlap: workers take a chunk each, and none of the three
holds the interpreter's lock. Memory stays flat: there are ``CHUNKS_PER_WORKER`` chunks a worker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeAlias

from luksmeta.sector import threads
from luksmeta.segment_stream import SegmentStream
from luksmeta.write_plan import Progress

CHUNK: Final = 1 << 20  # bytes; a worker's piece, which the engine does not split any further
CHUNKS_PER_WORKER: Final = 2

Write: TypeAlias = Callable[[memoryview], object]
"""Takes all bytes of a chunk; chunks come in order."""

Read: TypeAlias = Callable[[memoryview], int]
"""Fills a chunk, fewer bytes only at the input's end; gives the number of bytes."""


def copy_out(
    stream: SegmentStream, offset: int, size: int, write: Write, advance: Progress
) -> None:
    """Hand ``size`` bytes from ``offset`` on to ``write``, in order; they must all be there."""
    free = _buffers(size)
    pending: deque[tuple[Future[None], memoryview, int]] = deque()
    asked = done = 0
    with ThreadPoolExecutor(threads.available()) as pool:
        while done < size:
            while free and asked < size:
                buffer, length = free.pop(), min(CHUNK, size - asked)
                future = pool.submit(stream.read_into_at, offset + asked, buffer[:length])
                pending.append((future, buffer, length))
                asked += length
            future, buffer, length = pending.popleft()
            future.result()
            write(buffer[:length])
            free.append(buffer)
            done += length
            advance(done, size)


def copy_in(stream: SegmentStream, offset: int, size: int, read: Read, advance: Progress) -> int:
    """Write up to ``size`` bytes that ``read`` gives at ``offset``; how many there were.

    Chunks end at multiples of ``CHUNK`` in the plaintext, so no two of them share a sector.
    """
    free = _buffers(size + CHUNK)
    pending: deque[tuple[Future[None], memoryview, int]] = deque()
    given = done = 0
    with ThreadPoolExecutor(threads.available()) as pool:
        while given < size or pending:
            if free and given < size:
                at, buffer = offset + given, free.pop()
                length = read(buffer[: min(CHUNK - at % CHUNK, size - given)])
                if not length:
                    size = given
                    continue
                pending.append((pool.submit(stream.write_at, at, buffer[:length]), buffer, length))
                given += length
                continue
            future, buffer, length = pending.popleft()
            future.result()
            free.append(buffer)
            done += length
            advance(done, max(size, done))
    return given


def _buffers(size: int) -> list[memoryview]:
    """As many chunks as there is use for, and no more than keep the workers busy."""
    count = min(CHUNKS_PER_WORKER * threads.available(), -(-size // CHUNK))
    return [memoryview(bytearray(min(CHUNK, size))) for _ in range(count)]
