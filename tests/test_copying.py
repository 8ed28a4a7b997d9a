"""Long stretches of plaintext, copied by several threads, are what a plain read and write give."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

import luksmeta
from luksmeta import MemoryStorage, SegmentStream, StorageError
from luksmeta.copying import CHUNK, CHUNKS_PER_WORKER, _Crew, copy_in, copy_out
from luksmeta.overlay import OverlayStorage
from luksmeta.storage import Storage
from tests.builders import FIRST, KDF
from tests.corpus import stream as bytes_of
from tests.storages import UnreadableStorage

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

SIZE = 5 * CHUNK + 3 * 4096
CONTENT = bytes_of("copying", SIZE)
RANGES = [
    (0, SIZE),
    (0, 0),
    (0, 1),
    (SIZE - 1, 1),
    (1, CHUNK),
    (CHUNK - 1, 2),
    (3 * CHUNK + 513, CHUNK + 1),
    (511, 4 * CHUNK + 77),
]


def _volume() -> MemoryStorage:
    storage = MemoryStorage((16 << 20) + SIZE)
    luksmeta.format(storage, FIRST, pbkdf=KDF, digest_iterations=1000).close()
    return storage


@contextmanager
def _plaintext(storage: Storage, *, writable: bool = False) -> Iterator[SegmentStream]:
    with (
        luksmeta.open(storage, writable=True) as volume,
        volume.unlock(FIRST) as unlocked,
        unlocked.open(writable=writable) as stream,
    ):
        yield stream


def _source(data: bytes) -> Callable[[memoryview], int]:
    left = memoryview(data)

    def read(chunk: memoryview) -> int:
        nonlocal left
        part, left = left[: len(chunk)], left[len(chunk) :]
        chunk[: len(part)] = part
        return len(part)

    return read


@pytest.fixture(scope="module")
def filled() -> MemoryStorage:
    storage = _volume()
    with _plaintext(storage, writable=True) as stream:
        stream.write(CONTENT)
    return storage


@pytest.mark.parametrize(("offset", "size"), RANGES)
def test_what_is_copied_out_is_what_is_there(filled: MemoryStorage, offset: int, size: int) -> None:
    parts: list[bytes] = []
    seen: list[tuple[int, int]] = []
    with _plaintext(filled) as stream:
        copy_out(
            stream,
            offset,
            size,
            lambda part: parts.append(bytes(part)),
            lambda done, total: seen.append((done, total)),
        )
    assert b"".join(parts) == CONTENT[offset : offset + size]
    assert seen == sorted(seen)
    assert seen[-1:] == ([(size, size)] if size else [])


@pytest.mark.parametrize(("offset", "size"), RANGES)
@pytest.mark.parametrize("overlay", [False, True])
def test_what_is_copied_in_is_there_and_nothing_else_changes(
    filled: MemoryStorage, offset: int, size: int, overlay: bool
) -> None:
    storage: Storage = MemoryStorage(bytes(filled.data))
    if overlay:
        storage = OverlayStorage(storage)
    new = bytes_of("copying/new", size)
    with _plaintext(storage, writable=True) as stream:
        assert copy_in(stream, offset, size, _source(new), lambda *_: None) == size
        expected = CONTENT[:offset] + new + CONTENT[offset + size :]
        assert stream.read_at(0, SIZE) == expected


def test_an_input_that_ends_early_is_copied_as_far_as_it_goes() -> None:
    storage = _volume()
    with _plaintext(storage, writable=True) as stream:
        given = CONTENT[: 2 * CHUNK + 5]
        assert copy_in(stream, 0, SIZE, _source(given), lambda *_: None) == len(given)
        assert stream.read_at(0, len(given)) == given


def test_a_failed_read_ends_the_copy(filled: MemoryStorage) -> None:
    bad = 16 << 20
    storage = UnreadableStorage(bytes(filled.data), range(bad + 2 * CHUNK, bad + 2 * CHUNK + 1))
    parts: list[bytes] = []
    with (
        _plaintext(storage) as stream,
        pytest.raises(StorageError, match="short read"),
    ):
        copy_out(stream, 0, SIZE, lambda part: parts.append(bytes(part)), lambda *_: None)
    assert CONTENT.startswith(b"".join(parts))


def test_a_failed_write_of_the_output_ends_the_copy(filled: MemoryStorage) -> None:
    def full(_: memoryview) -> None:
        raise OSError("no space left on device")

    with _plaintext(filled) as stream, pytest.raises(OSError, match="no space"):
        copy_out(stream, 0, SIZE, full, lambda *_: None)


def test_memory_does_not_grow_with_what_is_copied(filled: MemoryStorage) -> None:
    with _plaintext(filled) as stream:
        copy_out(stream, 0, CHUNK, lambda _: None, lambda *_: None)
        tracemalloc.start()
        try:
            for _ in range(20):
                copy_out(stream, 0, SIZE, lambda _: None, lambda *_: None)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 16 * CHUNK


def test_an_interrupt_does_not_wait_for_a_worker_that_stalls() -> None:
    stalled, over = threading.Event(), threading.Event()
    caller = threading.get_ident()

    def work() -> None:
        if threading.get_ident() == caller:
            stalled.wait()
            raise KeyboardInterrupt
        stalled.set()
        over.wait()

    with pytest.raises(KeyboardInterrupt):
        _Crew(chunks=2).run(work)
    over.set()


def test_slow_output_does_not_pile_up_chunks(filled: MemoryStorage) -> None:
    most = CHUNKS_PER_WORKER * _Crew(chunks=SIZE // CHUNK).size
    read: list[int] = []

    class CountingStream(SegmentStream):
        def read_into_at(self, offset: int, buffer: WriteableBuffer) -> None:
            super().read_into_at(offset, buffer)
            read.append(offset)

    ahead: list[int] = []

    def write(_: memoryview) -> None:
        time.sleep(0.01)
        ahead.append(len(read) - len(ahead))

    with _plaintext(filled) as stream:
        counting = CountingStream(filled, stream._runs, writable=False)
        copy_out(counting, 0, SIZE, write, lambda *_: None)
    assert max(ahead) <= most
