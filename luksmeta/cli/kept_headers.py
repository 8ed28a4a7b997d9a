"""Where the header that a command replaces is kept: the same for every such command."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import click

from luksmeta.cli import output
from luksmeta.cli.options import Command, NewFileName
from luksmeta.errors import StorageExistsError
from luksmeta.prepared_change import PreparedChange
from luksmeta.storage import Storage

Step = Mapping[str, int | str]


class BackupNameError(click.UsageError):
    """There is no good place beside the image for a copy of its header."""


def backup_option(suffix: str, when: str = "") -> Callable[[Command], Command]:
    """``--backup``; the command gets ``backup_file: str | None``."""
    decorate: Callable[[Command], Command] = click.option(
        "--backup",
        "backup_file",
        type=NewFileName(),
        metavar="FILE",
        help=f"A new file for the header as it is{when}; without it IMAGE{suffix}, or -2, -3… "
        "behind that name. A device has no such place: name one.",
    )
    return decorate


def new_name(header_file: str, wanted: str | None, suffix: str) -> str:
    """The name of the new file: the one that is wanted, or one beside the header's own file.

    StorageExistsError for a name that is taken; BackupNameError for a device, which has no place
    beside it.
    """
    if wanted is not None and os.path.lexists(wanted):
        raise StorageExistsError("file exists").about(wanted)
    if wanted is not None:
        return wanted
    if not Path(header_file).is_file():
        raise BackupNameError(f"{header_file} is a device: name a file with --backup")
    names = itertools.chain(
        [f"{header_file}{suffix}"],
        (f"{header_file}{suffix}-{number}" for number in itertools.count(2)),
    )
    return next(name for name in names if not os.path.lexists(name))


def steps(change: PreparedChange, storage: Storage, backup_file: str | None) -> list[Step]:
    """The write plan, with the new file, if there is one, first."""
    kept: list[Step] = []
    if backup_file is not None:
        plan = change.copy_plan(storage)
        kept = [
            {"change": plan.what, **step, "what": f"{step['what']}, in a new file {backup_file}"}
            for step in plan.describe()
        ]
    return [*kept, *output.steps_of(change.plans)]
