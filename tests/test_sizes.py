"""Sizes and numbers of things as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luksmeta.sizes import counted, format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512", 512),
        ("16k", 16384),
        ("64M", 64 << 20),
        ("64MiB", 64 << 20),
        (" 1gb ", 1 << 30),
        ("2TiB", 2 << 40),
        ("1P", 1 << 50),
        ("8191P", 8191 << 50),
        ("100B", 100),
    ],
)
def test_a_size_is_read_in_powers_of_1024(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "M", "-1", "1.5G", "1 M", "1E", "0x10", "1MM", "²", "8192P", "9" * 19, "9" * 20]
)
def test_what_is_no_size_is_refused_with_the_text(text: str) -> None:
    with pytest.raises(ValueError, match="size "):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (1000, "1000 bytes"),
        (1024, "1 KiB"),
        (1536, "1536 bytes"),
        (16 << 20, "16 MiB"),
        (3 << 30, "3 GiB"),
        (5 << 40, "5 TiB"),
    ],
)
def test_a_size_is_shown_in_the_largest_unit_that_divides_it(size: int, text: str) -> None:
    assert format_size(size) == text


@settings(deadline=None, derandomize=True)
@given(st.integers(0, (1 << 63) - 1))
def test_a_shown_size_can_be_read_back(size: int) -> None:
    text = format_size(size).replace(" ", "")
    assert parse_size(text.removesuffix("bytes").removesuffix("byte")) == size


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 keyslots"), (1, "1 keyslot"), ("1", "1 keyslot"), (2, "2 keyslots")]
)
def test_one_thing_is_no_things(number: int | str, text: str) -> None:
    assert counted(number, "keyslot") == text


def test_a_plural_may_have_to_be_named() -> None:
    passes = [counted(number, "pass", "passes") for number in (1, 11)]
    assert passes == ["1 pass", "11 passes"]
