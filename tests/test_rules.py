"""What reports say of a value is small and JSON, whatever a disk holds."""

from __future__ import annotations

import json

import pytest

from luksmeta.errors import Severity, Violation
from luksmeta.rules import Rule, and_more, excerpt

_HOSTILE = [
    "x" * 100_000,
    10**5000,
    -(1 << 64),
    float("nan"),
    float("inf"),
    b"\xff" * 100_000,
    [["y" * 1000] * 1000] * 1000,
    {f"{n}{'z' * 1000}": n for n in range(1000)},
    {"a": {"b": {"c": {"d": ["e" * 1000] * 8}}}},
    {f"{n}{'long' * 1000}": [{"x" * 1000: "y" * 1000}] * 8 for n in range(8)},
]


@pytest.mark.parametrize("value", _HOSTILE, ids=range(len(_HOSTILE)))
def test_an_excerpt_is_small_and_json(value: object) -> None:
    assert len(json.dumps(excerpt(value), allow_nan=False)) < 10_000


@pytest.mark.parametrize("value", [None, True, 0, -1, (1 << 64) - 1, "text", 1.5, [], {"a": [1]}])
def test_what_is_small_is_shown_as_it_is(value: object) -> None:
    assert excerpt(value) == value


def test_a_rule_makes_violations_of_its_findings() -> None:
    rule: Rule[int] = Rule(
        "even",
        "Numbers are even.",
        "arithmetic",
        lambda number: iter([("n", f"{number} is odd")] if number % 2 else []),
        severity=Severity.WARNING,
    )
    assert list(rule.violations(2, {"n": 2}.get)) == []
    (violation,) = rule.violations(3, {"n": 3}.get)
    assert violation == Violation("n", "even", "3 is odd", 3, Severity.WARNING)
    assert str(violation) == "n: 3 is odd"


def test_the_others_are_counted() -> None:
    violation = Violation("n", "even", "3 is odd")
    assert and_more([violation]) == ""
    assert and_more([violation] * 3) == " (and 2 more)"
