"""Costs for new keyslots, chosen so that one guess takes a given time on this machine.

The rules are cryptsetup's (lib/crypto_backend/pbkdf_check.c, lib/utils_pbkdf.c), so that a keyslot
made here is as hard to guess as one made there. ``measure`` gives the milliseconds that one
derivation takes; tests pass their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from luksmeta.kdf import machine
from luksmeta.kdf.hashes import MAX_ITERATIONS
from luksmeta.kdf.pbkdf import (
    MAX_CPUS,
    MIN_ITERATIONS,
    MIN_TIME,
    UINT32_MAX,
    Argon2i,
    Argon2id,
    Pbkdf,
    Pbkdf2,
    check_new,
    derive,
)

Measure: TypeAlias = Callable[[Pbkdf, int], float]
"""Milliseconds that this KDF takes for a key of so many bytes."""

Costs: TypeAlias = tuple[int, int]
"""Passes, and memory in KiB."""

Argon2 = TypeVar("Argon2", bound=Argon2i | Argon2id)

DIGEST_MILLISECONDS = 125
"""What checking a volume key against its digest may take; cryptsetup: LUKS_MKD_ITERATIONS_MS."""

MIN_CALIBRATED_MEMORY = 64 << 10
"""KiB; calibration does not go below it unless the caller's maximum does."""

_KEY_SIZE = 64  # bytes; the default volume key, of aes-xts-plain64 with 512 bits
_ENOUGH = 500  # ms that PBKDF2 must run for its time to count
_ENOUGH_ARGON2 = 250  # ms, the same for Argon2
_TOO_SHORT = 10  # ms; nothing can be concluded from less
_MAX_GROWTHS = 10
_MAX_REFINEMENTS = 4  # cryptsetup has no bound; a noisy machine may never give the same time twice


def measure(kdf: Pbkdf, key_size: int) -> float:
    """Milliseconds for one derivation: processor time for PBKDF2, elapsed time for Argon2.

    Argon2 works in several threads, and the slowest is what the user waits for; PBKDF2 stays in
    this thread, and its processor time does not depend on what else the machine does.
    """
    clock = time.thread_time if isinstance(kdf, Pbkdf2) else time.perf_counter
    start = clock()
    derive(kdf, b"not a passphrase", b"only for measuring", key_size).wipe()
    return (clock() - start) * 1000


def pbkdf2(
    milliseconds: int, hash: str, *, key_size: int = _KEY_SIZE, measure: Measure = measure
) -> Pbkdf2:
    """PBKDF2 with the iterations that take ``milliseconds`` for a key of ``key_size`` bytes.

    Raises ValueError for a time below 1 ms, AlgorithmError for an unknown hash.
    """
    _check_time(milliseconds)
    iterations = 1 << 15
    while (elapsed := measure(Pbkdf2(hash=hash, iterations=iterations), key_size)) <= _ENOUGH:
        if iterations << 4 > MAX_ITERATIONS:  # a clock that stands still must not trap us
            break
        # Steps of 16, 8, 4 and 2, so that the run that counts ends soon after half a second.
        iterations <<= 4 if elapsed <= 62 else 3 if elapsed <= 125 else 2 if elapsed <= 250 else 1
    wanted = int(iterations * milliseconds / max(elapsed, 1))
    return Pbkdf2(hash=hash, iterations=min(max(wanted, MIN_ITERATIONS), MAX_ITERATIONS))


def digest_iterations(hash: str, *, measure: Measure = measure) -> int:
    """PBKDF2 iterations for the digest of a volume key (LUKS2)."""
    return pbkdf2(DIGEST_MILLISECONDS, hash, measure=measure).iterations


