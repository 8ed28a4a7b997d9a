"""Keyslots removed: ``remove-key``, by passphrase or by what they have in common; ``kill-slot``."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import ExitStack
from typing import Final

import click

from luksmeta import key_management, requirements
from luksmeta.cli import output, prompt
from luksmeta.cli.key_options import UnlockOptions, unlock_options
from luksmeta.cli.keyslot_classes import ClassOptions, class_options, select
from luksmeta.cli.keyslots import report
from luksmeta.cli.options import VolumeOptions, dry_run_option, json_option, volume_options
from luksmeta.cli.unlocking import open_to_change, read_volume_key, try_passphrases, unlock
from luksmeta.errors import KeyslotError, KeyslotNotFoundError, PassphraseError
from luksmeta.model import Metadata
from luksmeta.secret import SecretBytes
from luksmeta.volume import Volume

_LOST: Final = "its data will be lost for good"


@click.command("remove-key", short_help="Remove keyslots by their passphrase, or by class.")
@volume_options
@class_options
@unlock_options()
@json_option
@dry_run_option
def remove_key_command(
    *,
    volume: VolumeOptions,
    classes: ClassOptions,
    key: UnlockOptions,
    as_json: bool,
    dry_run: bool,
) -> None:
    """Remove the keyslot that a passphrase opens, and wipe its area; or all of a class.

    Classes add up, and are what --recovery, --empty, --token-type and --matching name. With
    --recovery and --token-type a passphrase of a keyslot that stays must be given, as with
    kill-slot; with -q it may be missing. systemd's tokens and notes go with their last keyslot,
    other tokens stay.
    """
    if classes.any_named:
        with ExitStack() as stack:
            opened = stack.enter_context(_open_to_remove(volume, dry_run=dry_run))
            _remove_classes(stack, opened, classes, volume, key, as_json=as_json, dry_run=dry_run)
        return
    if key.volume_key_file is not None:
        raise click.UsageError("remove-key needs the passphrase to remove; see kill-slot")
    with ExitStack() as stack:
        opened = stack.enter_context(_open_to_remove(volume, dry_run=dry_run))
        unlocked = stack.enter_context(unlock(opened, key, keyslot=key.key_slot))
        if unlocked.keyslot is None:
            raise KeyslotError("no keyslot was opened")
        _remove(opened, unlocked.keyslot, volume, as_json=as_json, dry_run=dry_run)


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
    with ExitStack() as stack:
        opened = stack.enter_context(_open_to_remove(volume, dry_run=dry_run))
        if keyslot not in opened.header.keyslot_ids:
            raise KeyslotNotFoundError(
                f"keyslot {keyslot}: ids go from 0 to {opened.header.keyslot_ids.stop - 1} here"
            )
        if keyslot in opened.header.odd_keyslots:
            odd = opened.header.odd_keyslots[keyslot]
            raise KeyslotError(f"keyslot {keyslot}: {odd}; erase --all takes it, with all others")
        opened.metadata.keyslot(keyslot)
        _prove_other_way_in(stack, opened, [keyslot], volume, key)
        _remove(opened, keyslot, volume, as_json=as_json, dry_run=dry_run)


def _remove_classes(
    stack: ExitStack,
    opened: Volume,
    classes: ClassOptions,
    volume: VolumeOptions,
    key: UnlockOptions,
    *,
    as_json: bool,
    dry_run: bool,
) -> None:
    selection = select(opened, classes, key.limits)
    going, tokens = selection.keyslots, set(opened.tokens)
    if prompt.is_interactive():
        for keyslot, reason in sorted(going.items()):
            output.show(output.one_line(f"Keyslot {keyslot} goes: {reason}."))
    if going and (classes.by_token or key.names_any):
        _prove_other_way_in(stack, opened, going, volume, key)
    takes_last = _confirm_last(opened, going, volume, dry_run=dry_run)
    if going:
        opened.remove_keyslot(going, allow_last=takes_last)
    if dry_run:
        output.say_plans(opened.written, as_json=as_json)
        return
    gone = sorted(tokens - set(opened.tokens))
    if as_json:
        output.say_json(
            {"keyslots": sorted(going), "tokens": gone, "not_tried": sorted(selection.hindrances)}
        )
        return
    lines = [f"keyslot {keyslot} removed: {reason}" for keyslot, reason in sorted(going.items())]
    lines += [f"token {token_id} removed" for token_id in gone]
    for line in lines or ["nothing to remove"]:
        output.say(f"{volume.header_file}: {line}")


def _numbered(noun: str, ids: Collection[int]) -> str:
    """``keyslot 1``, ``keyslots 1, 2``."""
    return f"{noun}{'s' if len(ids) != 1 else ''} {', '.join(map(str, sorted(ids)))}"


def _prove_other_way_in(
    stack: ExitStack,
    opened: Volume,
    going: Collection[int],
    volume: VolumeOptions,
    key: UnlockOptions,
) -> None:
    """Unlock with keyslots that stay, or if none do with one that goes (luksKillSlot).

    The volume stays unlocked until the stack is closed, so that its seal is renewed. During a
    reencryption the data has two keys: what stays must open the one that keyslots go of.
    """
    if key.volume_key_file is not None:
        size = opened.metadata.volume_key_size
        with read_volume_key(key.volume_key_file, size) as volume_key:
            unlocked = opened.unlock(volume_key=volume_key, limits=key.limits)
        stack.enter_context(unlocked)
        _require_keys(opened, going, unlocked.keys_by_digest)
        return
    staying = _ways_in_that_stay(opened.metadata, going)
    proving = staying or sorted(going)
    whose = "another keyslot" if staying else _numbered("keyslot", going)
    if key.key_slot is not None:
        proving = [_named_other(opened, key.key_slot, proving, going)]

    def opens_another(passphrase: SecretBytes) -> None:
        try:
            unlocked = opened.unlock(passphrase, keyslot=proving, limits=key.limits)
            stack.enter_context(unlocked)
            if staying:
                _require_keys(opened, staying, unlocked.keys_by_digest)
        except PassphraseError as error:
            text = f"the passphrase must be that of {whose}: {error.text}"
            raise type(error)(text, tried=error.tried) from error

    if not volume.batch_mode or key.key_file is not None:
        try_passphrases(f"Passphrase of {whose}", key, opens_another)[1].wipe()
    elif not prompt.is_interactive():
        try:
            given = key.source.read()
        except prompt.EndOfInputError:
            return
        with given:
            opens_another(given)


def _ways_in_that_stay(metadata: Metadata, going: Collection[int]) -> list[int]:
    """The keyslots that open the same keys of data as those that go; all, when these open none."""
    keys = _keys_of_data(metadata, going) or _keys_of_data(metadata, metadata.keyslots)
    return [
        each
        for each in metadata.bound_keyslots
        if each not in going and _keys_of_data(metadata, [each]) <= keys
    ]


def _keys_of_data(metadata: Metadata, keyslots: Iterable[int]) -> set[int]:
    """The digests of the segments' keys that these keyslots hold."""
    found = (metadata.digest_of_keyslot(each) for each in keyslots if metadata.is_bound(each))
    return {digest_id for digest_id, _ in filter(None, found)}


