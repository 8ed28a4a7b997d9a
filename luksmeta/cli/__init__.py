"""The command line: entry point, and what every error and interrupt ends in.

The contract (commands, options, exit statuses) is in the README and in ``luksmeta --help``.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from typing import Final

_COLLECT_EVERY: Final = 50_000
"""New objects; by default 700, and imports make so many that collecting them took 5 ms of each
command and freed nothing."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    gc.set_threshold(_COLLECT_EVERY)
    try:
        from luksmeta.cli.root import run
    except KeyboardInterrupt:  # so early that there is nothing to say it with
        sys.exit(130)
    try:
        sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))
    finally:
        gc.freeze()  # the system takes the memory back: looking for cycles in it took 13 ms
