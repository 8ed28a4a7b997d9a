"""Seals before there is one to look at: what a caller demands of it, and who can renew it.

Apart from what makes and verifies them, which needs the headers of both versions: unlocking a
volume without a seal must not wait for that.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from luksmeta.secret import SecretBytes
from luksmeta.sizes import counted

SEAL_TYPE: Final = "luksmeta-seal"
"""The type of the token that holds the seal, which is no part of what it seals."""

COUNTER_MAX: Final = (1 << 53) - 1
"""The largest integer that every JSON parser keeps."""

HASHES: Final = ("sha256", "sha384", "sha512")


@dataclass(frozen=True, slots=True)
class SealTerms:
    """What a caller knows of the last state: the least ``counter``, the very ``measurement``.

    A measurement is that of :func:`measure` by the hash that has its size. Older headers with a
    seal of their own are told by these alone.
    """

    counter: int | None = None
    measurement: bytes | None = None

    def __post_init__(self) -> None:
        if self.measurement is not None:
            hash_of_size(len(self.measurement))


@dataclass(frozen=True, slots=True, eq=False)
class Sealer:
    """A volume key that is open, to renew the seal with, and the keyslot that it came from.

    With ``is_required`` nothing is written where the seal cannot be renewed.
    """

    volume_key: SecretBytes
    opened_by: int | None
    is_required: bool = False


def hash_of_size(size: int) -> str:
    """The hash whose measurements have ``size`` bytes; ValueError."""
    for name in HASHES:
        if hashlib.new(name).digest_size == size:
            return name
    raise ValueError(f"measurement of {counted(size, 'byte')}, {', '.join(HASHES)} have 32, 48, 64")
