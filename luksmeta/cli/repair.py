"""``repair``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import click

from luksmeta.cli import kept_headers, output, prompt
from luksmeta.cli.key_options import UnlockOptions, unlock_options
from luksmeta.cli.options import (
    VolumeOptions,
    dry_run_option,
    json_option,
    volume_options,
)
from luksmeta.cli.unlocking import read_volume_key, try_passphrases
from luksmeta.diagnosis import Diagnosis, diagnose_storage
from luksmeta.errors import RESTORE_HINT, HeaderError, NotLuksError, VersionError
from luksmeta.keyslot import trial_order
from luksmeta.locking import locked
from luksmeta.model import Metadata
from luksmeta.repair import Repair, Unlock, prepare
from luksmeta.signatures import Signature
from luksmeta.storage import Storage
from luksmeta.target import open_storage
from luksmeta.unlocking import OpenedKeys, open_with_passphrase, open_with_volume_key
from luksmeta.write_plan import Write

_SHOWN_MAX: Final = 48  # characters of a value in the table
_SUFFIX: Final = ".before-repair"


@click.command("repair", short_help="Put a damaged header right, without guessing.")
@volume_options
@unlock_options()
@kept_headers.backup_option(_SUFFIX)
@json_option
@dry_run_option
def repair_command(
    *,
    volume: VolumeOptions,
    key: UnlockOptions,
    backup_file: str | None,
    as_json: bool,
    dry_run: bool,
) -> None:
    """Put a damaged header right, as far as that needs no guessing.

    A damaged or obsolete LUKS2 copy is written anew from the good one, after mkswap, say. A magic
    that alone is gone, as after wipefs, is put back. In LUKS1, which has no second copy, unused
    keyslots and spellings are mended as cryptsetup does it.

    First every field that changes is shown, and before anything is written the header is copied to
    a new file, as it is. A passphrase is needed only where a reencryption that an old cryptsetup
    began lacks its proof.
    """
    with open_storage(volume.header_file) as storage:
        repair = _prepared(storage, key, as_json=as_json, dry_run=dry_run)
        steps: Sequence[kept_headers.Step] = []
        if repair.plans:
            backup_file = kept_headers.new_name(storage.name, backup_file, _SUFFIX)
            steps = kept_headers.steps(repair.change, storage, backup_file)
    document = _document(repair, backup_file)
    if not repair.plans:
        _say_nothing_to_do(volume.header_file, repair, document, as_json=as_json, dry_run=dry_run)
    elif dry_run:
        _say_dry_run(repair, document, steps, as_json=as_json)
    else:
        _carry_out(volume, repair, str(backup_file), document, as_json=as_json)


def _prepared(storage: Storage, key: UnlockOptions, *, as_json: bool, dry_run: bool) -> Repair:
    try:
        repair = prepare(storage)
    except (HeaderError, NotLuksError) as error:
        if dry_run or as_json:
            _say_beyond_repair(storage, as_json=as_json, dry_run=dry_run)
        if not isinstance(error, VersionError):  # which knows better
            more = "" if dry_run or as_json else "; --dry-run shows all that is wrong"
            error.advise(f"{RESTORE_HINT}{more}")
        raise
    if not repair.unproved:
        return repair
    try:
        return prepare(storage, _unlock_with(key))
    except prompt.EndOfInputError as error:
        if not repair.plans:
            raise
        output.warning(f"{storage.name}: the reencryption stays without proof: {error}")
        return repair


def _unlock_with(key: UnlockOptions) -> Unlock:
    def unlock(metadata: Metadata, storage: Storage) -> OpenedKeys:
        if key.volume_key_file is not None:
            size = metadata.volume_key_size
            with read_volume_key(key.volume_key_file, size) as volume_key:
                return open_with_volume_key(metadata, volume_key, key.limits)
        keyslots = _keyslots_to_try(metadata, key.key_slot)
        keys, passphrase = try_passphrases(
            f"Passphrase for {storage.name}, to prove its reencryption",
            key,
            lambda given: open_with_passphrase(metadata, storage, given, keyslots, key.limits),
        )
        passphrase.wipe()
        return keys

    return unlock


def _keyslots_to_try(metadata: Metadata, named: int | None) -> tuple[int, ...]:
    if named is not None:
        metadata.keyslot(named)
        return (named,)
    bound = metadata.bound_keyslots
    return tuple(each for each in trial_order(metadata.keyslots) if each in bound)


def _carry_out(
    volume: VolumeOptions,
    repair: Repair,
    backup_file: str,
    document: Mapping[str, object],
    *,
    as_json: bool,
) -> None:
    name = volume.header_file
    output.say_before(_page(repair), as_json=as_json)
    prompt.confirm(
        name,
        f"the header will be repaired, and copied to {backup_file} before",
        batch_mode=volume.batch_mode,
    )
    with open_storage(name, writable=True) as storage:
        repair.apply(storage, backup_file)
    if as_json:
        output.say_json(document)
    else:
        output.say(f"{name}: repaired; the header as it was is in {backup_file}")


# --- what is said ------------------------------------------------------------------------------


def _document(repair: Repair, backup_file: str | None) -> dict[str, object]:
    return {
        "repaired": bool(repair.plans),
        "uuid": repair.header.metadata.uuid,
        "backup": backup_file if repair.plans else None,
        "fields": [field.describe() for field in repair.fields],
        "diagnosis": repair.diagnosis.describe(),
    }


def _say_nothing_to_do(
    name: str, repair: Repair, document: Mapping[str, object], *, as_json: bool, dry_run: bool
) -> None:
    if as_json:
        output.say_json({"plan": [], **document} if dry_run else document)
        return
    output.say(f"{name}: {repair.diagnosis.reason}; there is nothing to repair")
    for line in _violations(repair.diagnosis):
        output.say(line)


def _say_dry_run(
    repair: Repair,
    document: Mapping[str, object],
    steps: Sequence[Mapping[str, int | str]],
    *,
    as_json: bool,
) -> None:
    if as_json:
        output.say_json({"plan": steps, **document})
        return
    for line in _page(repair):
        output.say(line)
    output.say_steps(steps, as_json=False)


def _say_beyond_repair(storage: Storage, *, as_json: bool, dry_run: bool) -> None:
    """All that is wrong with a header that cannot be repaired: the error's line has the first."""
    with locked(storage, exclusive=False):
        diagnosis = diagnose_storage(storage)
    if as_json:
        plan: dict[str, object] = {"plan": []} if dry_run else {}
        nothing: dict[str, object] = {"repaired": False, "uuid": None, "backup": None, "fields": []}
        output.say_json({**plan, **nothing, "diagnosis": diagnosis.describe()})
        return
    output.say(f"{storage.name}: {diagnosis.reason}")
    for line in (*_copies(diagnosis), *_violations(diagnosis)):
        output.say(line)


