"""A keyslot's area <-> the volume key: derive, decrypt, merge; and back.

Source: LUKS2 specification 1.1.4, sections 3.2 and 4; LUKS1 specification 1.2.3, sections 2.4 and
4; lib/luks2/luks2_keyslot_luks2.c; lib/luks1/keyencryption.c.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from luksmeta.errors import AlgorithmError, KeyslotError, ResourceLimitError
from luksmeta.kdf import antiforensic, pbkdf
from luksmeta.kdf.pbkdf import Limits
from luksmeta.model import STRIPES, AnyKeyslot, ForeignKdf, Keyslot, KeyslotPriority
from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.sector import engine
from luksmeta.sector.cipher_spec import CipherSpec, check_key_size
from luksmeta.sector.engine import SectorCipher
from luksmeta.sizes import counted
from luksmeta.storage import Storage

SALT_SIZE: Final = 32
_KEY_SIZE_MAX: Final = 4096  # bytes; ours: the longest of any cipher has 512, merging takes 0.4 s
_AREA_KEY_SIZE_MAX: Final = 512  # bytes; bounds the derivation for ciphers of unknown key size


def trial_order(keyslots: Mapping[int, AnyKeyslot]) -> tuple[int, ...]:
    """The ids to try with a passphrase: high priority first, then normal, each in JSON order."""
    return tuple(
        keyslot_id
        for wanted in (KeyslotPriority.HIGH, KeyslotPriority.NORMAL)
        for keyslot_id, keyslot in keyslots.items()
        if isinstance(keyslot, Keyslot) and _priority(keyslot) is wanted
    )


def unlock(
    keyslot_id: int,
    keyslot: AnyKeyslot,
    passphrase: BytesLike | SecretBytes,
    storage: Storage,
    limits: Limits | None = None,
) -> SecretBytes | None:
    """What the area holds under this passphrase: a key for the digest to judge.

    None when the passphrase cannot be the one: an unencrypted area opens to the empty passphrase
    only. Raises AlgorithmError, ResourceLimitError, StorageError, or KeyslotError for a keyslot
    that cannot be right.
    """
    keyslot = _usable(keyslot_id, keyslot)
    spec = CipherSpec.parse(keyslot.area.encryption)
    if spec.is_null and len(passphrase) > 0:
        return None
    split_size = antiforensic.split_size(keyslot.key_size, STRIPES)
    if split_size > keyslot.area.size:
        raise KeyslotError(
            f"keyslot {keyslot_id}: area of {counted(keyslot.area.size, 'byte')}, its key of "
            f"{counted(keyslot.key_size, 'byte')} needs {split_size}"
        )
    with (
        area_cipher(keyslot_id, keyslot, passphrase, limits) as cipher,
        SecretBytes(split_size) as split,
    ):
        cipher.decrypt_into(0, storage.read_at(keyslot.area.offset, split_size), split.view())
        return antiforensic.merge(split, keyslot.key_size, STRIPES, keyslot.af.hash)


@contextmanager
def area_cipher(
    keyslot_id: int,
    keyslot: Keyslot,
    passphrase: BytesLike | SecretBytes,
    limits: Limits | None = None,
) -> Iterator[SectorCipher]:
    """The cipher of the area under this passphrase; raises what :func:`unlock` does."""
    with (
        _area_key(keyslot_id, keyslot, passphrase, limits) as key,
        engine.create(keyslot.area.encryption, key) as cipher,
    ):
        yield cipher


def check_costs(keyslot_id: int, keyslot: AnyKeyslot, limits: Limits | None) -> None:
    """Raise ResourceLimitError where the keyslot's KDF asks for more than ``limits`` allow."""
    if not isinstance(keyslot, Keyslot) or isinstance(keyslot.kdf, ForeignKdf):
        return
    try:
        (limits or Limits()).check(keyslot.kdf, keyslot.area.key_size)
    except ResourceLimitError as error:
        raise error.of(f"keyslot {keyslot_id}") from error


def lock(
    keyslot_id: int, keyslot: Keyslot, passphrase: BytesLike | SecretBytes, volume_key: SecretBytes
) -> bytes:
    """The bytes of the area that gives ``volume_key`` back to this passphrase.

    As long as the split key in whole sectors; the area may be longer. Raises AlgorithmError,
    ResourceLimitError, or KeyslotError for a passphrase that would not open an unencrypted area.
    """
    if CipherSpec.parse(keyslot.area.encryption).is_null and len(passphrase) > 0:
        raise KeyslotError(
            f"keyslot {keyslot_id}: cipher {keyslot.area.encryption} leaves its key in the clear, "
            "only the empty passphrase is taken"
        )
    with (
        _area_key(keyslot_id, keyslot, passphrase, None) as key,
        engine.create(keyslot.area.encryption, key) as cipher,
        antiforensic.split(volume_key, STRIPES, keyslot.af.hash) as split,
    ):
        area = bytearray(len(split))
        cipher.encrypt_into(0, split.view(), area)
        return bytes(area)


def _priority(keyslot: Keyslot) -> KeyslotPriority:
    """The priority; an absent one means normal, and ``ignore`` is 0."""
    return KeyslotPriority.NORMAL if keyslot.priority is None else keyslot.priority


def _usable(keyslot_id: int, keyslot: AnyKeyslot) -> Keyslot:
    if not isinstance(keyslot, Keyslot):
        raise KeyslotError(f"keyslot {keyslot_id}: of type {keyslot.type}, no passphrase opens it")
    if not 1 <= keyslot.key_size <= _KEY_SIZE_MAX:
        raise KeyslotError(
            f"keyslot {keyslot_id}: a key of {counted(keyslot.key_size, 'byte')}, 1 to "
            f"{_KEY_SIZE_MAX} are "
            "possible"
        )
    if not isinstance(keyslot.kdf, ForeignKdf) and len(keyslot.salt) != SALT_SIZE:
        raise KeyslotError(
            f"keyslot {keyslot_id}: salt of {counted(len(keyslot.salt), 'byte')}, "
            f"{SALT_SIZE} are expected"
        )
    return keyslot


def _area_key(
    keyslot_id: int,
    keyslot: Keyslot,
    passphrase: BytesLike | SecretBytes,
    limits: Limits | None,
) -> SecretBytes:
    """The derived key of the area's cipher; its size is checked before it costs anything."""
    if isinstance(keyslot.kdf, ForeignKdf):
        raise AlgorithmError(
            f"keyslot {keyslot_id}: KDF {keyslot.kdf.type}, known are pbkdf2, argon2i, argon2id",
            kind="kdf",
            name=keyslot.kdf.type,
        )
    size = keyslot.area.key_size
    if not 0 < size <= _AREA_KEY_SIZE_MAX:
        raise KeyslotError(
            f"keyslot {keyslot_id}: area key of {counted(size, 'byte')}, "
            f"1 to {_AREA_KEY_SIZE_MAX} are possible"
        )
    check_key_size(CipherSpec.parse(keyslot.area.encryption), size)
    try:
        return pbkdf.derive(keyslot.kdf, passphrase, keyslot.salt, size, limits=limits)
    except ResourceLimitError as error:
        raise error.of(f"keyslot {keyslot_id}") from error
