"""Progress on a terminal's standard error, once work takes long enough to need it."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from luksmeta.cli import output

Show: TypeAlias = Callable[[int, int], None]
"""Called with what is done and what is to be done."""

_QUIET_SECONDS: Final = 0.7  # work shorter than this shows no progress


@contextlib.contextmanager
def bar(what: str, *, first: str | None = None) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal's standard error, once the work takes long enough to need one.

    Gives a function to call with the bytes done and the bytes to do. ``first`` names the work that
    goes before its first call.
    """
    if not is_shown():
        yield lambda done, total: None
        return
    shown = _Bar(what, first)
    try:
        yield shown.update
    finally:
        shown.close()


@contextlib.contextmanager
def count(what: str, unit: str) -> Iterator[Callable[[int, int | None], None]]:
    """Progress of work that is counted in ``unit``, on a terminal's standard error.

    Gives a function to call with how many are done, and how many there are where that is known.
    """
    if not is_shown():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    started, first = time.monotonic(), None
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit + "{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task(what, total=None, rate="")

        def show(done: int, total: int | None) -> None:
            nonlocal first
            first = done - 1 if first is None else first
            rate = (done - first) / max(time.monotonic() - started, 1e-3)
            bar.update(task, completed=done, total=total, rate=f", {rate:.3g}/s")

        yield show


def end_line() -> None:
    """End the line of a prompt that was left, on a terminal."""
    if is_shown():
        output.show("")


def is_shown() -> bool:
    """Whether somebody sees it: standard error is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


class _Bar:
    def __init__(self, what: str, first: str | None) -> None:
        self._what = what
        self._started: float | None = None
        self._stack = contextlib.ExitStack()
        self._show: Callable[[int, int], None] | None = None
        if first is not None:
            self._stack.enter_context(waiting(first))

    def update(self, done: int, total: int) -> None:
        if self._started is None:
            self._stack.close()
            self._started = time.monotonic()
        if self._show is None:
            if time.monotonic() - self._started < _QUIET_SECONDS:
                return
            self._show = self._opened(total)
        self._show(done, total)

    def close(self) -> None:
        self._stack.close()

    def _opened(self, total: int) -> Callable[[int, int], None]:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        bar = self._stack.enter_context(
            Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                DownloadColumn(binary_units=True),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
        )
        task = bar.add_task(self._what, total=total)
        return lambda done, total: bar.update(task, completed=done, total=total)


@contextlib.contextmanager
def waiting(what: str) -> Iterator[None]:
    """A spinner on a terminal's standard error while a key is derived, if that takes a while."""
    if not is_shown():
        yield
        return
    with contextlib.ExitStack() as shown:
        timer = threading.Timer(_QUIET_SECONDS, _spin, (what, shown))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


def _spin(what: str, shown: contextlib.ExitStack) -> None:
    from rich.console import Console

    shown.enter_context(Console(stderr=True).status(f"{what} …"))
