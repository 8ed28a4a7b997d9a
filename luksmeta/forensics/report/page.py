"""The whole report: one HTML document, without scripts and without anything from elsewhere."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from typing import Final
from xml.etree.ElementTree import Element

from luksmeta.forensics.report import tables
from luksmeta.forensics.report.exhibit import Exhibit, Failure, base_name
from luksmeta.forensics.report.findings import Level
from luksmeta.forensics.report.markup import Child, document, tag
from luksmeta.forensics.report.sections import Section, sections_of
from luksmeta.forensics.report.verdict import kind_of, uuid_of

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
_PATTERNS: Final = {  # what tells areas apart in print without colours
    "damage": "M0 6L6 0M-1 1L1 -1M5 7L7 5",
    "json": "M0 3H6",
    "unused": "M3 0V6",
    "gap": "M2 3H4",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What the report is for; ``made`` is when, in UTC."""

    made: datetime
    case: str | None = None
    examiner: str | None = None

    @property
    def facts(self) -> Iterator[tuple[str, str]]:
        """What stands at the head of the report."""
        if self.case:
            yield "Case", self.case
        if self.examiner:
            yield "Examiner", self.examiner
        yield "Made", f"{self.made.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        python = f"Python {platform.python_version()}"
        yield "Tool", f"luksmeta {version('luksmeta')}, {python}, {platform.system()}"


def render(case: Case, exhibits: Sequence[Exhibit | Failure]) -> str:
    """The report as HTML; an index goes before more than one exhibit."""
    sheets = [
        tag("article", _sheet(each, f"exhibit-{number}"), id=f"exhibit-{number}")
        for number, each in enumerate(exhibits, start=1)
    ]
    index = _index(exhibits) if len(exhibits) > 1 else None
    body = tag("body", _patterns(), _head(case, exhibits), tag("main", index, sheets), _foot())
    return document(tag("html", _head_of_document(case), body, lang="en"))


def _head_of_document(case: Case) -> Element:
    title = "LUKS report" + (f": {case.case}" if case.case else "")
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", content=_POLICY, http_equiv="Content-Security-Policy"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", files(__package__).joinpath("style.css").read_text(encoding="utf-8")),
    )


def _head(case: Case, exhibits: Sequence[Exhibit | Failure]) -> Element:
    count = len(exhibits)
    only = exhibits[0] if count == 1 else None
    subject = only.image if only is not None else f"{count} images"
    facts = (child for name, text in case.facts for child in (tag("dt", name), tag("dd", text)))
    heading = tag("h1", "LUKS report ", tag("small", subject))
    return tag("header", heading, tag("dl", facts, class_="facts"))


def _foot() -> Element:
    text = (
        "A range of bytes ends before its second number. L6 clauses: luksmeta's spec/forensics.md."
    )
    return tag("footer", tag("p", text))


def _index(exhibits: Iterable[Exhibit | Failure]) -> Element:
    rows = [_index_row(each, number) for number, each in enumerate(exhibits, start=1)]
    head = ("", "Image", "Format", "UUID", "Can it open", "Findings")
    return tag("section", tag("h2", "Index"), tables.table(head, rows, class_="index"), id="index")


def _index_row(each: Exhibit | Failure, number: int) -> Sequence[Child]:
    link = tag("a", each.image, href=f"#exhibit-{number}")
    if isinstance(each, Failure):
        failed = tag("span", each.error.text, class_="error")
        return (str(number), link, "", "", "not read", failed)
    counts = ((level, sum(one.level is level for one in each.findings)) for level in Level)
    marks = [child for level, n in counts if n for child in (tables.mark(level, n), " ")]
    uuid = tables.code(uuid_of(each.inspection))
    opening = str(each.verdict.opening)
    return (str(number), link, kind_of(each.inspection), uuid, opening, marks or "none")


def _sheet(each: Exhibit | Failure, anchor: str) -> Iterator[Child]:
    if isinstance(each, Failure):
        yield tag("h2", each.image)
        yield tag("p", f"It could not be read: {each.error.text}", class_="error")
        return
    sections = list(sections_of(each, anchor))
    yield tag("h2", base_name(each))
    yield _contents(sections, anchor)
    yield from (section.element(anchor) for section in sections)


def _contents(sections: Iterable[Section], anchor: str) -> Element:
    links = (tag("a", each.title, href=f"#{anchor}-{each.name}") for each in sections)
    return tag("nav", (child for link in links for child in (link, " ")))


def _patterns() -> Element:
    """What the style sheet fills areas with; drawn nowhere itself."""
    patterns = (
        tag(
            "pattern",
            tag("rect", class_="ground", width=6, height=6),
            tag("path", d=lines),
            id=f"p-{name}",
            width=6,
            height=6,
            patternUnits="userSpaceOnUse",
        )
        for name, lines in _PATTERNS.items()
    )
    return tag("svg", tag("defs", patterns), class_="patterns", width=0, height=0)
