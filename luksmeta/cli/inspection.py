"""``dump`` and ``unlock``."""

from __future__ import annotations

import click

from luksmeta.cli import output
from luksmeta.cli.options import (
    UnlockOptions,
    VolumeOptions,
    json_option,
    unlock_options,
    volume_options,
)


@click.command("dump")
@volume_options
@json_option
def dump_command(*, volume: VolumeOptions, as_json: bool) -> None:
    """Show the whole header.

    Every field, keyslot, segment, digest, token and flag. Nothing is written.
    """
    from luksmeta.cli.header_description import describe
    from luksmeta.cli.header_page import render
    from luksmeta.header import read_header
    from luksmeta.locking import locked
    from luksmeta.storage import FileStorage

    with FileStorage(volume.header_file) as storage:
        with locked(storage, exclusive=False):
            header = read_header(storage)
        device_size = storage.size
    if volume.header is not None:
        with FileStorage(volume.image) as data:
            device_size = data.size
    output.warn_about_copies(volume.header_file, header)
    if as_json:
        output.say_json(describe(header))
    else:
        output.say(render(header, volume.header_file, device_size))


@click.command("unlock")
@volume_options
@unlock_options()
@json_option
def unlock_command(*, volume: VolumeOptions, key: UnlockOptions, as_json: bool) -> None:
    """Check a passphrase, and say which keyslot it opens. Nothing is written."""
    from luksmeta.cli.unlocking import open_header_for, unlock

    with (
        open_header_for(volume) as opened,
        unlock(opened, key, keyslot=key.key_slot) as unlocked,
    ):
        if as_json:
            output.say_json({"keyslot": unlocked.keyslot})
        elif unlocked.keyslot is None:
            output.say(f"{volume.header_file}: the volume key matches")
        else:
            output.say(f"{volume.header_file}: keyslot {unlocked.keyslot} opens")
