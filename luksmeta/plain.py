"""Plain dm-crypt and cryptoloop volumes: no header, and a key made directly from a passphrase.

What the two have in common is cryptsetup's plain mode (lib/crypt_plain.c, lib/setup.c, and the
notes on passphrase processing in its manual). A typed passphrase is hashed once, without salt; a
key file is the key itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from luksmeta.headerless import HeaderlessVolume, Placement, open_headerless
from luksmeta.kdf import hashes
from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.sizes import counted
from luksmeta.target import Target

NO_HASH: Final = "plain"
KEY_SIZE_MAX: Final = 512  # bytes; a bound of ours: the longest key of a plain cipher has 128

_HASH: Final = re.compile(r"(?P<name>[^:]+)(?::(?P<size>[0-9]{1,4}))?")


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a program takes for what its user does not say; ``key_size`` is in bytes."""

    cipher: str
    key_size: int
    hash: str


DEFAULTS: Final = {
    "cryptsetup-2.7": Defaults("aes-xts-plain64", 32, "sha256"),
    "cryptsetup-1.1": Defaults("aes-cbc-essiv:sha256", 32, "ripemd160"),
    "cryptsetup-1.0": Defaults("aes-cbc-plain", 32, "ripemd160"),
    "cryptoloop": Defaults("aes-cbc-plain", 32, "ripemd160"),
}
"""By the version that brought them: docs/v2.7.0-ReleaseNotes and docs/v1.1.0-ReleaseNotes.

``cryptoloop`` is ``losetup -e aes`` as Debian had it, which hashed the passphrase; others did not,
and there the hash is ``plain``.
"""

NEWEST: Final = "cryptsetup-2.7"


def open_plain(
    target: Target,
    *,
    passphrase: BytesLike | SecretBytes | None = None,
    key: BytesLike | SecretBytes | None = None,
    cipher: str | None = None,
    key_size: int | None = None,
    hash: str | None = None,
    defaults: str = NEWEST,
    offset: int = 0,
    skip: int = 0,
    size: int | None = None,
    sector_size: int = 512,
    iv_large_sectors: bool = False,
    writable: bool = False,
) -> HeaderlessVolume:
    """Open a volume that has no header, with what its user knows about it.

    Either ``passphrase``, which goes through ``hash`` (see :func:`derive_key`), or ``key``, whose
    first ``key_size`` bytes are the volume key as they are: what a key file holds. ``cipher``,
    ``key_size`` (bytes; of a ``key``, all of it) and ``hash`` come from DEFAULTS where they are not
    given. For ``offset``, ``skip`` and ``size``, in sectors of 512 bytes, see Placement.

    A wrong passphrase or cipher cannot be noticed, and writing with one destroys data. Raises
    AlgorithmError, StorageError, UnsupportedError; ValueError for a key that is too short and for
    numbers that make no sense.
    """
    if (passphrase is None) == (key is None):
        raise TypeError("open_plain takes either a passphrase or a key")
    if defaults not in DEFAULTS:
        raise ValueError(f"defaults {defaults!r}: known are {', '.join(DEFAULTS)}")
    base = DEFAULTS[defaults]
    placement = Placement(
        offset=offset,
        skip=skip,
        size=size,
        sector_size=sector_size,
        iv_large_sectors=iv_large_sectors,
    )
    if key is not None:
        volume_key = _start_of(key, len(key) if key_size is None else key_size)
    elif passphrase is not None:
        key_size = base.key_size if key_size is None else key_size
        volume_key = derive_key(passphrase, key_size, hash or base.hash)
    return open_headerless(target, cipher or base.cipher, volume_key, placement, writable=writable)


def derive_key(
    passphrase: BytesLike | SecretBytes, key_size: int, hash: str = "sha256"
) -> SecretBytes:
    """The volume key of ``key_size`` bytes that a typed passphrase means.

    ``hash`` is a name, ``NAME:LENGTH`` for a hash cut to so many bytes with zeroes behind it, or
    ``plain``: the passphrase itself, cut or filled with zeroes. A key longer than a digest goes on
    with the digest of "A" and the passphrase, "AA" and the passphrase, …, as hashalot has it.
    Raises AlgorithmError for an unknown hash, ValueError for a LENGTH that does not fit, also
    where ``plain:LENGTH`` has too short a passphrase.
    """
    _check_key_size(key_size)
    match = _HASH.fullmatch(hash)
    if match is None:
        raise ValueError(f"hash {hash!r}: NAME or NAME:LENGTH is expected")
    length = key_size if match["size"] is None else int(match["size"])
    if not 1 <= length <= key_size:
        raise ValueError(f"hash {hash!r}: length {length}, of a key of {counted(key_size, 'byte')}")
    secret = passphrase.view() if isinstance(passphrase, SecretBytes) else memoryview(passphrase)
    if match["name"] != NO_HASH:
        return _hashed(secret, key_size, length, hashes.get(match["name"]))
    if match["size"] is not None and len(secret) < length:
        raise ValueError(f"hash {hash!r}: the passphrase has {counted(len(secret), 'byte')}")
    used = secret[:length]
    return SecretBytes.filled(key_size, lambda key: _copy(used, key))


def _copy(source: memoryview, key: memoryview) -> None:
    key[: len(source)] = source


def _hashed(secret: memoryview, key_size: int, length: int, hash: hashes.Hash) -> SecretBytes:
    """``length`` bytes from rounds of the hash, then zeroes up to ``key_size``."""
    rounds = -(-length // hash.digest_size)
    with (
        SecretBytes(rounds - 1 + len(secret)) as text,
        SecretBytes(rounds * hash.digest_size) as digests,
    ):
        text.view()[: rounds - 1] = b"A" * (rounds - 1)
        text.view()[rounds - 1 :] = secret
        for number in range(rounds):
            at = number * hash.digest_size
            digest = digests.view()[at : at + hash.digest_size]
            hash.digest_into(text.view()[rounds - 1 - number :], digest)
        return SecretBytes.filled(key_size, lambda key: _copy(digests.view()[:length], key))


def _start_of(key: BytesLike | SecretBytes, size: int) -> SecretBytes:
    _check_key_size(size)
    if len(key) < size:
        raise ValueError(f"key: {counted(len(key), 'byte')}, {size} are needed")
    view = key.view() if isinstance(key, SecretBytes) else memoryview(key)
    return SecretBytes(view[:size])


def _check_key_size(key_size: int) -> None:
    if not 1 <= key_size <= KEY_SIZE_MAX:
        raise ValueError(f"key size: {key_size} bytes, possible are 1..{KEY_SIZE_MAX}")
