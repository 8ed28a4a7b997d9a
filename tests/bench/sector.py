"""The speed of the sector ciphers: ``python -m tests.bench.sector [--rounds N]``.

Every round measures all cases of a sector size one after another, each for a fraction of a second,
next to what ``openssl speed`` gives on blocks of that size. A line shows the median of the rounds
in MB/s, and the median of each round's ratio to ``openssl speed``, so that a machine that is busy
for a while disturbs both sides alike.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Final

from luksmeta.errors import AlgorithmError
from luksmeta.secret import SecretBytes
from luksmeta.sector import engine, native, portable, threads
from luksmeta.sector.cipher_spec import CipherSpec

BUFFER: Final = 256 << 10  # bytes; what one thread's cases run over
LONG_BUFFER: Final = 64 << 20  # bytes; what is split over threads: waking one takes 0.1 ms
SECONDS: Final = 0.3  # for a case in a round

Rate = Callable[[], float]
"""Measures once: bytes per second."""


@dataclass(frozen=True)
class Case:
    """A line of the table."""

    text: str
    key_size: int  # bytes
    turn: str = "decrypt"
    part: str = "native"
    thread_count: int = 1
    size: int = BUFFER  # bytes

    def __str__(self) -> str:
        plural = "s" if self.thread_count > 1 else ""
        return (
            f"{self.text:22} {8 * self.key_size:4} {self.turn} {self.part:8} "
            f"{self.thread_count} thread{plural}"
        )


XTS: Final = ("aes-xts-plain64", 64)
ESSIV: Final = ("aes-cbc-essiv:sha256", 32)
LONG_ONE: Final = Case(*XTS, size=LONG_BUFFER)
LONG_TWO: Final = Case(*XTS, size=LONG_BUFFER, thread_count=2)
TWO_PROCESSES: Final = "two processes"
CASES: Final = (
    Case(*XTS, "encrypt"),
    Case(*XTS),
    LONG_ONE,
    LONG_TWO,
    Case(*XTS, "encrypt", "portable"),
    Case(*XTS, part="portable"),
    Case("aes-xts-plain64", 48),
    Case(*ESSIV, "encrypt"),
    Case(*ESSIV),
    Case(*ESSIV, part="portable"),
    Case("camellia-xts-plain64", 64),
    Case("serpent-xts-plain64", 64, part="portable"),
    Case("twofish-xts-plain64", 64, part="portable"),
)


def rate_of(case: Case, sector_size: int) -> Rate | None:
    """How to measure a case; None where its cipher is not available."""
    spec, key = CipherSpec.parse(case.text), SecretBytes.random(case.key_size)
    cipher: engine.SectorCipher | None
    try:
        if case.part == "portable":
            cipher = portable.create(spec, key, sector_size, large_iv=False)
        else:
            cipher = native.create(
                spec, key, sector_size, large_iv=False, thread_count=case.thread_count
            )
    except (AlgorithmError, ImportError):
        return None
    if cipher is None:
        return None
    run = cipher.encrypt_into if case.turn == "encrypt" else cipher.decrypt_into
    data, out = os.urandom(case.size), bytearray(case.size)

    def rate() -> float:
        count, start = 0, time.perf_counter()
        while (passed := time.perf_counter() - start) < SECONDS:
            run(0, data, out)
            count += 1
        return count * case.size / passed

    return rate


def openssl_rate(sector_size: int, turn: str, *more: str) -> Rate:
    """How to measure by ``openssl speed``, which gives an IV once; NaN where it is missing."""
    options = ["-elapsed", "-seconds", "1", "-bytes", str(sector_size), *more]
    direction = ["-decrypt"] if turn == "decrypt" else []
    command = ["openssl", "speed", *options, *direction, "-evp", "aes-256-xts"]

    def rate() -> float:
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return float("nan")
        return float(re.findall(r"([0-9.]+)k", done.stdout)[-1]) * 1000

    return rate


def measure(rates: dict[str, Rate], rounds: int) -> dict[str, list[float]]:
    """Every rate, once a round."""
    measured: dict[str, list[float]] = {name: [] for name in rates}
    for _ in range(rounds):
        for name, rate in rates.items():
            measured[name].append(rate())
    return measured


def ratio(measured: list[float], reference: list[float]) -> float:
    return median(one / other for one, other in zip(measured, reference, strict=True))


def all_rates(sector_size: int) -> tuple[dict[str, Rate], dict[Case, str]]:
    """How to measure every line, in the order of a round; and the lines of the cases."""
    rates: dict[str, Rate] = {}
    lines: dict[Case, str] = {}
    for case in CASES:
        if case.turn not in rates:  # next to the cases that are compared with it
            rates[case.turn] = openssl_rate(sector_size, case.turn)
        if rate := rate_of(case, sector_size):
            lines[case] = f"{case} of {case.size >> 10} KiB"
            rates[lines[case]] = rate
    rates[TWO_PROCESSES] = openssl_rate(sector_size, "decrypt", "-multi", "2")
    return rates, lines


def table(sector_size: int, rounds: int) -> None:
    def write(line: str, measured: list[float], share: float | None = None) -> None:
        end = "" if share is None else f" {share:7.3f}"
        sys.stdout.write(f"  {line:62} {median(measured) / 1e6:8.0f}{end}\n")

    rates, lines = all_rates(sector_size)
    measured = measure(rates, rounds)
    sys.stdout.write(
        f"sectors of {sector_size} bytes, medians of {rounds}, MB/s and ratio to openssl speed\n"
    )
    for turn in ("encrypt", "decrypt"):
        write(f"openssl speed aes-256-xts {turn}", measured[turn])
    for case, line in lines.items():
        write(line, measured[line], ratio(measured[line], measured[case.turn]))
    two, one = measured[TWO_PROCESSES], measured["decrypt"]
    write("openssl speed, two processes to one", two, ratio(two, one))
    if LONG_TWO in lines:
        two, one = measured[lines[LONG_TWO]], measured[lines[LONG_ONE]]
        write("two threads to one", two, ratio(two, one))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    runs_on = native.openssl_version() if native.is_built() else "not built"
    sys.stdout.write(
        f"native part: {runs_on}; {threads.available()} processors; load {os.getloadavg()[0]:.1f}\n"
    )
    for sector_size in (512, 4096):
        table(sector_size, rounds)


if __name__ == "__main__":
    main()
