"""Long runs of sectors, split over the processors that this process may use.

A run is cut into pieces, which the calling thread and helpers from one shared pool take in turn:
nothing is copied, each piece has its own place in ``out``, and a helper that comes late finds
nothing to do. Only work that releases the interpreter's lock gains by it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

PIECE_SIZE: Final = 1 << 18  # bytes: 50 µs of work; pieces are of this size or multiples of it
PIECES_PER_THREAD: Final = 8  # so that a thread which is held up leaves work to the others
# Two processors to one gain nothing on 1 MiB (waking the helper and waiting for its last piece
# take some 100 µs), break even on 2 MiB, and give 1.6 on 4 MiB, 1.85 on 16 MiB.
SPLIT_SIZE: Final = 1 << 21  # bytes

Task: TypeAlias = Callable[[int, int], None]

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None


def available() -> int:
    """The number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def each_piece(task: Task, size: int, count: int | None = None) -> None:
    """Call ``task(start, stop)`` for pieces that cover 0 to ``size`` bytes, in any order.

    ``count`` threads work on it, at most and by default as many as there are processors. Every
    edge but the last is a multiple of PIECE_SIZE. Returns when all is done; raises what a task
    raised.
    """
    helpers = min(count or available(), available(), size // PIECE_SIZE) - 1
    if helpers < 1 or size < SPLIT_SIZE:
        task(0, size)
        return
    # Few pieces: between two of them a thread may have to wait for the interpreter's lock.
    piece = max(1, size // (PIECES_PER_THREAD * (helpers + 1) * PIECE_SIZE)) * PIECE_SIZE
    pieces = iter(range(0, size, piece))  # taking the next one is atomic

    def work() -> None:
        for start in pieces:
            task(start, min(start + piece, size))

    futures = list(_submit(work, helpers))
    try:
        work()
    finally:
        for _ in pieces:  # after an error: leave the helpers nothing
            pass
        _wait(futures)


def _submit(work: Callable[[], None], helpers: int) -> Iterator[Future[None]]:
    """Ask for helpers; fewer come when the interpreter is about to exit."""
    for _ in range(helpers):
        try:
            yield _shared_pool().submit(work)
        except RuntimeError:  # no threads are started any more
            return


def _wait(futures: Iterable[Future[None]]) -> None:
    """Until no helper works any more; one that has not begun will not be needed."""
    from concurrent.futures import wait

    begun = [future for future in futures if not future.cancel()]
    wait(begun)
    for future in begun:
        future.result()


def _shared_pool() -> ThreadPoolExecutor:
    global _pool
    from concurrent.futures import ThreadPoolExecutor

    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(available(), thread_name_prefix="luksmeta-sector")
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=_forget_pool)
        return _pool


def _forget_pool() -> None:
    """In a forked child: threads and a lock that one of them held stay behind in the parent."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()
