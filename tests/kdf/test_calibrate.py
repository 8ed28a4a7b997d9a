"""Calibration on machines that a formula describes: no clock, no luck."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from luksmeta.kdf import calibrate, machine
from luksmeta.kdf.calibrate import Measure
from luksmeta.kdf.pbkdf import Argon2i, Argon2id, Pbkdf, Pbkdf2

GIB = 1 << 20  # KiB


def pbkdf2_machine(per_millisecond: float, seen: list[int] | None = None) -> Measure:
    def measure(kdf: Pbkdf, _key_size: int) -> float:
        assert isinstance(kdf, Pbkdf2)
        if seen is not None:
            seen.append(kdf.iterations)
        return kdf.iterations / per_millisecond

    return measure


def argon2_machine(work_per_millisecond: float, seen: list[Pbkdf] | None = None) -> Measure:
    """KiB times passes in each millisecond."""

    def measure(kdf: Pbkdf, _key_size: int) -> float:
        assert not isinstance(kdf, Pbkdf2)
        if seen is not None:
            seen.append(kdf)
        return kdf.time * kdf.memory / work_per_millisecond

    return measure


@pytest.fixture(autouse=True)
def _a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, physical=16 * GIB, free=8 * GIB, swap=True, cpus=8)


def _set(
    monkeypatch: pytest.MonkeyPatch, *, physical: int, free: int, swap: bool, cpus: int
) -> None:
    values: dict[str, Callable[[], int]] = {
        "physical_memory": lambda: physical,
        "free_memory": lambda: free,
        "has_swap": lambda: swap,
        "online_cpus": lambda: cpus,
    }
    for name, value in values.items():
        monkeypatch.setattr(machine, name, value)


@pytest.mark.parametrize("per_millisecond", [1, 30, 137, 250, 1500, 2000, 100_000])
@pytest.mark.parametrize("milliseconds", [500, 2000])
def test_pbkdf2_gets_the_iterations_that_take_the_time(
    per_millisecond: int, milliseconds: int
) -> None:
    kdf = calibrate.pbkdf2(milliseconds, "sha512", measure=pbkdf2_machine(per_millisecond))
    assert kdf.hash == "sha512"
    assert kdf.iterations == pytest.approx(max(per_millisecond * milliseconds, 1000), abs=1)


def test_pbkdf2_is_measured_in_the_steps_of_cryptsetup() -> None:
    seen: list[int] = []
    calibrate.pbkdf2(2000, "sha256", measure=pbkdf2_machine(2000, seen))
    assert seen == [1 << 15, 1 << 19, 1 << 20]  # 16 ms, 262 ms, 524 ms


def test_pbkdf2_is_never_below_the_minimum() -> None:
    assert calibrate.pbkdf2(1, "sha256", measure=pbkdf2_machine(10)).iterations == 1000


def test_a_clock_that_stands_still_ends_the_calibration() -> None:
    assert calibrate.pbkdf2(2000, "sha256", measure=lambda *_: 0).iterations == (1 << 31) - 1
    kdf = calibrate.argon2(Argon2id, 2000, measure=lambda *_: 0)
    assert kdf.memory == GIB
    assert kdf.time < 1 << 32


def test_the_digest_gets_an_eighth_of_a_second() -> None:
    assert calibrate.digest_iterations("sha256", measure=pbkdf2_machine(1500)) == 187_500
    assert calibrate.digest_share(2_000_000, 2000) == 125_000
    assert calibrate.digest_share(1000, 2000) == 1000


@pytest.mark.parametrize("kind", [Argon2i, Argon2id])
def test_argon2_takes_memory_first(kind: type[Argon2i]) -> None:
    kdf = calibrate.argon2(kind, 2000, measure=argon2_machine(1000))
    assert kdf == kind(time=4, memory=500_000, cpus=4)


def test_argon2_takes_passes_where_memory_ends() -> None:
    kdf = calibrate.argon2(Argon2id, 2000, max_memory=100_000, measure=argon2_machine(1000))
    assert kdf == Argon2id(time=20, memory=100_000, cpus=4)


def test_argon2_lowers_nothing_below_64_mib_and_4_passes() -> None:
    kdf = calibrate.argon2(Argon2id, 100, measure=argon2_machine(100))
    assert kdf == Argon2id(time=4, memory=64 << 10, cpus=4)


def test_argon2_goes_below_64_mib_where_the_caller_says_so() -> None:
    kdf = calibrate.argon2(Argon2id, 1000, max_memory=32 << 10, measure=argon2_machine(1000))
    assert kdf.memory == 32 << 10
    assert kdf.time == 1000 * 1000 // (32 << 10)


def test_argon2_goes_down_when_the_first_measurable_costs_take_too_long() -> None:
    kdf = calibrate.argon2(Argon2id, 500, measure=argon2_machine(600))
    assert 0.95 * 500 <= kdf.time * kdf.memory / 600 <= 1.1 * 500


def test_argon2_ends_on_a_machine_that_never_measures_the_same() -> None:
    seen: list[Pbkdf] = []
    steady = argon2_machine(1000, seen)
    calibrate.argon2(
        Argon2id, 2000, measure=lambda kdf, size: steady(kdf, size) * (1 + len(seen) % 3)
    )
    assert len(seen) < 20


def test_argon2_takes_no_more_lanes_than_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, physical=16 * GIB, free=8 * GIB, swap=True, cpus=2)
    assert calibrate.argon2(Argon2id, 2000, measure=argon2_machine(1000)).cpus == 2
    assert calibrate.argon2(Argon2id, 2000, max_cpus=1, measure=argon2_machine(1000)).cpus == 1


@pytest.mark.parametrize(
    ("physical", "free", "swap", "budget"),
    [
        (16 * GIB, GIB, False, 8 * GIB),  # enough memory: swap does not matter
        (2 * GIB, GIB // 2, True, GIB),
        (2 * GIB, GIB // 2, False, GIB // 4),  # half of what is free
        (2 * GIB, 128 << 10, False, GIB),  # half of what is free is too little to aim at
        (2 * GIB, 2 * GIB, False, GIB),
        (64 << 10, 32 << 10, True, GIB),  # nobody believes in 64 MiB
    ],
)
def test_the_memory_budget_follows_cryptsetup(
    monkeypatch: pytest.MonkeyPatch, physical: int, free: int, swap: bool, budget: int
) -> None:
    _set(monkeypatch, physical=physical, free=free, swap=swap, cpus=4)
    assert calibrate.memory_budget() == budget


@pytest.mark.parametrize("milliseconds", [0, -5])
def test_no_time_is_a_value_error(milliseconds: int) -> None:
    with pytest.raises(ValueError, match="at least 1 ms"):
        calibrate.pbkdf2(milliseconds, "sha256")
    with pytest.raises(ValueError, match="at least 1 ms"):
        calibrate.argon2(Argon2id, milliseconds)


def test_a_maximum_that_no_keyslot_may_have_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="memory is 31, the minimum is 32"):
        Argon2id.calibrate(500, max_memory=31)
    with pytest.raises(ValueError, match="cpus is 5, the maximum is 4"):
        Argon2i.calibrate(500, max_cpus=5)


def test_the_classmethods_calibrate_their_own_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(calibrate, "argon2", lambda kind, ms, **_: asked.append((kind, ms)))
    monkeypatch.setattr(calibrate, "pbkdf2", lambda ms, hash, **_: asked.append((hash, ms)))
    Argon2id.calibrate(milliseconds=500)
    Argon2i.calibrate()
    Pbkdf2.calibrate(milliseconds=7, hash="sha1")
    assert asked == [(Argon2id, 500), (Argon2i, 2000), ("sha1", 7)]


def test_a_real_measurement_is_positive() -> None:
    assert calibrate.measure(Pbkdf2(hash="sha256", iterations=100_000), 64) > 0
    assert calibrate.measure(Argon2id(time=4, memory=1024, cpus=1), 64) > 0
