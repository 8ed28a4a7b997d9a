"""How fast this machine derives keys and encrypts sectors, and how fast its OpenSSL could.

Data is in memory, in a buffer that fits into a processor's cache; disks are not measured. Speeds
are medians, in bytes a second.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

from luksmeta.kdf import calibrate
from luksmeta.kdf.pbkdf import Argon2i, Argon2id, Pbkdf, Pbkdf2
from luksmeta.secret import SecretBytes
from luksmeta.sector import engine, native, threads
from luksmeta.sector.cipher_spec import CipherSpec

HASHES: Final = ("sha1", "sha256", "sha512", "ripemd160", "whirlpool")
KDF_KEY_SIZE: Final = 64  # bytes; that of the default cipher

_BUFFER: Final = 256 << 10  # bytes
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


@dataclass(frozen=True, slots=True)
class Limit:
    """OpenSSL alone, in pieces of one sector, on one processor; ``source`` says who measured."""

    algorithm: str
    encrypt: int
    decrypt: int
    source: str


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
    buffer = bytearray(_BUFFER if thread_count == 1 else _BUFFER_PER_THREAD * thread_count)
    with (
        SecretBytes.random(key_size) as key,
        engine.create(spec, key, sector_size, thread_count=thread_count) as opened,
    ):

        def speed(turn: Callable[[int, memoryview, memoryview], None]) -> int:
            return _speed(lambda data: turn(0, data, data), memoryview(buffer))

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


def _speed(turn: Callable[[memoryview], object], buffer: memoryview) -> int:
    """Bytes a second: rounds of about _ROUND_SECONDS, over less than the buffer if it is slow."""
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


# --- what the engine is, and what its OpenSSL could ----------------------------------------------


def processors() -> int:
    """How many threads a long run is split over."""
    return threads.available()


def openssl_version() -> str:
    """The OpenSSL below the engine that runs."""
    if engine.name() == "native":
        return native.openssl_version()
    from cryptography.hazmat.backends.openssl.backend import backend

    return backend.openssl_version_text()


def limit(spec: str, key_size: int, sector_size: int) -> Limit | None:
    """What OpenSSL does with this cipher on blocks of ``sector_size`` bytes; None: it has it not.

    By ``openssl speed`` where that program is, which takes two seconds; else in this process and
    in large pieces, which costs less for each sector.
    """
    algorithm = _openssl_name(spec, key_size)
    if algorithm is None:
        return None
    encrypt = _openssl_speed(algorithm, sector_size)
    decrypt = _openssl_speed(algorithm, sector_size, "-decrypt") if encrypt else None
    if encrypt is None or decrypt is None:
        return _limit_in_process(algorithm, key_size)
    return Limit(algorithm, encrypt, decrypt, f"openssl speed, {_program_version()}")


def _openssl_name(spec: str, key_size: int) -> str | None:
    """``aes-256-xts``; None for what OpenSSL does not call a cipher."""
    parsed = CipherSpec.parse(spec)
    if parsed.cipher not in ("aes", "camellia") or parsed.mode not in ("xts", "cbc", "ctr", "ecb"):
        return None
    bits = key_size * (4 if parsed.mode == "xts" else 8)
    return f"{parsed.cipher}-{bits}-{parsed.mode}"


@cache
def _program_version() -> str:
    """What the openssl program calls itself."""
    return " ".join((_openssl("version") or "").split()[:2])


def _openssl_speed(algorithm: str, size: int, *options: str) -> int | None:
    """Bytes a second by its own word; None where it, or the algorithm, is missing.

    LibreSSL's program does not know these options, and counts as missing.
    """
    answer = _openssl(
        *("speed", "-mr", "-elapsed", "-seconds", "1", "-bytes", str(size)),
        *(*options, "-evp", algorithm),
    )
    lines = [] if answer is None else answer.splitlines()
    figures = [line.rpartition(":")[2] for line in lines if line.startswith("+F:")]
    return round(float(figures[-1])) if figures else None


def _openssl(*arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603  # arguments of our own making
            ["openssl", *arguments],  # noqa: S607  # whichever the user has
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout


def _limit_in_process(algorithm: str, key_size: int) -> Limit | None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.backends.openssl.backend import backend
    from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

    name, _, mode = algorithm.split("-")
    if name != "aes":
        return None
    zeroes = bytes(16)
    mode_of: dict[str, modes.XTS | modes.CBC | modes.CTR | modes.ECB] = {
        "xts": modes.XTS(zeroes),
        "cbc": modes.CBC(zeroes),
        "ctr": modes.CTR(zeroes),
        "ecb": modes.ECB(),  # noqa: S305  # it is measured, not used
    }
    out = bytearray(_BUFFER + 15)  # a block less one byte: what update_into wants

    def speed(context: CipherContext) -> int:
        return _speed(lambda data: context.update_into(data, out), memoryview(bytes(_BUFFER)))

    with SecretBytes.random(key_size) as key:
        whole = Cipher(algorithms.AES(key.view()), mode_of[mode])
        try:
            encrypt, decrypt = speed(whole.encryptor()), speed(whole.decryptor())
        except UnsupportedAlgorithm:
            return None
    return Limit(algorithm, encrypt, decrypt, f"in this process, {backend.openssl_version_text()}")
