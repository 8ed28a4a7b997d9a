"""Keyboard layouts: the text that comes of the keys of one when another is set.

``keyboards.json`` says which character each key gives, alone, with Shift, with AltGr, and with
both. Those are facts of the layouts as xkeyboard-config has them (MIT and similar licences), taken
by ``tests/keyboards.py``. A dead key counts as the character that it gives with the space bar.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Final

DATA: Final = Path(__file__).with_name("keyboards.json")
NOTHING: Final = " "  # what a key without a character has in the file; the space bar is on none
_FIRST: Final = "us"  # what initramfs, GRUB and installers have before anybody chooses
_SAME_EVERYWHERE: Final = " \t\r\n"


@dataclass(frozen=True, slots=True)
class Keyboard:
    """A layout: its name in the data, what people call it, and the characters of its keys.

    ``levels`` are strings of one length: plain, Shift, AltGr, AltGr and Shift.
    """

    name: str
    title: str
    levels: tuple[str, ...]
    keys: Mapping[str, tuple[int, int]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found: dict[str, tuple[int, int]] = {}
        for level, characters in enumerate(self.levels):
            for key, character in enumerate(characters):
                found.setdefault(character, (level, key))
        found.pop(NOTHING, None)
        object.__setattr__(self, "keys", found)

    def read_as(self, other: Keyboard, text: str) -> str | None:
        """What the keys for ``text`` give on the ``other`` layout.

        None where a character is not on a key here, or its key gives nothing there.
        """
        characters = []
        for character in text:
            if character in _SAME_EVERYWHERE:
                characters.append(character)
                continue
            if character not in self.keys:
                return None
            level, key = self.keys[character]
            if other.levels[level][key] == NOTHING:
                return None
            characters.append(other.levels[level][key])
        return "".join(characters)


@cache
def load() -> Mapping[str, Keyboard]:
    """Every layout by its name."""
    document = json.loads(DATA.read_text(encoding="utf-8"))
    return {
        name: Keyboard(name, each["title"], tuple(each["levels"]))
        for name, each in document.items()
    }


def confusions() -> Iterator[tuple[Keyboard, Keyboard]]:
    """Every two layouts, the keys' and the one that was set; those with the US layout first."""
    pairs = list(permutations(load().values(), 2))
    yield from (pair for pair in pairs if pair[1].name == _FIRST)
    yield from (pair for pair in pairs if pair[0].name == _FIRST)
    yield from (pair for pair in pairs if all(each.name != _FIRST for each in pair))
