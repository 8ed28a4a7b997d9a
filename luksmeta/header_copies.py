"""The copies of a header as they lie on a device: what each is good for, and which is believed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class HeaderCopy(StrEnum):
    """Which of the two copies of a LUKS2 header."""

    PRIMARY = "primary"
    SECONDARY = "secondary"


class CopyCondition(StrEnum):
    """What a header copy is good for.

    ``obsolete``: whole, but the other has a greater seqid. ``different``: whole, and not what the
    other says at the same seqid. ``missing``: there is no magic.
    """

    GOOD = "good"
    OBSOLETE = "obsolete"
    DIFFERENT = "different"
    DAMAGED = "damaged"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyState:
    """One copy of a header as it lies on the device, and what is wrong with it, if anything."""

    copy: HeaderCopy
    offset: int
    seqid: int | None = None
    condition: CopyCondition = CopyCondition.GOOD
    problem: str | None = None


def why_served(copies: Iterable[CopyState], served_by: HeaderCopy) -> str:
    """Why this copy is the one that is believed, in a sentence."""
    others = [each for each in copies if each.copy is not served_by]
    if not others:
        return "it is the only copy of a LUKS1 header"
    (other,) = others
    match other.condition:
        case CopyCondition.GOOD:
            return "both copies are good and say the same"
        case CopyCondition.OBSOLETE:
            return f"its seqid is greater than that of the {other.copy} copy, {other.seqid}"
        case CopyCondition.DIFFERENT:
            return "both copies are whole at the same seqid, and the primary comes first"
        case condition:
            return f"the {other.copy} copy is {condition}"
