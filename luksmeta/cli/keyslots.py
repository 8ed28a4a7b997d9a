"""Keyslots: ``change-key``, ``convert-key``, ``remove-key``, ``kill-slot``."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

import click

from luksmeta import key_management, requirements
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
    read_volume_key,
    try_passphrases,
    unlock,
    unlock_keeping_passphrase,
)
from luksmeta.errors import KeyslotError, KeyslotNotFoundError, PassphraseError, UnsupportedError
from luksmeta.secret import SecretBytes
from luksmeta.unlocked_volume import UnlockedVolume
from luksmeta.volume import Volume

_LAST: Final = "the last keyslot that opens the volume; its data will be lost for good"


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
            raise UnsupportedError(f"{volume.header_file}: LUKS1 keyslots know PBKDF2 only")
        made.check(opened.version)
        unlocked, passphrase = unlock_keeping_passphrase(opened, key, keyslot=key.key_slot)
        stack.enter_context(passphrase)
        stack.enter_context(unlocked)
        keyslot = _keyslot_of(unlocked)
        with progress.waiting("Deriving the new key"):
            unlocked.change_keyslot(keyslot, passphrase, **keywords(opened, made))
        report(opened, f"keyslot {keyslot} converted", keyslot, as_json=as_json, dry_run=dry_run)


@click.command("remove-key")
@volume_options
@unlock_options()
@json_option
@dry_run_option
def remove_key_command(
    *,
    volume: VolumeOptions,
    key: UnlockOptions,
    as_json: bool,
    dry_run: bool,
) -> None:
    """Remove the keyslot that a passphrase opens, and wipe its area."""
    if key.volume_key_file is not None:
        raise click.UsageError("remove-key needs the passphrase to remove; see kill-slot")
    with ExitStack() as stack:
        opened = stack.enter_context(_open_to_remove(volume, dry_run=dry_run))
        unlocked = stack.enter_context(unlock(opened, key, keyslot=key.key_slot))
        keyslot = _keyslot_of(unlocked)
        _remove(opened, keyslot, volume, as_json=as_json, dry_run=dry_run)


@click.command("kill-slot")
@volume_options
@click.argument("keyslot", type=int, metavar="N")
@unlock_options("The keyslot of the passphrase; default: any but N.")
@json_option
@dry_run_option
def kill_slot_command(
    *,
    volume: VolumeOptions,
    keyslot: int,
    key: UnlockOptions,
    as_json: bool,
    dry_run: bool,
) -> None:
    """Remove keyslot N, and wipe its area.

    A passphrase of another keyslot must be given, to prove that the volume can still be opened;
    with -q it may be missing.
    """
    with _open_to_remove(volume, dry_run=dry_run) as opened:
        if keyslot not in opened.header.keyslot_ids:
            raise KeyslotNotFoundError(
                f"keyslot {keyslot}: ids go from 0 to {opened.header.keyslot_ids.stop - 1} here"
            )
        opened.metadata.keyslot(keyslot)
        _prove_other_way_in(opened, keyslot, volume, key)
        _remove(opened, keyslot, volume, as_json=as_json, dry_run=dry_run)


def _prove_other_way_in(
    opened: Volume, keyslot: int, volume: VolumeOptions, key: UnlockOptions
) -> None:
    """Unlock with another keyslot, or with the last one itself (src/cryptsetup.c luksKillSlot)."""
    if key.volume_key_file is not None:
        size = opened.metadata.volume_key_size
        with read_volume_key(key.volume_key_file, size) as volume_key:
            opened.unlock(volume_key=volume_key, limits=key.limits).close()
        return
    others = [each for each in opened.metadata.bound_keyslots if each != keyslot] or [keyslot]
    whose = f"keyslot {keyslot}" if others == [keyslot] else "another keyslot"
    if key.key_slot is not None:
        others = [_named_other(opened, key.key_slot, others)]

    def opens_another(passphrase: SecretBytes) -> None:
        try:
            opened.unlock(passphrase, keyslot=others, limits=key.limits).close()
        except PassphraseError as error:
            text = f"the passphrase must be that of {whose}: {error}"
            raise PassphraseError(text, tried=error.tried) from error

    if not volume.batch_mode or key.key_file is not None:
        try_passphrases(f"Passphrase of {whose}", key, opens_another)[1].wipe()
    elif not prompt.is_interactive():
        try:
            given = key.source.read()
        except prompt.EndOfInputError:
            return
        with given:
            opens_another(given)


def _named_other(opened: Volume, named: int, others: list[int]) -> int:
    """The keyslot of -S, which must be one of those whose passphrase proves anything."""
    opened.metadata.keyslot(named)
    if named in others:
        return named
    if opened.metadata.is_bound(named):
        raise KeyslotError(
            f"keyslot {named}: goes itself; -S must name the keyslot of another passphrase"
        )
    raise KeyslotError(f"keyslot {named}: opens no data, so it proves nothing")


def _open_to_remove(volume: VolumeOptions, *, dry_run: bool) -> Volume:
    return open_to_change(volume, dry_run=dry_run, allow=requirements.allow_removal)


def _remove(
    opened: Volume, keyslot: int, volume: VolumeOptions, *, as_json: bool, dry_run: bool
) -> None:
    if opened.metadata.bound_keyslots == (keyslot,) and not dry_run:
        prompt.confirm(
            f"{volume.header_file}: keyslot {keyslot} is {_LAST}",
            batch_mode=volume.batch_mode,
            refused=prompt.RemovalRefusedError,
        )
    opened.remove_keyslot(keyslot, allow_last=True)
    report(opened, f"keyslot {keyslot} removed", keyslot, as_json=as_json, dry_run=dry_run)


def keywords(opened: Volume, made: KeyslotOptions) -> KeyslotKeywords:
    """What a keyslot of this volume is made of. Measures this machine where no costs are forced."""
    return made.keywords(opened.version, key_management.header_hash(opened.metadata))


def _unlocked_keyslot(
    stack: ExitStack, opened: Volume, key: UnlockOptions
) -> tuple[UnlockedVolume, int]:
    """The volume unlocked, and the keyslot that is meant; with the volume key, -S must name it."""
    if key.volume_key_file is not None and key.key_slot is None:
        raise click.UsageError("with --volume-key-file, -S must name the keyslot")
    if key.key_slot is not None:
        opened.metadata.keyslot(key.key_slot)
    unlocked = stack.enter_context(unlock(opened, key, keyslot=key.key_slot))
    return unlocked, _keyslot_of(unlocked) if key.key_slot is None else key.key_slot


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
