"""How long a derivation would take on this machine, without doing it.

A few hundredths of a second of the same function with small costs are measured, once in a process
for each hash or number of lanes, and scaled: PBKDF2's time grows with the iterations and the blocks
of the key, Argon2's with passes times memory.
"""

from __future__ import annotations

from functools import cache

from luksmeta.kdf import hashes
from luksmeta.kdf.calibrate import measure
from luksmeta.kdf.pbkdf import Argon2i, Argon2id, Pbkdf, Pbkdf2

_KEY_SIZE = 16  # bytes; one block of every hash
_ENOUGH = 20.0  # ms, the resolution of some systems' clocks of processor time is 15
_MEASURED_MEMORY = 16 << 10  # KiB: more than a processor caches, so that memory sets the pace
_LANES_MAX = 64  # measured; more lanes do not take longer, as threads stop at the processors


def milliseconds(kdf: Pbkdf, key_size: int) -> int:
    """About how long ``kdf`` takes here for a key of ``key_size`` bytes; within a factor of 2.

    Costs at most 0.1 s. Raises AlgorithmError for a hash that is not available.
    """
    match kdf:
        case Pbkdf2():
            blocks = -(-key_size // hashes.get(kdf.hash).digest_size)
            return int(kdf.iterations * blocks * _per_iteration(kdf.hash))
        case Argon2i() | Argon2id():
            lanes = min(max(kdf.cpus, 1), _LANES_MAX)
            return int(kdf.time * kdf.memory * _per_kibibyte(kdf.name, lanes))


@cache
def _per_iteration(hash_name: str) -> float:
    """Milliseconds for one iteration of one block."""
    iterations, elapsed = 1 << 8, 0.0
    while elapsed < _ENOUGH and iterations < hashes.MAX_ITERATIONS:
        iterations <<= 1
        elapsed = measure(Pbkdf2(hash=hash_name, iterations=iterations), _KEY_SIZE)
    return elapsed / iterations


@cache
def _per_kibibyte(name: str, lanes: int) -> float:
    """Milliseconds for one pass over one KiB; the first pass counts, as it takes the longest."""
    kind = Argon2i if name == Argon2i.name else Argon2id
    kdf = kind(time=1, memory=_MEASURED_MEMORY, cpus=lanes)
    return min(measure(kdf, _KEY_SIZE) for _ in range(2)) / _MEASURED_MEMORY
