"""What a guess costs: the documented figures, bounds, and keyslots that make no sense."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from luksmeta import Argon2i, Argon2id, Pbkdf2
from luksmeta.forensics.strength import REFERENCE, Strength, strength_of
from luksmeta.kdf.pbkdf import Pbkdf
from luksmeta.model import AntiForensic, ForeignKdf, Keyslot, RawArea

YEAR = 365.25 * 24 * 3600


def keyslot(
    kdf: Pbkdf | ForeignKdf, key_size: int = 32, encryption: str = "aes-xts-plain64"
) -> Keyslot:
    return Keyslot(
        key_size=key_size,
        kdf=kdf,
        salt=bytes(32),
        af=AntiForensic(hash="sha256"),
        area=RawArea(offset=0, size=1, encryption=encryption, key_size=key_size),
    )


def strength(each: Keyslot, *entropies: float, is_measured: bool = False) -> Strength:
    return strength_of(each, entropies or (40,), is_measured=is_measured)


def rate(each: Keyslot) -> float:
    (speed,) = strength(each).speeds
    assert (speed.machine, speed.basis) == (REFERENCE, "reference")
    return speed.guesses_per_second


@pytest.mark.parametrize(
    ("hash_name", "iterations"),
    [("sha1", 1_300_000), ("sha256", 600_000), ("SHA-256", 600_000), ("sha512", 210_000)],
)
def test_pbkdf2_of_one_block_is_as_fast_as_the_source_says(hash_name: str, iterations: int) -> None:
    one_block = keyslot(Pbkdf2(hash=hash_name, iterations=iterations), key_size=16)
    assert rate(one_block) == pytest.approx(15_000, rel=0.01)  # 2000 more are for the merging
    assert rate(one_block) < 15_000


def test_a_key_of_two_blocks_takes_twice_as_long() -> None:
    kdf = Pbkdf2(hash="sha256", iterations=1_000_000)
    assert rate(keyslot(kdf, 64)) == pytest.approx(rate(keyslot(kdf, 32)) / 2)


def test_few_iterations_are_bounded_by_merging_the_stripes() -> None:
    assert rate(keyslot(Pbkdf2(hash="sha256", iterations=1))) == pytest.approx(9e9 / 2001)


def test_a_hash_without_a_figure_is_bounded_by_the_fastest() -> None:
    odd = strength(keyslot(Pbkdf2(hash="ripemd160", iterations=10**6), 16))
    assert odd.speeds[0].guesses_per_second == pytest.approx(1.95e10 / 1e6, rel=0.01)
    assert "bounded by the speed of SHA-1" in odd.remark


@pytest.mark.parametrize("kind", [Argon2i, Argon2id])
def test_argon2_is_bounded_by_the_memory_that_it_moves(kind: type[Argon2i | Argon2id]) -> None:
    kdf = kind(time=4, memory=1 << 20, cpus=4)
    assert rate(keyslot(kdf)) == pytest.approx(1.008e12 / (11 << 30), rel=0.001)
    assert "11,264.0 MiB" in strength(keyslot(kdf)).remark


def test_years_are_those_of_half_of_all_passphrases() -> None:
    one = strength(keyslot(Pbkdf2(hash="sha256", iterations=600_000)), 40, 41.5)
    speed = one.speeds[0]
    assert speed.years(40) == pytest.approx(2**39 / speed.guesses_per_second / YEAR)
    assert speed.years(41) == pytest.approx(2 * speed.years(40))
    document: Any = one.describe()
    years = document["speeds"][0]["machine_years"]
    assert list(years) == ["40", "41.5"]
    assert years["40"] == float(f"{speed.years(40):.3g}")


def test_this_machine_is_measured_on_demand() -> None:
    for kdf in (Pbkdf2(hash="sha256", iterations=10**6), Argon2id(time=4, memory=1 << 16, cpus=1)):
        reference, here = strength(keyslot(kdf), is_measured=True).speeds
        assert here.basis == "measured"
        assert 0 < here.guesses_per_second < reference.guesses_per_second


def test_an_area_that_is_not_encrypted_has_no_strength() -> None:
    null = strength(keyslot(Pbkdf2(hash="sha256", iterations=10**6), encryption="cipher_null-ecb"))
    assert null.speeds == ()
    assert null.remark.startswith("none")


@pytest.mark.parametrize(
    "kdf",
    [
        ForeignKdf("scrypt"),
        Pbkdf2(hash="md6", iterations=1000),
        Pbkdf2(hash="sha256", iterations=0),
        Pbkdf2(hash="sha256", iterations=-5),
        Argon2id(time=0, memory=1, cpus=1),
        Argon2i(time=1, memory=-1, cpus=1),
    ],
)
def test_of_what_makes_no_sense_nothing_is_claimed(kdf: Pbkdf | ForeignKdf) -> None:
    for is_measured in (False, True):
        found = strength(keyslot(kdf), is_measured=is_measured)
        assert found.speeds == ()
        assert found.remark.startswith("unknown")


def test_an_unknown_hash_of_the_splitter_is_told() -> None:
    kdf = Pbkdf2(hash="sha256", iterations=1000)
    found = strength(replace(keyslot(kdf), af=AntiForensic(hash="nothing")))
    assert found.remark.startswith("unknown")
