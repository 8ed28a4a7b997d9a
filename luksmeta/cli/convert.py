"""``convert``."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import Final

import click

from luksmeta import convert
from luksmeta.cli import interrupts, kept_headers, output, prompt
from luksmeta.cli.options import VolumeOptions, dry_run_option, json_option, volume_options
from luksmeta.cli.unlocking import open_to_change
from luksmeta.convert import Conversion
from luksmeta.convert_plans import NO_VERSION
from luksmeta.errors import HeaderError, VersionError
from luksmeta.format_options import Version
from luksmeta.volume import Volume

_SUFFIX: Final = ".before-convert"


@click.command("convert")
@volume_options
@click.option(
    "--type",
    "wanted",
    type=click.Choice(["luks1", "luks2"]),
    required=True,
    help="The version that the header is to have.",
)
@kept_headers.backup_option(_SUFFIX, ", also where none is needed")
@json_option
@dry_run_option
def convert_command(
    *,
    volume: VolumeOptions,
    wanted: Version,
    backup_file: str | None,
    as_json: bool,
    dry_run: bool,
) -> None:
    """Give a volume a header of the other LUKS version. Data, keyslots and passphrases stay.

    The volume opens at every moment, whenever the conversion is cut off, and then has the old
    header or the new one. Only where its keyslots leave no room to move is the header first copied
    to a new file, which brings it back should the machine fail, and goes when all went well; one
    that is named with --backup stays.
    """
    with _opened(volume, dry_run=dry_run) as opened:
        conversion = convert.prepare(opened, wanted)
        kept = None
        if conversion.needs_backup or backup_file is not None:
            kept = kept_headers.new_name(volume.header_file, backup_file, _SUFFIX)
        _warn(volume.header_file, conversion, kept)
        if dry_run:
            _say_plan(opened, conversion, kept, as_json=as_json)
            return
        prompt.confirm(
            volume.header_file,
            f"its header will be converted to {wanted.upper()}",
            batch_mode=volume.batch_mode,
        )
        with interrupts.held() if conversion.needs_backup else contextlib.nullcontext():
            conversion.apply(opened, kept, keep=backup_file is not None)
        keyslots = sorted(opened.metadata.keyslots)
        if as_json:
            lost = list(conversion.notes)
            output.say_json(
                {"format": wanted, "uuid": opened.uuid, "keyslots": keyslots, "notes": lost}
            )
        else:
            output.say(f"{volume.header_file}: converted to {wanted.upper()}")


def _opened(volume: VolumeOptions, *, dry_run: bool) -> Volume:
    """The volume; of one that a conversion has left half done, the error says how to go on."""
    try:
        return open_to_change(volume, dry_run=dry_run)
    except VersionError as error:
        file = f"{volume.header_file}{_SUFFIX}"
        if error.version != NO_VERSION or not Path(file).exists():
            raise
        command = shlex.join(["luksmeta", "restore-header", volume.header_file, "-i", file])
        text = f"{error.text}; bring it back with: {command}"
        raise HeaderError(text).about(volume.header_file) from error


def _warn(name: str, conversion: Conversion, kept: str | None) -> None:
    for note in conversion.notes:
        output.warning(f"{name}: {note}")
    if conversion.needs_backup:
        command = shlex.join(["luksmeta", "restore-header", name, "-i", str(kept)])
        output.warning(
            f"{name}: no room to move keyslots safely; should the machine fail meanwhile, bring "
            f"them back with: {command}"
        )


def _say_plan(opened: Volume, conversion: Conversion, kept: str | None, *, as_json: bool) -> None:
    steps = kept_headers.steps(conversion.change, opened.header_storage, kept)
    if as_json:
        notes = list(conversion.notes)
        output.say_json({"plan": steps, "notes": notes, "backup": kept})
    else:
        output.say_steps(steps, as_json=False)
