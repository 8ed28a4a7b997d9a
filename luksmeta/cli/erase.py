"""``erase``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from luksmeta import requirements
from luksmeta.cli import output, prompt
from luksmeta.cli.options import VolumeOptions, dry_run_option, json_option, volume_options
from luksmeta.cli.unlocking import open_to_change
from luksmeta.model import Keyslot, Metadata, OddKeyslot
from luksmeta.sizes import counted
from luksmeta.volume import Volume


@click.command("erase")
@volume_options
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Unbound keyslots, the whole keyslots area and the header too: no LUKS volume is left.",
)
@json_option
@dry_run_option
def erase_command(*, volume: VolumeOptions, everything: bool, as_json: bool, dry_run: bool) -> None:
    """Remove every keyslot that opens the volume. Only a header backup brings the data back.

    The header itself stays, its tokens, and unbound keyslots, which open no data; also keyslots of
    LUKS1 that are neither in use nor free. --all takes these as well.
    """
    allow = requirements.allow_anything if everything else requirements.allow_removal
    with open_to_change(volume, dry_run=dry_run, allow=allow) as opened:
        before = opened.metadata
        odd = opened.header.odd_keyslots
        erased = sorted({*before.keyslots, *odd} if everything else before.bound_keyslots)
        if not dry_run:
            what = counted(len(erased), "keyslot") + (" and the header" if everything else "")
            prompt.confirm(
                volume.header_file,
                f"{what} will be erased, and the data with that",
                batch_mode=volume.batch_mode,
            )
        opened.erase(everything=everything)
        if dry_run:
            output.say_plans(opened.written, as_json=as_json)
        else:
            _report(opened, erased, odd, everything=everything, as_json=as_json)


def _report(
    opened: Volume,
    erased: Sequence[int],
    odd: Mapping[int, OddKeyslot],
    *,
    everything: bool,
    as_json: bool,
) -> None:
    left = {} if everything else {**opened.metadata.keyslots, **odd}
    tokens = {} if everything else opened.metadata.tokens
    if as_json:
        output.say_json(
            {
                "keyslots": erased,
                "keyslots_left": sorted(left),
                "tokens_left": sorted(tokens),
                "header_left": not everything,
            }
        )
        return
    what = counted(len(erased), "keyslot") + (" and the header" if everything else "")
    output.say(f"{opened.header_storage.name}: {what} erased")
    if not everything:
        _say_what_stays(opened.metadata, odd)


def _say_what_stays(metadata: Metadata, odd: Mapping[int, OddKeyslot]) -> None:
    kinds = {
        keyslot_id: "unbound" if isinstance(keyslot, Keyslot) else keyslot.type
        for keyslot_id, keyslot in metadata.keyslots.items()
    }
    kinds.update({keyslot_id: f"{each}; --all takes it" for keyslot_id, each in odd.items()})
    for keyslot_id, kind in sorted(kinds.items()):
        output.say(f"  keyslot {keyslot_id} ({kind}) stays")
    for token_id, token in sorted(metadata.tokens.items()):
        output.say(f"  token {token_id} ({token.type}) stays")
    output.say(f"  the header of LUKS{metadata.version} volume {metadata.uuid} stays")
