"""``hash``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from luksmeta.cli import output
from luksmeta.cli.new_files import write_new_file
from luksmeta.cli.options import (
    NewFileName,
    VolumeOptions,
    dry_run_option,
    json_option,
    volume_options,
)
from luksmeta.cli.read_log import log_to, read_log_option
from luksmeta.errors import KeyslotError, LuksError, UnsupportedError
from luksmeta.forensics.containers import open_evidence
from luksmeta.forensics.hashes_export import ExportedHash, HashForm, export
from luksmeta.forensics.material import KeyslotCondition, condition_of
from luksmeta.forensics.regions import areas_of, examine

if TYPE_CHECKING:
    from luksmeta.volume import Volume


@click.command("hash", short_help="Write keyslots as lines for hashcat or John.")
@volume_options
@click.option("-S", "--key-slot", type=click.IntRange(min=0), metavar="N", help="This one only.")
@click.option(
    "--form",
    type=click.Choice([str(form) for form in HashForm]),
    default=str(HashForm.HASHCAT),
    show_default=True,
    help="Whose form the lines have.",
)
@click.option(
    "-o", "--output", "output_file", type=NewFileName(), metavar="FILE", help="A new file for them."
)
@read_log_option
@json_option
@dry_run_option
def hash_command(
    *,
    volume: VolumeOptions,
    key_slot: int | None,
    form: str,
    output_file: str | None,
    read_log: str | None,
    as_json: bool,
    dry_run: bool,
) -> None:
    """Write keyslots as lines for hashcat or John the Ripper, for authorised password recovery.

    One line for each keyslot that the program knows; a warning names those that are left out. A
    line is twice as long as the key material: 250 to 500 KiB. With -o the lines go to a new file
    that nobody else may read, and the hashcat mode of each is shown. A keyslot whose key material
    is damaged is warned of: no passphrase opens it.
    """
    from luksmeta.opening import open as open_volume

    if output_file is not None:
        output.require_new(output_file)
    elif dry_run:
        raise click.UsageError("--dry-run is about the file that -o names")
    with ExitStack() as stack:
        log = stack.enter_context(log_to(read_log))
        image = stack.enter_context(open_evidence(volume.image, log).storage)
        header = None
        if volume.header is not None:
            header = stack.enter_context(open_evidence(volume.header, log).storage)
        opened = stack.enter_context(open_volume(image, header=header))
        output.warn_about_copies(volume.header_file, opened.header)
        ids = opened.metadata.keyslots if key_slot is None else (key_slot,)
        exported, failures = _exported(opened, ids, HashForm(form))
        damaged = [each for each in _conditions(opened, exported) if each.can_open is False]
    if not exported:
        raise failures[0] if failures else UnsupportedError("keyslots: there are none")
    for failure in failures:
        output.warning(str(failure))
    for condition in damaged:
        output.warning(f"keyslot {condition.keyslot_id}: {condition.text}")
    if output_file is not None:
        lines = "".join(f"{each.text}\n" for each in exported).encode()
        if dry_run:
            output.say_new_file(output_file, len(lines), "keyslots", as_json=as_json)
            return
        write_new_file(output_file, lines)
    with output.after_making(*([] if output_file is None else [output_file])):
        _say(exported, failures, output_file, as_json=as_json)


def _exported(
    volume: Volume, ids: Iterable[int], form: HashForm
) -> tuple[list[ExportedHash], list[LuksError]]:
    exported: list[ExportedHash] = []
    failures: list[LuksError] = []
    for each in ids:
        try:
            exported.append(
                export(volume.header, each, form, volume.header_storage, volume.data_storage)
            )
        except (UnsupportedError, KeyslotError) as error:
            failures.append(error)
    return exported, failures


def _conditions(volume: Volume, exported: Iterable[ExportedHash]) -> Iterable[KeyslotCondition]:
    """Whether the key material of each exported keyslot looks whole."""
    storage = volume.header_storage
    for each in exported:
        keyslot = volume.metadata.keyslot(each.keyslot)
        regions = [examine(storage, place) for place in areas_of(each.keyslot, keyslot)]
        yield condition_of(each.keyslot, keyslot, regions, storage.size)


def _say(
    exported: Sequence[ExportedHash],
    failures: Iterable[LuksError],
    output_file: str | None,
    *,
    as_json: bool,
) -> None:
    if as_json:
        document: dict[str, object] = {
            "hashes": [each.describe() for each in exported],
            "left_out": [str(each) for each in failures],
        }
        output.say_json(document)
    elif output_file is None:
        for each in exported:
            output.say(each.text)
    else:
        for each in exported:
            use = "john" if each.mode is None else f"hashcat -m {each.mode}"
            output.say(f"{output_file}: keyslot {each.keyslot}, for {use}")
