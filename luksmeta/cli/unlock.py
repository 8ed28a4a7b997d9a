"""``unlock``."""

from __future__ import annotations

import click

from luksmeta.cli import output
from luksmeta.cli.key_options import UnlockOptions, unlock_options
from luksmeta.cli.options import VolumeOptions, json_option, policy_option, volume_options
from luksmeta.cli.seal_options import SealOptions, seal_options
from luksmeta.cli.unlocking import open_header_for, unlock


@click.command("unlock")
@volume_options
@unlock_options()
@seal_options
@policy_option
@json_option
def unlock_command(
    *,
    volume: VolumeOptions,
    key: UnlockOptions,
    seal: SealOptions,
    policy: str | None,
    as_json: bool,
) -> None:
    """Check a passphrase, and say which keyslot it opens. Nothing is written."""
    with (
        open_header_for(volume, policy=policy) as opened,
        unlock(opened, key, keyslot=key.key_slot, seal=seal) as unlocked,
    ):
        if as_json:
            output.say_json({"keyslot": unlocked.keyslot})
        elif unlocked.keyslot is None:
            output.say(f"{volume.header_file}: the volume key matches")
        else:
            output.say(f"{volume.header_file}: keyslot {unlocked.keyslot} opens")
