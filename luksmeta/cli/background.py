"""Commands that go on behind the shell: a second process does the work, the first one waits for it.

The second process is the same command once more, so that it asks for the passphrase and says what
is wrong on the same terminal; only when all is well does it leave that.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

import click

ready_option = click.option(
    "--ready-descriptor", type=int, hidden=True, help="Where the second process says it is ready."
)
"""Where the second process says that all is well; the command gets ``ready_descriptor``."""


def run_behind(arguments: Sequence[str]) -> int:
    """Run ``luksmeta`` with these arguments; the exit status: 0 once it says that all is well."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering=0) as answer:
        try:
            process = subprocess.Popen(  # noqa: S603  # this command itself, with its own arguments
                [sys.executable, "-m", "luksmeta", *arguments, f"--ready-descriptor={writer}"],
                pass_fds=(writer,),
            )
        finally:
            os.close(writer)
        try:
            if answer.read(1):
                return 0
            return process.wait()
        except KeyboardInterrupt:  # Ctrl-C is for both; another signal may be for this one alone
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            process.wait()
            raise


def leave_terminal(descriptor: int | None) -> Callable[[], None]:
    """What the second process calls when all is well: it goes on without its terminal."""

    def leave() -> None:
        if descriptor is None:
            return
        os.setsid()
        os.chdir("/")
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(nothing, standard)
        os.close(nothing)
        os.write(descriptor, b"1")
        os.close(descriptor)

    return leave
