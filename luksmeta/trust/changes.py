"""What a seal's verification finds: which parts of a header are not what was sealed, and how."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final

from luksmeta.model import JsonObject, JsonValue
from luksmeta.trust import canonical
from luksmeta.trust.canonical import Path
from luksmeta.trust.seal import Record, fingerprint

_AREAS: Final = {"free": "unused bytes of the keyslots area", "behind": "bytes before the data"}


class SealFault(StrEnum):
    """Why a seal does not hold."""

    MISSING = "missing"
    FORGED = "forged"
    """The token was changed, or made with another volume key: what it says counts for nothing."""
    CHANGED = "changed"
    ADDED = "added"
    REMOVED = "removed"
    COPY = "copy"
    """The copy of the header that is not believed says something else, or is damaged."""
    KEY = "key"
    """The volume key comes from where everybody can put one."""
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class SealFinding:
    """One reason why a seal does not hold: where in the header, and what was and is there.

    ``before`` and ``after`` are None where there is nothing, or where the seal had no room.
    """

    fault: SealFault
    path: str
    text: str
    before: JsonValue = None
    after: JsonValue = None

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"

    def describe(self) -> dict[str, object]:
        """The finding as one mapping for programs."""
        return asdict(self)


def changes(record: Record, tree: JsonObject) -> list[SealFinding]:
    """The differences between the record and the present parts, by path."""
    before, after = record.parts, canonical.objects(tree)
    findings: list[SealFinding] = []
    for path in sorted({*before, *after}):
        if path not in after:
            findings.append(_finding(SealFault.REMOVED, path, None, None))
        elif path not in before:
            findings.append(_finding(SealFault.ADDED, path, None, None))
        elif record.is_short:
            if before[path] != fingerprint(after[path]):
                findings.append(_finding(SealFault.CHANGED, path, None, None))
        else:
            findings += _differences(path, before[path], after[path])
    return findings or [SealFinding(SealFault.CHANGED, "header", "is not what was sealed")]


def _differences(path: Path, before: JsonValue, after: JsonValue) -> Iterator[SealFinding]:
    """Members that hold no others, one by one; equal is what has the same encoding."""
    if canonical.encode(before) == canonical.encode(after):
        return
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        yield _finding(SealFault.CHANGED, path, before, after)
        return
    for name in sorted({*before, *after}):
        inner = (*path, name)
        if name not in after:
            yield _finding(SealFault.REMOVED, inner, before[name], None)
        elif name not in before:
            yield _finding(SealFault.ADDED, inner, None, after[name])
        else:
            yield from _differences(inner, before[name], after[name])


def _finding(fault: SealFault, path: Path, before: JsonValue, after: JsonValue) -> SealFinding:
    text = f"{fault} since the header was sealed"
    if path[0] == "areas":
        text = f"{_AREAS.get(path[-1], 'key material')} {text}"
    return SealFinding(fault, ".".join(path), text, before, after)
