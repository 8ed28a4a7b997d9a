"""``unlock``."""

from __future__ import annotations

import click

from luksmeta.cli import output
from luksmeta.cli.key_options import UnlockOptions, unlock_options
from luksmeta.cli.options import VolumeOptions, json_option, policy_option, volume_options
from luksmeta.cli.seal_options import SealOptions, seal_options
from luksmeta.cli.try_options import TryOptions, try_options
from luksmeta.cli.unlocking import open_header_for, unlock


@click.command("unlock")
@volume_options
@unlock_options()
@try_options
@seal_options
@policy_option
@json_option
def unlock_command(
    *,
    volume: VolumeOptions,
    key: UnlockOptions,
    trying: TryOptions,
    seal: SealOptions,
    policy: str | None,
    as_json: bool,
) -> None:
    """Check a passphrase, and say which keyslot it opens. Nothing is written.

    --try is for a passphrase that is almost right: with or without a newline at its end, Caps Lock,
    the case of its first letter, spaces, quotes and dashes, Unicode forms, Latin-1 and other
    encodings, one keyboard layout read as another, and any two of these together, the likeliest
    first and 5000 at most. Which one opens is said in words.

    --words tries lists of words, without asking for a passphrase unless --try is there too. --rules
    are those of hashcat's files, applied to each word and to the passphrase. Keyslots to be ignored
    are tried as well, the cheapest first. All processes together take at most --max-memory, by
    default half of this machine's. What is found is shown nowhere; --found-file keeps it, mode
    0600. --state holds no passphrase, and nothing by which one could be guessed faster.
    """
    if trying.is_asked_for:
        from luksmeta.cli.trying import search

        search(volume, key, trying, seal=seal, policy=policy, as_json=as_json)
        return
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
