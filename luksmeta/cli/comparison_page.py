"""What differs between two headers, as lines for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import click

from luksmeta.cli.output import one_line
from luksmeta.comparison import Comparison, KeyslotDifference, KeyslotState

_RESTORED: Final = {  # true before and after
    KeyslotState.SAME: "keyslot {one}: stays as it is",
    KeyslotState.MOVED: "keyslot {one}: stays, as keyslot {other}",
    KeyslotState.CHANGED: "keyslot {one}: the backup's, with another salt or KDF",
    KeyslotState.OTHER_MATERIAL: "keyslot {one}: the backup's, with other key material",
    KeyslotState.ONLY_IN_ONE: "keyslot {one}: lost",
    KeyslotState.ONLY_IN_OTHER: "keyslot {other}: the backup's",
}
_COMPARED: Final = {
    KeyslotState.SAME: "keyslot {one}: the same passphrase opens both",
    KeyslotState.MOVED: "keyslot {one}: is keyslot {other} of {b}",
    KeyslotState.CHANGED: "keyslot {one}: another salt or KDF in {b}",
    KeyslotState.OTHER_MATERIAL: "keyslot {one}: the same salt and KDF, other key material in {b}",
    KeyslotState.ONLY_IN_ONE: "keyslot {one}: only in {a}; no other has its salt and key",
    KeyslotState.ONLY_IN_OTHER: "keyslot {other}: only in {b}; no other has its salt and key",
}
_VOLUME_KEY: Final = {
    True: "the same in both",
    False: "another: what one of them opens is noise to the other",
    None: "not known: the digests differ, and --try with a passphrase of both proves it",
}
_COMPUTED: Final = ("keyslots.", "digests.", "seqid", "header_copies.")


def restored(comparison: Comparison) -> list[str]:
    """What becomes of each keyslot, and what else changes, by writing the other header."""
    lines = list(_keyslots(comparison.keyslots, _RESTORED))
    names = [each.path for each in comparison.fields if not each.path.startswith(_COMPUTED)]
    if names:
        lines.append(f"other fields: {one_line(', '.join(names))}")
    if comparison.same_volume_key is None:
        lines.append("the digest of the volume key is another one: it may belong to other data")
    return lines


def render(comparison: Comparison, one: str, other: str, tried: Sequence[str] = ()) -> str:
    """The page; ``one`` and ``other`` are the names of the files, ``tried`` what opened there."""
    lines = _tried(tried)
    if comparison.is_equal:
        equal = f"{one_line(one)} and {one_line(other)}: equal headers, keyslots and key material"
        return "\n".join([equal, *lines])
    sections: dict[str, Iterable[str]] = {
        "Volume key": [_VOLUME_KEY[comparison.same_volume_key]],
        "Keyslots": _keyslots(comparison.keyslots, _COMPARED, a=one, b=other),
        "Fields": (
            f"{one_line(each.path)}: {_value(each.one)} -> {_value(each.other)}"
            for each in comparison.fields
            if not each.path.startswith(_without_counterpart(comparison))
        ),
    }
    page = [f"{one_line(one)} -> {one_line(other)}"]
    for title, rows in sections.items():
        page += _section(title, rows)
    return "\n".join([*page, *lines])


def _tried(results: Sequence[str]) -> list[str]:
    return _section("What was tried", map(one_line, results)) if results else []


def _section(title: str, rows: Iterable[str]) -> list[str]:
    shown = [f"  {row}" for row in rows] or ["  (none)"]
    return ["", click.style(title, bold=True), *shown]


def _keyslots(
    keyslots: Iterable[KeyslotDifference], texts: dict[KeyslotState, str], **names: str
) -> Iterator[str]:
    shown = {key: one_line(name) for key, name in names.items()}
    for each in keyslots:
        yield texts[each.state].format(one=each.one, other=each.other, **shown)


def _without_counterpart(comparison: Comparison) -> tuple[str, ...]:
    """The paths of keyslots that one side lacks: that it does has been said."""
    ids = ((each.one, each.other) for each in comparison.keyslots if None in (each.one, each.other))
    return tuple(f"keyslots.{one if other is None else other}." for one, other in ids)


def _value(value: object) -> str:
    return "(none)" if value is None else one_line(json.dumps(value, ensure_ascii=False))
