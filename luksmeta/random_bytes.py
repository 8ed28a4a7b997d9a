"""Where all random bytes come from: keys, salts, UUIDs, stripes, and what fills unused areas.

That is the system's generator. A test that compares whole images may put a seed in its place, by
:func:`seeded` and in no other way: no environment variable and no default does it.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import shake_256
from pathlib import Path
from typing import Final

SEED_MAX: Final = 1 << 10  # bytes


class _Seeded:
    """SHAKE256 of the seed and of how many requests there were before this one."""

    def __init__(self, seed: bytes) -> None:
        self._seed = len(seed).to_bytes(8, "big") + seed
        self._requests = 0

    def bytes(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        number = self._requests.to_bytes(8, "big")
        self._requests += 1
        return shake_256(self._seed + number).digest(size)


_seeded: ContextVar[_Seeded | None] = ContextVar("_seeded", default=None)


@contextmanager
def seeded(seed: bytes) -> Iterator[None]:
    """Within the block, and in this thread alone, everything random follows from ``seed``.

    For tests: whoever knows the seed has every key that is made in here. Raises ValueError for an
    empty seed and for one of more than SEED_MAX bytes.
    """
    if not 0 < len(seed) <= SEED_MAX:
        raise ValueError(f"seed: {len(seed)} bytes, possible are 1..{SEED_MAX}")
    token = _seeded.set(_Seeded(seed))
    try:
        yield
    finally:
        _seeded.reset(token)


def is_seeded() -> bool:
    """Whether a seed stands in for the system's generator."""
    return _seeded.get() is not None


def random_bytes(size: int) -> bytes:
    """``size`` random bytes that are no secret."""
    generator = _seeded.get()
    return os.urandom(size) if generator is None else generator.bytes(size)


def random_uuid() -> uuid.UUID:
    """A random UUID, version 4 (RFC 9562)."""
    return uuid.UUID(bytes=random_bytes(16), version=4)


def fill_with_random(buffer: memoryview) -> None:
    """Fill ``buffer`` from the system's random generator, without a copy on the way."""
    generator = _seeded.get()
    if generator is not None:
        buffer[:] = generator.bytes(len(buffer))
        return
    try:
        with Path("/dev/urandom").open("rb", buffering=0) as system:
            filled = 0
            while filled < len(buffer):
                filled += system.readinto(buffer[filled:]) or 0
    except OSError:  # Windows, or a root directory without devices
        buffer[:] = os.urandom(len(buffer))
