"""What looks like ciphertext: the thresholds' figures, computed anew, and runs of damage."""

from __future__ import annotations

import cmath
import math
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luksmeta import MemoryStorage
from luksmeta.extents import Extent
from luksmeta.forensics.randomness import (
    BITS_OFF_MAX,
    CHI_SQUARE_MAX,
    CHI_SQUARE_MIN,
    SAME_BYTES_MAX,
    STEP,
    Figures,
    StepState,
    looks_random,
    runs_of,
)
from tests.corpus import stream
from tests.storages import UnreadableStorage

SIZE = 1 << 20
RANDOM = stream("forensics/random", SIZE)
CELLS, MEAN = 256, 2.0  # of the histogram of a step


def states(data: bytes, extent: Extent | None = None) -> list[tuple[int, int, str]]:
    runs = runs_of(MemoryStorage(data), extent or Extent(0, len(data)))
    return [(run.extent.offset, run.extent.size, str(run.state)) for run in runs]


def overwritten(offset: int, data: bytes) -> bytes:
    return RANDOM[:offset] + data + RANDOM[offset + len(data) :]


# --- the figures ---------------------------------------------------------------------------------


def cell(rate: float, tilt: float) -> list[float]:
    """Weights of a cell's count up to 24; a step has more than that once in 10^16."""
    return [
        math.exp(-rate + c * math.log(rate) - math.lgamma(c + 1) + tilt * c * c) for c in range(25)
    ]


def balanced_rate(tilt: float) -> float:
    """The rate at which 512 bytes are what is most likely in spite of the tilt.

    How 512 bytes are distributed does not depend on it.
    """
    low, high = 0.1, 10.0
    for _ in range(60):
        rate = (low + high) / 2
        weights = cell(rate, tilt)
        mean = sum(c * w for c, w in enumerate(weights)) / sum(weights)
        low, high = (low, rate) if mean > MEAN else (rate, high)
    return low


@cache
def tilted(tilt: float) -> dict[int, float]:
    """The distribution of the sum of squared counts of 512 random bytes, 1200 to 2223.

    The generating function of one Poisson-distributed cell is raised to the 256th power on roots of
    unity, and the coefficient of 512 bytes is taken: exact but for rounding. The weight e^(tilt·s)
    brings a tail into the middle, where rounding does not drown it.
    """
    n_mod, s_mod = 256, 1024
    rate = balanced_rate(tilt)
    weights = cell(rate, tilt)
    total = sum(weights)
    roots = [cmath.exp(-2j * cmath.pi * k / s_mod) for k in range(s_mod)]
    step = s_mod // n_mod
    coefficients = []
    for b in range(s_mod // 2 + 1):
        row = [w / total * roots[b * c * c % s_mod] for c, w in enumerate(weights)]
        value = 0j
        for a in range(n_mod):
            one = sum(w * roots[a * c * step % s_mod] for c, w in enumerate(row))
            value += one**CELLS * roots[-a * STEP * step % s_mod]
        coefficients.append(value / n_mod)
    bytes_mean = CELLS * rate
    given_512 = -bytes_mean + STEP * math.log(bytes_mean) - math.lgamma(STEP + 1)
    scale = CELLS * math.log(total) - given_512
    found = {}
    for s in range(1200, 1200 + s_mod, 2):
        inner = sum((v * roots[-b * s % s_mod]).real for b, v in enumerate(coefficients[1:-1], 1))
        ends = (coefficients[0] + coefficients[-1] * roots[-s * (s_mod // 2) % s_mod]).real
        found[s] = (2 * inner + ends) / s_mod * math.exp(scale - tilt * s)
    return found


def sum_of_squares(chi_square: float) -> float:
    return (chi_square + STEP) * MEAN


def test_the_distribution_has_the_known_mean_and_variance() -> None:
    found = tilted(0.0)
    mean = sum(p * (s / MEAN - STEP) for s, p in found.items())
    variance = sum(p * (s / MEAN - STEP) ** 2 for s, p in found.items()) - mean**2
    assert sum(found.values()) == pytest.approx(1, abs=1e-6)
    assert mean == pytest.approx(CELLS - 1, abs=0.01)
    assert variance == pytest.approx(2 * (CELLS - 1) * (1 - 1 / STEP), rel=1e-3)


def test_an_uneven_histogram_comes_by_chance_as_rarely_as_documented() -> None:
    tail = sum(p for s, p in tilted(0.045).items() if s >= sum_of_squares(CHI_SQUARE_MAX))
    assert tail == pytest.approx(2.68e-11, rel=0.02)


def test_an_even_histogram_comes_by_chance_as_rarely_as_documented() -> None:
    tail = sum(p for s, p in tilted(-0.06).items() if s <= sum_of_squares(CHI_SQUARE_MIN))
    assert tail == pytest.approx(1.50e-12, rel=0.02)


def test_bits_come_by_chance_as_far_off_as_rarely_as_documented() -> None:
    bits, last = 8 * STEP, 4 * STEP - BITS_OFF_MAX
    term, total = 1, 1
    for k in range(1, last + 1):
        term = term * (bits - k + 1) // k
        total += term
    assert 2 * total / 2**bits == pytest.approx(1.58e-11, rel=0.01)


def test_equal_bytes_in_a_row_come_by_chance_as_rarely_as_documented() -> None:
    places = STEP - SAME_BYTES_MAX + 1
    assert places * 256.0 ** (1 - SAME_BYTES_MAX) == pytest.approx(1.80e-12, rel=0.01)


def test_the_figures_are_those_of_the_definitions() -> None:
    step = RANDOM[:STEP]
    counts = [step.count(value) for value in range(256)]
    figures = Figures.of(step)
    assert figures.chi_square == pytest.approx(sum((c - MEAN) ** 2 / MEAN for c in counts))
    entropy = -sum(c / STEP * math.log2(c / STEP) for c in counts if c)
    assert figures.entropy == pytest.approx(entropy)
    assert Figures.of(bytes(STEP)) == Figures(255.0 * STEP, 0.0)


# --- steps ---------------------------------------------------------------------------------------


def test_random_bytes_are_one_run() -> None:
    assert states(RANDOM) == [(0, SIZE, "random")]


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(RANDOM[:256] + bytes(20) + RANDOM[276:512], id="20 zero bytes"),
        pytest.param(RANDOM[:100] + b"\xff" * 7 + RANDOM[107:512], id="7 equal bytes"),
        pytest.param(b"\xaa" * 7 + RANDOM[7:512], id="7 equal bytes at the start"),
        pytest.param(RANDOM[:505] + b"\0" * 7, id="7 equal bytes at the end"),
        pytest.param(bytes(range(256)) * 2, id="every byte twice"),
        pytest.param(bytes(each & 0x7F for each in RANDOM[:512]), id="7 bits a byte"),
        pytest.param(bytes(each | 0x11 for each in RANDOM[:512]), id="bits set"),
        pytest.param(RANDOM[:384].hex().encode()[:512], id="hex"),
        pytest.param((b"The quick brown fox. " * 25)[:512], id="text"),
    ],
)
def test_what_no_cipher_makes_is_seen(step: bytes) -> None:
    assert len(step) == STEP
    assert not looks_random(step)


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(RANDOM[:504] + b"LABELONE", id="a magic"),
        pytest.param(RANDOM[:500] + bytes(6) + RANDOM[506:512], id="6 zero bytes"),
        pytest.param(stream("forensics/other", 512), id="other ciphertext"),
    ],
)
def test_what_is_too_little_or_ciphertext_itself_is_not_seen(step: bytes) -> None:
    assert looks_random(step)


