"""The verdict in words: what this is, whether its header serves, whether it can still open."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from luksmeta.binary import c_text
from luksmeta.forensics.inspector import Inspection
from luksmeta.forensics.material import KeyslotCondition


class Opening(StrEnum):
    """Whether a passphrase can still open the volume."""

    PERHAPS = "nothing speaks against it"
    PARTLY = "nothing speaks against it, but for some keyslots"
    AFTER_REPAIR = "not as it stands; perhaps with its header mended"
    NO = "no"
    UNKNOWN = "nothing can be said"


@dataclass(frozen=True, slots=True)
class Verdict:
    """``opening`` in a word, ``sentences`` for the summary."""

    opening: Opening
    sentences: tuple[str, ...]

    def describe(self) -> dict[str, object]:
        """The same for programs."""
        return {"can_open": str(self.opening), "text": " ".join(self.sentences)}


def verdict_of(inspection: Inspection) -> Verdict:
    """The verdict on one header."""
    opening = _opening(inspection)
    sentences = (_kind(inspection), *_header(inspection), *_keyslots(inspection, opening))
    return Verdict(opening, sentences)


def uuid_of(inspection: Inspection) -> str:
    """The UUID that the header states, or what is left of it; empty where there is none."""
    if inspection.metadata is not None and inspection.metadata.uuid:
        return inspection.metadata.uuid
    record = inspection.partition_header
    stated = [record.uuid] if record else [each.record.uuid for each in inspection.copies]
    return next(filter(None, map(c_text, stated)), "")


def kind_of(inspection: Inspection) -> str:
    """LUKS1, LUKS2, or what else there is."""
    version = inspection.diagnosis.version
    if version:
        return f"LUKS{version}"
    if inspection.copies:
        return "LUKS2"
    return "LUKS1" if inspection.partition_header else "no LUKS"


def _opening(inspection: Inspection) -> Opening:
    dead = [each.can_open is False for each in inspection.keyslots.values()]
    if not dead:
        return Opening.UNKNOWN
    if all(dead):
        return Opening.NO
    if inspection.diagnosis.header is None:
        return Opening.AFTER_REPAIR
    return Opening.PARTLY if any(dead) else Opening.PERHAPS


def _kind(inspection: Inspection) -> str:
    if not inspection.has_traces:
        others = ", ".join(map(str, inspection.signatures))
        found = f" Found instead: {others}." if others else ""
        return f"There is no trace of a LUKS header.{found}"
    uuid = uuid_of(inspection)
    return f"This is a {kind_of(inspection)} header" + (f" with the UUID {uuid}." if uuid else ".")


def _header(inspection: Inspection) -> Iterator[str]:
    diagnosis = inspection.diagnosis
    if diagnosis.is_sound:
        yield "The header is sound."
    elif diagnosis.header is not None:
        yield f"The header is read, but not all of it is in order: {diagnosis.reason}."
    elif inspection.has_traces:
        yield f"Programs refuse the header as it stands: {diagnosis.reason}."
        yield f"What follows is concluded from: {inspection.source}."


def _keyslots(inspection: Inspection, opening: Opening) -> Iterator[str]:
    conditions = list(inspection.keyslots.values())
    if not conditions:
        if inspection.has_traces:
            yield "No keyslot is legible; only the volume key itself could open the data."
        return
    whole = [each for each in conditions if each.can_open is not False]
    dead = [each for each in conditions if each.can_open is False]
    if opening is Opening.NO:
        yield f"{_named(dead)} cannot open any more: no passphrase leads to the data from here."
        return
    if dead:
        yield f"{_named(dead)} cannot open any more."
    verb = "looks" if len(whole) == 1 else "look"
    yield f"{_named(whole)} {verb} whole: nothing speaks against opening, a passphrase proves it."
    if opening is Opening.AFTER_REPAIR:
        yield "For that the header must be mended first, on a copy, or a new one made from this."


def _named(conditions: list[KeyslotCondition]) -> str:
    ids = [str(each.keyslot_id) for each in conditions]
    if len(ids) == 1:
        return f"Keyslot {ids[0]}"
    return f"Keyslots {', '.join(ids[:-1])} and {ids[-1]}"
