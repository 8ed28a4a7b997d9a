"""Key derivation side by side: ``python -m tests.bench.kdf``.

Each library does the same work in the same run, best of five; ratios are to what the package uses.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives.kdf import argon2 as openssl_argon2

from luksmeta.kdf import antiforensic, hashes
from luksmeta.kdf.pbkdf import Argon2id, Pbkdf, Pbkdf2, derive
from luksmeta.secret import SecretBytes

PASSPHRASE, SALT, SIZE = b"correct horse battery staple", bytes(32), 64
ROUNDS = 5
ITERATIONS = 500_000
MEMORY, PASSES = 64 << 10, 4  # KiB
UNLOCK = 500  # ms; the KDF that a merge is compared with
STRIPES = 4000


def milliseconds(work: Callable[[], object]) -> float:
    """The best of ROUNDS runs."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times) * 1000


def compare(what: str, candidates: dict[str, Callable[[], object]]) -> None:
    """Print each candidate's time, and its ratio to that of the first."""
    ours = 0.0
    for name, work in candidates.items():
        taken = milliseconds(work)
        ours = ours or taken
        print(f"{what:34} {name:14} {taken:8.1f} ms  {taken / ours:5.2f}x")


def ours(kdf: Pbkdf) -> Callable[[], object]:
    """The package's own derivation."""
    return lambda: derive(kdf, PASSPHRASE, SALT, SIZE).wipe()


def bench_pbkdf2(hash: str) -> None:
    """Against hashlib."""
    compare(
        f"pbkdf2 {hash} x{ITERATIONS}",
        {
            "luksmeta": ours(Pbkdf2(hash=hash, iterations=ITERATIONS)),
            "hashlib": lambda: hashlib.pbkdf2_hmac(hash, PASSPHRASE, SALT, ITERATIONS, SIZE),
        },
    )


def bench_argon2(lanes: int) -> None:
    """Against argon2-cffi's high-level function, and OpenSSL's Argon2 by ``cryptography``."""

    def by_openssl() -> object:
        return openssl_argon2.Argon2id(
            salt=SALT, length=SIZE, iterations=PASSES, lanes=lanes, memory_cost=MEMORY
        ).derive(PASSPHRASE)

    compare(
        f"argon2id {PASSES} x 64 MiB, {lanes} lanes",
        {
            "luksmeta": ours(Argon2id(time=PASSES, memory=MEMORY, cpus=lanes)),
            "argon2-cffi": lambda: hash_secret_raw(
                PASSPHRASE, SALT, PASSES, MEMORY, lanes, SIZE, Type.ID
            ),
            "cryptography": by_openssl,
        },
    )


def bench_merge() -> None:
    """Of each hash, 64 bytes in 4000 stripes, as a share of a KDF of half a second."""
    for hash in hashes.NAMES:
        with SecretBytes.random(64) as key, antiforensic.split(key, STRIPES, hash) as spread:
            taken = milliseconds(lambda: antiforensic.merge(spread, 64, STRIPES, hash).wipe())  # noqa: B023 - called at once
        print(f"merge 64 bytes x {STRIPES} {hash:15} {taken:8.1f} ms  {taken / UNLOCK:6.1%}")


def main() -> None:
    """Run everything."""
    for hash in ("sha1", "sha256", "sha512"):
        bench_pbkdf2(hash)
    for lanes in (1, 2, 4):
        bench_argon2(lanes)
    bench_merge()


if __name__ == "__main__":
    main()
