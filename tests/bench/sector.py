"""The speed of the sector ciphers: ``python -m tests.bench.sector``.

Each line gives MiB/s of 4 MiB runs, best of several rounds, and the ratio to what
``openssl speed`` gives, in the same minute, for aes-256-xts on blocks of the sector size.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable

from luksmeta.secret import SecretBytes
from luksmeta.sector import engine

RUN_SIZE = 4 << 20  # bytes
ROUNDS = 7
CASES = [
    *(("aes-xts-plain64", 64), ("aes-xts-plain64", 48), ("aes-xts-plain64", 32)),
    *(("aes-cbc-plain64", 32), ("aes-cbc-essiv:sha256", 32), ("aes-ecb", 32)),
]


def mebibytes_per_second(run: Callable[[], None]) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return RUN_SIZE / (1 << 20) / best


def openssl_speed(block_size: int) -> float:
    """MiB/s of aes-256-xts; NaN where there is no ``openssl`` program."""
    command = ["openssl", "speed", "-seconds", "1", "-bytes", str(block_size)]
    try:
        done = subprocess.run(
            [*command, "-evp", "aes-256-xts"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return float("nan")
    thousands = re.findall(r"([0-9.]+)k", done.stdout)[-1]
    return float(thousands) * 1000 / (1 << 20)


def measure(text: str, key_size: int, sector_size: int) -> tuple[float, float]:
    data, out = os.urandom(RUN_SIZE), bytearray(RUN_SIZE)
    with engine.create(text, SecretBytes.random(key_size), sector_size) as cipher:
        return (
            mebibytes_per_second(lambda: cipher.encrypt_into(0, data, out)),
            mebibytes_per_second(lambda: cipher.decrypt_into(0, data, out)),
        )


def main() -> None:
    write = sys.stdout.write
    for sector_size in (512, 4096):
        reference = openssl_speed(sector_size)
        write(f"sectors of {sector_size} bytes; openssl speed aes-256-xts: {reference:.0f} MiB/s\n")
        for text, key_size in CASES:
            write(f"  {text:22}{8 * key_size:4} bits")
            for name, speed in zip(
                ("encrypt", "decrypt"), measure(text, key_size, sector_size), strict=True
            ):
                write(f"  {name} {speed:6.0f} MiB/s ({speed / reference:.3f})")
            write("\n")


if __name__ == "__main__":
    main()
