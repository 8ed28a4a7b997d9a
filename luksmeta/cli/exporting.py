"""``export-header``."""

from __future__ import annotations

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


@click.command("export-header")
@volume_options
@click.option(
    "-o",
    "--output",
    "output_file",
    required=True,
    type=NewFileName(),
    metavar="FILE",
    help="A new file, mode 0400.",
)
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
        if dry_run:
            size = opened.header.backup_size
            output.say_new_file(output_file, size, "header and keyslot areas", as_json=as_json)
            return
        with interrupts.making(output_file):
            size = backup.create(opened, output_file)
        if as_json:
            output.say_json(
                {"file": output_file, "size": size, "uuid": opened.uuid, "policy": policy}
            )
        else:
            output.say(f"{output_file}: {size} bytes, header of volume {opened.uuid}")
