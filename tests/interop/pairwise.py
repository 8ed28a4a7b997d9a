"""Few cases that still bring any two values of any two axes together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TypeAlias

Choice: TypeAlias = tuple[str, object]  # an axis and one of its values


def pairwise(
    axes: Mapping[str, Sequence[object]], impossible: frozenset[frozenset[Choice]] = frozenset()
) -> list[dict[str, object]]:
    """Rows with one value for each axis that cover every pair which is not ``impossible``.

    The same rows each time: a row starts with the first pair that is not covered yet, and every
    other axis takes the value that covers the most, the first of equals. Raises ValueError where
    what was chosen leaves an axis no possible value.
    """
    choices = [(axis, value) for axis, values in axes.items() for value in values]
    missing = {
        frozenset(pair): None
        for pair in combinations(choices, 2)
        if pair[0][0] != pair[1][0] and frozenset(pair) not in impossible
    }
    rows = []
    while missing:
        row = dict(sorted(next(iter(missing))))
        for axis, values in axes.items():
            if axis not in row:
                row[axis] = _best(row, axis, values, missing, impossible)
        for pair in combinations(row.items(), 2):
            missing.pop(frozenset(pair), None)
        rows.append({axis: row[axis] for axis in axes})
    return rows


def _best(
    row: Mapping[str, object],
    axis: str,
    values: Sequence[object],
    missing: Mapping[frozenset[Choice], None],
    impossible: frozenset[frozenset[Choice]],
) -> object:
    def pairs(value: object) -> list[frozenset[Choice]]:
        return [frozenset({(axis, value), chosen}) for chosen in row.items()]

    possible = [value for value in values if impossible.isdisjoint(pairs(value))]
    return max(possible, key=lambda value: sum(pair in missing for pair in pairs(value)))
