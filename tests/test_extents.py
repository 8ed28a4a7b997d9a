"""Extents: overlap, alignment and first fit, against sets of bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luksmeta.extents import Extent, align_down, align_up, first_fit

_EXTENTS = st.builds(Extent, st.integers(0, 40), st.integers(1, 12))


def _bytes_of(extent: Extent) -> set[int]:
    return set(range(extent.offset, extent.end))


@settings(deadline=None, derandomize=True)
@given(_EXTENTS, _EXTENTS)
def test_overlap_and_containment_are_those_of_the_bytes(one: Extent, other: Extent) -> None:
    assert one.overlaps(other) == other.overlaps(one) == bool(_bytes_of(one) & _bytes_of(other))
    assert one.contains(other) == (_bytes_of(one) >= _bytes_of(other))


@settings(deadline=None, derandomize=True)
@given(st.integers(0, 1 << 70), st.integers(1, 1 << 30))
def test_aligning_moves_less_than_one_unit_to_a_multiple(value: int, unit: int) -> None:
    up, down = align_up(value, unit), align_down(value, unit)
    assert up % unit == down % unit == 0
    assert value <= up < value + unit
    assert down <= value < down + unit


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 12), _EXTENTS, st.lists(_EXTENTS, max_size=6))
def test_first_fit_is_the_lowest_place_that_is_free(
    size: int, within: Extent, taken: list[Extent]
) -> None:
    used = set().union(*map(_bytes_of, taken)) if taken else set()
    places = [
        Extent(offset, size)
        for offset in range(within.offset, within.end - size + 1)
        if not _bytes_of(Extent(offset, size)) & used
    ]
    assert first_fit(size, within, taken) == (places[0] if places else None)


@pytest.mark.parametrize(
    ("extent", "text"), [(Extent(0, 0), "0x0..0x0"), (Extent(0x8000, 0x1F400), "0x8000..0x27400")]
)
def test_an_extent_shows_its_ends_in_hex(extent: Extent, text: str) -> None:
    assert str(extent) == text
