"""A format's rules as a table: each has a name, a sentence, a source and a severity.

A check yields where its rule is broken and a text with both numbers; the value that was found is
looked up by that path. Paths are those of the JSON area, or of a binary header's fields.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Generic, TypeAlias, TypeVar

from luksmeta.errors import Severity, Violation

Subject = TypeVar("Subject")
"""What the rules are about: a JSON document, a partition header."""

Finding: TypeAlias = tuple[str, str]
"""The path of a violation, and its text."""

_TEXT_MAX: Final = 128  # characters of a text that are shown: 64 bytes in hex
_MEMBERS_MAX: Final = 8  # members of an object or array that are shown
_NUMBER_MAX: Final = 1 << 64


@dataclass(frozen=True, slots=True)
class Statement:
    """A rule in words: ``states`` says what must hold, ``source`` who demands it."""

    name: str
    states: str
    source: str
    severity: Severity = field(default=Severity.ERROR, kw_only=True)


@dataclass(frozen=True, slots=True)
class Rule(Statement, Generic[Subject]):
    """A rule together with the function that finds where it is broken."""

    check: Callable[[Subject], Iterator[Finding]]

    def violations(
        self, subject: Subject, value_at: Callable[[str], object]
    ) -> Iterator[Violation]:
        """Every place of ``subject`` that breaks the rule."""
        for path, text in self.check(subject):
            yield Violation(path, self.name, text, excerpt(value_at(path)), self.severity)


def excerpt(value: object, depth: int = 2) -> object:
    """A value for a report, as JSON can say it: whatever a disk holds, it is small."""
    match value:
        case None | bool():
            return value
        case int():
            return value if abs(value) < _NUMBER_MAX else _cut(hex(value))
        case float() if math.isfinite(value):
            return float(value)
        case Mapping() if depth and len(value) <= _MEMBERS_MAX:
            return {_cut(str(name)): excerpt(each, depth - 1) for name, each in value.items()}
        case Mapping():
            return f"an object of {len(value)} members"
        case list() if depth:
            shown = [excerpt(each, depth - 1) for each in islice(value, _MEMBERS_MAX)]
            return shown if len(value) <= _MEMBERS_MAX else [*shown, f"… {len(value)} in all"]
        case list():
            return f"an array of {len(value)}"
        case _:
            return _cut(str(value))


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT_MAX else f"{text[:_TEXT_MAX]}…"


def and_more(violations: Sequence[Violation]) -> str:
    """What an error's line says after its first violation about the others; often nothing."""
    return f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
