"""``mount``: the plaintext of a volume as a file."""

from __future__ import annotations

import functools
import os
import shlex
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from luksmeta.cli import output
from luksmeta.cli.background import is_behind, leave_terminal, run_behind
from luksmeta.cli.options import Command, FileName, json_option
from luksmeta.cli.source import Source
from luksmeta.cli.table_options import TableOptions, open_any, source_or_table_options
from luksmeta.cli.type_options import data_offset_option, refuse_data_offset


def _directory_last(command: Command) -> Command:
    """The only argument beside ``--table`` is DIR."""

    @functools.wraps(command)
    def shifted(*, image: str | None, directory: str | None, **values: Any) -> object:  # noqa: ANN401  # click's
        if directory is None:
            image, directory = None, image
        if directory is None:
            raise click.UsageError("Missing argument 'DIR'")
        return command(image=image, directory=Path(directory), **values)

    result: Any = shifted
    decorated: Command = result
    return decorated


@click.command("mount", short_help="Show the plaintext as a file in a directory, by FUSE.")
@_directory_last
@source_or_table_options
@click.argument("directory", type=FileName(), metavar="DIR", required=False)
@click.option("--writable", is_flag=True, help="Let the payload be written; default: read only.")
@click.option("--allow-other", is_flag=True, help="Let other users read it; see mount.fuse3(8).")
@click.option("--foreground", is_flag=True, help="Stay until it is unmounted.")
@data_offset_option
@json_option
def mount_command(
    *,
    source: Source,
    table: TableOptions,
    directory: Path,
    writable: bool,
    allow_other: bool,
    foreground: bool,
    offset: int,
    as_json: bool,
) -> int:
    """Show the plaintext as the file payload in the empty directory DIR.

    No root is needed, only FUSE. The command ends once it is mounted. fusermount3 -u DIR (or
    umount, for root) ends it: everything is flushed, and the key is wiped from memory. The file
    keeps its size, as a block device does: mkfs, fsck, debugfs and dd conv=notrunc work on it.
    """
    from luksmeta.fuse.mounting import mount, require_mountable

    refuse_data_offset(source.layout, offset)
    require_mountable(directory)

    def say(told: Mapping[str, Any]) -> None:
        _say(source.image, told, as_json=as_json)

    if not foreground and not is_behind():
        return run_behind(output.session.arguments, say)

    def ready() -> None:
        told = {
            "payload": str(directory / "payload"),
            "size": size,
            "writable": writable,
            "pid": os.getpid(),
        }
        if is_behind():
            leave_terminal(told)
        else:
            say(told)

    with (
        open_any(source, table, offset, writable=writable) as data,
        data.open(writable=writable) as stream,
    ):
        size = stream.size
        _leave_signals_to_libfuse()
        mount(
            stream,
            directory,
            name=source.image,
            writable=writable,
            allow_other=allow_other,
            ready=ready,
        )
    return 0


def _say(image: str, told: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.say_json(told)
    else:
        access = "read and written" if told["writable"] else "read"
        output.say(f"{told['payload']}: the {told['size']} bytes of {image}, to be {access}")
        directory = str(Path(told["payload"]).parent)
        output.say(f"fusermount3 -u {shlex.quote(directory)} ends it")
    sys.stdout.flush()


def _leave_signals_to_libfuse() -> None:
    """libfuse unmounts on a signal, unless somebody else answers it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
