"""``--read-log``: a record of which bytes of the evidence were read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from luksmeta.cli import output
from luksmeta.cli.options import NewFileName
from luksmeta.file_storage import FileStorage

if TYPE_CHECKING:
    from luksmeta.forensics.read_log import ReadLog

read_log_option: Final = click.option(
    "--read-log",
    type=NewFileName(),
    metavar="FILE",
    help="Write to a new FILE which bytes were read, with their SHA-256.",
)


@contextmanager
def log_to(name: str | None) -> Iterator[ReadLog | None]:
    """The log in a new file; StorageBusyError when the name is taken, also that of a disk."""
    if name is None:
        yield None
        return
    from luksmeta.forensics.read_log import ReadLog

    with (
        FileStorage.create(name) as file,
        open(file.fileno(), "w", encoding="utf-8", closefd=False) as stream,  # a descriptor
        output.errors_of(name),
    ):
        yield ReadLog(stream, name)
