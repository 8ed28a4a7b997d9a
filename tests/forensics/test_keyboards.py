"""Keyboard layouts: what keys give, here and in libxkbcommon, and one layout read as another."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luksmeta.forensics.guessing.keyboards import NOTHING, Keyboard, confusions, load
from tests.keyboards import KEYS, LAYOUTS, LEVELS, Compiler
from tests.requirement import missing

layouts = st.sampled_from(sorted(load()))


@pytest.mark.parametrize(
    ("keys", "read_as", "text", "made"),
    [
        ("de", "us", "Zaun+Öl?", "Yaun]:l_"),
        ("us", "de", "yes/no:z", "zes-noÖy"),
        ("fr", "us", "azerty&é", "qwerty12"),
        ("us", "fr", "Qwerty12;", "Azerty&ém"),
        ("gb", "us", 'a"b@£#', 'a@b"#\\'),
        ("ru", "us", "пароль", "gfhjkm"),
        ("us", "ru", "gfhjkm", "пароль"),
        ("dvorak", "us", "dvorak", "h.soav"),
        ("us", "dvorak", "secret", "o.jp.y"),
        ("cz", "us", "+ěšč", "1234"),
        ("se", "no", "ö ä å", "ø æ å"),
        ("ch", "de", "a y z", "a y z"),
        ("us", "colemak", "semi;", "rfmuo"),
    ],
)
def test_keys_of_one_layout_give_other_characters_on_another(
    keys: str, read_as: str, text: str, made: str
) -> None:
    assert load()[keys].read_as(load()[read_as], text) == made


def test_what_is_on_no_key_or_gives_nothing_has_no_reading() -> None:
    us, german, hebrew = (load()[name] for name in ("us", "de", "il"))
    assert us.read_as(german, "naïve") is None
    assert german.read_as(us, "5 €") is None  # nothing is on AltGr and E
    assert hebrew.read_as(us, "שלום") == "akuo"


@given(layouts, layouts, st.data())
def test_a_reading_is_undone_by_its_inverse(one: str, other: str, data: st.DataObject) -> None:
    keys, read_as = load()[one], load()[other]
    counts = Counter("".join(read_as.levels))
    reversible = [
        character
        for character, (level, key) in keys.keys.items()
        if counts[read_as.levels[level][key]] == 1 and read_as.levels[level][key] != NOTHING
    ]
    text = data.draw(st.text(st.sampled_from([*reversible, " "])))
    made = keys.read_as(read_as, text)
    assert made is not None
    assert read_as.read_as(keys, made) == text


def test_every_pair_comes_once_and_those_with_the_us_layout_first() -> None:
    pairs = [(keys.name, read_as.name) for keys, read_as in confusions()]
    count = len(load())
    assert len(set(pairs)) == len(pairs) == count * (count - 1)
    with_us = 2 * (count - 1)
    assert all("us" in pair for pair in pairs[:with_us])
    assert not any("us" in pair for pair in pairs[with_us:])


def test_all_layouts_have_the_same_keys() -> None:
    assert list(load()) == list(LAYOUTS)
    for keyboard in load().values():
        assert [len(level) for level in keyboard.levels] == [len(KEYS)] * LEVELS
        assert keyboard.title == LAYOUTS[keyboard.name][2]


@pytest.mark.parametrize("name", ["us", "gb", "de", "fr", "ru", "dvorak", "colemak"])
def test_keys_alone_and_with_shift_give_what_libxkbcommon_says(name: str) -> None:
    try:
        compiler = Compiler()
    except (OSError, TypeError):
        missing("libxkbcommon is not installed (Debian packages libxkbcommon0 and xkb-data)")
    theirs = compiler.levels(*LAYOUTS[name][:2])
    assert load()[name].levels[:2] == tuple(theirs[:2])  # AltGr changes between their versions


def test_a_character_on_two_keys_is_taken_from_the_one_without_modifiers() -> None:
    keyboard = Keyboard("x", "X", ("ab", "ba"))
    assert keyboard.read_as(Keyboard("y", "Y", ("cd", "ef")), "ab") == "cd"
