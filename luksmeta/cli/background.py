"""Commands that go on behind the shell: a second process does the work, the first one waits for it.

The second process is the same command once more, so that it asks for the passphrase and says what
is wrong on the same terminal; only when all is well does it leave that, and the first one says so.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

_VARIABLE: Final = "LUKSMETA_READY_DESCRIPTOR"
Say = Callable[[Mapping[str, Any]], None]


def is_behind() -> bool:
    """Whether this is the second process."""
    return _VARIABLE in os.environ


def run_behind(arguments: Sequence[str], say: Say) -> int:
    """Run ``luksmeta`` with these arguments; the exit status: 0 once it tells that all is well.

    ``say`` says what it tells. Where that cannot be said, the second process is ended.
    """
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as answer:
        try:
            # -P: what lies in the working directory is not to be run.
            process = subprocess.Popen(  # noqa: S603  # this command itself, with its own arguments
                [sys.executable, "-P", "-m", "luksmeta", *arguments],
                pass_fds=(writer,),
                env={**os.environ, _VARIABLE: str(writer)},
            )
        finally:
            os.close(writer)
        try:
            told = answer.read()
            if not told:
                status = process.wait()
                return status if status >= 0 else 128 - status
            say(json.loads(told))
        except BaseException:  # Ctrl-C is for both; another signal may be for this one alone
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            process.wait()
            raise
    return 0


def leave_terminal(told: Mapping[str, Any]) -> None:
    """What the second process does when all is well: it goes on without its terminal."""
    descriptor = int(os.environ.pop(_VARIABLE))
    os.setsid()
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    os.close(nothing)
    with os.fdopen(descriptor, "wb") as answer:
        answer.write(json.dumps(told).encode())
