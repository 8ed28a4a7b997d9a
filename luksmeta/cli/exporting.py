"""``backup-header`` and ``export-header``: a header in a new file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from luksmeta import backup
from luksmeta.cli import interrupts, output
from luksmeta.cli.options import (
    NewFileName,
    VolumeOptions,
    dry_run_option,
    json_option,
    volume_options,
)
from luksmeta.cli.unlocking import open_header_for
from luksmeta.volume import Volume


def _output_option(*names: str) -> Callable[[Any], Any]:
    return click.option(
        "-o",
        "--output",
        *names,
        "output_file",
        required=True,
        type=NewFileName(),
        metavar="FILE",
        help="A new file, mode 0400.",
    )


@click.command("backup-header", short_help="Copy header and keyslots to a new file.")
@volume_options
@_output_option("--header-backup-file")
@json_option
@dry_run_option
def backup_header_command(
    *, volume: VolumeOptions, output_file: str, as_json: bool, dry_run: bool
) -> None:
    """Copy header and keyslots to a new file, as cryptsetup's luksHeaderBackup does.

    The backup opens the volume with today's passphrases for ever: keep it as safe as they are.
    """
    with open_header_for(volume) as opened:
        _copy(opened, output_file, {}, as_json=as_json, dry_run=dry_run)


@click.command("export-header", short_help="Check the header, and write it to a new file.")
@volume_options
@_output_option()
@click.option(
    "--policy",
    default="default",
    show_default=True,
    metavar="NAME|FILE",
    help="What the header must be like; see check.",
)
@json_option
@dry_run_option
def export_header_command(
    *, volume: VolumeOptions, output_file: str, policy: str, as_json: bool, dry_run: bool
) -> None:
    """Check the header, and write the very bytes that were checked to a new file.

    cryptsetup open --header FILE, and --header FILE here, then use a header that nobody can change
    who can write to IMAGE alone: keep FILE where they cannot.
    """
    with open_header_for(volume, policy=policy) as opened:
        _copy(opened, output_file, {"policy": policy}, as_json=as_json, dry_run=dry_run)


def _copy(
    opened: Volume, output_file: str, about: dict[str, str], *, as_json: bool, dry_run: bool
) -> None:
    """The header in its new file; ``about`` is what the document says besides."""
    if dry_run:
        size = opened.header.backup_size
        output.say_new_file(output_file, size, "header and keyslot areas", as_json=as_json)
        return
    with interrupts.making(output_file):
        size = backup.create(opened, output_file)
    with output.after_making(output_file):
        if as_json:
            output.say_json({"file": output_file, "size": size, "uuid": opened.uuid, **about})
        else:
            output.say(f"{output_file}: {size} bytes, header of volume {opened.uuid}")
