"""What an inspection comes to: findings by severity, each with its bytes and its certainty.

The clauses are those of spec/forensics.md, which has the whole of what each finding means.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from luksmeta.binary import field_offsets
from luksmeta.copy_diagnosis import CopyDiagnosis
from luksmeta.errors import Severity, Violation
from luksmeta.extents import Extent, align_down
from luksmeta.forensics.inspector import Inspection
from luksmeta.forensics.material import Condition, KeyslotCondition
from luksmeta.forensics.randomness import STEP, StepState
from luksmeta.forensics.regions import RegionKind
from luksmeta.header_copies import CopyCondition, HeaderCopy
from luksmeta.luks1.partition_header import PARTITION_HEADER
from luksmeta.luks1.partition_header import SIZE as PARTITION_HEADER_SIZE
from luksmeta.luks2.binary_header import BINARY_HEADER
from luksmeta.luks2.limits import BINARY_HEADER_SIZE

_MOST: Final = 200  # of one kind: a hostile header can break rules without end
_NO_CIPHERTEXT: Final = (StepState.OTHER, StepState.PATTERN)
_PROVEN = "the bytes say so themselves"
_FOUND = "certain that it lies there; not who put it there, nor that what it belongs to is whole"


class Level(StrEnum):
    """How much a finding matters to whoever wants the data."""

    CRITICAL = "critical"
    """It stands between the data and every passphrase."""
    WARNING = "warning"
    """Something is not as its maker left it."""
    NOTE = "note"
    """It is worth knowing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding; ``where`` are the bytes that it is about, on the file that has the header."""

    level: Level
    title: str
    where: tuple[Extent, ...]
    meaning: str
    certainty: str
    clause: str

    def describe(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "level": str(self.level),
            "title": self.title,
            "where": [{"offset": each.offset, "size": each.size} for each in self.where],
            "meaning": self.meaning,
            "certainty": self.certainty,
            "clause": self.clause,
        }


def findings_of(inspection: Inspection) -> tuple[Finding, ...]:
    """All findings, the worst first, of one level in the order of the header."""
    found = [
        *_of_header(inspection),
        *_of_copies(inspection),
        *_of_keyslots(inspection),
        *_of_violations(inspection),
        *_of_signatures(inspection),
        *_of_regions(inspection),
        *_of_segments(inspection),
        *_of_the_rest(inspection),
    ]
    return tuple(sorted(found, key=lambda each: list(Level).index(each.level)))


def _of_header(inspection: Inspection) -> Iterator[Finding]:
    diagnosis = inspection.diagnosis
    if not inspection.has_traces:
        yield Finding(
            level=Level.CRITICAL,
            title="no trace of a LUKS header",
            where=(Extent(0, min(inspection.size, BINARY_HEADER_SIZE)),),
            meaning="No magic, no checksum and no JSON text is in any place where a header has it.",
            certainty="certain for these places; a header elsewhere on the device is not ruled out",
            clause="L6.1.1",
        )
    elif diagnosis.header is None:
        yield Finding(
            level=Level.CRITICAL,
            title="no copy of the header is believed",
            where=tuple(_extent_of(inspection, each) for each in diagnosis.copies),
            meaning=f"Programs refuse the volume as it stands: {diagnosis.reason}. "
            f"This report goes by {inspection.source}.",
            certainty=_PROVEN,
            clause="L6.1.1",
        )


def _of_copies(inspection: Inspection) -> Iterator[Finding]:
    for each in inspection.diagnosis.copies:
        if each.condition is CopyCondition.GOOD or not inspection.has_traces:
            continue
        problem = "" if each.error is None else f": {each.error.text}"
        yield Finding(
            level=Level.WARNING,
            title=f"the {each.copy} copy is {each.condition}",
            where=(_extent_of(inspection, each),),
            meaning=f"{_CONDITIONS[each.condition]}{problem}.",
            certainty="certain that bytes changed; a checksum does not say which"
            if inspection.diagnosis.version == 2
            else _PROVEN,
            clause="L6.1.2" if inspection.diagnosis.version == 2 else "L6.1.3",
        )


_CONDITIONS: Final = {
    CopyCondition.OBSOLETE: "It is whole, but the other copy was written later",
    CopyCondition.DIFFERENT: "It is whole, but at the same seqid the other copy says otherwise",
    CopyCondition.DAMAGED: "It is there, and no reader takes it",
    CopyCondition.MISSING: "Its magic is not there",
}


def _extent_of(inspection: Inspection, copy: CopyDiagnosis) -> Extent:
    """The bytes of a copy; of one that left no trace, where it would have begun."""
    content = next((each for each in inspection.copies if each.copy is copy.copy), None)
    if content is not None:
        size = min(content.hdr_size, max(inspection.size - content.offset, 0))
        return Extent(content.offset, size)
    is_luks1 = inspection.partition_header is not None
    return Extent(copy.offset or 0, PARTITION_HEADER_SIZE if is_luks1 else BINARY_HEADER_SIZE)


# --- keyslots ------------------------------------------------------------------------------------


def _of_keyslots(inspection: Inspection) -> Iterator[Finding]:
    conditions = inspection.keyslots.values()
    dead = [each for each in conditions if each.can_open is False]
    if dead and len(dead) == len(conditions):
        yield Finding(
            level=Level.CRITICAL,
            title="no keyslot can open",
            where=tuple(each.material for each in dead),
            meaning="No passphrase leads to the volume key any more. A header backup, the volume "
            "key itself or a machine that has the volume open could.",
            certainty="as certain as the least certain of the keyslots' findings",
            clause="L6.1.6",
        )
    yield from map(_of_keyslot, dead)
    for keyslot_id, strength in inspection.strengths.items():
        if strength.remark.startswith("none"):
            yield Finding(
                level=Level.WARNING,
                title=f"keyslot {keyslot_id} protects nothing",
                where=(inspection.keyslots[keyslot_id].material,),
                meaning=f"{strength.remark}.",
                certainty="stated by the header",
                clause="L6.3.5",
            )


def _of_keyslot(condition: KeyslotCondition) -> Finding:
    damage = tuple(run.extent for run in condition.damage) or (condition.material,)
    certainty = (
        _PROVEN
        if condition.condition is Condition.CUT_OFF
        else "random bytes are taken for damage in one of 4·10⁷ areas of 256 KB"
    )
    return Finding(
        level=Level.CRITICAL,
        title=f"keyslot {condition.keyslot_id} is {condition.condition}, and cannot open",
        where=damage,
        meaning=f"The split key needs every bit of its material. Here: {condition.text}.",
        certainty=certainty,
        clause="L6.1.6",
    )


# --- what lies elsewhere -------------------------------------------------------------------------


def _of_violations(inspection: Inspection) -> Iterator[Finding]:
    distinct = inspection.diagnosis.distinct_violations().items()
    for violation, copies in list(distinct)[:_MOST]:
        is_error = violation.severity is Severity.ERROR
        whose = " and ".join(map(str, copies)) if inspection.diagnosis.version == 2 else ""
        rule = f"the rule {violation.rule}" + (f", in the {whose} copy" if whose else "")
        yield Finding(
            level=Level.WARNING if is_error else Level.NOTE,
            title=violation.text,
            where=tuple(_bytes_of(inspection, violation, copies)),
            meaning=f"It breaks {rule}: {'readers refuse that' if is_error else 'odd, but taken'}.",
            certainty=_PROVEN,
            clause="L6.1.1",
        )


def _bytes_of(
    inspection: Inspection, violation: Violation, copies: Iterable[HeaderCopy]
) -> Iterator[Extent]:
    """The field that a violation is about, where its path is one; else what is around it."""
    layout = BINARY_HEADER if inspection.diagnosis.version == 2 else PARTITION_HEADER
    sizes = {each.name: each.sizeof() for each in layout.subcons if each.name}
    contents = {each.copy: each for each in inspection.copies}
    for copy in copies:
        content = contents.get(copy)
        start = content.offset if content else 0
        if violation.path in sizes:
            yield Extent(start + field_offsets(layout)[violation.path], sizes[violation.path])
        elif content is not None and violation.rule.startswith("binary-"):
            yield Extent(start, BINARY_HEADER_SIZE)
        elif content is not None:
            yield content.json_extent
        elif inspection.partition_header is not None:
            yield Extent(0, PARTITION_HEADER_SIZE)


def _of_signatures(inspection: Inspection) -> Iterator[Finding]:
    within = [each for region in inspection.regions for each in region.signatures]
    for each in dict.fromkeys((*inspection.signatures, *within)):
        yield Finding(
            level=Level.WARNING,
            title=f"the magic of another format: {each}",
            where=(Extent(align_down(each.offset, STEP), STEP),),
            meaning="Something else was written to this device, before or after LUKS.",
            certainty=_FOUND,
            clause="L6.1.5",
        )


def _of_regions(inspection: Inspection) -> Iterator[Finding]:
    for region in inspection.regions:
        unreadable = tuple(r.extent for r in region.runs if r.state is StepState.UNREADABLE)
        if unreadable:
            yield Finding(
                level=Level.WARNING,
                title=f"{region.place.name}: not readable",
                where=unreadable,
                meaning="The device gave no data. Another attempt, or a copy, may give it.",
                certainty=_PROVEN,
                clause="L6.2.1",
            )
        strange = tuple(r.extent for r in region.runs if r.state is StepState.OTHER)
        if strange and region.place.kind in (RegionKind.GAP, RegionKind.SLACK):
            yield Finding(
                level=Level.NOTE,
                title=f"{region.place.name}: neither zero nor random",
                where=strange[:_MOST],
                meaning="Text, structures or remains of older data, where LUKS writes none.",
                certainty="certain that it is no ciphertext; not what it is",
                clause="L6.2.1",
            )
    places = dict.fromkeys(each.place for each in inspection.leftovers)
    if places:
        yield Finding(
            level=Level.NOTE,
            title=f"random data that no keyslot claims: {'; '.join(places)}",
            where=tuple(each.extent for each in inspection.leftovers[:_MOST]),
            meaning="Key material of a keyslot that is no more, or the random bytes with which "
            "cryptsetup fills areas when it formats and when it removes keyslots.",
            certainty="certain that it looks random; the two cannot be told apart",
            clause="L6.1.8",
        )


def _of_segments(inspection: Inspection) -> Iterator[Finding]:
    for each in inspection.segments:
        strange = tuple(run.extent for run in each.runs if run.state in _NO_CIPHERTEXT)
        if strange and each.type == "crypt":
            yield Finding(
                level=Level.WARNING,
                title=f"segment {each.segment_id} begins with data that is no ciphertext",
                where=strange,
                meaning="Something wrote over the start of the encrypted data.",
                certainty="certain that this segment's cipher did not make it",
                clause="L6.1.11",
            )


def _of_the_rest(inspection: Inspection) -> Iterator[Finding]:
    if inspection.differences:
        paths = ", ".join(each.path for each in inspection.differences[:8])
        count = len(inspection.differences)
        yield Finding(
            level=Level.WARNING,
            title=f"the two copies differ in {count} member{'s' if count > 1 else ''}",
            where=tuple(Extent(each.offset, each.hdr_size) for each in inspection.copies),
            meaning=f"A write did not reach both, or one was put back later: {paths}"
            f"{' …' if count > 8 else ''}.",
            certainty="certain that they differ; the cause is likely",
            clause="L6.1.10",
        )
    served = inspection.diagnosis.served_by
    texts = [each for each in inspection.copies if each.document and served in (None, each.copy)]
    for each in inspection.hidden[:_MOST]:
        yield Finding(
            level=Level.NOTE,
            title=f"luksDump does not show {each.path}",
            where=tuple(text.json_extent for text in texts[:1]),
            meaning=f"It is in the JSON text: {each.why}.",
            certainty=_PROVEN,
            clause="L6.1.9",
        )
