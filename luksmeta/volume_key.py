"""The volume key and the digest that proves it."""

from __future__ import annotations

from typing import Final

from luksmeta.errors import AlgorithmError, ResourceLimitError, VolumeKeyError
from luksmeta.kdf import hashes, pbkdf
from luksmeta.kdf.pbkdf import Limits, Pbkdf2
from luksmeta.model import Digest, Metadata, Pbkdf2Digest
from luksmeta.random_bytes import random_bytes
from luksmeta.secret import SecretBytes
from luksmeta.sizes import counted

SALT_SIZE: Final = 32
LUKS1_DIGEST_SIZE: Final = 20  # LUKS1 specification, figure 1: mk-digest
DIGEST_ITERATIONS_MIN: Final = 1000


def make_digest(
    key: SecretBytes,
    *,
    version: int,
    hash_name: str,
    iterations: int,
    keyslots: tuple[int, ...] = (),
    segments: tuple[int, ...] = (),
) -> Pbkdf2Digest:
    """A new digest of ``key``; its size is that of the hash, in LUKS1 always 20 bytes.

    Source: LUKS2 specification 3.4; lib/luks2/luks2_digest_pbkdf2.c. Raises AlgorithmError.
    """
    size = LUKS1_DIGEST_SIZE if version == 1 else hashes.get(hash_name).digest_size
    salt = random_bytes(SALT_SIZE)
    with pbkdf.derive(Pbkdf2(hash=hash_name, iterations=iterations), key, salt, size) as digest:
        return Pbkdf2Digest(
            keyslots=keyslots,
            segments=segments,
            hash=hash_name,
            iterations=iterations,
            salt=salt,
            digest=bytes(digest.view()),
        )


def matches(digest_id: int, digest: Digest, key: SecretBytes, limits: Limits | None = None) -> bool:
    """Whether ``key`` is the one that the digest was made of.

    Raises AlgorithmError when that cannot be known here, ResourceLimitError.
    """
    sound = checked(digest_id, digest, limits)
    size = len(sound.digest)
    with pbkdf.derive(_kdf(sound), key, sound.salt, size, limits=limits) as computed:
        return computed.matches(sound.digest)


def checked(digest_id: int, digest: Digest, limits: Limits | None) -> Pbkdf2Digest:
    """The digest, if it can prove a key within the limits; raises what :func:`matches` does.

    Asked before a keyslot's KDF is paid for.
    """
    if not isinstance(digest, Pbkdf2Digest):
        raise AlgorithmError(
            f"digest {digest_id}: of type {digest.type}, only well-formed pbkdf2 digests can be "
            "checked here",
            kind="digest",
            name=digest.type,
        )
    try:
        (limits or Limits()).check(_kdf(digest), len(digest.digest))
    except ResourceLimitError as error:
        raise error.of(f"digest {digest_id}") from error
    return digest


def _kdf(digest: Pbkdf2Digest) -> Pbkdf2:
    return Pbkdf2(hash=digest.hash, iterations=digest.iterations)


def digest_of_key(metadata: Metadata, key: SecretBytes, limits: Limits | None = None) -> int:
    """The id of the digest, among those with segments, that ``key`` matches; VolumeKeyError."""
    sizes = set()
    for digest_id, digest in metadata.digests.items():
        if not digest.segments:
            continue
        expected = metadata.key_size_of_digest(digest_id)
        if expected is not None and expected != len(key):
            # PBKDF2 pads short keys with zeroes: the length is part of the proof.
            sizes.add(expected)
        elif matches(digest_id, digest, key, limits):
            return digest_id
    if sizes:
        raise VolumeKeyError(
            f"volume key: {counted(len(key), 'byte')}, this volume's has "
            f"{', '.join(map(str, sorted(sizes)))}"
        )
    raise VolumeKeyError("volume key: does not match the volume's digest")
