"""``measure``, ``seal`` and ``verify``: whether a header is the one that it was."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

import click

from luksmeta.cli import output, prompt
from luksmeta.cli.key_options import UnlockOptions, unlock_options
from luksmeta.cli.options import VolumeOptions, dry_run_option, json_option, volume_options
from luksmeta.cli.seal_options import COUNTER, Measurement, terms
from luksmeta.cli.unlocking import open_header_for, open_to_change, unlock
from luksmeta.trust.canonical import FORMAT
from luksmeta.trust.changes import SealFault, SealFinding
from luksmeta.trust.terms import HASHES
from luksmeta.trust.verification import SealVerification, require_sealable

_SHOWN: Final = 70  # characters of a value


@click.command("measure", short_help="Print a digest of all that the header says.")
@volume_options
@click.option(
    "-h",
    "--hash",
    "hash_name",
    type=click.Choice(HASHES),
    default=HASHES[0],
    show_default=True,
    help="By this hash.",
)
@json_option
def measure_command(*, volume: VolumeOptions, hash_name: str, as_json: bool) -> None:
    """Print a digest of the header that stays the same until it says something else.

    All that it says counts, and every byte of key material; seqid, salts of the copies, spelling
    and order of JSON members do not, nor does a seal. For TPM PCRs, attestation reports and
    inventories. No passphrase is needed.
    """
    with open_header_for(volume) as opened:
        measurement = opened.measure(hash_name).hex()
        if as_json:
            output.say_json(
                {
                    "format": FORMAT,
                    "hash": hash_name,
                    "measurement": measurement,
                    "version": opened.version,
                    "uuid": opened.uuid,
                }
            )
        else:
            output.say(f"{measurement}  {volume.header_file}")


@click.command("seal", short_help="Have changes made without the volume key noticed.")
@volume_options
@unlock_options()
@click.option("--update", is_flag=True, help="Show what has changed since the seal, and accept it.")
@json_option
@dry_run_option
def seal_command(
    *, volume: VolumeOptions, key: UnlockOptions, update: bool, as_json: bool, dry_run: bool
) -> None:
    """Authenticate the header with a key derived from the volume key; or renew that.

    The seal is a LUKS2 token that other programs leave alone. What luksmeta changes with a
    passphrase renews it; what others change, verify shows and --update accepts.
    """
    with open_to_change(volume, dry_run=dry_run) as opened:
        require_sealable(opened.header)
        with unlock(opened, key, keyslot=key.key_slot) as unlocked:
            before = unlocked.verify_seal()
            changes = () if before.can_be_sealed else before.findings
            accept = _accepted(before, volume) if changes and update else None
            after = unlocked.seal(accept=accept)
        if dry_run:
            output.say_plans(opened.written, as_json=as_json)
        elif as_json:
            output.say_json(
                {
                    "counter": after.counter,
                    "measurement": after.measurement.hex(),
                    "accepted": [each.describe() for each in changes],
                }
            )
        else:
            output.say(f"{volume.header_file}: sealed; {_state(after)}")


@click.command("verify", short_help="Say whether the header is as it was sealed.")
@volume_options
@unlock_options()
@click.option(
    "--counter", type=COUNTER, metavar="N", help="The last counter: a lower one is a rollback."
)
@click.option(
    "--measurement", type=Measurement(), metavar="HEX", help="The last measurement, of any hash."
)
@json_option
def verify_command(
    *,
    volume: VolumeOptions,
    key: UnlockOptions,
    counter: int | None,
    measurement: str | None,
    as_json: bool,
) -> None:
    """Say whether the header is as it was sealed, and what has changed. Nothing is written.

    Exit status 0 when it is, 2 when not, or when no keyslot opens. An older header with its own
    seal holds as well, unless --counter or --measurement say what the last one had.
    """
    with (
        open_header_for(volume) as opened,
        unlock(opened, key, keyslot=key.key_slot) as unlocked,
    ):
        found = unlocked.verify_seal(terms(counter, measurement))
    if as_json:
        output.say_json(found.describe())
    elif found.holds:
        output.say(f"{volume.header_file}: sealed and whole; {_state(found)}")
    else:
        for line in _lines(found.findings):
            output.say(line)
    found.require()


def _accepted(found: SealVerification, volume: VolumeOptions) -> bytes:
    """The measurement of the changed header, once the user has seen and confirmed the changes."""
    if volume.batch_mode or prompt.is_interactive():
        for line in _lines(found.findings):
            output.show(line)
    prompt.confirm(
        volume.header_file, "this will be sealed as it is now", batch_mode=volume.batch_mode
    )
    return found.measurement


def _state(found: SealVerification) -> str:
    return f"counter {found.counter}, measurement {found.measurement.hex()}"


def _lines(findings: Iterable[SealFinding]) -> list[str]:
    return [output.one_line(_line(each)) for each in findings]


def _line(finding: SealFinding) -> str:
    match finding.fault:
        case _ if finding.path.startswith("areas."):  # hashes tell a person nothing
            return str(finding)
        case SealFault.CHANGED if finding.before is not None or finding.after is not None:
            return f"{finding}: was {_shown(finding.before)}, is {_shown(finding.after)}"
        case SealFault.ADDED if finding.after is not None:
            return f"{finding}: {_shown(finding.after)}"
        case SealFault.REMOVED if finding.before is not None:
            return f"{finding}: was {_shown(finding.before)}"
        case _:
            return str(finding)


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
