"""``config`` and ``volume-key``."""

from __future__ import annotations

from typing import cast

import click

from luksmeta.cli import output, prompt
from luksmeta.cli.key_options import UnlockOptions, unlock_options
from luksmeta.cli.keyslot_options import priority_option
from luksmeta.cli.new_files import write_new_file
from luksmeta.cli.note_options import NoteOptions, note_options
from luksmeta.cli.options import (
    NewFileName,
    Size,
    Uuid,
    VolumeOptions,
    dry_run_option,
    json_option,
    volume_options,
)
from luksmeta.cli.unlocking import open_header_for, open_to_change, unlock
from luksmeta.description import describe
from luksmeta.errors import KeyslotError
from luksmeta.luks2.limits import KNOWN_FLAGS
from luksmeta.tokens.assignment import require_tokens
from luksmeta.tokens.notes import Note
from luksmeta.volume import Volume


@click.command("config", short_help="Set label, UUID, flags, area sizes, priority or note.")
@volume_options
@click.option("--label", help="LUKS2: up to 47 bytes; empty removes it.")
@click.option("--subsystem", help="LUKS2: up to 47 bytes; empty removes it.")
@click.option("--uuid", type=Uuid(), help="Another UUID.")
@click.option(
    "-S",
    "--key-slot",
    type=int,
    metavar="N",
    help="The keyslot of --priority, --owner and --note.",
)
@priority_option("keyslot -S")
@note_options
@click.option(
    "--persistent-flags",
    multiple=True,  # so that a second one is noticed
    metavar="FLAG[,FLAG]…",
    help=f"LUKS2: all flags; empty removes them. {', '.join(KNOWN_FLAGS)}.",
)
@click.option(
    "--luks2-metadata-size", type=Size(), help="Of one header copy: 16k to 4M. Keyslots make room."
)
@click.option(
    "--luks2-keyslots-size", type=Size(), help="Of the keyslots area: up to the data, and 128M."
)
@json_option
@dry_run_option
def config_command(
    *,
    volume: VolumeOptions,
    label: str | None,
    subsystem: str | None,
    uuid: str | None,
    key_slot: int | None,
    priority: str | None,
    note: NoteOptions,
    persistent_flags: tuple[str, ...],
    luks2_metadata_size: int | None,
    luks2_keyslots_size: int | None,
    as_json: bool,
    dry_run: bool,
) -> None:
    """Set a label, UUID, flags, area sizes, a keyslot's priority or note. The rest stays as it is.

    A keyslot's note goes when owner and text are set to nothing. Keyslots that lie where a larger
    header will be are moved, as they are; data never is.
    """
    flags = _flags(persistent_flags)
    of_keyslot = priority is not None or note.is_given
    if of_keyslot != (key_slot is not None):
        raise click.UsageError("-S/--key-slot goes with --priority, --owner or --note")
    of_volume = (label, subsystem, uuid, flags, luks2_metadata_size, luks2_keyslots_size)
    if not of_keyslot and all(each is None for each in of_volume):
        raise click.UsageError("nothing to set")
    with open_to_change(volume, dry_run=dry_run) as opened:
        opened.configure(
            uuid=uuid,
            label=label,
            subsystem=subsystem,
            flags=flags,
            priorities=None if key_slot is None or priority is None else {key_slot: priority},
            notes=None if key_slot is None or not note.is_given else _notes(opened, key_slot, note),
            metadata_size=luks2_metadata_size,
            keyslots_size=luks2_keyslots_size,
        )
        if dry_run:
            output.say_plans(opened.written, as_json=as_json)
        elif as_json:
            output.say_json(_described(opened))
        else:
            output.say(f"{volume.header_file}: header updated")


@click.command("volume-key", short_help="The raw volume key into a file, or in hex.")
@volume_options
@unlock_options()
@click.option("--unbound", is_flag=True, help="LUKS2: the key of the unbound keyslot -S instead.")
@click.option(
    "-o",
    "--output",
    "output_file",
    type=NewFileName(),
    metavar="FILE",
    help="A new file, mode 0600.",
)
@json_option
@dry_run_option
def volume_key_command(
    *,
    volume: VolumeOptions,
    key: UnlockOptions,
    unbound: bool,
    output_file: str | None,
    as_json: bool,
    dry_run: bool,
) -> None:
    """The raw volume key into a file, or in hex on the terminal.

    Whoever has the volume key reads the volume, also after every passphrase has been changed.
    """
    if dry_run and output_file is None:
        raise click.UsageError("--dry-run is about the file that -o names")
    if unbound and (key.key_slot is None or key.volume_key_file is not None):
        raise click.UsageError("--unbound needs the keyslot, -S, and its passphrase")
    with open_header_for(volume) as opened:
        if key.key_slot is not None:
            _require_key_that_is_meant(opened, key.key_slot, unbound=unbound)
        what = "unbound key" if unbound else "volume key"
        if output_file is None:
            prompt.confirm(
                volume.header_file, f"the {what} will be shown", batch_mode=volume.batch_mode
            )
        with unlock(opened, key, keyslot=key.key_slot) as unlocked:
            secret = unlocked.volume_key
            if output_file is not None:
                if dry_run:
                    output.say_new_file(output_file, len(secret), what, as_json=as_json)
                    return
                write_new_file(output_file, secret.view())
            if as_json:
                name = "unbound_key" if unbound else "volume_key"
                shown = {} if output_file else {name: secret.view().hex()}
                output.say_json({"key_size": len(secret), "keyslot": unlocked.keyslot, **shown})
            elif output_file is not None:
                output.say(f"{output_file}: {what} of {8 * len(secret)} bits")
            else:
                output.say(secret.view().hex())


def _described(opened: Volume) -> dict[str, object]:
    """All settings as they are now, as ``dump`` names them."""
    header = describe(opened.header)
    names = ("uuid", "label", "subsystem", "flags", "header_size", "keyslots_area")
    keyslots = cast("dict[str, dict[str, object]]", header["keyslots"])
    return {
        **{name: header.get(name) for name in names},
        "keyslots": {
            keyslot_id: {name: keyslot[name] for name in ("priority", "note")}
            for keyslot_id, keyslot in keyslots.items()
        },
    }


def _require_key_that_is_meant(opened: Volume, keyslot: int, *, unbound: bool) -> None:
    """An unbound keyslot's key must not be taken for the volume's, nor the other way round."""
    opened.metadata.keyslot(keyslot)
    if opened.metadata.is_bound(keyslot) == unbound:
        is_what = "bound, its key is the volume key" if unbound else "unbound; see --unbound"
        raise KeyslotError(f"keyslot {keyslot}: is {is_what}")


def _notes(opened: Volume, keyslot: int, note: NoteOptions) -> dict[int, Note]:
    require_tokens(opened.metadata)
    return {keyslot: note.of(opened.note(keyslot))}


def _flags(given: tuple[str, ...]) -> tuple[str, ...] | None:
    """All flags, out of the one option that lists them; None without it."""
    if len(given) > 1:
        raise click.UsageError("--persistent-flags is given twice; one has all flags, with commas")
    if not given:
        return None
    return tuple(each.strip() for each in given[0].split(",") if each.strip())
