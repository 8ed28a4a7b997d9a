"""``mount``: the plaintext of a volume as a file."""

from __future__ import annotations

import functools
import os
import signal
import sys
from pathlib import Path
from typing import Any

import click

from luksmeta.cli import output
from luksmeta.cli.background import leave_terminal, ready_option, run_behind
from luksmeta.cli.headerless import TypeOptions, type_options
from luksmeta.cli.key_options import UnlockOptions, unlock_options
from luksmeta.cli.options import (
    Command,
    FileName,
    VolumeOptions,
    json_option,
    policy_option,
)
from luksmeta.cli.seal_options import SealOptions, seal_options
from luksmeta.cli.table_options import TableOptions, open_any, volume_or_table_options


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


@click.command("mount")
@_directory_last
@volume_or_table_options
@click.argument("directory", type=FileName(), metavar="DIR", required=False)
@unlock_options()
@seal_options
@type_options
@policy_option
@click.option("--writable", is_flag=True, help="Let the payload be written; default: read only.")
@click.option("--allow-other", is_flag=True, help="Let other users see it; see mount.fuse3(8).")
@click.option("--foreground", is_flag=True, help="Stay until it is unmounted.")
@click.option(
    "--offset",
    type=click.IntRange(min=0),
    default=0,
    metavar="SECTORS",
    help="Without a header: the data's first sector in IMAGE.",
)
@ready_option
@json_option
def mount_command(
    *,
    volume: VolumeOptions,
    table: TableOptions,
    directory: Path,
    key: UnlockOptions,
    seal: SealOptions,
    layout: TypeOptions,
    policy: str | None,
    writable: bool,
    allow_other: bool,
    foreground: bool,
    offset: int,
    ready_descriptor: int | None,
    as_json: bool,
) -> int:
    """Show the plaintext as the file payload in the empty directory DIR.

    No root is needed, only FUSE. The command ends once it is mounted. fusermount3 -u DIR (or
    umount, for root) ends it: everything is flushed, and the key is wiped from memory. The file
    keeps its size, as a block device does: mkfs, fsck, debugfs and dd conv=notrunc work on it.
    """
    from luksmeta.fuse.mounting import mount, require_mountable

    if offset and layout.type == "luks":
        raise click.UsageError("--offset has no meaning for --type luks")
    require_mountable(directory)
    if not foreground and ready_descriptor is None:
        return run_behind(sys.argv[1:])
    leave = leave_terminal(ready_descriptor)

    def ready() -> None:
        _say(volume, directory, size, writable=writable, as_json=as_json)
        leave()

    with (
        open_any(
            volume, table, key, layout, offset, seal, writable=writable, policy=policy
        ) as data,
        data.open(writable=writable) as stream,
    ):
        size = stream.size
        _leave_signals_to_libfuse()
        mount(
            stream,
            directory,
            name=volume.image,
            writable=writable,
            allow_other=allow_other,
            ready=ready,
        )
    return 0


def _say(
    volume: VolumeOptions, directory: Path, size: int, *, writable: bool, as_json: bool
) -> None:
    payload = directory / "payload"
    if as_json:
        output.say_json(
            {"payload": str(payload), "size": size, "writable": writable, "pid": os.getpid()}
        )
    else:
        access = "read and written" if writable else "read"
        output.say(f"{payload}: the {size} bytes of {volume.image}, to be {access}")
        output.say(f"fusermount3 -u {directory} ends it")
    sys.stdout.flush()


def _leave_signals_to_libfuse() -> None:
    """libfuse unmounts on a signal, unless somebody else answers it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
