"""How a new keyslot is made: what is asked for, and what is decided as cryptsetup does.

Source: lib/luks2/luks2_keyslot.c, lib/luks1/keymanage.c, lib/setup.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from luksmeta import keyslot as keyslot_area
from luksmeta.extents import Extent
from luksmeta.kdf.pbkdf import Argon2id, Pbkdf, Pbkdf2, check_new
from luksmeta.model import (
    AntiForensic,
    CryptSegment,
    Keyslot,
    KeyslotPriority,
    Metadata,
    Pbkdf2Digest,
    RawArea,
    Token,
)
from luksmeta.random_bytes import random_bytes
from luksmeta.sector.cipher_spec import CipherSpec

DEFAULT_HASH: Final = "sha256"
FALLBACK_KEYSLOT_CIPHER: Final = "aes-xts-plain64"  # configure.ac: LUKS2 keyslot cipher
FALLBACK_KEYSLOT_KEY_SIZE: Final = 64
_DATA_ONLY_IVS: Final = frozenset({"elephant", "lmk", "tcw"})  # lib/crypto_backend/crypto_storage.c


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyslotOptions:
    """How a new keyslot is made; what is None is decided as cryptsetup does.

    ``hash`` is the anti-forensic splitter's; ``encryption`` and ``area_key_size`` (bytes) are those
    of the keyslot's area; ``tokens`` come with it, and are assigned to it alone.
    """

    pbkdf: Pbkdf | None = None
    hash: str | None = None
    priority: KeyslotPriority | None = None
    encryption: str | None = None
    area_key_size: int | None = None
    tokens: tuple[Token, ...] = ()


def new_keyslot(
    metadata: Metadata, area: Extent, key_size: int, options: KeyslotOptions
) -> Keyslot:
    """A keyslot of these options for a key of ``key_size`` bytes, with a salt of its own.

    Raises ValueError for a KDF that costs less than any should, or more than any can.
    """
    # An unbound key has its own size; the area's cipher has that of the data's key.
    encryption, area_key_size = keyslot_encryption(metadata, metadata.volume_key_size or key_size)
    kdf = options.pbkdf or default_pbkdf(metadata)
    check_new(kdf)
    return Keyslot(
        key_size=key_size,
        kdf=kdf,
        salt=random_bytes(keyslot_area.SALT_SIZE),
        af=AntiForensic(hash=options.hash or header_hash(metadata)),
        area=RawArea(
            offset=area.offset,
            size=area.size,
            encryption=options.encryption or encryption,
            key_size=options.area_key_size or area_key_size,
        ),
        # Normal is what an absent priority means; cryptsetup removes the member then.
        priority=None if options.priority is KeyslotPriority.NORMAL else options.priority,
    )


def default_pbkdf(metadata: Metadata) -> Pbkdf:
    """The KDF of a new keyslot, calibrated to two seconds on this machine."""
    if metadata.version == 1:
        return Pbkdf2.calibrate(hash=header_hash(metadata))
    return Argon2id.calibrate()


def header_hash(metadata: Metadata) -> str:
    """The hash that new keyslots use: in LUKS1 the header's only one."""
    digest = metadata.digests.get(0)
    if metadata.version == 1 and isinstance(digest, Pbkdf2Digest):
        return digest.hash
    return DEFAULT_HASH


def keyslot_encryption(metadata: Metadata, key_size: int) -> tuple[str, int]:
    """The area cipher of new keyslots and its key size: the data's, where keyslots can use it.

    Source: lib/luks2/luks2_keyslot.c LUKS2_keyslot_cipher_incompatible, lib/setup.c
    crypt_keyslot_get_encryption.
    """
    segment = next(iter(metadata.segments.values()), None)
    if isinstance(segment, CryptSegment):
        if metadata.version == 1:
            return segment.encryption, key_size
        spec = CipherSpec.parse(segment.encryption)
        sizes = spec.key_sizes
        usable = sizes is not None and key_size in sizes and spec.key_count == 1
        if usable and spec.iv not in _DATA_ONLY_IVS and not spec.text.startswith("capi:"):
            return segment.encryption, key_size
    return FALLBACK_KEYSLOT_CIPHER, FALLBACK_KEYSLOT_KEY_SIZE
