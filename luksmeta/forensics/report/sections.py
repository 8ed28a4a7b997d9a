"""The sections that a report has for each exhibit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from luksmeta.forensics.copies import CopyContent
from luksmeta.forensics.report import tables
from luksmeta.forensics.report.excerpts import damages_left_out
from luksmeta.forensics.report.exhibit import Exhibit
from luksmeta.forensics.report.figures import disk_figure, header_figure
from luksmeta.forensics.report.findings import Level
from luksmeta.forensics.report.heat import heat_map, legend
from luksmeta.forensics.report.hexview import hex_view
from luksmeta.forensics.report.markup import Child, tag
from luksmeta.forensics.report.meanings import MEANINGS
from luksmeta.forensics.report.reads import widest
from luksmeta.forensics.report.steps import STEPS_MAX
from luksmeta.sizes import format_size

_JSON_SHOWN: Final = 64 << 10  # characters of one copy
_KINDS: Final = {
    "partition-header": "partition header",
    "binary-header": "binary header",
    "json-text": "JSON text",
    "key-material": "key material, by keyslot",
    "unused-area": "place of an unused keyslot",
    "foreign-area": "area of another kind",
    "slack": "slack",
    "gap": "gap, claimed by nothing",
    "unknown": "no header tells",
    "header": "header",
    "data": "data",
    "damage": "damage",
}


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with what is below it; ``name`` is what links have."""

    name: str
    title: str
    content: tuple[Child, ...]

    def element(self, anchor: str) -> Element:
        """The section of the exhibit that has this anchor."""
        heading = tag("h3", self.title)
        return tag("section", heading, self.content, id=f"{anchor}-{self.name}", class_=self.name)


def sections_of(exhibit: Exhibit, anchor: str) -> Iterator[Section]:
    """All of them, in order; what says nothing is left out."""
    inspection = exhibit.inspection
    yield Section("summary", "Summary", tuple(_summary(exhibit)))
    yield Section("findings", "Findings", tuple(_findings(exhibit, anchor)))
    yield Section("maps", "Maps", tuple(_maps(exhibit)))
    if exhibit.heat:
        yield Section("randomness", "Randomness of the keyslot areas", tuple(_heat(exhibit)))
    yield Section("structures", "Structures in hex", tuple(_structures(exhibit)))
    if inspection.copies:
        yield Section("json", "JSON texts", tuple(_json(exhibit)))
    if len(inspection.copies) > 1:
        yield Section("differences", "Differences between the copies", (_differences(exhibit),))
    if inspection.strengths:
        yield Section("strength", "Cost of guessing passphrases", tuple(_strength(exhibit)))
    if inspection.hints:
        yield Section("timeline", "Hints of its past", (tables.hints(inspection),))
    yield Section("hashes", "Hashes", tuple(_hashes(exhibit)))
    yield Section("reads", "What was read", tuple(_reads(exhibit)))
    yield Section("meanings", "What the findings mean", (_meanings(exhibit, anchor),))


def _summary(exhibit: Exhibit) -> Iterator[Child]:
    counts = [(level, sum(each.level is level for each in exhibit.findings)) for level in Level]
    marks = (child for level, count in counts for child in (tables.mark(level, count), " "))
    yield tag("p", (each + " " for each in exhibit.verdict.sentences), class_="verdict")
    opening = tag("strong", str(exhibit.verdict.opening))
    yield tag("p", "Can a passphrase still open it: ", opening, ".")
    yield tag("p", marks, class_="counts")
    yield tables.files(exhibit)
    if exhibit.inspection.keyslots:
        yield tables.keyslots(exhibit.inspection)


def _findings(exhibit: Exhibit, anchor: str) -> Iterator[Child]:
    if not exhibit.findings:
        yield tag("p", "None: everything is as it should be.")
        return
    yield tag("ul", (tables.finding(each, anchor) for each in exhibit.findings), class_="findings")


