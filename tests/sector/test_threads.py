from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luksmeta.sector import threads

PIECE = threads.PIECE_SIZE
SPLIT = threads.SPLIT_SIZE


@pytest.fixture(autouse=True)
def _four_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "available", lambda: 4)
    monkeypatch.setattr(threads, "_pool", None)  # it may have been made for fewer


def pieces_of(size: int, count: int | None = None) -> list[tuple[int, int]]:
    pieces: list[tuple[int, int]] = []
    threads.each_piece(lambda start, stop: pieces.append((start, stop)), size, count)
    return sorted(pieces)


@settings(deadline=None)
@given(st.integers(0, 40 * PIECE), st.integers(1, 6) | st.none())
def test_the_pieces_cover_the_run_once(size: int, count: int | None) -> None:
    end = 0
    for start, stop in pieces_of(size, count):
        assert start == end
        assert start % PIECE == 0
        end = stop
    assert end == size


@pytest.mark.parametrize(("size", "count"), [(0, None), (SPLIT - 1, None), (100 * SPLIT, 1)])
def test_a_short_run_or_one_thread_is_one_piece_in_the_callers_thread(
    size: int, count: int | None
) -> None:
    seen: list[tuple[int, int, int]] = []
    threads.each_piece(
        lambda start, stop: seen.append((start, stop, threading.get_ident())), size, count
    )
    assert seen == [(0, size, threading.get_ident())]


@pytest.mark.parametrize("count", [2, 4])
def test_as_many_threads_as_asked_for_work_at_a_time(count: int) -> None:
    together = threading.Barrier(count)  # breaks, and so raises, if one of them never comes

    def task(start: int, stop: int) -> None:
        together.wait(timeout=30)

    threads.each_piece(task, 4 * count * PIECE, count)


def test_what_a_task_raises_reaches_the_caller() -> None:
    def task(start: int, stop: int) -> None:
        raise LookupError(start)

    with pytest.raises(LookupError):
        threads.each_piece(task, 2 * SPLIT)


def test_a_helpers_error_reaches_the_caller() -> None:
    caller = threading.get_ident()
    helped = threading.Event()

    def task(start: int, stop: int) -> None:
        if threading.get_ident() == caller:
            helped.wait(timeout=30)
        else:
            helped.set()
            raise LookupError(start)

    with pytest.raises(LookupError):
        threads.each_piece(task, 2 * SPLIT)


def test_an_error_ends_the_work_of_all() -> None:
    caller = threading.get_ident()
    failed = threading.Event()
    started: list[int] = []

    def task(start: int, stop: int) -> None:
        started.append(start)
        if threading.get_ident() == caller:
            failed.set()
            raise LookupError(start)
        failed.wait(timeout=30)
        time.sleep(0.02)

    with pytest.raises(LookupError):
        threads.each_piece(task, 100 * SPLIT, 2)
    assert len(started) < threads.PIECES_PER_THREAD  # of twice as many


def test_several_callers_share_the_helpers() -> None:
    with ThreadPoolExecutor(8) as callers:
        sizes = list(callers.map(lambda size: sum(b - a for a, b in pieces_of(size)), [SPLIT] * 50))
    assert sizes == [SPLIT] * 50


def run_python(script: str) -> str:
    head = "from luksmeta.sector import threads; threads.available = lambda: 3\n"
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", head + script]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


SUM = """
def total():
    parts = []
    threads.each_piece(lambda start, stop: parts.append(stop - start), 4 * threads.SPLIT_SIZE)
    return sum(parts)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_starts_helpers_of_its_own() -> None:
    script = """
import os
first = total()
if (child := os.fork()) == 0:
    os._exit(0 if total() == first else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run_python(SUM + script) == "0"


def test_work_is_done_alone_while_the_interpreter_exits() -> None:
    script = """
import atexit, threading
atexit.register(lambda: print(total() == 4 * threads.SPLIT_SIZE))
total()
"""
    assert run_python(SUM + script) == "True"


def test_the_processors_that_may_be_used_are_counted() -> None:
    expected = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    command = "from luksmeta.sector import threads; print(threads.available())"
    counted = subprocess.run([sys.executable, "-c", command], capture_output=True, check=True)
    assert int(counted.stdout) == expected
