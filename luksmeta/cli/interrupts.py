"""Signals that end the process, answered at once, also in the middle of a key derivation.

Python runs its signal handlers between two of its instructions, and a key derivation is one
instruction that may take minutes, or hours when a hostile header asks for it. So a second thread
listens for the signal and ends the process when the main thread does not answer in time. No volume
is lost by that: every change of a header can be cut off at any point. New files that are not
complete yet are removed first.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Final

PATIENCE_SECONDS: Final = 0.5
_CURSOR_SHOWN: Final = "\x1b[?25h\n"  # ECMA-48 as every terminal knows it: spinners hide it
_NAMES: Final = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
_SIGNALS: Final = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_incomplete: set[str] = set()
_watches: list[_Watch] = []  # the running one
_is_free = threading.Event()  # not within held()
_is_free.set()
_late: list[int] = []


class Ended(KeyboardInterrupt):
    """One of the signals came: raised in the main thread, wherever that is."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def status(interrupt: KeyboardInterrupt) -> int:
    """The exit status of a process that a signal ends, as shells have it: 130 for Ctrl-C."""
    return 128 + _number(interrupt)


def describe(interrupt: KeyboardInterrupt) -> str:
    """What happened, for the one line of the error."""
    return _text(_number(interrupt))


@contextlib.contextmanager
def answered_at_once() -> Iterator[None]:
    """Signals raise :class:`Ended`, or, where they cannot, end the process half a second later.

    A signal that the parent had ignored (``nohup``) stays ignored. A reader who has left ends the
    process without a word, as he ends every filter. Does nothing outside the main thread, where no
    signal handler can be set. Afterwards all is as it was.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    watch = _Watch()
    with contextlib.ExitStack() as restored:
        if hasattr(signal, "SIGPIPE"):
            _set_handler(restored, signal.SIGPIPE, signal.SIG_DFL)
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                _set_handler(restored, number, watch.answer)
        _watches.append(watch)
        restored.callback(_watches.pop)
        before = signal.set_wakeup_fd(watch.writer, warn_on_full_buffer=False)
        restored.callback(watch.end)
        restored.callback(signal.set_wakeup_fd, before)
        yield


@contextlib.contextmanager
def never_ignored(*numbers: signal.Signals) -> Iterator[None]:
    """These signals raise :class:`Ended` in here, also where the parent had ignored them.

    For what nothing but a signal ends: shells ignore SIGINT for what they run in the background.
    """
    with contextlib.ExitStack() as restored:
        for watch, number in itertools.product(_watches, numbers):
            _set_handler(restored, number, watch.answer)
        yield


@contextlib.contextmanager
def incomplete(*names: str) -> Iterator[None]:
    """Files that must not stay behind when the process is ended in here."""
    _incomplete.update(names)
    try:
        yield
    finally:
        _incomplete.difference_update(names)


def making(*names: str) -> contextlib.AbstractContextManager[None]:
    """The same for those of the files that do not exist yet."""
    return incomplete(*(name for name in names if not Path(name).exists()))


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Signals wait for the end of the block, which must not be cut off, however long it takes."""
    _is_free.clear()
    try:
        yield
    finally:
        _is_free.set()
        late = _late.copy()
        _late.clear()
    for number in late:
        handler = signal.getsignal(number)
        if callable(handler):
            handler(number, None)


class _Watch:
    """The thread that sees signals which the main thread does not come to see."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        if sys.platform != "win32":  # there it is not asked for
            os.set_blocking(self.writer, False)
        self._answered, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def answer(self, number: int, _frame: FrameType | None) -> None:
        """The signal handler. Once is enough: a second one would cut the cleaning up short."""
        if not _is_free.is_set():
            _late.append(number)
        elif not self._answered.is_set():
            self._answered.set()
            raise Ended(number)

    def end(self) -> None:
        """End the thread."""
        self._over.set()
        os.close(self.writer)
        self._thread.join()
        os.close(self._reader)

    def _run(self) -> None:
        awaited = self._answered
        while received := os.read(self._reader, 1):
            if received[0] not in _SIGNALS:
                continue
            _is_free.wait()
            if not awaited.wait(PATIENCE_SECONDS):
                _end_process(received[0])
            awaited = self._over  # who asks again wants to see the end


def _end_process(number: int) -> None:
    for name in tuple(_incomplete):
        with contextlib.suppress(OSError):
            Path(name).unlink()
    with contextlib.suppress(OSError):
        if sys.stderr.isatty():
            sys.stderr.write(_CURSOR_SHOWN)
        sys.stderr.write(f"luksmeta: error: {_text(number)}\n")
        sys.stderr.flush()
    os._exit(128 + number)


def _set_handler(
    restored: contextlib.ExitStack, number: signal.Signals, handler: signal._HANDLER
) -> None:
    restored.callback(signal.signal, number, signal.signal(number, handler))


def _number(interrupt: KeyboardInterrupt) -> int:
    return interrupt.number if isinstance(interrupt, Ended) else signal.SIGINT


def _text(number: int) -> str:
    return "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
