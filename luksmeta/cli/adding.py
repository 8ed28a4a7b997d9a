"""``add-key``: another keyslot for the volume's key, or for an unbound key; recovery keys."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TypeAlias

import click

from luksmeta import digests, key_management
from luksmeta.cli import output, progress, prompt
from luksmeta.cli.key_options import NewKeyOptions, UnlockOptions, new_key_options, unlock_options
from luksmeta.cli.keyslot_options import KeyBits, KeyslotOptions, keyslot_options, priority_option
from luksmeta.cli.keyslots import keywords, report
from luksmeta.cli.note_options import NoteOptions, note_options
from luksmeta.cli.options import VolumeOptions, dry_run_option, json_option, volume_options
from luksmeta.cli.unlocking import (
    open_to_change,
    read_volume_key,
    unlock,
    unlock_keeping_passphrase,
)
from luksmeta.errors import StorageError
from luksmeta.secret import SecretBytes
from luksmeta.tokens import recovery as recovery_keys
from luksmeta.tokens.assignment import require_tokens
from luksmeta.volume import Volume

_Add: TypeAlias = Callable[..., int]


@click.command("add-key", short_help="Give another passphrase or recovery key a keyslot.")
@volume_options
@unlock_options("The new keyslot's id; with --new-key-slot, the one that unlocks.")
@new_key_options
@click.option(
    "--new-key-slot",
    type=int,
    metavar="N",
    help="The new keyslot's id.",
)
@priority_option("the keyslot")
@click.option(
    "--unbound",
    is_flag=True,
    help="LUKS2: for a key of its own that opens no data, random or from --volume-key-file.",
)
@click.option("-s", "--key-size", type=KeyBits(), help="The size of the unbound key.")
@click.option(
    "--recovery", is_flag=True, help="LUKS2: make a recovery key, as systemd's, and show it once."
)
@note_options
@keyslot_options
@json_option
@dry_run_option
def add_key_command(
    *,
    volume: VolumeOptions,
    key: UnlockOptions,
    new_key: NewKeyOptions,
    made: KeyslotOptions,
    note: NoteOptions,
    new_key_slot: int | None,
    priority: str | None,
    unbound: bool,
    key_size: int | None,
    recovery: bool,
    as_json: bool,
    dry_run: bool,
) -> None:
    """Give another passphrase a keyslot, or a recovery key that is made here.

    A recovery key has 256 random bits, which no guessing finds, so its KDF costs the least unless
    an option says otherwise. It is shown once, and is to be written down.

    With --unbound no passphrase of the volume is needed; if -d gives one, it must open the volume.
    """
    _check_size(key, key_size, unbound=unbound)
    if recovery and (unbound or new_key.new_keyfile is not None):
        raise click.UsageError("--recovery makes the key itself, and one for the data")
    said = note.of(None)
    named = key.key_slot if new_key_slot is None else new_key_slot
    tried = None if new_key_slot is None else key.key_slot
    with ExitStack() as stack:
        opened = stack.enter_context(open_to_change(volume, dry_run=dry_run))
        made.check(opened.version)
        if unbound:
            digests.require_unbound(opened.metadata)
        if recovery or note.is_given:
            require_tokens(opened.metadata)
        if named is not None:
            key_management.require_free(opened.header, named)
        if unbound:
            secret = stack.enter_context(_unbound_key(opened, key, key_size, tried))
            add: _Add = partial(
                opened.add_unbound_keyslot, key=secret, digest_iterations=made.digest_iterations
            )
        else:
            unlocked = stack.enter_context(unlock(opened, key, keyslot=tried))
            add = unlocked.add_keyslot
        if recovery:
            costs = made.keywords(opened.version, recovery_keys.HASH, recovery_keys.KDF)
            add_recovery = partial(
                unlocked.add_recovery_key, keyslot=named, priority=priority, note=said, **costs
            )
            _add_recovery(opened, add_recovery, as_json=as_json, dry_run=dry_run)
            return
        passphrase = stack.enter_context(
            prompt.read_passphrase("New passphrase", new_key.source, verify=not volume.batch_mode)
        )
        with progress.waiting("Deriving the new key"):
            added = add(
                passphrase, keyslot=named, priority=priority, note=said, **keywords(opened, made)
            )
        text = f"keyslot {added} added" + (", unbound" if unbound else "")
        report(opened, text, added, as_json=as_json, dry_run=dry_run)


def _add_recovery(
    opened: Volume, add: Callable[[], tuple[int, SecretBytes]], *, as_json: bool, dry_run: bool
) -> None:
    """Show the key once it has been stored; a keyslot whose key nobody could see goes again."""
    with progress.waiting("Deriving the new key"):
        keyslot, secret = add()
    with secret:
        shown = bytes(secret.view()).decode("ascii")
    if dry_run:
        output.say_plans(opened.written, as_json=as_json)
        return
    name = opened.header_storage.name
    try:
        if as_json:
            output.say_json({"keyslot": keyslot, "recovery_key": shown})
        else:
            text = f"{name}: keyslot {keyslot} added; its recovery key, shown only now:"
            output.say(f"{text}\n{shown}")
    except StorageError:
        opened.remove_keyslot(keyslot, allow_last=True)
        raise


def _check_size(key: UnlockOptions, key_size: int | None, *, unbound: bool) -> None:
    if key_size is not None and not unbound:
        raise click.UsageError("--key-size is that of an --unbound key; the volume's key has its")
    if unbound and key_size is None and key.volume_key_file is None:
        raise click.UsageError("--unbound needs --key-size, or the key itself: --volume-key-file")


def _unbound_key(
    opened: Volume, key: UnlockOptions, key_size: int | None, tried: int | None
) -> SecretBytes:
    """The key to store. No passphrase of the volume is needed; one that is given must open it."""
    if key.key_file is not None:
        unlocked, passphrase = unlock_keeping_passphrase(opened, key, keyslot=tried)
        unlocked.close()
        passphrase.wipe()
    if key.volume_key_file is None:
        return digests.unbound_key(None, key_size)
    with read_volume_key(key.volume_key_file, key_size) as secret:
        return digests.unbound_key(secret, key_size)
