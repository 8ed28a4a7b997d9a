"""What a policy sets for a rule: ranges, names, numbers, texts and switches, read from TOML values.

All are small and bounded, whatever a policy file says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property
from typing import Final, Self, TypeAlias, cast

Parse: TypeAlias = Callable[[object], object]
"""Makes a setting of a TOML value; ValueError says what is wrong with it."""

_ENTRIES_MAX: Final = 256
_TEXT_MAX: Final = 256
_SHOWN: Final = 4  # names in a message


@dataclass(frozen=True)
class Range:
    """A number from ``least`` to ``most``, both included."""

    least: int
    most: int

    @classmethod
    def parse(cls, value: object) -> Self:
        """A number alone, or a table of ``min`` and ``max``, either of which may be missing."""
        if _is_number(value):
            number = cast("int", value)
            return cls(number, number)
        if not isinstance(value, Mapping) or not set(value) <= {"min", "max"} or not value:
            raise ValueError("is neither a number nor a table of min and max")
        if not all(_is_number(each) for each in value.values()):
            raise ValueError("has a min or max that is no number")
        least, most = value.get("min", 0), value.get("max", (1 << 64) - 1)
        if least > most:
            raise ValueError(f"has min {least} above max {most}")
        return cls(least, most)

    def __contains__(self, number: int) -> bool:
        return self.least <= number <= self.most

    def __str__(self) -> str:
        return str(self.least) if self.least == self.most else f"{self.least} to {self.most}"


@dataclass(frozen=True)
class Numbers:
    """Some numbers."""

    allowed: tuple[int, ...]

    @classmethod
    def parse(cls, value: object) -> Self:
        """A list of numbers."""
        if not isinstance(value, list) or not all(map(_is_number, value)):
            raise ValueError("is no list of numbers")
        _check_length(value)
        return cls(tuple(value))

    def __contains__(self, number: int) -> bool:
        return number in self.allowed

    def __str__(self) -> str:
        return " or ".join(map(str, self.allowed)) or "none"


@dataclass(frozen=True)
class Names:
    """Some names; ``*``, ``?`` and ``[…]`` stand for others, as in file names."""

    allowed: tuple[str, ...]

    @classmethod
    def parse(cls, value: object) -> Self:
        """A list of texts."""
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise ValueError("is no list of texts")
        _check_length(value)
        return cls(tuple(map(text, value)))

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(map(translate, self.allowed)) or r"(?!)")

    def __contains__(self, name: str) -> bool:
        return name in self.allowed or self._pattern.fullmatch(name) is not None

    def __str__(self) -> str:
        shown = ", ".join(self.allowed[:_SHOWN]) or "none"
        return shown if len(self.allowed) <= _SHOWN else f"{shown}, … ({len(self.allowed)} in all)"


def text(value: object) -> str:
    """A text."""
    if not isinstance(value, str):
        raise ValueError("is no text")  # noqa: TRY004  # of a file, not of a call
    if len(value) > _TEXT_MAX:
        raise ValueError(f"has a text of {len(value)} characters, at most {_TEXT_MAX} may be")
    return value


def switch(value: object) -> bool:
    """True or false; with false the rule is off."""
    if not isinstance(value, bool):
        raise ValueError("is neither true nor false")  # noqa: TRY004  # of a file, not of a call
    return value


def one_of(*words: str) -> Parse:
    """One of these words."""

    def parse(value: object) -> str:
        word = text(value)
        if word not in words:
            raise ValueError(f"is none of {', '.join(words)}")
        return word

    return parse


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64


def _check_length(value: list[object]) -> None:
    if len(value) > _ENTRIES_MAX:
        raise ValueError(f"has {len(value)} entries, at most {_ENTRIES_MAX} may be")
