"""The time and memory that one execution may take."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

CPU_SECONDS: Final = 1.0  # of the processor: other programs' work on the machine does not count
MEMORY: Final = 64 << 20  # bytes by which the process's peak may grow
_UNIT: Final = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss


class BoundsError(Exception):
    """An execution took more than it may."""


@contextmanager
def bounded() -> Iterator[None]:
    """BoundsError when what is done in here has taken too much time, or too much memory."""
    started, before = time.process_time(), peak()
    yield
    taken, grown = time.process_time() - started, peak() - before
    if taken > CPU_SECONDS:
        raise BoundsError(f"{taken:.2f} s of the processor, {CPU_SECONDS} s are the limit")
    if grown > MEMORY:
        raise BoundsError(f"{grown >> 20} MiB more memory than ever, {MEMORY >> 20} are the limit")


def peak() -> int:
    """The most memory that this process has had so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
