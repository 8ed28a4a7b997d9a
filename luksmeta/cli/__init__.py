"""The command line: entry point, and what every error and interrupt ends in.

The contract (commands, options, exit statuses) is in the README and in ``luksmeta --help``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    try:
        from luksmeta.cli.root import run
    except KeyboardInterrupt:  # so early that there is nothing to say it with
        sys.exit(130)
    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))
