"""``recover``."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from luksmeta.cli import interrupts, output, progress
from luksmeta.cli.key_options import NewKeyOptions, UnlockOptions, new_key_options, unlock_options
from luksmeta.cli.keyslot_options import KeyslotOptions, keyslot_options
from luksmeta.cli.options import VolumeOptions, volume_options
from luksmeta.cli.read_log import log_to
from luksmeta.cli.recover_options import (
    ResultOptions,
    SearchOptions,
    result_options,
    search_options,
)
from luksmeta.cli.recover_proof import prove
from luksmeta.errors import VolumeKeyError
from luksmeta.model import SECTOR_SIZE

if TYPE_CHECKING:
    from luksmeta.forensics.recovery.recovery import Recovery


@click.command("recover", short_help="Bring back a header of which only parts are left.")
@volume_options
@result_options
@search_options
@unlock_options()
@new_key_options
@keyslot_options
def recover_command(
    *,
    volume: VolumeOptions,
    result: ResultOptions,
    search: SearchOptions,
    key: UnlockOptions,
    new_key: NewKeyOptions,
    made: KeyslotOptions,
) -> None:
    """Bring back a header of which there is only a part left, into a new file.

    IMAGE is read and never written to. Used is what is left: header copies without their magic,
    or elsewhere than they should be; JSON texts in their place, in slack or in pieces; a LUKS1
    keyslot table; a header backup. --dry-run shows all possible headers, how sure each is, from
    which bytes it comes and what is lost for good.

    With --key-file a header must open before it is written. With --volume-key-file nothing of a
    header need be left: the data is found by what it decrypts to, and gets a new header, with a
    keyslot for --new-keyfile; a structure that is known must be in it, unless with --unproved.
    Without a key the surest header is written, and said to be unproved. A derivation may take 60
    seconds, by an estimate, and all together ten times that; --max-time raises both.
    """
    from luksmeta.forensics.recovery.recovery import recover

    result.require_any()
    if search.flipped_bit is not None and key.key_file is None:
        raise click.UsageError("--flipped-bit needs a --key-file")
    result.require_new()
    with ExitStack() as stack:
        log = stack.enter_context(log_to(result.read_log))
        recovery = stack.enter_context(
            recover(
                volume.image,
                volume.header,
                backup=search.backup,
                secondary_at=search.secondary_at,
                uuid=search.uuid,
                cipher=search.cipher,
                sector_size=search.sector_size,
                offset=None if search.offset is None else SECTOR_SIZE * search.offset,
                read_log=log,
            )
        )
        if search.candidate is not None:
            recovery.choose(search.candidate)
        if key.volume_key_file is None:
            recovery.require_any()
        found = len(recovery.candidates)
        try:
            prove(recovery, search, key, new_key, made)
        except VolumeKeyError:
            if result.dry_run and len(recovery.candidates) > found:
                _say(recovery, result)  # the new header, though nothing proves its key
            raise
        _warn_of_contradictions(recovery)
        if not result.dry_run:
            _write(recovery, result)
            _warn_unproved(recovery)
        with output.after_making(*(() if result.dry_run else result.new_files)):
            _say(recovery, result)


def _warn_of_contradictions(recovery: Recovery) -> None:
    """What was said to be known and is otherwise in the header that is taken."""
    for what, known, found in recovery.contradictions():
        option, unit = f"--{what.replace('_', '-')}", SECTOR_SIZE if what == "offset" else 1
        stated, there = (n if isinstance(n, str) else n // unit for n in (known, found))
        output.warning(f"{option} {stated}: the header that is taken says {there}")


def _warn_unproved(recovery: Recovery) -> None:
    from luksmeta.cli.recover_page import proof_of

    if recovery.proof is None or not recovery.proof.holds:
        output.warning(proof_of(recovery))


def _write(recovery: Recovery, result: ResultOptions) -> None:
    with interrupts.making(*result.new_files):
        if result.output_file is not None:
            recovery.write_header(result.output_file)
        if result.repaired is not None:
            with progress.bar("Copying") as show:
                recovery.write_repaired(result.repaired, show)


def _say(recovery: Recovery, result: ResultOptions) -> None:
    files = {"header": result.output_file, "repaired": result.repaired}
    if result.as_json:
        written = None if result.dry_run else files
        output.say_json({**recovery.describe(), "written": written})
        return
    from luksmeta.cli.recover_page import plan_page, result_page

    page = plan_page(recovery) if result.dry_run else result_page(recovery, files)
    for line in page:
        output.say(line)
