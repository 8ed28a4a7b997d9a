"""How long a derivation would take, and the limit on that."""

from __future__ import annotations

import time

import pytest

from luksmeta import AlgorithmError, Argon2i, Argon2id, Limits, Pbkdf2, ResourceLimitError
from luksmeta.kdf import estimate
from luksmeta.kdf.calibrate import measure
from luksmeta.kdf.pbkdf import Pbkdf, derive

REAL: list[Pbkdf] = [
    Pbkdf2(hash="sha256", iterations=400_000),
    Pbkdf2(hash="sha512", iterations=200_000),
    Argon2id(time=4, memory=64 << 10, cpus=1),
    Argon2i(time=4, memory=64 << 10, cpus=1),
]
ASTRONOMIC: list[Pbkdf] = [
    Pbkdf2(hash="sha256", iterations=(1 << 31) - 1),
    Argon2id(time=(1 << 32) - 1, memory=64, cpus=1),
    Argon2i(time=1 << 20, memory=64 << 10, cpus=64),
]


@pytest.mark.parametrize("kdf", REAL, ids=str)
def test_an_estimate_is_near_the_time_that_it_takes(kdf: Pbkdf) -> None:
    estimate._per_iteration.cache_clear()
    estimate._per_kibibyte.cache_clear()
    taken = min(measure(kdf, 32) for _ in range(2))
    assert taken / 8 < estimate.milliseconds(kdf, 32) < taken * 8  # other processes run, too


def test_a_longer_key_takes_pbkdf2_longer_by_whole_blocks() -> None:
    kdf = Pbkdf2(hash="sha256", iterations=1_000_000)
    one, two, three = (estimate.milliseconds(kdf, size) for size in (32, 64, 65))
    assert two == pytest.approx(2 * one, abs=2)
    assert three == pytest.approx(3 * one, abs=3)


@pytest.mark.parametrize("kdf", ASTRONOMIC, ids=str)
def test_what_would_take_longer_is_refused_at_once(kdf: Pbkdf) -> None:
    start = time.thread_time()
    with pytest.raises(ResourceLimitError, match="would take about") as caught:
        derive(kdf, b"", bytes(32), 32, limits=Limits(milliseconds=2000))
    assert time.thread_time() - start < 0.3
    assert caught.value.limit == 2000
    assert caught.value.asked > 2000
    assert str(caught.value.asked) in str(caught.value)


def test_what_fits_runs() -> None:
    kdfs: list[Pbkdf] = [
        Pbkdf2(hash="sha256", iterations=1000),
        Argon2id(time=4, memory=32, cpus=1),
    ]
    for kdf in kdfs:
        derive(kdf, b"", bytes(32), 32, limits=Limits(milliseconds=60_000)).wipe()


def test_nothing_is_measured_without_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "milliseconds", lambda *_: pytest.fail("measured"))
    derive(Pbkdf2(hash="sha256", iterations=1000), b"", bytes(32), 32).wipe()


def test_a_machine_is_measured_once() -> None:
    estimate.milliseconds(REAL[0], 32)
    start = time.perf_counter()
    for _ in range(100):
        estimate.milliseconds(REAL[0], 32)
    assert time.perf_counter() - start < 0.1


def test_an_unknown_hash_is_the_same_error_as_without_a_limit() -> None:
    with pytest.raises(AlgorithmError, match="hash 'acme'"):
        derive(Pbkdf2(hash="acme", iterations=1), b"", b"", 1, limits=Limits(milliseconds=1))
