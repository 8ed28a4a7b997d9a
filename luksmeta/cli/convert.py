"""``convert``."""

from __future__ import annotations

import click

from luksmeta import convert
from luksmeta.cli import output, prompt
from luksmeta.cli.options import VolumeOptions, dry_run_option, json_option, volume_options
from luksmeta.cli.unlocking import open_to_change
from luksmeta.convert import Conversion
from luksmeta.formatting import Version


@click.command("convert")
@volume_options
@click.option(
    "--type",
    "wanted",
    type=click.Choice(["luks1", "luks2"]),
    required=True,
    help="The version that the header is to have.",
)
@json_option
@dry_run_option
def convert_command(
    *, volume: VolumeOptions, wanted: Version, as_json: bool, dry_run: bool
) -> None:
    """Give a volume a header of the other LUKS version. Data, keyslots and passphrases stay.

    The volume opens at every moment, whenever the conversion is cut off, and then has the old
    header or the new one. Only where its keyslots leave no room to move is the header first backed
    up beside it, as IMAGE.header-backup, which goes when all went well.
    """
    with open_to_change(volume, dry_run=dry_run) as opened:
        conversion = convert.prepare(opened, wanted)
        backup_file = _backup_file(volume, conversion)
        for note in conversion.notes:
            output.warning(f"{volume.header_file}: {note}")
        if backup_file is not None:
            output.warning(
                f"{volume.header_file}: no room to move keyslots safely; a crash can cost them, "
                f"and {backup_file} brings them back with restore-header"
            )
        if dry_run:
            output.say_plans((each.plan for each in conversion.changes), as_json=as_json)
            return
        prompt.confirm(
            f"{volume.header_file}: its header will be converted to {wanted.upper()}",
            batch_mode=volume.batch_mode,
            refused=prompt.RemovalRefusedError,
        )
        conversion.apply(opened, backup_file)
        keyslots = sorted(opened.metadata.keyslots)
        if as_json:
            lost = list(conversion.notes)
            output.say_json(
                {"format": wanted, "uuid": opened.uuid, "keyslots": keyslots, "notes": lost}
            )
        else:
            output.say(f"{volume.header_file}: converted to {wanted.upper()}")


def _backup_file(volume: VolumeOptions, conversion: Conversion) -> str | None:
    return f"{volume.header_file}.header-backup" if conversion.needs_backup else None
