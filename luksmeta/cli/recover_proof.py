"""How ``recover`` asks for what proves a header, and tries it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from luksmeta.cli import progress, prompt
from luksmeta.cli.key_options import NewKeyOptions, UnlockOptions
from luksmeta.cli.keyslot_options import KeyslotOptions
from luksmeta.cli.recover_options import SearchOptions
from luksmeta.cli.unlocking import read_volume_key, try_passphrases
from luksmeta.kdf.pbkdf import Limits

if TYPE_CHECKING:
    from luksmeta.forensics.recovery.recovery import Recovery

_MAX_TIME: Final = 60_000  # milliseconds of one derivation: what is left may be damaged, or hostile


def prove(
    recovery: Recovery,
    search: SearchOptions,
    key: UnlockOptions,
    new_key: NewKeyOptions,
    made: KeyslotOptions,
) -> None:
    """Choose a header by the key that was given; none is asked for where nothing says which."""
    question = f"Passphrase for {recovery.name}"
    limits = replace(key.limits, milliseconds=key.max_time or _MAX_TIME)
    if key.volume_key_file is not None:
        with progress.bar("Looking for the data") as show:
            found = _VolumeKey(key.volume_key_file, limits, search.unproved)
            _prove_volume_key(recovery, found, new_key, made, show)
    elif search.flipped_bit is not None:
        with (
            prompt.read_passphrase(question, key.source) as given,
            progress.bar("Trying every bit") as show,
        ):
            recovery.flip_bit(given, search.flipped_bit, limits=limits, progress=show)
    elif key.key_file is not None:
        _, passphrase = try_passphrases(
            question, key, lambda given: recovery.prove(given, limits=limits)
        )
        passphrase.wipe()


@dataclass(frozen=True, slots=True)
class _VolumeKey:
    """A volume key that is tried, what its digests may cost, and what it may rest on."""

    file: str
    limits: Limits
    unproved: bool


def _prove_volume_key(
    recovery: Recovery,
    given: _VolumeKey,
    new_key: NewKeyOptions,
    made: KeyslotOptions,
    show: progress.Show,
) -> None:
    with ExitStack() as stack:
        volume_key = stack.enter_context(read_volume_key(given.file, None))
        with progress.waiting("Trying the digests"):
            version = recovery.version_of(volume_key, limits=given.limits)
        if new_key.new_keyfile is None and version is not None:
            recovery.prove_volume_key(volume_key, limits=given.limits)
            return
        passphrase = stack.enter_context(
            prompt.read_passphrase(
                f"New passphrase for {recovery.name}", new_key.source, verify=True
            )
        )
        version = version or 2  # of a new header
        made.check(version)
        pbkdf = made.costs(version, made.hash or "sha256")
        recovery.prove_volume_key(
            volume_key,
            passphrase,
            pbkdf=pbkdf,
            unproved=given.unproved,
            limits=given.limits,
            progress=show,
        )
