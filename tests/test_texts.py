"""Which texts may be stored in a header."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import luksmeta
from luksmeta import Note, TokenError, Volume
from luksmeta.texts import check_text
from tests import builders
from tests.builders import FIRST, image, memory

BAD = ("a\nb", "\0", "x\0y", "\x1b[31m", "\x7f", "\x9b", "\u2028", "\udcff", "\ud800")
GOOD = ("", "home", "Zuhause à gauche", "家", "a b\u00a0c", "\N{WOMAN}\u200d\N{ROCKET}")
STORE: dict[str, Callable[[Volume, str], object]] = {
    "label": lambda volume, text: volume.configure(label=text),
    "subsystem": lambda volume, text: volume.configure(subsystem=text),
    "key description": lambda volume, text: volume.tokens.add_keyring(text),
    "token type": lambda volume, text: volume.tokens.add({"type": text, "keyslots": []}),
    "owner": lambda volume, text: volume.configure(notes={0: Note(owner=text)}),
    "note": lambda volume, text: volume.configure(notes={0: Note(purpose=text)}),
}


@pytest.mark.parametrize("text", GOOD)
def test_what_people_write_is_a_text(text: str) -> None:
    check_text("label", text)


@pytest.mark.parametrize("text", BAD, ids=ascii)
def test_what_is_none_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"^label: .* (is no UTF-8|has the control character)"):
        check_text("label", text)


@pytest.mark.parametrize("place", STORE)
@pytest.mark.parametrize("text", BAD, ids=ascii)
def test_no_header_gets_a_new_text_that_is_none(place: str, text: str) -> None:
    storage = memory("luks2")
    before = bytes(storage.data)
    with luksmeta.open(storage, writable=True) as volume:
        with pytest.raises((ValueError, TokenError), match=r"is no UTF-8|control character"):
            STORE[place](volume, text)
        assert bytes(storage.data) == before
        STORE[place](volume, "家")


@pytest.mark.parametrize("name", ["label", "subsystem"])
def test_nor_does_a_new_volume(name: str) -> None:
    options: dict[str, Any] = {name: "a\nb", "pbkdf": builders.KDF}
    with pytest.raises(ValueError, match=rf"{name}: .*control character"):
        luksmeta.format(luksmeta.MemoryStorage(32 << 20), FIRST, **options)


def test_what_lies_on_a_disk_is_read_and_stays() -> None:
    data = builders.with_label(image("luks2"), "\udcff\n")
    with luksmeta.open(luksmeta.MemoryStorage(data), writable=True) as volume:
        assert volume.label == "\udcff\n"
        volume.configure(subsystem="new")
        assert volume.label == "\udcff\n"
