"""Keyslots changed: ``change-key``, ``convert-key``."""

from __future__ import annotations

from contextlib import ExitStack

import click

from luksmeta.cli import output, progress, prompt
from luksmeta.cli.key_options import NewKeyOptions, UnlockOptions, new_key_options, unlock_options
from luksmeta.cli.keyslot_options import KeyslotKeywords, KeyslotOptions, keyslot_options
from luksmeta.cli.options import (
    VolumeOptions,
    dry_run_option,
    json_option,
    volume_options,
)
from luksmeta.cli.unlocking import (
    open_to_change,
    unlock,
    unlock_keeping_passphrase,
)
from luksmeta.errors import KeyslotError, UnsupportedError
from luksmeta.keyslot import trial_order
from luksmeta.new_keyslot import header_hash
from luksmeta.unlocked_volume import UnlockedVolume
from luksmeta.volume import Volume


@click.command("change-key")
@volume_options
@unlock_options()
@new_key_options
@keyslot_options
@json_option
@dry_run_option
def change_key_command(
    *,
    volume: VolumeOptions,
    key: UnlockOptions,
    new_key: NewKeyOptions,
    made: KeyslotOptions,
    as_json: bool,
    dry_run: bool,
) -> None:
    """Give a keyslot another passphrase. The old one, or -S, says which.

    The new key is written to a free place before the old one is wiped. LUKS1 keyslots move to
    another id by that, unless -S names the keyslot.
    """
    with ExitStack() as stack:
        opened = stack.enter_context(open_to_change(volume, dry_run=dry_run))
        made.check(opened.version)
        unlocked, keyslot = _unlocked_keyslot(stack, opened, key)
        passphrase = stack.enter_context(
            prompt.read_passphrase("New passphrase", new_key.source, verify=not volume.batch_mode)
        )
        with progress.waiting("Deriving the new key"):
            changed = unlocked.change_keyslot(
                keyslot,
                passphrase,
                keep_id=key.key_slot is not None,
                **keywords(opened, made),
            )
        text = f"keyslot {keyslot} changed"
        if changed != keyslot:
            text += f"; it is keyslot {changed} now"
        report(opened, text, changed, as_json=as_json, dry_run=dry_run)


@click.command("convert-key")
@volume_options
@unlock_options()
@keyslot_options
@json_option
@dry_run_option
def convert_key_command(
    *,
    volume: VolumeOptions,
    key: UnlockOptions,
    made: KeyslotOptions,
    as_json: bool,
    dry_run: bool,
) -> None:
    """Give a LUKS2 keyslot another KDF or cipher. Its passphrase stays."""
    if key.volume_key_file is not None:
        raise click.UsageError("convert-key needs the keyslot's passphrase, not the volume key")
    with ExitStack() as stack:
        opened = stack.enter_context(open_to_change(volume, dry_run=dry_run))
        if opened.version == 1:
            raise UnsupportedError("LUKS1 keyslots know PBKDF2 only")
        made.check(opened.version)
        unlocked, passphrase = unlock_keeping_passphrase(
            opened, key, keyslot=_keyslots_to_try(opened, key)
        )
        stack.enter_context(passphrase)
        stack.enter_context(unlocked)
        keyslot = _keyslot_of(unlocked)
        with progress.waiting("Deriving the new key"):
            unlocked.change_keyslot(keyslot, passphrase, **keywords(opened, made))
        report(opened, f"keyslot {keyslot} converted", keyslot, as_json=as_json, dry_run=dry_run)


def keywords(opened: Volume, made: KeyslotOptions) -> KeyslotKeywords:
    """What a keyslot of this volume is made of. Measures this machine where no costs are forced."""
    return made.keywords(opened.version, header_hash(opened.metadata))


def _unlocked_keyslot(
    stack: ExitStack, opened: Volume, key: UnlockOptions
) -> tuple[UnlockedVolume, int]:
    """The volume unlocked, and the keyslot that is meant; with the volume key, -S must name it."""
    if key.volume_key_file is not None and key.key_slot is None:
        raise click.UsageError("with --volume-key-file, -S must name the keyslot")
    if key.key_slot is not None:
        opened.metadata.keyslot(key.key_slot)
    unlocked = stack.enter_context(unlock(opened, key, keyslot=_keyslots_to_try(opened, key)))
    return unlocked, _keyslot_of(unlocked) if key.key_slot is None else key.key_slot


def _keyslots_to_try(opened: Volume, key: UnlockOptions) -> tuple[int, ...]:
    """The one that -S names; otherwise unbound ones too, as in cryptsetup (lib/setup.c)."""
    if key.key_slot is not None:
        return (key.key_slot,)
    usable = opened.header.keyslot_ids
    return tuple(each for each in trial_order(opened.keyslots) if each in usable)


def _keyslot_of(unlocked: UnlockedVolume) -> int:
    if unlocked.keyslot is None:
        raise KeyslotError("no keyslot was opened")
    return unlocked.keyslot


def report(opened: Volume, text: str, keyslot: int, *, as_json: bool, dry_run: bool) -> None:
    """Say what was done to which keyslot, or what would have been."""
    if dry_run:
        output.say_plans(opened.written, as_json=as_json)
    elif as_json:
        output.say_json({"keyslot": keyslot})
    else:
        output.say(f"{opened.header_storage.name}: {text}")
