"""Digests of keys that are known: new ones with fresh salt and cost, and what they prove.

As in :mod:`luksmeta.key_management`, each change is computed as a value and nothing here writes.
Source: LUKS2 specification 3.4; lib/luks2/luks2_digest.c, lib/setup.c crypt_keyslot_add_by_key.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final

from luksmeta import key_management
from luksmeta.errors import KeyslotError, UnsupportedError, VolumeKeyError
from luksmeta.header import Header
from luksmeta.header_change import HeaderChange, reword
from luksmeta.kdf import calibrate, hashes
from luksmeta.kdf.pbkdf import Pbkdf2, check_new
from luksmeta.luks2.limits import DIGEST_SIZE_MIN, DIGESTS_MAX
from luksmeta.model import Digest, Keyslot, Metadata, Pbkdf2Digest
from luksmeta.new_keyslot import KeyslotOptions
from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.sizes import counted
from luksmeta.volume_key import make_digest, matches

KEY_SIZE_MAX: Final = 512  # bytes of an unbound key; a bound of ours, that of area keys


def check_hash(name: str) -> None:
    """Raise ValueError for a hash that is too short for a key's digest, AlgorithmError.

    cryptsetup takes one for LUKS2; but below 20 bytes it compares nothing, so that afterwards any
    passphrase opens the volume, to noise (lib/luks2/luks2_digest_pbkdf2.c; tried: 2.6.1).
    """
    size = hashes.get(name).digest_size
    if size < DIGEST_SIZE_MIN:
        raise ValueError(
            f"hash {name} has {size} bytes, a digest of the volume key needs {DIGEST_SIZE_MIN}"
        )


def make(
    version: int,
    key: SecretBytes,
    hash_name: str,
    *,
    iterations: int | None = None,
    milliseconds: int = calibrate.DIGEST_MILLISECONDS,
) -> Pbkdf2Digest:
    """A digest that proves ``key``, tried once; without ``iterations`` it costs ``milliseconds``.

    Raises ValueError for a hash or iterations that no digest should have, AlgorithmError.
    """
    check_hash(hash_name)
    iterations = iterations or calibrate.pbkdf2(milliseconds, hash_name).iterations
    check_new(Pbkdf2(hash=hash_name, iterations=iterations))
    digest = make_digest(key, version=version, hash_name=hash_name, iterations=iterations)
    if not matches(0, digest, key):
        raise VolumeKeyError("digest: the new one does not prove the key it was made of")
    return digest


def add_unbound(
    header: Header,
    keyslot_id: int,
    passphrase: BytesLike | SecretBytes,
    key: SecretBytes,
    digest: Pbkdf2Digest,
    options: KeyslotOptions,
) -> HeaderChange:
    """A keyslot for a key of its own, which no segment uses, and its digest.

    Raises UnsupportedError in LUKS1, KeyslotError when every digest id is in use.
    """
    require_unbound(header.metadata)
    digest_id = _free_digest_id(header.metadata)
    return key_management.add(
        header, keyslot_id, passphrase, key, digest_id, options, new_digest=digest
    )


def unbound_key(key: BytesLike | SecretBytes | None, size: int | None) -> SecretBytes:
    """A key for an unbound keyslot: the given one, or ``size`` random bytes; ValueError."""
    if key is not None and size not in (None, len(key)):
        raise ValueError(f"key of {counted(len(key), 'byte')}, key size {size} is asked for")
    size = size if key is None else len(key)
    if size is None or not 1 <= size <= KEY_SIZE_MAX:
        raise ValueError(
            f"key of {counted(size or 0, 'byte')}, from 1 to {KEY_SIZE_MAX} are possible"
        )
    return SecretBytes.random(size) if key is None else SecretBytes(key)


def require_unbound(metadata: Metadata) -> None:
    """Raise UnsupportedError where the format has no place for a second key."""
    if metadata.version == 1:
        raise UnsupportedError("header: LUKS1 has no unbound keyslots, its only key is the data's")


def renew(
    header: Header,
    digest_id: int,
    digest: Pbkdf2Digest,
    key: SecretBytes,
    bind: Collection[int] = (),
) -> tuple[HeaderChange, Pbkdf2Digest]:
    """``digest`` in place of the one that proves ``key`` now: the change, and what it has become.

    It takes over keyslots and segments. The unbound keyslots ``bind`` hold the same key and become
    the new digest's as well; a digest that is left without any keyslot goes. Raises
    KeyslotError for one that holds another key.
    """
    metadata = header.metadata
    for keyslot_id in bind:
        _require_same_key(metadata, keyslot_id, digest_id, key)
    old = metadata.digests[digest_id]
    renewed = replace(
        digest,
        keyslots=(*old.keyslots, *bind),
        segments=old.segments,
        as_read=old.as_read,
    )
    digests: dict[int, Digest] = {
        each: renewed if each == digest_id else _without_keyslots(found, bind)
        for each, found in metadata.digests.items()
    }
    kept = {each: found for each, found in digests.items() if found.keyslots or found.segments}
    what = f"renew digest {digest_id}"
    return reword(header, replace(metadata, digests=kept), what), renewed


def _free_digest_id(metadata: Metadata) -> int:
    for digest_id in range(DIGESTS_MAX):
        if digest_id not in metadata.digests:
            return digest_id
    raise KeyslotError(f"header: all {DIGESTS_MAX} digests are in use")


def _require_same_key(
    metadata: Metadata, keyslot_id: int, digest_id: int, key: SecretBytes
) -> None:
    """Raise KeyslotError unless the keyslot is unbound and its own digest proves ``key`` too."""
    keyslot = metadata.keyslot(keyslot_id)
    found = metadata.digest_of_keyslot(keyslot_id)
    if not isinstance(keyslot, Keyslot) or found is None:
        raise KeyslotError(f"keyslot {keyslot_id}: of type {keyslot.type}, it has no key to prove")
    if found[0] == digest_id or found[1].segments:
        raise KeyslotError(f"keyslot {keyslot_id}: is bound already, to digest {found[0]}")
    if keyslot.key_size != len(key) or not matches(*found, key):
        raise KeyslotError(f"keyslot {keyslot_id}: holds another key than the one that is open")


def _without_keyslots(digest: Digest, gone: Collection[int]) -> Digest:
    return replace(digest, keyslots=tuple(each for each in digest.keyslots if each not in gone))