@pytest.mark.parametrize(
    ("data", "state"),
    [
        (bytes(STEP), "zero"),
        (b"\xff" * STEP, "pattern"),
        (b"\xde\xad\xbe\xef" * 128, "pattern"),
        (bytes(range(64)) * 8, "pattern"),
        (bytes(range(65)) * 7 + bytes(57), "other"),
    ],
)
def test_every_state_has_its_name(data: bytes, state: str) -> None:
    assert states(overwritten(1024, data)) == [
        (0, 1024, "random"),
        (1024, 512, state),
        (1536, SIZE - 1536, "random"),
    ]


def test_zeroes_across_chunks_are_one_run() -> None:
    found = states(overwritten(0x8200, bytes(0x50000)))
    assert found == [
        (0, 0x8200, "random"),
        (0x8200, 0x50000, "zero"),
        (0x58200, SIZE - 0x58200, "random"),
    ]


def test_steps_keep_to_sectors_wherever_the_range_begins() -> None:
    data = overwritten(0x1000, bytes(1024))
    assert states(data, Extent(0xE80, 0x1000)) == [
        (0xE80, 0x180, "random"),
        (0x1000, 0x400, "zero"),
        (0x1400, 0xA80, "random"),
    ]


def test_a_short_end_counts_as_the_step_before_it() -> None:
    text = b"".join(b"line %d of a text\n" % line for line in range(50))
    assert states(text[:520]) == [(0, 520, "other")]
    assert states(RANDOM[:512] + bytes(4)) == [(0, 512, "random"), (512, 4, "zero")]


def test_a_run_tells_the_extremes_of_its_steps_and_how_it_begins() -> None:
    (run,) = runs_of(MemoryStorage(b"\1" * STEP + b"\1\2" * 256), Extent(0, 2 * STEP))
    assert run.sample == b"\1" * 16
    assert run.entropy == (0.0, 1.0)
    assert run.chi_square == (127.0 * 512, 255.0 * 512)


def test_what_lies_behind_the_end_is_left_out() -> None:
    assert states(RANDOM[:1000], Extent(512, 5000)) == [(512, 488, "random")]
    assert states(RANDOM[:1000], Extent(2000, 5000)) == []


def test_only_the_unreadable_steps_are_unreadable() -> None:
    storage = UnreadableStorage(RANDOM, range(0x20345, 0x20410))
    found = runs_of(storage, Extent(0, SIZE))
    assert [(run.extent.offset, run.extent.size, run.state) for run in found] == [
        (0, 0x20200, StepState.RANDOM),
        (0x20200, 0x400, StepState.UNREADABLE),
        (0x20600, SIZE - 0x20600, StepState.RANDOM),
    ]
    assert found[1].chi_square is None
    assert found[1].describe()["entropy"] is None


@settings(max_examples=50)
@given(st.binary(max_size=3000), st.integers(0, 2000), st.integers(0, 4000))
def test_runs_cover_the_range_once_and_in_order(data: bytes, offset: int, size: int) -> None:
    runs = runs_of(MemoryStorage(data), Extent(offset, size))
    at = offset
    for run in runs:
        assert run.extent.offset == at
        at = run.extent.end
    assert at == max(min(offset + size, len(data)), offset)
    assert all(one.state is not other.state for one, other in pairwise(runs))