def digest_share(iterations: int, milliseconds: int) -> int:
    """PBKDF2 iterations for a LUKS1 digest, given the iterations that take ``milliseconds``."""
    return max(iterations * DIGEST_MILLISECONDS // milliseconds, MIN_ITERATIONS)


def memory_budget() -> int:
    """KiB that a new keyslot may take: half of what this machine has.

    With less than 4 GiB and no swap it is half of what is free, where that is less and still above
    64 MiB.
    """
    physical = machine.physical_memory()
    if not 128 << 10 <= physical <= UINT32_MAX:
        return machine.UNKNOWN_MEMORY
    if physical < 4 << 20 and not machine.has_swap():
        free = machine.free_memory() // 2
        if 64 << 10 < free < physical // 2:
            return free
    return physical // 2


def argon2(
    kind: type[Argon2],
    milliseconds: int,
    *,
    max_memory: int = 1 << 20,
    max_cpus: int = MAX_CPUS,
    measure: Measure = measure,
) -> Argon2:
    """Argon2 with the costs that take ``milliseconds``: memory first, then passes over it.

    ``max_memory`` is in KiB and is lowered to ``memory_budget``, ``max_cpus`` to the processors
    that are online. Raises ValueError for a time below 1 ms or a maximum that no keyslot may have.
    """
    _check_time(milliseconds)
    check_new(kind(time=MIN_TIME, memory=max_memory, cpus=max_cpus))
    ceiling = min(max_memory, memory_budget())
    cpus = min(max_cpus, machine.online_cpus())
    search = _Search(
        run=lambda costs: measure(kind(time=costs[0], memory=costs[1], cpus=cpus), _KEY_SIZE),
        floor=min(MIN_CALIBRATED_MEMORY, ceiling),
        ceiling=ceiling,
    )
    passes, memory = search.refine(*search.find_measurable(), milliseconds)
    return kind(time=min(passes, UINT32_MAX), memory=memory, cpus=cpus)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """The search for Argon2 costs, with memory between ``floor`` and ``ceiling``, in KiB."""

    run: Callable[[Costs], float]
    floor: int
    ceiling: int

    def find_measurable(self) -> tuple[Costs, float]:
        """Small costs that run long enough to be extrapolated from, and their milliseconds."""
        costs = MIN_TIME, self.floor
        for _ in range(_MAX_GROWTHS):
            elapsed = self._best_of_three(costs)
            grown = self._grown(costs, _ENOUGH_ARGON2 / elapsed if elapsed >= _TOO_SHORT else 16)
            if elapsed >= _ENOUGH_ARGON2 or grown == costs:
                break
            costs = grown
        return costs, elapsed

    def refine(self, costs: Costs, elapsed: float, milliseconds: int) -> Costs:
        """The costs that take 95 to 110 % of ``milliseconds``, starting from measured ones."""
        for _ in range(_MAX_REFINEMENTS):
            scaled = self._scaled(costs, milliseconds / max(elapsed, 1))
            if scaled == costs:
                break
            costs = scaled
            elapsed = self.run(costs)
            if 0.95 * milliseconds <= elapsed <= 1.10 * milliseconds:
                break
        return costs

    def _best_of_three(self, costs: Costs) -> float:
        best = self.run(costs)
        for _ in range(2):
            if best < _ENOUGH_ARGON2:  # too short anyhow
                break
            best = min(best, self.run(costs))
        return best

    def _grown(self, costs: Costs, factor: float) -> Costs:
        passes, memory = costs
        if memory == self.ceiling:
            return int(passes * factor), memory
        return passes, min(int(memory * factor), self.ceiling)

    def _scaled(self, costs: Costs, factor: float) -> Costs:
        """More work goes into memory before passes; less work takes from passes before memory."""
        passes, memory = costs
        work = passes * memory * factor
        if factor < 1:
            if passes * factor >= MIN_TIME:
                return int(passes * factor), memory
            return MIN_TIME, max(int(work / MIN_TIME), self.floor)
        if memory * factor <= self.ceiling:
            return passes, int(memory * factor)
        return max(int(work / self.ceiling), MIN_TIME), self.ceiling


def _check_time(milliseconds: int) -> None:
    if milliseconds < 1:
        raise ValueError(f"calibration to {milliseconds} ms: at least 1 ms is needed")
