"""Who waits for whom."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from luksmeta.range_lock import RangeLock

_SECONDS = 20


class _Holder:
    """A thread that holds a range until it is told to let go."""

    def __init__(self, lock: RangeLock, start: int, end: int, *, shared: bool) -> None:
        self.has_it, self._let_go = threading.Event(), threading.Event()
        self._lock, self._range, self._shared = lock, (start, end), shared
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._lock.held(*self._range, shared=self._shared):
            self.has_it.set()
            self._let_go.wait(_SECONDS)

    def let_go(self) -> None:
        self._let_go.set()
        self._thread.join(_SECONDS)


@contextmanager
def _held(lock: RangeLock, start: int, end: int, *, shared: bool) -> Iterator[None]:
    holder = _Holder(lock, start, end, shared=shared)
    assert holder.has_it.wait(_SECONDS)
    try:
        yield
    finally:
        holder.let_go()


@pytest.mark.parametrize(
    ("first", "second", "waits"),
    [
        ((0, 10, False), (10, 20, False), False),
        ((10, 20, False), (0, 10, False), False),
        ((0, 10, True), (5, 15, True), False),
        ((0, 10, True), (9, 15, False), True),
        ((0, 10, False), (9, 15, True), True),
        ((0, 10, False), (2, 3, False), True),
        ((2, 3, False), (0, 10, False), True),
        ((0, 10, False), (0, 10, False), True),
    ],
)
def test_ranges_that_meet_wait_unless_both_are_read(
    first: tuple[int, int, bool], second: tuple[int, int, bool], waits: bool
) -> None:
    lock = RangeLock()
    with _held(lock, *first[:2], shared=first[2]):
        other = _Holder(lock, *second[:2], shared=second[2])
        assert other.has_it.wait(0.05 if waits else _SECONDS) is not waits
    assert other.has_it.wait(_SECONDS)
    other.let_go()


def test_readers_do_not_overtake_a_writer_that_waits() -> None:
    lock = RangeLock()
    with _held(lock, 0, 10, shared=True):
        writer = _Holder(lock, 5, 6, shared=False)
        assert not writer.has_it.wait(0.05)
        reader = _Holder(lock, 0, 10, shared=True)
        assert not reader.has_it.wait(0.05)
        with _held(lock, 6, 10, shared=True):  # nothing to do with the writer
            pass
    assert writer.has_it.wait(_SECONDS)
    assert not reader.has_it.is_set()
    writer.let_go()
    assert reader.has_it.wait(_SECONDS)
    reader.let_go()


def test_an_error_lets_go() -> None:
    lock = RangeLock()
    with pytest.raises(KeyError), lock.held(0, 10, shared=False):
        raise KeyError
    with lock.held(0, 10, shared=False):
        pass
