"""loop-AES volumes: no header, and a key file with one key, 64 keys or 65.

As cryptsetup opens them (lib/loopaes/loopaes.c). The kernel knows the many keys as the IV generator
``lmk`` (drivers/md/dm-crypt.c): sector n is encrypted with key n modulo 64, and a 65th key seeds
the IVs.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Final

from luksmeta.errors import LuksError
from luksmeta.headerless import HeaderlessVolume, Placement, open_headerless
from luksmeta.kdf import hashes
from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.sizes import counted
from luksmeta.target import Target

CIPHER: Final = "aes"
KEY_SIZE: Final = 32  # bytes; configure.ac

_KEY_COUNTS: Final = {1: 0x00, 64: 0x55, 65: 0xF4}  # versions 1, 2, 3; what each key starts with
_HASHES: Final = {16: "sha256", 24: "sha384", 32: "sha512"}  # by the size of a key, in bytes
_KEY: Final = re.compile(rb"[^\r\n\0]+")
_ENDED: Final = re.compile(rb"[\r\n\0]\Z")
_GPG: Final = b"BEGIN PGP MESSAGE"
_GPG_WITHIN: Final = 100  # bytes from the start


class KeyFileError(LuksError):
    """This is no loop-AES key file."""


def open_loopaes(
    target: Target,
    key_file: BytesLike | SecretBytes,
    *,
    cipher: str = CIPHER,
    key_size: int = KEY_SIZE,
    hash: str | None = None,
    offset: int = 0,
    skip: int | None = None,
    size: int | None = None,
    writable: bool = False,
) -> HeaderlessVolume:
    """Open a loop-AES volume with the content of its key file, as gpg decrypts it.

    ``cipher`` is a bare name; ``key_size`` that of one key, in bytes; ``hash`` of None is the one
    that goes with it. ``offset``, ``skip`` and ``size`` are in sectors of 512 bytes; a ``skip`` of
    None is ``offset``: loop-AES counts sectors from the device's start. Wrong keys cannot be
    noticed. Raises KeyFileError, AlgorithmError, StorageError; ValueError for a ``key_size`` that
    no hash goes with.
    """
    placement = Placement(offset=offset, skip=offset if skip is None else skip, size=size)
    count, key = read_keys(key_file, key_size, hash)
    chain = f"{cipher}-cbc-plain64" if count == 1 else f"{cipher}:64-cbc-lmk"
    return open_headerless(target, chain, key, placement, writable=writable)


def read_keys(
    key_file: BytesLike | SecretBytes, key_size: int = KEY_SIZE, hash: str | None = None
) -> tuple[int, SecretBytes]:
    """How many keys the file holds (1, 64 or 65), and their hashes, one behind the other.

    A key is a line of text, of which the hash is cut to ``key_size`` bytes; its first byte is
    changed by the version's number. Raises KeyFileError, AlgorithmError for an unknown hash,
    ValueError for a ``key_size`` that the hash does not fill.
    """
    if hash is None and key_size not in _HASHES:
        raise ValueError(
            f"key size: {counted(key_size, 'byte')}, {tuple(_HASHES)} have a hash of their own"
        )
    digest = hashes.get(hash or _HASHES[key_size])
    if not 1 <= key_size <= digest.digest_size:
        raise ValueError(f"key size: {key_size} bytes, {digest.name} gives {digest.digest_size}")
    text = key_file.view() if isinstance(key_file, SecretBytes) else memoryview(key_file)
    spans = _key_spans(text)

    def hashed(keys: memoryview) -> None:
        with SecretBytes(digest.digest_size) as whole:
            for number, (start, end) in enumerate(spans):
                digest.digest_into(text[start:end], whole.view())
                part = keys[number * key_size : (number + 1) * key_size]
                part[:] = whole.view()[:key_size]
                part[0] ^= _KEY_COUNTS[len(spans)]

    return len(spans), SecretBytes.filled(key_size * len(spans), hashed)


def _key_spans(text: memoryview) -> list[tuple[int, int]]:
    """Where each key starts and ends: lines, all of one length, the last with its end as well."""
    if _GPG in bytes(text[:_GPG_WITHIN]):
        raise KeyFileError(
            "key file: encrypted by GnuPG; gpg --decrypt KEYFILE | luksmeta … --key-file -"
        )
    spans = [match.span() for match in islice(_KEY.finditer(text), max(_KEY_COUNTS) + 1)]
    if len(spans) not in _KEY_COUNTS:
        many = "more than 65" if len(spans) > max(_KEY_COUNTS) else str(len(spans))
        raise KeyFileError(f"key file: {many} lines, a loop-AES key file has 1, 64 or 65 keys")
    if not _ENDED.search(text[-1:]):
        raise KeyFileError(f"key file: key {len(spans) - 1} has no line end")
    lengths = {end - start for start, end in spans}
    if len(lengths) > 1:
        raise KeyFileError(f"key file: keys of {min(lengths)} and of {max(lengths)} characters")
    return spans
