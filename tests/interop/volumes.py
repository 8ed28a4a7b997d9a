"""What the interop tests share: secrets, the cheapest costs, and our reading and writing."""

from __future__ import annotations

from pathlib import Path

import luksmeta
from luksmeta.kdf.pbkdf import Pbkdf

SECRET = b"correct horse battery staple"
OTHER = b"tea at four o'clock"
THIRD = b"purple monkey dishwasher"
DIGEST_ITERATIONS = 1000  # what cryptsetup makes of --pbkdf-force-iterations


def cheap(pbkdf: str, hash: str = "sha256") -> Pbkdf:
    """The costs of ``peers.cryptsetup.cheap``: 1000 iterations, or 4 passes over 32 KiB."""
    if pbkdf == "pbkdf2":
        return luksmeta.Pbkdf2(hash=hash, iterations=1000)
    if pbkdf == "argon2i":
        return luksmeta.Argon2i(time=4, memory=32, cpus=1)
    return luksmeta.Argon2id(time=4, memory=32, cpus=1)


def write(path: Path, secret: bytes, payload: bytes, *, header: Path | None = None) -> None:
    """Write the beginning of a payload."""
    with (
        luksmeta.open(path, header=header, writable=True) as volume,
        volume.unlock(secret) as unlocked,
        unlocked.open(writable=True) as stream,
    ):
        stream.write(payload)


def read(path: Path, secret: bytes, *, header: Path | None = None) -> bytes:
    """The whole payload."""
    with (
        luksmeta.open(path, header=header) as volume,
        volume.unlock(secret) as unlocked,
        unlocked.open() as stream,
    ):
        return stream.readall()
