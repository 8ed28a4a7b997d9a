"""``backup-header``, ``restore-header`` and ``erase``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Final

import click

from luksmeta import backup, requirements
from luksmeta.cli import interrupts, output, prompt
from luksmeta.cli.options import (
    FileName,
    NewFileName,
    VolumeOptions,
    dry_run_option,
    json_option,
    volume_options,
)
from luksmeta.cli.unlocking import open_header_for, open_to_change
from luksmeta.luks2.limits import HDR_SIZES, KEYSLOTS_AREA_MAX
from luksmeta.model import AnyKeyslot, Keyslot
from luksmeta.storage import FileStorage, MemoryStorage, Storage

_BACKUP_MAX: Final = 2 * HDR_SIZES[-1] + KEYSLOTS_AREA_MAX  # bytes


@click.command("backup-header")
@volume_options
@click.option(
    "-o",
    "--output",
    "--header-backup-file",
    "output_file",
    required=True,
    type=NewFileName(),
    metavar="FILE",
    help="A new file, mode 0400.",
)
@json_option
@dry_run_option
def backup_header_command(
    *, volume: VolumeOptions, output_file: str, as_json: bool, dry_run: bool
) -> None:
    """Copy header and keyslots to a new file, as cryptsetup's luksHeaderBackup does.

    The backup opens the volume with today's passphrases for ever: keep it as safe as they are.
    """
    with open_header_for(volume) as opened:
        if dry_run:
            size = opened.header.backup_size
            output.say_new_file(output_file, size, "header and keyslot areas", as_json=as_json)
            return
        with interrupts.making(output_file):
            size = backup.create(opened, output_file)
        if as_json:
            output.say_json({"file": output_file, "size": size, "uuid": opened.uuid})
        else:
            output.say(f"{output_file}: {size} bytes, header of volume {opened.uuid}")


@click.command("restore-header")
@volume_options
@click.option(
    "-i",
    "--input",
    "--header-backup-file",
    "input_file",
    required=True,
    type=FileName(),
    metavar="FILE",
    help="The header backup; - is standard input.",
)
@json_option
@dry_run_option
def restore_header_command(
    *, volume: VolumeOptions, input_file: str, as_json: bool, dry_run: bool
) -> None:
    """Bring a header backup back, after a comparison.

    Keyslots come back as they were, revoked passphrases too; those made since then are lost.
    """
    with (
        _source(input_file) as source,
        FileStorage(volume.header_file, writable=not dry_run) as storage,
    ):
        restoration = backup.prepare(storage, source)
        for note in restoration.notes:
            output.warning(f"{volume.header_file}: {note}")
        if dry_run:
            output.say_plans([restoration.plan], as_json=as_json)
            return
        prompt.confirm(
            f"{volume.header_file}: header and keyslots will be replaced by those of {input_file}",
            batch_mode=volume.batch_mode,
        )
        restoration.apply(storage)
        metadata = restoration.header.metadata
        if as_json:
            output.say_json({"uuid": metadata.uuid, "keyslots": sorted(metadata.keyslots)})
        else:
            output.say(f"{volume.header_file}: header of volume {metadata.uuid} restored")


@click.command("erase")
@volume_options
@json_option
@dry_run_option
def erase_command(*, volume: VolumeOptions, as_json: bool, dry_run: bool) -> None:
    """Remove every keyslot that opens the volume. Only a header backup brings the data back.

    The header itself stays, and so do unbound keyslots, which open no data.
    """
    allow = requirements.allow_removal
    with open_to_change(volume, dry_run=dry_run, allow=allow) as opened:
        erased = sorted(opened.metadata.bound_keyslots)
        if not dry_run:
            prompt.confirm(
                f"{volume.header_file}: {_counted(erased)} will be erased, and the data with that",
                batch_mode=volume.batch_mode,
                refused=prompt.RemovalRefusedError,
            )
        opened.erase()
        left = sorted(opened.metadata.keyslots)
        if dry_run:
            output.say_plans(opened.written, as_json=as_json)
        elif as_json:
            output.say_json({"erased": erased, "left": left})
        else:
            output.say(f"{volume.header_file}: {_counted(erased)} erased")
            _say_what_stays(opened.metadata.keyslots)


def _source(name: str) -> Storage:
    """The backup; one that comes through standard input is kept in memory."""
    if name != "-":
        return FileStorage(name)
    content = bytearray()
    while part := os.read(prompt.STDIN, _BACKUP_MAX + 1 - len(content)):
        content += part
    if len(content) > _BACKUP_MAX:
        raise prompt.InputError(
            f"standard input: more than {_BACKUP_MAX} bytes, the most of a LUKS2 header"
        )
    return MemoryStorage(content, name="standard input", writable=False)


def _counted(keyslots: Sequence[int]) -> str:
    return f"{len(keyslots)} keyslot" + ("" if len(keyslots) == 1 else "s")


def _say_what_stays(keyslots: Mapping[int, AnyKeyslot]) -> None:
    for keyslot_id, keyslot in sorted(keyslots.items()):
        kind = "unbound" if isinstance(keyslot, Keyslot) else keyslot.type
        output.say(f"  keyslot {keyslot_id} ({kind}) stays")
