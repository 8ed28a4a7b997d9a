"""Variants of a passphrase: each with its name, undone by its inverse, the likeliest first."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luksmeta.forensics.guessing.variants import (
    AS_GIVEN,
    TEXT_MAX,
    VARIANTS_MAX,
    caps_lock,
    variants_of,
)

typed = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20)


def named(passphrase: bytes) -> dict[str, bytes]:
    return {variant.name: variant.passphrase for variant in variants_of(passphrase)}


def names(passphrase: bytes, made: bytes) -> list[str]:
    return [each.name for each in variants_of(passphrase) if each.passphrase == made]


@pytest.mark.parametrize(
    ("given_text", "name", "made"),
    [
        ("secret", "with the trailing newline", b"secret\n"),
        ("secret", "with a trailing CR and newline", b"secret\r\n"),
        ("secret", "with a trailing CR", b"secret\r"),
        ("secret", "with a trailing zero byte", b"secret\0"),
        ("secret\r\n", "without the trailing newline", b"secret"),
        ("one\ntwo\n", "up to the first newline", b"one"),
        ("Secret Zwölf", "with Caps Lock on", "sECRET zWÖLF".encode()),
        ("straße", "with Caps Lock on", "STRAßE".encode()),
        ("secret", "with the first letter in upper case", b"Secret"),
        ("Secret", "with the first letter in lower case", b"secret"),
        (" secret  ", "without spaces around it", b"secret"),
        ("secret", "with a trailing space", b"secret "),
        ("secret", "with a leading space", b" secret"),
        ("correct horse", "without any spaces", b"correcthorse"),
        ("It's", "with smart quotes", b"It\xe2\x80\x99s"),
        ('say "yes"', "with smart quotes", b"say \xe2\x80\x9cyes\xe2\x80\x9d"),
        (
            "it\u2019s \u2013 \u201cso\u201d\u2026",
            "with straight quotes and dashes",
            b'it\'s - "so"...',
        ),
        ("a-b", "with an en dash", b"a\xe2\x80\x93b"),
        ("a--b", "with an em dash", b"a\xe2\x80\x94b"),
        ("wait...", "with an ellipsis", b"wait\xe2\x80\xa6"),
        ("café", "in Unicode form NFD", b"cafe\xcc\x81"),
        ("cafe\u0301", "in Unicode form NFC", b"caf\xc3\xa9"),
        ("\ufb01n", "in Unicode form NFKC", b"fin"),
        ("café", "in Latin-1", b"caf\xe9"),
        ("5 €", "in Windows-1252", b"5 \x80"),
        ("café", "in code page 850 (DOS)", b"caf\x82"),
        ("5 €", "in Latin-9", b"5 \xa4"),
        ("żółw", "in Latin-2", b"\xbf\xf3\xb3w"),
        ("пароль", "in Windows-1251", b"\xef\xe0\xf0\xee\xeb\xfc"),
        ("пароль", "in KOI8-R", b"\xd0\xc1\xd2\xcf\xcc\xd8"),
        ("ab", "in UTF-16 (little-endian)", b"a\0b\0"),
        ("ab", "in UTF-16 (big-endian)", b"\0a\0b"),
        ("ab", "in UTF-8 with a byte order mark", b"\xef\xbb\xbfab"),
        ("é", "in UTF-8 encoded twice", b"\xc3\x83\xc2\xa9"),
        ("zaun!", "typed on a German layout read as US", b"yaun!"),
        ("y;", "typed on a US layout read as German", "zö".encode()),
        ("azerty", "typed on a French (AZERTY) layout read as US", b"qwerty"),
    ],
)
def test_each_variant_has_its_name(given_text: str, name: str, made: bytes) -> None:
    assert named(given_text.encode())[name] == made


@pytest.mark.parametrize(
    ("given_text", "made", "name"),
    [
        ("secret", b"SECRET\n", "with Caps Lock on, with the trailing newline"),
        ("café", b"CAF\xc9", "with Caps Lock on, in Latin-1"),
        ("café", b"caf\xe9\n", "in Latin-1, with the trailing newline"),
        (
            "zaunkönig",
            b"yaunk;nig\n",
            "typed on a German layout read as US, with the trailing newline",
        ),
        ("secret", b"Secret ", None),  # two of one stage are none of the documented
    ],
)
def test_two_things_may_have_happened_at_once(
    given_text: str, made: bytes, name: str | None
) -> None:
    assert names(given_text.encode(), made) == ([] if name is None else [name])


def test_bytes_that_are_no_utf_8_are_read_as_windows_1252() -> None:
    variants = named(b"caf\xe9")
    assert variants[AS_GIVEN] == b"caf\xe9"
    assert variants["in UTF-8"] == "café".encode()
    assert variants["with Caps Lock on, in UTF-8"] == "CAFÉ".encode()
    assert variants["with Caps Lock on, in Latin-1"] == b"CAF\xc9"


@pytest.mark.parametrize("passphrase", [b"\x81\x8d key \n", b"x" * TEXT_MAX + b"y\n"])
def test_of_what_nobody_types_only_the_end_varies(passphrase: bytes) -> None:
    variants = [each.passphrase for each in variants_of(passphrase)]
    assert passphrase.rstrip(b"\n") in variants
    assert {each.rstrip(b"\r\n\0") for each in variants} == {passphrase.rstrip(b"\n")}
    assert len(variants) < 12


def test_the_likeliest_come_first() -> None:
    order = [variant.name for variant in variants_of("Grüße".encode())]
    wanted = [
        AS_GIVEN,
        "with the trailing newline",
        "with Caps Lock on",
        "in Unicode form NFD",
        "in Latin-1",
        "typed on a German layout read as US",
        "with Caps Lock on, with the trailing newline",
    ]
    assert [name for name in order if name in wanted] == wanted
    assert order[0] == AS_GIVEN


@settings(max_examples=25)
@given(st.one_of(st.binary(max_size=20), typed.map(str.encode)))
def test_variants_are_bounded_and_each_comes_once(passphrase: bytes) -> None:
    variants = [variant.passphrase for variant in variants_of(passphrase)]
    assert variants[0] == passphrase
    assert len(set(variants)) == len(variants) <= VARIANTS_MAX


@given(typed)
def test_caps_lock_undoes_itself_where_letters_have_two_cases(text: str) -> None:
    plain = "".join(each for each in text if each.swapcase().swapcase() == each)
    assert caps_lock(caps_lock(plain)) == plain


@settings(max_examples=10)
@given(typed.filter(lambda text: text != ""))
def test_a_variant_of_a_variant_leads_back(text: str) -> None:
    text = unicodedata.normalize("NFC", text)
    for name, inverse in (
        ("with the trailing newline", "without the trailing newline"),
        ("in Unicode form NFD", "in Unicode form NFC"),
        ("in UTF-8 encoded twice", None),
    ):
        made = named(text.encode()).get(name)
        if made is None:  # the same as an earlier one
            continue
        back = made.decode().encode("cp1252") if inverse is None else named(made)[inverse]
        assert back == text.encode()
