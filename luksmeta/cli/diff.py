"""``diff``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

import click

from luksmeta.cli import output
from luksmeta.cli.comparison_page import render
from luksmeta.cli.key_options import UnlockOptions, unlock_options
from luksmeta.cli.options import FileName, json_option
from luksmeta.cli.unlocking import read_volume_key, try_passphrases
from luksmeta.comparison import Comparison, compare
from luksmeta.errors import (
    KeyslotNotFoundError,
    LuksError,
    NotLuksError,
    PassphraseError,
    VolumeKeyError,
)
from luksmeta.opening import open as open_volume
from luksmeta.secret import SecretBytes
from luksmeta.unlocked_volume import UnlockedVolume
from luksmeta.volume import Volume

_DIFFERENT = 1


@click.command("diff", short_help="Compare two headers, backups or detached headers.")
@click.argument("one", type=FileName())
@click.argument("other", type=FileName())
@click.option(
    "--try",
    "is_tried",
    is_flag=True,
    help="Try a passphrase on both, also that of -d, to prove whether their volume keys are one.",
)
@unlock_options("With --try: this keyslot only.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 when the headers differ.")
@json_option
@click.option("--debug", is_flag=True, help="Show a log, and tracebacks of errors.")
def diff_command(
    *,
    one: str,
    other: str,
    is_tried: bool,
    key: UnlockOptions,
    exit_code: bool,
    as_json: bool,
    debug: bool,
) -> int:
    """Compare two headers: of volumes, header backups or detached headers. Nothing is written.

    ONE and OTHER are the files that the headers lie in. They are compared field by field, and
    keyslot by keyslot: which are the same, by salt and key material whatever their ids, which were
    made anew, and which only one side has. What a keyslot that only a backup has opens, whoever
    knows its passphrase can open with the backup. --try tells of one passphrase what it opens.
    """
    output.log(f"diff of {one} and {other}, --debug {debug}")
    with ExitStack() as stack:
        sides = [stack.enter_context(_opened_header(name)) for name in (one, other)]
        for side in sides:
            output.warn_about_copies(side.header_storage.name, side.header)
        comparison = _compared(*sides)
        tried = None
        if is_tried or key.key_file is not None or key.volume_key_file is not None:
            tried = _tried(sides, key, stack)
            comparison = _with_proof(comparison, tried)
        if as_json:
            output.say_json({**comparison.describe(), "tried": _described(tried)})
        else:
            results = zip((one, other), tried or (), strict=False)
            lines = [f"{name}: {_text(opened)}" for name, opened in results]
            output.say_styled(render(comparison, one, other, lines))
    return _DIFFERENT if exit_code and not comparison.is_equal else 0


def _opened_header(name: str) -> Volume:
    try:
        return open_volume(name)
    except NotLuksError as error:
        error.advise("the header may lie in another file: name that one")
        raise


def _compared(one: Volume, other: Volume) -> Comparison:
    return compare(one.header, one.header_storage, other.header, other.header_storage)


def _tried(
    sides: Sequence[Volume], key: UnlockOptions, stack: ExitStack
) -> list[UnlockedVolume | None]:
    """What the passphrase or the volume key opens, None where it does not; the stack wipes it."""
    if key.volume_key_file is not None:
        size = sides[0].metadata.volume_key_size
        with read_volume_key(key.volume_key_file, size) as volume_key:
            return _opened(
                sides,
                lambda side: side.unlock(volume_key=volume_key, limits=key.limits),
                stack,
            )

    def attempt(passphrase: SecretBytes) -> list[UnlockedVolume | None]:
        return _opened(
            sides,
            lambda side: side.unlock(passphrase, keyslot=key.key_slot, limits=key.limits),
            stack,
        )

    opened, passphrase = try_passphrases("Passphrase to try on both", key, attempt)
    passphrase.wipe()
    return opened


def _opened(
    sides: Sequence[Volume], unlock: Callable[[Volume], UnlockedVolume], stack: ExitStack
) -> list[UnlockedVolume | None]:
    """Each side opened; the last error when neither can be."""
    opened: list[UnlockedVolume | None] = []
    failure: LuksError | None = None
    for side in sides:
        try:
            opened.append(stack.enter_context(unlock(side)))
        except (PassphraseError, KeyslotNotFoundError, VolumeKeyError) as error:
            opened.append(None)
            failure = error
    if failure is not None and not any(opened):
        raise failure
    return opened


def _with_proof(comparison: Comparison, tried: list[UnlockedVolume | None]) -> Comparison:
    """Whether both volume keys are the same, where both sides opened."""
    one, other = tried
    if one is None or other is None:
        return comparison
    return replace(comparison, same_volume_key=one.volume_key.matches(other.volume_key))


def _text(opened: UnlockedVolume | None) -> str:
    if opened is None:
        return "does not open"
    return "opens" if opened.keyslot is None else f"keyslot {opened.keyslot} opens"


def _described(tried: list[UnlockedVolume | None] | None) -> dict[str, object] | None:
    if tried is None:
        return None
    names = ("one", "other")
    return {
        name: None if each is None else {"keyslot": each.keyslot}
        for name, each in zip(names, tried, strict=True)
    }
