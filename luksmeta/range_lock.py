"""Locks on ranges of bytes, for threads that work on one device."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile


@dataclass(frozen=True, slots=True, eq=False)
class _Claim:
    start: int
    end: int
    shared: bool

    def excludes(self, other: _Claim) -> bool:
        meets = self.start < other.end and other.start < self.end
        return meets and not (self.shared and other.shared)


class RangeLock:
    """Ranges that share a byte exclude each other, unless both are only read.

    First come, first served: who only reads does not overtake a writer that waits.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._claims: list[_Claim] = []  # in the order in which they came, those that wait too

    @contextmanager
    def held(self, start: int, end: int, *, shared: bool) -> Iterator[None]:
        """Hold the bytes from ``start`` to before ``end``, once nobody is in the way.

        A thread that holds a range must not ask for another one.
        """
        claim = _Claim(start, end, shared)
        with self._changed:
            self._claims.append(claim)
        try:
            with self._changed:
                while self._must_wait(claim):
                    self._changed.wait()
            yield
        finally:
            with self._changed:
                self._claims.remove(claim)
                self._changed.notify_all()

    def _must_wait(self, claim: _Claim) -> bool:
        earlier = takewhile(lambda each: each is not claim, self._claims)
        return any(claim.excludes(each) for each in earlier)
