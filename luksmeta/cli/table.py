"""``table``: what the kernel's device-mapper would be told."""

from __future__ import annotations

from pathlib import Path

import click

from luksmeta.cli import output
from luksmeta.cli.crypt_options import CryptFlags, crypt_flags, mappable, place_option
from luksmeta.cli.options import VolumeOptions, json_option
from luksmeta.cli.source import Source, source_options
from luksmeta.cli.type_options import LUKS
from luksmeta.cli.unlocking import open_for
from luksmeta.disks.parts import split_name
from luksmeta.dm import block_devices, crypt_table
from luksmeta.dm.mapping import Mappable
from luksmeta.dm.table import TableLine, print_table
from luksmeta.segment import refuse_data_over_header


@click.command("table", short_help="Print the volume's device-mapper table.")
@source_options
@place_option
@click.option("--show-keys", is_flag=True, help="The keys in hex: whoever has them has the data.")
@click.option("--keyring", is_flag=True, help="LUKS2: keys by their names in the kernel's keyring.")
@click.option(
    "--device", metavar="NAME", help="What to call the disk; default: MAJOR:MINOR, a file's path."
)
@crypt_flags
@json_option
def table_command(
    *,
    source: Source,
    offset: int,
    show_keys: bool,
    keyring: bool,
    device: str | None,
    flags: CryptFlags,
    as_json: bool,
) -> None:
    """Print the device-mapper table of the volume, a line for each segment.

    The keys are zeroes; with a LUKS volume nothing is asked then. dmsetup create, and read --table,
    take it with --show-keys. The kernel takes no file: make a loop device of it, and name that with
    --device. For a part of a disk, the disk is named and the offsets are the disk's.
    """
    if keyring and show_keys:
        raise click.UsageError("--keyring and --show-keys exclude each other")
    disk = split_name(source.image)[0]
    name = device
    if name is None:
        with output.errors_of(source.image):
            name = block_devices.device_numbers(disk)
    if source.layout.type == LUKS and not (show_keys or source.seal.demand or source.key.names_any):
        _say(_locked(source.volume, source.policy, flags, name), keyring=keyring, as_json=as_json)
    else:
        with source.open(offset) as data:
            found = mappable(data, source.layout, name, flags)
            if show_keys and not as_json:
                with crypt_table.with_keys(found.table, found.keys) as text:
                    output.say(bytes(text.view()).decode().rstrip("\n"))
            else:
                _say(found, keyring=keyring, as_json=as_json, show_keys=show_keys)
    if device is None and Path(disk).is_file():
        output.warning(
            f"{disk}: the kernel takes block devices only: a loop device of it, --device /dev/loopN"
        )


def _locked(volume: VolumeOptions, policy: str | None, flags: CryptFlags, device: str) -> Mappable:
    """The table of a LUKS volume by its header alone, without keys."""
    with open_for(volume, policy=policy) as opened:
        if not opened.is_detached:
            refuse_data_over_header(opened.metadata)
        return Mappable.luks(opened.metadata, opened.data_storage, device, flags.words)


def _say(found: Mappable, *, keyring: bool, as_json: bool, show_keys: bool = False) -> None:
    lines: tuple[TableLine, ...] = tuple(each.line for each in found.table)
    if keyring:
        if found.kind != "LUKS2":
            raise click.UsageError(f"--keyring is for LUKS2, and this is {found.kind}")
        lines = crypt_table.with_named_keys(found.table, found.uuid)
    elif show_keys:
        lines = tuple(
            each.line
            if each.digest is None
            else each.with_key_word(found.keys[each.digest].view().hex())
            for each in found.table
        )
    if as_json:
        output.say_json({"table": [describe_line(line) for line in lines]})
    else:
        output.say(print_table(lines).rstrip("\n"))


def describe_line(line: TableLine) -> dict[str, object]:
    """A line of a table for programs; starts and lengths are in sectors, as in the text."""
    return {
        "start": line.start,
        "length": line.length,
        "target": line.target,
        "arguments": list(line.arguments),
        "line": print_table((line,)).rstrip("\n"),
    }
