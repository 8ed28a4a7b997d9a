"""``dump``."""

from __future__ import annotations

import click

from luksmeta.cli import output
from luksmeta.cli.options import VolumeOptions, json_option, volume_options


@click.command("dump")
@volume_options
@json_option
def dump_command(*, volume: VolumeOptions, as_json: bool) -> None:
    """Show the whole header.

    Every field, keyslot, segment, digest, token and flag, and what is wrong or odd about them.
    Nothing is written.
    """
    from luksmeta.diagnosis import diagnose_storage
    from luksmeta.header import read_header
    from luksmeta.locking import locked
    from luksmeta.target import open_storage

    with open_storage(volume.header_file) as storage, open_storage(volume.image) as data:
        with locked(storage, exclusive=False):
            header = read_header(storage)
            diagnosis = diagnose_storage(storage, data)
        device_size = data.size
    output.warn_about_copies(volume.header_file, header)
    if as_json:
        from luksmeta.description import describe

        output.say_json({**describe(header), "violations": diagnosis.describe_violations()})
    else:
        from luksmeta.cli.header_page import render

        output.say_styled(render(header, diagnosis, volume.header_file, device_size))