def _require_keys(opened: Volume, keyslots: Iterable[int], keys: Collection[int]) -> None:
    """PassphraseError unless every key of data that the keyslots hold is among those opened."""
    missing = _keys_of_data(opened.metadata, keyslots) - set(keys)
    if missing:
        ids = ", ".join(map(str, sorted(missing)))
        raise PassphraseError(f"it does not open the key of digest {ids}, which the data needs too")


def _named_other(opened: Volume, named: int, others: list[int], going: Collection[int]) -> int:
    """The keyslot of -S, which must be one of those whose passphrase proves anything."""
    opened.metadata.keyslot(named)
    if named in others:
        return named
    if named in going:
        raise KeyslotError(
            f"keyslot {named}: goes itself; -S must name the keyslot of another passphrase"
        )
    if opened.metadata.is_bound(named):
        raise KeyslotError(
            f"keyslot {named}: opens another key than {_numbered('keyslot', going)}; the data is "
            "being reencrypted, and needs both"
        )
    raise KeyslotError(f"keyslot {named}: opens no data, so it proves nothing")


def _open_to_remove(volume: VolumeOptions, *, dry_run: bool) -> Volume:
    return open_to_change(volume, dry_run=dry_run, allow=requirements.allow_removal)


def _remove(
    opened: Volume, keyslot: int, volume: VolumeOptions, *, as_json: bool, dry_run: bool
) -> None:
    tokens = set(opened.tokens)
    takes_last = _confirm_last(opened, [keyslot], volume, dry_run=dry_run)
    opened.remove_keyslot(keyslot, allow_last=takes_last)
    gone = sorted(tokens - set(opened.tokens))
    if as_json and not dry_run:
        output.say_json({"keyslot": keyslot, "tokens": gone})
        return
    report(opened, f"keyslot {keyslot} removed", keyslot, as_json=as_json, dry_run=dry_run)
    for token_id in () if dry_run else gone:
        output.say(f"{volume.header_file}: token {token_id} removed")


def _confirm_last(
    opened: Volume, going: Collection[int], volume: VolumeOptions, *, dry_run: bool
) -> bool:
    """Whether a key that the data needs is lost, which somebody has agreed to then.

    When that comes true only afterwards, by another process, nobody has been asked. During a
    reencryption it is said also where nothing is asked: other keyslots still seem to open it all.
    """
    loss = key_management.loss_of(opened.metadata, going)
    if loss is None:
        return False
    warning = f"{loss}; {_LOST}"
    if set(opened.metadata.bound_keyslots) - set(going) and (dry_run or volume.batch_mode):
        output.warning(f"{volume.header_file}: {warning}")
    if not dry_run:
        prompt.confirm(volume.header_file, warning, batch_mode=volume.batch_mode)
    return True