def _maps(exhibit: Exhibit) -> Iterator[Child]:
    disk, header = disk_figure(exhibit), header_figure(exhibit.inspection)
    yield disk
    yield header
    kinds = [each.removeprefix("k-") for each in _classes(disk, header)]
    yield tag("p", (_key(kind) for kind in _KINDS if kind in kinds), class_="legend")
    yield tables.regions(exhibit.inspection.regions)


def _classes(*figures: Element | None) -> set[str]:
    rects = (each for figure in figures if figure is not None for each in figure.iter("rect"))
    return {each.get("class", "") for each in rects}


def _key(kind: str) -> Element:
    rect = tag("rect", class_=f"k-{kind}", x=1, y=1, width=12, height=12)
    sample = tag("svg", rect, viewBox="0 0 14 14", class_="sample")
    return tag("span", sample, " ", _KINDS[kind])


def _heat(exhibit: Exhibit) -> Iterator[Child]:
    yield tag("p", "One cell is 512 bytes, one row 32 KiB. What lies behind the key is pale.")
    yield legend()
    for each in exhibit.heat:
        shown = STEPS_MAX * 512
        more = "" if each.area.size <= shown else f", of which the first {format_size(shown)}"
        caption = tag("figcaption", f"{each.name}, {each.area}{more}")
        yield tag("figure", caption, heat_map(each))


def _structures(exhibit: Exhibit) -> Iterator[Child]:
    yield from map(hex_view, exhibit.excerpts)
    left_out = damages_left_out(exhibit.inspection)
    if left_out:
        yield tag("p", f"… and {left_out} more damaged ranges")


def _json(exhibit: Exhibit) -> Iterator[Child]:
    copies = exhibit.inspection.copies
    are_equal = len(copies) > 1 and len({each.json_text for each in copies}) == 1
    for each in copies[:1] if are_equal else copies:
        whose = "Both copies" if are_equal else f"The {each.copy} copy"
        yield tag("h4", f"{whose}, {each.json_extent}")
        yield _text(each)


def _text(copy: CopyContent) -> Element:
    if copy.document is None:
        return tag("p", f"No JSON: {copy.json_error}")
    text = json.dumps(copy.document, indent=2)
    more = f"\n… and {len(text) - _JSON_SHOWN} characters more" if len(text) > _JSON_SHOWN else ""
    return tag("pre", text[:_JSON_SHOWN], more)


def _differences(exhibit: Exhibit) -> Element:
    inspection = exhibit.inspection
    if inspection.differences:
        return tables.differences(inspection)
    if any(each.document is None for each in inspection.copies):
        return tag("p", "They cannot be compared: not both have a legible JSON text.")
    return tag("p", "None, beside their places and salts, which always differ.")


def _strength(exhibit: Exhibit) -> Iterator[Child]:
    yield tag(
        "p",
        "The years in which one machine finds a passphrase of this entropy, on average. The speed "
        "of the reference machine is an upper bound.",
    )
    yield tables.strengths(exhibit.inspection.strengths.items())


def _hashes(exhibit: Exhibit) -> Iterator[Child]:
    if exhibit.whole_sha256:
        yield tag("p", "All of the image: ", tables.code(exhibit.whole_sha256))
    yield tables.parts(exhibit.parts)


def _reads(exhibit: Exhibit) -> Iterator[Child]:
    yield tag(
        "p",
        "This report goes by these bytes and no others; they were hashed as they were read. The "
        "files were opened read-only.",
    )
    kept = widest(exhibit.reads)
    yield tables.reads(kept)
    more = len(exhibit.reads) - len(kept)
    if more:
        text = f"{more} shorter runs within these were read besides; --read-log has them all."
        yield tag("p", text)


def _meanings(exhibit: Exhibit, anchor: str) -> Element:
    clauses = {each.clause for each in exhibit.findings} | {"L6.1.6", "L6.1.10", "L6.2.1"}
    items = (
        child
        for clause in MEANINGS
        if clause in clauses
        for child in (
            tag("dt", clause, id=f"{anchor}-{clause}"),
            tag("dd", MEANINGS[clause]),
        )
    )
    return tag("dl", items)
