"""Opening and unlocking for the commands that need it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

from luksmeta import requirements
from luksmeta.cli import output, progress, prompt
from luksmeta.cli.key_options import UnlockOptions
from luksmeta.cli.options import VolumeOptions
from luksmeta.cli.prompt import KeySource
from luksmeta.cli.seal_options import NO_SEAL, SealOptions
from luksmeta.errors import PassphraseError
from luksmeta.model import Metadata
from luksmeta.secret import SecretBytes
from luksmeta.target import is_same_file
from luksmeta.trust.opening import open as open_volume
from luksmeta.trust.opening import open_header
from luksmeta.unlocked_volume import UnlockedVolume
from luksmeta.volume import Volume

_Result = TypeVar("_Result")


def open_for(
    volume: VolumeOptions,
    *,
    writable: bool = False,
    dry_run: bool = False,
    policy: str | None = None,
) -> Volume:
    """The volume with its data; damaged header copies are warned of.

    With a policy its header is used as it was checked; PolicyError.
    """
    opened = open_volume(
        volume.image, header=volume.header, writable=writable, dry_run=dry_run, policy=policy
    )
    return _looked_at(opened, volume.header_file)


def open_header_for(volume: VolumeOptions, *, policy: str | None = None) -> Volume:
    """The volume by its header alone: a detached header's data need not be there."""
    if policy is None:
        opened = open_volume(volume.header_file)
    else:
        is_detached = not is_same_file(volume.header_file, volume.image)
        opened = open_header(volume.header_file, policy, is_detached=is_detached)
    return _looked_at(opened, volume.header_file)


def open_to_change(
    volume: VolumeOptions,
    *,
    dry_run: bool,
    allow: Callable[[Metadata], None] = requirements.allow_changes,
) -> Volume:
    """The same, writable. What will not be changed is refused before anything is asked."""
    opened = open_volume(volume.header_file, writable=True, dry_run=dry_run)
    try:
        _looked_at(opened, volume.header_file).require_changeable(allow)
    except BaseException:
        opened.close()
        raise
    return opened


def _looked_at(opened: Volume, name: str) -> Volume:
    output.log(f"{name}: {opened!r}, keyslots {sorted(opened.keyslots)}")
    output.warn_about_copies(name, opened.header)
    opened.warn = lambda text: output.warning(f"{name}: {text}")
    return opened


def read_volume_key(path: str, size: int | None) -> SecretBytes:
    """The raw volume key in a file: its first ``size`` bytes, or all of it."""
    return KeySource(path, 0, size).read()


def unlock(
    volume: Volume,
    key: UnlockOptions,
    *,
    keyslot: int | Collection[int] | None,
    seal: SealOptions = NO_SEAL,
) -> UnlockedVolume:
    """The volume unlocked as the options say; on a terminal the passphrase is asked for again."""
    if key.volume_key_file is not None:
        with read_volume_key(key.volume_key_file, volume.metadata.volume_key_size) as volume_key:
            return volume.unlock(
                volume_key=volume_key, limits=key.limits, require_seal=seal.demand or False
            )
    unlocked, passphrase = unlock_keeping_passphrase(volume, key, keyslot=keyslot, seal=seal)
    passphrase.wipe()
    return unlocked


def unlock_keeping_passphrase(
    volume: Volume,
    key: UnlockOptions,
    *,
    keyslot: int | Collection[int] | None,
    seal: SealOptions = NO_SEAL,
) -> tuple[UnlockedVolume, SecretBytes]:
    """The same, together with the passphrase, which the caller wipes."""
    return try_passphrases(
        f"Passphrase for {volume.data_storage.name}",
        key,
        lambda passphrase: volume.unlock(
            passphrase, keyslot=keyslot, limits=key.limits, require_seal=seal.demand or False
        ),
    )


def try_passphrases(
    question: str, key: UnlockOptions, attempt: Callable[[SecretBytes], _Result]
) -> tuple[_Result, SecretBytes]:
    """What ``attempt`` makes of the passphrase, and the passphrase, which the caller wipes.

    On a terminal it is asked for again after a PassphraseError, as often as the options say.
    """
    tries = key.tries if key.source.is_typed else 1
    for left in reversed(range(tries)):
        passphrase = prompt.read_passphrase(question, key.source)
        try:
            with progress.waiting("Deriving the key"):
                return attempt(passphrase), passphrase
        except PassphraseError as error:
            passphrase.wipe()
            if not left:
                raise
            output.warning(str(error))
        except BaseException:
            passphrase.wipe()
            raise
    raise AssertionError("unreachable")
