"""Ctrl-C that is answered at once, also in the middle of a key derivation.

Python runs its signal handlers between two of its instructions, and a key derivation is one
instruction that may take minutes, or hours when a hostile header asks for it. So a second thread
listens for the signal and ends the process when the main thread does not answer in time. No volume
is lost by that: every change of a header can be cut off at any point. New files that are not
complete yet are removed first.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PATIENCE_SECONDS: Final = 0.5
_STATUS: Final = 130
_CURSOR_SHOWN: Final = "\x1b[?25h\n"  # ECMA-48 as every terminal knows it: spinners hide it
_incomplete: set[str] = set()


@contextlib.contextmanager
def answered_at_once() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, or, where it cannot, ends the process half a second later.

    Does nothing outside the main thread, where no signal handler can be set.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()
    if sys.platform != "win32":  # there it is not asked for
        os.set_blocking(writer, False)
    answered = threading.Event()
    before_fd = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    before = signal.signal(signal.SIGINT, lambda *_: _answer(answered))
    watcher = threading.Thread(target=_watch, args=(reader, answered), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        signal.set_wakeup_fd(before_fd)
        os.close(writer)
        watcher.join()
        os.close(reader)


@contextlib.contextmanager
def incomplete(*names: str) -> Iterator[None]:
    """Files that must not stay behind when the process is ended in here."""
    _incomplete.update(names)
    try:
        yield
    finally:
        _incomplete.difference_update(names)


def _answer(answered: threading.Event) -> None:
    answered.set()
    raise KeyboardInterrupt


def _watch(reader: int, answered: threading.Event) -> None:
    while received := os.read(reader, 1):
        if received[0] == signal.SIGINT and not answered.wait(PATIENCE_SECONDS):
            for name in tuple(_incomplete):
                with contextlib.suppress(OSError):
                    Path(name).unlink()
            with contextlib.suppress(OSError):
                if sys.stderr.isatty():
                    sys.stderr.write(_CURSOR_SHOWN)
                sys.stderr.write("luksmeta: error: interrupted\n")
                sys.stderr.flush()
            os._exit(_STATUS)
