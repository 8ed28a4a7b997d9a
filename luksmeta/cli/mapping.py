"""``map``, ``unmap`` and ``status``: volumes through the kernel, as cryptsetup maps them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from luksmeta.cli import output, prompt
from luksmeta.cli.crypt_options import CryptFlags, crypt_flags, mappable, place_option
from luksmeta.cli.options import dry_run_option, json_option
from luksmeta.cli.plaintext import confirm_loss
from luksmeta.cli.source import Source, source_options
from luksmeta.cli.table import describe_line
from luksmeta.cli.type_options import LUKS
from luksmeta.disks.parts import split_name
from luksmeta.dm import block_devices, kernel, mapping
from luksmeta.dm.mapping import Mappable
from luksmeta.dm.table import print_table
from luksmeta.errors import UnsupportedError
from luksmeta.sizes import counted

if TYPE_CHECKING:
    from luksmeta.dm.kernel import Mapping

_name = click.argument("name")
_debug = click.option("--debug", is_flag=True, help="Show a log, and tracebacks of errors.")


@click.command("map", short_help="Map the volume through the kernel, as cryptsetup does.")
@source_options
@_name
@place_option
@click.option("--readonly", is_flag=True, help="A mapping that cannot be written.")
@click.option("--disable-keyring", is_flag=True, help="LUKS2: the key in the table.")
@crypt_flags
@json_option
@dry_run_option
def map_command(
    *,
    source: Source,
    name: str,
    offset: int,
    readonly: bool,
    disable_keyring: bool,
    flags: CryptFlags,
    as_json: bool,
    dry_run: bool,
) -> None:
    """Map the volume to /dev/mapper/NAME through the kernel, as cryptsetup open does.

    Needs root and dmsetup; for a file, losetup as well. The key goes to the kernel's keyring
    (LUKS2) or in a pipe. cryptsetup status and close take the mapping; status and unmap take
    those of cryptsetup.
    """
    kernel.check_name(name)
    disk = split_name(source.image)[0]
    if not dry_run:
        kernel.require_kernel()
        kernel.require_free(name)
    with source.open(offset) as data:
        if not (dry_run or readonly or source.layout.type == LUKS):
            confirm_loss(source.volume, source.layout, offset, data.data_storage)
        if dry_run:
            found = mappable(data, source.layout, block_devices.device_numbers(disk), flags)
            _say_plan(name, found, disable_keyring=disable_keyring, as_json=as_json)
            return
        with block_devices.block_device(disk, is_read_only=readonly) as device:
            has_keyring = mapping.create(
                name,
                mappable(data, source.layout, device, flags),
                is_read_only=readonly,
                use_keyring=not disable_keyring,
                warn=output.warning,
            )
    path = f"/dev/mapper/{name}"
    if as_json:
        where = "keyring" if has_keyring else "dm-crypt"
        output.say_json({"name": name, "device": path, "key_location": where})
    else:
        output.say(f"{source.image}: mapped to {path}")


def _say_plan(name: str, found: Mappable, *, disable_keyring: bool, as_json: bool) -> None:
    mapping.require_mappable(found)
    lines = mapping.lines(found, use_keyring=not disable_keyring)
    uuid = mapping.uuid(found, name)
    if as_json:
        table = [describe_line(line) for line in lines]
        output.say_json({"plan": [{"step": "map", "name": name, "uuid": uuid, "table": table}]})
        return
    output.say(f"Nothing was mapped. {name}, {uuid}, would have this table, its keys not shown:")
    output.say(print_table(lines).rstrip("\n"))


@click.command("unmap", short_help="Remove a mapping of map or cryptsetup.")
@_name
@click.option("--deferred", is_flag=True, help="If it is in use, when it no longer is.")
@json_option
@dry_run_option
@_debug
def unmap_command(*, name: str, deferred: bool, as_json: bool, dry_run: bool, debug: bool) -> None:
    """Remove a mapping of map or cryptsetup, and the key with it."""
    del debug  # taken from the command line before any command runs
    kernel.require_kernel()
    found = _crypt_mapping(name)
    if any(map(mapping.has_integrity, found.table)):
        raise UnsupportedError(f"mapping {name}: lies on one with its integrity tags").advise(
            "cryptsetup close removes both"
        )
    if dry_run:
        if found.open_count and not deferred:
            output.warning(f"{name}: open {counted(found.open_count, 'time')}")
        step = {"step": "unmap", "name": name, "device": found.device}
        if as_json:
            output.say_json({"plan": [step]})
        else:
            output.say(f"Nothing was unmapped. {name}, {found.device}, would be removed.")
        return
    kernel.remove(name, is_deferred=deferred)
    if as_json:
        output.say_json({"name": name, "device": found.device})
    else:
        output.say(f"{name}: unmapped")


def _crypt_mapping(name: str) -> Mapping:
    found = kernel.find(name)
    if not mapping.kind_of(found):
        raise prompt.InputError(f"mapping {name}: is no volume of cryptsetup's or ours")
    return found


@click.command("status")
@_name
@json_option
@_debug
def status_command(*, name: str, as_json: bool, debug: bool) -> None:
    """Show what a mapping is: of map, or of cryptsetup."""
    del debug
    kernel.require_kernel()
    found = _crypt_mapping(name)
    segments = [mapping.describe_segment(line) for line in found.table]
    if as_json:
        output.say_json(
            {
                "name": name,
                "type": mapping.kind_of(found),
                "uuid": found.uuid,
                "device": f"/dev/mapper/{name}",
                "open_count": found.open_count,
                "read_only": found.is_read_only,
                "suspended": found.is_suspended,
                "active": bool(found.table),
                "segments": segments,
            }
        )
        return
    output.say("\n".join(_status_page(found, segments)))


def _status_page(found: Mapping, segments: list[dict[str, object]]) -> Iterator[str]:
    """As cryptsetup says it."""
    use = " and is in use" if found.open_count else ""
    state = "active" if found.table else "inactive: it has no table"
    yield f"/dev/mapper/{found.name} is {state}{use}."
    yield f"  type:    {mapping.kind_of(found)}"
    mode = "readonly" if found.is_read_only else "read/write"
    yield f"  mode:    {mode}{' (suspended)' if found.is_suspended else ''}"
    for segment in segments:
        for label, value in segment.items():
            if value not in (None, [], ""):
                shown = " ".join(value) if isinstance(value, list) else value
                unit = _UNITS.get(label, "")
                yield f"  {label.replace('_', ' ')}: {shown}{unit}"


_UNITS = {"key_size": " bits", "sector_size": " bytes", "offset": " bytes", "size": " bytes"}