def _page(repair: Repair) -> Iterator[str]:
    diagnosis = repair.diagnosis
    yield f"{diagnosis.name}: {diagnosis.reason}"
    for signature in diagnosis.foreign_signatures:
        fate = "will be written over" if _is_written_over(repair, signature) else "stays"
        yield f"  {signature} is no part of this volume, and {fate}"
    yield from _copies(diagnosis)
    yield from _violations(diagnosis)
    yield ""
    yield from _table(repair)
    yield ""


def _copies(diagnosis: Diagnosis) -> Iterator[str]:
    for copy in diagnosis.copies:
        place = "nowhere" if copy.offset is None else f"at {copy.offset:#x}"
        why = f": {copy.error.text}" if copy.error else ""
        yield f"  {copy.copy} copy {place}: {copy.condition}{output.one_line(why)}"


def _violations(diagnosis: Diagnosis) -> Iterator[str]:
    for copy, violation in diagnosis.all_violations():
        where = f"{copy} copy, " if copy and len(diagnosis.copies) > 1 else ""
        text = f"{violation} [{violation.rule}]"
        yield f"  {violation.severity}: {where}{output.one_line(text)}"


def _table(repair: Repair) -> Iterator[str]:
    rows = [("object", "field", "found", "will be")]
    rows += [
        (each.where, each.field, _shown(each.found), _shown(each.will_be)) for each in repair.fields
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        *cells, last = row
        padded = (f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True))
        yield "  " + "  ".join((*padded, last))


def _shown(value: object) -> str:
    if value is None:
        return "(nothing)"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = output.one_line(text) or "(empty)"
    return text if len(text) <= _SHOWN_MAX else f"{text[: _SHOWN_MAX - 1]}…"


def _is_written_over(repair: Repair, signature: Signature) -> bool:
    writes = (step for plan in repair.plans for step in plan.steps if isinstance(step, Write))
    return any(each.extent.offset <= signature.offset < each.extent.end for each in writes)
