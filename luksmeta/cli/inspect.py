"""``inspect``."""

from __future__ import annotations

import click

from luksmeta.cli import output
from luksmeta.cli.options import VolumeOptions, json_option, volume_options
from luksmeta.cli.read_log import log_to, read_log_option
from luksmeta.errors import NotLuksError


@click.command("inspect", short_help="Show all about a header in any state.")
@volume_options
@click.option(
    "--entropy",
    "entropies",
    type=click.FloatRange(1, 512),
    multiple=True,
    metavar="BITS",
    help="Of a passphrase: what guessing it costs; repeatable. Default: 40, 50, 60, 70.",
)
@click.option("--measure", is_flag=True, help="Guesses a second of this machine too.")
@read_log_option
@json_option
def inspect_command(
    *,
    volume: VolumeOptions,
    entropies: tuple[float, ...],
    measure: bool,
    read_log: str | None,
    as_json: bool,
) -> None:
    """Show everything about a header, whatever state it is in, and change nothing.

    Both copies with checksum, seqid and salt, and where they differ; a map of every area, gap and
    slack region with what lies there; for each keyslot whether its key material still looks whole,
    where damage begins and ends, and what guessing its passphrase costs; key material that no
    keyslot claims; what luksDump passes over; hints of the header's past. Without any trace of a
    header the exit status is 4.
    """
    from luksmeta.forensics.inspector import inspect
    from luksmeta.forensics.strength import ENTROPIES

    with log_to(read_log) as log:
        inspection = inspect(
            volume.image,
            volume.header,
            entropies=entropies or ENTROPIES,
            measure=measure,
            read_log=log,
        )
    if as_json:
        output.say_json(inspection.describe())
    else:
        from luksmeta.cli.inspect_page import render

        output.say_styled(render(inspection))
    if not inspection.has_traces:
        raise NotLuksError("no trace of a LUKS header").about(inspection.name)
