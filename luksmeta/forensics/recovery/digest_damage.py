"""Whether a digest shows by its own bytes that it is damaged.

Salt and digest are the output of a random number generator and of a hash. What overwrites them is
mostly neither: zeroes, one byte, a pattern, text. A digest that shows nothing of the kind is
believed when it does not know a key.
"""

from __future__ import annotations

import itertools
from typing import Final

from luksmeta.model import Digest, Pbkdf2Digest
from luksmeta.volume_key import DIGEST_ITERATIONS_MIN

_ITERATIONS_MAX: Final = 100_000_000
"""Half a minute of the fastest machine; cryptsetup takes an eighth of a second by default."""

_SHORT: Final = 16
"""Bytes that are too few to judge."""


def is_damaged(digest: Digest | None) -> bool:
    """Whether there is no digest that could know a key: it is missing, or overwritten."""
    if digest is None:
        return True
    if not isinstance(digest, Pbkdf2Digest):
        return False  # of another type: nothing is known of its bytes
    if not DIGEST_ITERATIONS_MIN <= digest.iterations <= _ITERATIONS_MAX:
        return True
    return any(_is_pattern(each) for each in (digest.salt, digest.digest))


def _is_pattern(data: bytes) -> bool:
    """Whether these bytes are not random: few values, steps of one size, text, or zeroes.

    Of 20 random bytes 19.3 are different on average; fewer than two thirds are in less than one of
    10^6 times, and all of them printable in less than one of 10^8.
    """
    if len(data) < _SHORT:
        return not any(data)
    steps = {(after - before) % 256 for before, after in itertools.pairwise(data)}
    return (
        3 * len(set(data)) < 2 * len(data)
        or len(steps) == 1
        or all(0x20 <= each < 0x7F for each in data)
        or any(not any(data[at : at + 8]) for at in range(0, len(data) - 7, 4))
    )
