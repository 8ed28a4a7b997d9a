"""``token``: the LUKS2 tokens of a volume, as JSON. Options are those of cryptsetup's ``token``."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, Final

import click

from luksmeta.cli import output, prompt
from luksmeta.cli.new_files import write_new_file
from luksmeta.cli.options import (
    FileName,
    VolumeOptions,
    dry_run_option,
    json_option,
    volume_options,
)
from luksmeta.cli.unlocking import open_header_for, open_to_change
from luksmeta.errors import TokenError
from luksmeta.luks2.json_text import ascii_text
from luksmeta.luks2.limits import HDR_SIZES
from luksmeta.tokens.assignment import require_tokens
from luksmeta.volume import Volume

_TEXT_MAX: Final = HDR_SIZES[-1]  # bytes: no JSON area has room for more

_named_token: Final[Callable[[Any], Any]] = click.option(
    "--token-id", type=int, metavar="N", required=True, help="Which token."
)
_new_token: Final[Callable[[Any], Any]] = click.option(
    "--token-id", type=int, metavar="N", help="The token's id, 0 to 31; default: the first free."
)
_replacing: Final[Callable[[Any], Any]] = click.option(
    "--token-replace", is_flag=True, help="Replace the token that has this id."
)


@click.group(
    "token", no_args_is_help=False, short_help="LUKS2 tokens: list, add, import, export, assign."
)
def token_command() -> None:
    """LUKS2 tokens: how to get a passphrase, whose a keyslot is, and what others put there.

    Tokens of types that are not known here are kept, and can be stored, as cryptsetup does it.
    """


@token_command.command("list", short_help="Show the id, type and keyslots of every token.")
@volume_options
@json_option
def list_command(*, volume: VolumeOptions, as_json: bool) -> None:
    """Show the id, type and keyslots of every token; with --json all that they say."""
    with open_header_for(volume) as opened:
        require_tokens(opened.metadata)
        if as_json:
            tokens = {str(each): opened.tokens.members(each) for each in opened.tokens}
            output.say_json({"tokens": tokens})
            return
        for token_id, token in opened.tokens.items():
            output.say(output.one_line(f"{token_id}: {token.type}, {_keyslots(token.keyslots)}"))
        if not opened.tokens:
            output.say(f"{volume.header_file}: no tokens")


@token_command.command("add", short_help="Store a luks2-keyring token.")
@volume_options
@click.option(
    "--key-description",
    required=True,
    metavar="TEXT",
    help="What the passphrase is called in the kernel's keyring.",
)
@click.option("-S", "--key-slot", type=int, metavar="N", help="Its keyslot; default: all.")
@click.option("--unbound", is_flag=True, help="No keyslot.")
@_new_token
@_replacing
@json_option
@dry_run_option
def add_command(
    *,
    volume: VolumeOptions,
    key_description: str,
    key_slot: int | None,
    unbound: bool,
    token_id: int | None,
    token_replace: bool,
    as_json: bool,
    dry_run: bool,
) -> None:
    """Store a luks2-keyring token: the passphrase is in the kernel's keyring."""
    if unbound and key_slot is not None:
        raise click.UsageError("--unbound and -S/--key-slot exclude each other")
    keyslots = () if unbound else None if key_slot is None else (key_slot,)
    _require_id_to_replace(token_id, token_replace)
    with open_to_change(volume, dry_run=dry_run) as opened:
        done = "replaced" if token_id in opened.tokens else "added"
        stored = opened.tokens.add_keyring(
            key_description, keyslots=keyslots, token_id=token_id, replacing=token_replace
        )
        _report(opened, stored, done, as_json=as_json, dry_run=dry_run)


@token_command.command("import", short_help="Store any token, a JSON object.")
@volume_options
@click.option(
    "--json-file",
    type=FileName(),
    metavar="FILE",
    help="The token's JSON object; default, and -: standard input.",
)
@click.option("-S", "--key-slot", type=int, metavar="N", help="Assign it to this keyslot too.")
@_new_token
@_replacing
@json_option
@dry_run_option
def import_command(
    *,
    volume: VolumeOptions,
    json_file: str | None,
    key_slot: int | None,
    token_id: int | None,
    token_replace: bool,
    as_json: bool,
    dry_run: bool,
) -> None:
    """Store any token: a JSON object with a type and the keyslots it is assigned to."""
    _require_id_to_replace(token_id, token_replace)
    with open_to_change(volume, dry_run=dry_run) as opened:
        require_tokens(opened.metadata)
        done = "replaced" if token_id in opened.tokens else "imported"
        stored = opened.tokens.import_json(
            _read_text(json_file),
            keyslots=() if key_slot is None else (key_slot,),
            token_id=token_id,
            replacing=token_replace,
        )
        _report(opened, stored, done, as_json=as_json, dry_run=dry_run)


