"""From a passphrase to the volume keys: which keyslots are tried, and what proves a key."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from luksmeta import keyslot as keyslot_area
from luksmeta.errors import (
    AlgorithmError,
    KeyslotError,
    KeyslotNotFoundError,
    KeyslotsUntriedError,
    LuksError,
    PassphraseError,
    ResourceLimitError,
)
from luksmeta.kdf.pbkdf import Limits
from luksmeta.model import Metadata
from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.storage import Storage
from luksmeta.tokens import recovery
from luksmeta.tokens.assignment import keyslots_of
from luksmeta.volume_key import checked, digest_of_key, matches

_NO_KEYSLOT_HINT: Final = "dump shows the keyslots; one to be ignored must be named with -S"
_HINDRANCES: Final = (AlgorithmError, KeyslotError, ResourceLimitError)  # of a single keyslot


@dataclass(frozen=True, slots=True)
class OpenedKeys:
    """The keys of a volume by digest id; ``digest`` is that of the key which opened first.

    ``limits`` are those under which they were opened, for what still has to be proved.
    """

    digest: int
    keyslot: int | None
    by_digest: dict[int, SecretBytes]
    limits: Limits | None

    def wipe(self) -> None:
        """Wipe every key; harmless when repeated."""
        for key in self.by_digest.values():
            key.wipe()


def open_with_volume_key(
    metadata: Metadata, volume_key: BytesLike | SecretBytes, limits: Limits | None
) -> OpenedKeys:
    """The volume key itself, proved by a digest; VolumeKeyError when none matches."""
    key = SecretBytes(volume_key)
    try:
        digest_id = digest_of_key(metadata, key, limits)
    except BaseException:
        key.wipe()
        raise
    return OpenedKeys(digest_id, None, {digest_id: key}, limits)


def open_with_passphrase(
    metadata: Metadata,
    storage: Storage,
    passphrase: BytesLike | SecretBytes,
    keyslot_ids: tuple[int, ...],
    limits: Limits | None,
) -> OpenedKeys:
    """The keys that this passphrase opens, of the keyslots ``keyslot_ids``, tried in this order.

    While a reencryption goes on, segments have different keys; the passphrase is then tried for the
    others too. Raises PassphraseError (KeyslotsUntriedError where a limit kept one from being
    tried), or what kept all of them from it.
    """
    opened_id, key = _first_that_opens(metadata, storage, passphrase, keyslot_ids, limits)
    digest_id = _digest_of(metadata, opened_id)
    keys = OpenedKeys(digest_id, opened_id, {digest_id: key}, limits)
    try:
        for other in sorted(_digests_of_data(metadata) - {digest_id}):
            candidates = [each for each in keyslot_ids if each in metadata.digests[other].keyslots]
            try:
                _, keys.by_digest[other] = _first_that_opens(
                    metadata, storage, passphrase, candidates, limits
                )
            except PassphraseError:
                continue
    except BaseException:
        keys.wipe()
        raise
    return keys


def keyslots_that_open(
    metadata: Metadata,
    storage: Storage,
    passphrase: BytesLike | SecretBytes,
    keyslot_ids: Iterable[int],
    limits: Limits | None,
) -> tuple[tuple[int, ...], dict[int, LuksError]]:
    """All of ``keyslot_ids`` that this passphrase opens, and what kept others from being tried."""
    opened: list[int] = []
    hindrances: dict[int, LuksError] = {}
    for keyslot_id in keyslot_ids:
        try:
            key = _open_keyslot(metadata, storage, passphrase, keyslot_id, limits)
        except _HINDRANCES as error:
            hindrances[keyslot_id] = error
            continue
        if key is not None:
            key.wipe()
            opened.append(keyslot_id)
    return tuple(opened), hindrances


def _first_that_opens(
    metadata: Metadata,
    storage: Storage,
    passphrase: BytesLike | SecretBytes,
    keyslot_ids: Iterable[int],
    limits: Limits | None,
) -> tuple[int, SecretBytes]:
    """A keyslot that cannot be tried does not keep the others from being tried."""
    tried: list[int] = []
    hindrances: list[LuksError] = []
    for keyslot_id in keyslot_ids:
        try:
            key = _open_keyslot(metadata, storage, passphrase, keyslot_id, limits)
        except _HINDRANCES as error:
            hindrances.append(error)
            continue
        if key is not None:
            return keyslot_id, key
        tried.append(keyslot_id)
    if hindrances and not tried:
        raise hindrances[0]
    raise _refused(tried, hindrances)


def _open_keyslot(
    metadata: Metadata,
    storage: Storage,
    passphrase: BytesLike | SecretBytes,
    keyslot_id: int,
    limits: Limits | None,
) -> SecretBytes | None:
    """The key of one keyslot, proved by its digest; None when the passphrase is not its.

    A recovery key is tried as systemd made it, however it was typed.
    """
    key = _proved_key(metadata, storage, passphrase, keyslot_id, limits)
    if key is not None or keyslot_id not in keyslots_of(metadata, recovery.TYPE):
        return key
    normal = recovery.normalized(passphrase)
    if normal is None:
        return None
    with normal:
        if normal.matches(passphrase):
            return None
        return _proved_key(metadata, storage, normal, keyslot_id, limits)


def _proved_key(
    metadata: Metadata,
    storage: Storage,
    passphrase: BytesLike | SecretBytes,
    keyslot_id: int,
    limits: Limits | None,
) -> SecretBytes | None:
    digest_id = _digest_of(metadata, keyslot_id)
    digest, keyslot = metadata.digests[digest_id], metadata.keyslots[keyslot_id]
    keyslot_area.check_costs(keyslot_id, keyslot, limits)
    try:
        checked(digest_id, digest, limits)
    except ResourceLimitError as error:
        raise error.of(f"keyslot {keyslot_id}") from error
    key = keyslot_area.unlock(keyslot_id, keyslot, passphrase, storage, limits)
    if key is None:
        return None
    try:
        if matches(digest_id, digest, key, limits):
            return key
    except BaseException:
        key.wipe()
        raise
    key.wipe()
    return None


def _digest_of(metadata: Metadata, keyslot_id: int) -> int:
    found = metadata.digest_of_keyslot(keyslot_id)
    if found is None:
        raise KeyslotNotFoundError(f"keyslot {keyslot_id}: belongs to no digest")
    return found[0]


def _digests_of_data(metadata: Metadata) -> set[int]:
    """The digests of all keys that segments have: during a reencryption, of the old and the new."""
    return {digest_id for digest_id, digest in metadata.digests.items() if digest.segments}


def _refused(tried: list[int], hindrances: list[LuksError]) -> PassphraseError:
    if not tried:
        return PassphraseError("no keyslot is there to be tried").advise(_NO_KEYSLOT_HINT)
    ids = ", ".join(str(keyslot_id) for keyslot_id in tried)
    text = f"no keyslot opens with this passphrase (tried {ids})"
    if not hindrances:
        return PassphraseError(text, tried=tried)
    text += f"; not tried: {'; '.join(str(error) for error in hindrances)}"
    is_limited = any(isinstance(error, ResourceLimitError) for error in hindrances)
    return (KeyslotsUntriedError if is_limited else PassphraseError)(text, tried=tried)
