"""How fast this machine derives keys and encrypts sectors.

Data is in memory, in a buffer that fits into a processor's cache; disks are not measured. Speeds
are medians, in bytes a second.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from luksmeta.kdf import calibrate
from luksmeta.kdf.pbkdf import Argon2i, Argon2id, Pbkdf, Pbkdf2
from luksmeta.secret import SecretBytes
from luksmeta.sector import engine, threads
from luksmeta.sector.cipher_spec import CipherSpec

HASHES: Final = ("sha1", "sha256", "sha512", "ripemd160", "whirlpool")
KDF_KEY_SIZE: Final = 64  # bytes; that of the default cipher

BUFFER: Final = 256 << 10  # bytes
_BUFFER_PER_THREAD: Final = 1 << 20  # bytes; enough pieces for every thread
_SMALL: Final = 16 << 10  # bytes; the first run, which may be of a slow cipher
_ROUNDS: Final = 5
_ROUND_SECONDS: Final = 0.01
_PBKDF2_SECONDS: Final = 0.15
_RELIABLE: Final = 200  # ms; an Argon2 run of that length tells how long others take


@dataclass(frozen=True, slots=True)
class Pbkdf2Speed:
    """PBKDF2 with this hash, for a key of KDF_KEY_SIZE bytes."""

    hash: str
    iterations_per_second: int


@dataclass(frozen=True, slots=True)
class Argon2Speed:
    """Costs that come near a wanted time, and the milliseconds that they take."""

    kdf: Argon2i | Argon2id
    milliseconds: int


@dataclass(frozen=True, slots=True)
class CipherSpeed:
    """One cipher in runs of sectors; ``key_size`` and ``sector_size`` in bytes."""

    cipher: str
    key_size: int
    sector_size: int
    thread_count: int
    encrypt: int
    decrypt: int


def pbkdf2(hash: str) -> Pbkdf2Speed:
    """Measure PBKDF2; a quarter of a second. Raises AlgorithmError for an unknown hash."""
    iterations, elapsed = 1 << 12, 0.0
    while elapsed < _PBKDF2_SECONDS * 1000:
        iterations *= 2 if elapsed > _PBKDF2_SECONDS * 100 else 8
        elapsed = calibrate.measure(Pbkdf2(hash=hash, iterations=iterations), KDF_KEY_SIZE)
    return Pbkdf2Speed(hash, round(iterations * 1000 / elapsed))


def argon2(
    kind: type[Argon2i] | type[Argon2id],
    milliseconds: int,
    *,
    max_memory: int = 1 << 20,
    max_cpus: int = 4,
) -> Argon2Speed:
    """Costs that take about ``milliseconds``, with at most ``max_memory`` KiB and ``max_cpus``.

    Time grows with passes and memory, so that one run of some length tells about longer ones: this
    is quicker than calibration, and within some percent of it. Raises ValueError as that does.
    """
    kdf = calibrate.argon2(
        kind,
        milliseconds,
        max_memory=max_memory,
        max_cpus=max_cpus,
        measure=_extrapolating(calibrate.measure),
    )
    return Argon2Speed(kdf, round(calibrate.measure(kdf, KDF_KEY_SIZE)))


def _extrapolating(measure: calibrate.Measure) -> calibrate.Measure:
    """The same; costs above those of a long enough run are extrapolated from the fastest one."""
    rates: list[float] = []  # milliseconds for a KiB in one pass
    largest = 0

    def measured_once(kdf: Pbkdf, key_size: int) -> float:
        nonlocal largest
        if isinstance(kdf, Pbkdf2):
            return measure(kdf, key_size)
        work = kdf.time * kdf.memory
        if rates and work > largest:
            return work * min(rates)
        elapsed = measure(kdf, key_size)
        if elapsed >= _RELIABLE:
            rates.append(elapsed / work)
            largest = max(largest, work)
        return elapsed

    return measured_once


def cipher(
    spec: str, key_size: int | None = None, sector_size: int = 512, thread_count: int = 1
) -> CipherSpeed:
    """Measure a cipher; a quarter of a second, more for one in Python.

    ``key_size`` in bytes; by default the largest. Raises what :func:`luksmeta.sector.engine.create`
    raises.
    """
    key_size = largest_key_size(spec) if key_size is None else key_size
    buffer = bytearray(BUFFER if thread_count == 1 else _BUFFER_PER_THREAD * thread_count)
    with (
        SecretBytes.random(key_size) as key,
        engine.create(spec, key, sector_size, thread_count=thread_count) as opened,
    ):

        def speed(turn: Callable[[int, memoryview, memoryview], None]) -> int:
            return bytes_per_second(lambda data: turn(0, data, data), memoryview(buffer))

        return CipherSpeed(
            spec,
            key_size,
            sector_size,
            thread_count,
            encrypt=speed(opened.encrypt_into),
            decrypt=speed(opened.decrypt_into),
        )


def largest_key_size(spec: str) -> int:
    """The largest key that this cipher takes, in bytes; 32 where that is not known."""
    return max(CipherSpec.parse(spec).key_sizes or (32,))


def bytes_per_second(turn: Callable[[memoryview], object], buffer: memoryview) -> int:
    """How fast ``turn`` is: in rounds of 10 ms, and less of the buffer at a time if it is slow."""
    start = buffer[:_SMALL]
    turn(start)  # what is done at the first time only
    rate = _SMALL / _seconds(turn, start)
    wanted = rate * _ROUND_SECONDS
    size = max(_SMALL, min(len(buffer), int(wanted) // _SMALL * _SMALL))
    part, times = buffer[:size], max(1, round(wanted / size))
    taken = [_seconds(turn, part, times) for _ in range(_ROUNDS)]
    return round(size * times / statistics.median(taken))


def _seconds(turn: Callable[[memoryview], object], data: memoryview, times: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(times):
        turn(data)
    return max(time.perf_counter() - start, 1e-9)


def processors() -> int:
    """How many threads a long run is split over."""
    return threads.available()
