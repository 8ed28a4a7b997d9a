"""``restore-header``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

import click

from luksmeta import backup
from luksmeta.backup import Restoration
from luksmeta.cli import comparison_page, kept_headers, output, prompt
from luksmeta.cli.options import (
    FileName,
    VolumeOptions,
    dry_run_option,
    json_option,
    volume_options,
)
from luksmeta.errors import HeaderError, NotLuksError
from luksmeta.file_storage import FileStorage
from luksmeta.luks2.limits import HDR_SIZES, KEYSLOTS_AREA_MAX
from luksmeta.storage import MemoryStorage, Storage
from luksmeta.target import open_storage

_SUFFIX: Final = ".before-restore"
_BACKUP_MAX: Final = 2 * HDR_SIZES[-1] + KEYSLOTS_AREA_MAX  # bytes


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
@kept_headers.backup_option(_SUFFIX, ", where restoring loses any of it")
@click.option("--no-backup", is_flag=True, help="Keep nothing of what is there.")
@json_option
@dry_run_option
def restore_header_command(
    *,
    volume: VolumeOptions,
    input_file: str,
    backup_file: str | None,
    no_backup: bool,
    as_json: bool,
    dry_run: bool,
) -> None:
    """Bring a header backup back, after a comparison.

    Keyslots come back as they were, revoked passphrases too; those made since then are lost. What
    lies there is first copied to a new file, unless it is all zeroes or the same already.
    """
    if no_backup and backup_file is not None:
        raise click.UsageError("--backup and --no-backup exclude each other")
    with (
        _source(input_file) as source,
        open_storage(volume.header_file, writable=not dry_run) as storage,
    ):
        restoration = _prepared(storage, source)
        for note in restoration.notes:
            output.warning(f"{volume.header_file}: {note}")
        changes = _changes(restoration)
        kept = None
        if not no_backup and (restoration.loses or backup_file is not None):
            kept = kept_headers.new_name(storage.name, backup_file, _SUFFIX)
        if dry_run:
            steps = kept_headers.steps(restoration.change, storage, kept)
            _say_plan(restoration, steps, changes, kept, as_json=as_json)
            return
        is_asked = prompt.is_interactive() and not volume.batch_mode
        for line in changes if is_asked else ():
            output.show(output.printable(line))
        prompt.confirm(
            volume.header_file,
            f"header and keyslots will be replaced by those of {input_file}",
            batch_mode=volume.batch_mode,
        )
        restoration.apply(storage, kept)
        metadata = restoration.header.metadata
        if as_json:
            output.say_json(
                {
                    **_described(restoration),
                    "backup": kept,
                }
            )
        else:
            output.say(f"{volume.header_file}: header of volume {metadata.uuid} restored")
            for line in () if is_asked else changes:
                output.say(f"  {line}")
            if kept is not None:
                output.say(f"  the header as it was is in {kept}")


def _prepared(storage: Storage, source: Storage) -> Restoration:
    """The restoration; for what is wrong with the backup only another one helps."""
    try:
        return backup.prepare(storage, source)
    except (NotLuksError, HeaderError) as error:
        error.advise("another header backup is needed")
        raise


def _changes(restoration: Restoration) -> list[str]:
    """What restoring changes, in a few lines; none where there is no header to compare."""
    comparison = restoration.comparison
    return [] if comparison is None else comparison_page.restored(comparison)


def _described(restoration: Restoration) -> dict[str, object]:
    """What the header is afterwards, and what changes by that."""
    metadata, comparison = restoration.header.metadata, restoration.comparison
    return {
        "uuid": metadata.uuid,
        "keyslots": sorted(metadata.keyslots),
        "notes": list(restoration.notes),
        "comparison": None if comparison is None else comparison.describe(),
    }


def _say_plan(
    restoration: Restoration,
    steps: Sequence[kept_headers.Step],
    changes: list[str],
    kept: str | None,
    *,
    as_json: bool,
) -> None:
    if as_json:
        output.say_json({"plan": steps, **_described(restoration), "backup": kept})
        return
    output.say_steps(steps, as_json=False)
    for line in changes:
        output.say(line)


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