@token_command.command("export", short_help="Write a token's JSON object out.")
@volume_options
@_named_token
@click.option(
    "--json-file",
    type=FileName(),
    metavar="FILE",
    help="A new file, mode 0600; default, and -: standard output.",
)
@json_option
@dry_run_option
def export_command(
    *,
    volume: VolumeOptions,
    token_id: int,
    json_file: str | None,
    as_json: bool,
    dry_run: bool,
) -> None:
    """Write a token's JSON object to a new file, or to standard output in ASCII."""
    if dry_run and json_file in (None, "-"):
        raise click.UsageError("--dry-run is about the file that --json-file names")
    with open_header_for(volume) as opened:
        text = opened.tokens.export_json(token_id)
        if json_file is None or json_file == "-":
            output.say(ascii_text(opened.tokens.members(token_id)))
        elif dry_run:
            output.say_new_file(json_file, len(text), f"token {token_id}", as_json=as_json)
        else:
            write_new_file(json_file, text)
            if as_json:
                output.say_json({"token": token_id, "file": json_file, "size": len(text)})
            else:
                output.say(f"{json_file}: token {token_id} of {volume.header_file}")


@token_command.command("remove")
@volume_options
@_named_token
@json_option
@dry_run_option
def remove_command(*, volume: VolumeOptions, token_id: int, as_json: bool, dry_run: bool) -> None:
    """Remove a token of whatever type. Its keyslots stay."""
    with open_to_change(volume, dry_run=dry_run) as opened:
        opened.tokens.remove(token_id)
        _report(opened, token_id, "removed", as_json=as_json, dry_run=dry_run)


@token_command.command("assign")
@volume_options
@_named_token
@click.option("-S", "--key-slot", type=int, metavar="N", help="The keyslot; default: all.")
@json_option
@dry_run_option
def assign_command(
    *, volume: VolumeOptions, token_id: int, key_slot: int | None, as_json: bool, dry_run: bool
) -> None:
    """Assign a token to a keyslot."""
    with open_to_change(volume, dry_run=dry_run) as opened:
        opened.tokens.assign(token_id, None if key_slot is None else (key_slot,))
        _report(opened, token_id, "assigned", as_json=as_json, dry_run=dry_run)


@token_command.command("unassign")
@volume_options
@_named_token
@click.option("-S", "--key-slot", type=int, metavar="N", required=True, help="The keyslot.")
@json_option
@dry_run_option
def unassign_command(
    *, volume: VolumeOptions, token_id: int, key_slot: int, as_json: bool, dry_run: bool
) -> None:
    """Take a token from a keyslot. Both stay."""
    with open_to_change(volume, dry_run=dry_run) as opened:
        opened.tokens.unassign(token_id, (key_slot,))
        _report(opened, token_id, "unassigned", as_json=as_json, dry_run=dry_run)


def _require_id_to_replace(token_id: int | None, token_replace: bool) -> None:
    if token_replace and token_id is None:
        raise click.UsageError("--token-replace needs --token-id")


def _read_text(name: str | None) -> bytes:
    """The JSON text in a file or standard input.

    InputError where there is nothing, TokenError when it is too long for any header.
    """
    source = prompt.STDIN if name is None or name == "-" else name
    what = "standard input" if source == prompt.STDIN else str(name)
    try:
        with io.BufferedReader(io.FileIO(source, closefd=source != prompt.STDIN)) as file:
            text = file.read(_TEXT_MAX + 1)
    except OSError as error:
        raise prompt.input_error(what, error) from error
    if not text:
        raise prompt.EndOfInputError(f"token: nothing to read on {what}")
    if len(text) > _TEXT_MAX:
        raise TokenError(f"token: a text of more than {_TEXT_MAX} bytes")
    return text


def _report(opened: Volume, token_id: int, done: str, *, as_json: bool, dry_run: bool) -> None:
    if dry_run:
        output.say_plans(opened.written, as_json=as_json)
        return
    keyslots = opened.tokens[token_id].keyslots if token_id in opened.tokens else None
    name = opened.header_storage.name
    if as_json:
        shown = {} if keyslots is None else {"keyslots": list(keyslots)}
        output.say_json({"token": token_id, **shown})
    elif keyslots is None:
        output.say(f"{name}: token {token_id} {done}")
    else:
        output.say(f"{name}: token {token_id} {done}; {_keyslots(keyslots)}")


def _keyslots(ids: tuple[int, ...]) -> str:
    if not ids:
        return "no keyslot"
    return f"keyslot{'s' if len(ids) > 1 else ''} {', '.join(map(str, ids))}"
