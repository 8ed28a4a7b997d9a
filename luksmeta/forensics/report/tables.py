"""The tables of a report, and the small parts that they share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Final
from xml.etree.ElementTree import Element

from luksmeta.extents import Extent
from luksmeta.forensics.inspector import Inspection
from luksmeta.forensics.regions import Region
from luksmeta.forensics.report.exhibit import Exhibit, HashedPart
from luksmeta.forensics.report.findings import Finding, Level
from luksmeta.forensics.report.markup import Child, tag
from luksmeta.forensics.report.reads import Read
from luksmeta.forensics.strength import Strength
from luksmeta.sizes import counted, format_size

_RANGES_SHOWN: Final = 8  # of one finding
_ROWS_SHOWN: Final = 1000  # of one table
_VALUE_SHOWN: Final = 200
_MARKS: Final = {Level.CRITICAL: "■", Level.WARNING: "▲", Level.NOTE: "●"}


def table(head: Sequence[str], rows: Iterable[Sequence[Child]], class_: str = "") -> Element:
    """A table; beyond the first thousand rows it says how many are left out."""
    all_rows = list(rows)
    shown = all_rows[:_ROWS_SHOWN]
    body = tag("tbody", (tag("tr", (tag("td", cell) for cell in row)) for row in shown))
    if len(all_rows) > _ROWS_SHOWN:
        text = f"… and {len(all_rows) - _ROWS_SHOWN} more"
        body.append(tag("tr", tag("td", text, colspan=str(len(head)))))
    heads = tag("tr", (tag("th", each, scope="col") for each in head))
    return tag("table", tag("thead", heads), body, class_=class_ or None)


def code(text: str) -> Element:
    """Text from evidence, or bytes in hex."""
    return tag("code", text)


def place(extent: Extent) -> Element:
    """A range of bytes, on one line."""
    return tag("code", str(extent), class_="place")


def mark(level: Level, count: int | None = None) -> Element:
    """The level of a finding, to be told without colour too."""
    text = str(level) if count is None else f"{count} {level}{_plural(level, count)}"
    return tag("span", f"{_MARKS[level]} {text}", class_=f"level {level}")


def _plural(level: Level, count: int) -> str:
    return "" if count == 1 or level is Level.CRITICAL else "s"


def ranges(extents: Sequence[Extent]) -> Child:
    """Byte ranges, one a line."""
    lines: list[Child] = []
    for each in extents[:_RANGES_SHOWN]:
        lines += [tag("span", place(each), f" ({format_size(each.size)})", class_="range")]
    if len(extents) > _RANGES_SHOWN:
        lines.append(f"… and {len(extents) - _RANGES_SHOWN} more")
    return lines


def finding(item: Finding, anchor: str) -> Element:
    """One finding, with a link to what findings of its kind mean."""
    where = ("Bytes ", ranges(item.where)) if item.where else None
    clause = tag("a", item.clause, href=f"#{anchor}-{item.clause}")
    return tag(
        "li",
        tag("h4", mark(item.level), " ", tag("span", item.title, class_="title")),
        tag("p", item.meaning),
        tag("p", where, class_="where") if where else None,
        tag("p", f"How certain: {item.certainty}. ", "Meaning: ", clause, class_="certainty"),
        class_=f"finding {item.level}",
    )


def keyslots(inspection: Inspection) -> Element:
    """What is said of each keyslot."""
    return table(
        ("Keyslot", "Key material", "Can open", "Condition"),
        (
            (
                str(keyslot_id),
                place(each.material),
                "no" if each.can_open is False else "perhaps",
                each.text,
            )
            for keyslot_id, each in inspection.keyslots.items()
        ),
    )


def strengths(strengths_by_id: Iterable[tuple[int, Strength]]) -> Element:
    """What guessing passphrases costs, by their entropy."""
    rows = list(strengths_by_id)
    bits = rows[0][1].entropies if rows else ()
    head = ("Keyslot", "A guess", "Guesses a second", *(f"Years at {each:g} bits" for each in bits))
    return table(head, (row for keyslot_id, each in rows for row in _speeds(keyslot_id, each)))


def _speeds(keyslot_id: int, strength: Strength) -> Iterable[Sequence[Child]]:
    if not strength.speeds:
        yield (str(keyslot_id), strength.remark, "", *("" for _ in strength.entropies))
    for speed in strength.speeds:
        years = (_number(speed.years(bits)) for bits in strength.entropies)
        rate = f"{magnitude(speed.guesses_per_second)}: {speed.machine} ({speed.basis})"
        yield (str(keyslot_id), strength.remark, rate, *years)


def _number(value: float) -> Element:
    return tag("span", magnitude(value), class_="place")


def magnitude(value: float) -> str:
    """Three digits, as people read them."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if 100 <= rounded < 1e12 else f"{rounded:.3g}"


def regions(found: Iterable[Region]) -> Element:
    """The map as a table."""
    return table(
        ("Bytes", "Size", "What it is", "What lies there"),
        (
            (
                place(each.place.extent),
                format_size(each.place.extent.size),
                each.place.name,
                (
                    ", ".join(map(str, each.states)) or "not there",
                    "".join(f"; {signature}" for signature in each.signatures),
                ),
            )
            for each in found
        ),
        class_="ranges",
    )


def differences(inspection: Inspection) -> Element:
    """Where the copies say something else."""
    return table(
        ("Member", "Primary copy", "Secondary copy"),
        (
            (code(each.path[:_VALUE_SHOWN]), code(value(each.one)), code(value(each.other)))
            for each in inspection.differences
        ),
    )


def hints(inspection: Inspection) -> Element:
    """What the header tells of its past."""
    return table(
        ("How certain", "Hint", "From what"),
        ((str(each.certainty), each.text, each.basis) for each in inspection.hints),
    )


def parts(found: Iterable[HashedPart]) -> Element:
    """The hash of every part of the header."""
    return table(
        ("Part", "Bytes", "SHA-256"),
        ((each.name, place(each.extent), code(each.sha256 or "not readable")) for each in found),
        class_="hashes",
    )


def reads(found: Iterable[Read]) -> Element:
    """What was read, run by run."""
    return table(
        ("File", "Offset", "Bytes", "SHA-256"),
        (
            (
                tag("span", each.file, class_="file"),
                code(f"{each.extent.offset:#x}"),
                str(each.extent.size),
                code(each.sha256),
            )
            for each in found
        ),
        class_="hashes",
    )


def files(exhibit: Exhibit) -> Element:
    """Which files this is about."""
    whole = exhibit.whole_sha256 or "not computed (--hash-image)"
    rows: list[tuple[str, Child, str, Child]] = []
    size = f"{counted(exhibit.data_size, 'byte')} ({format_size(exhibit.data_size)})"
    rows.append(("Image", code(exhibit.image), size, code(whole)))
    if exhibit.header is not None:
        header_size = exhibit.inspection.size
        size = f"{counted(header_size, 'byte')} ({format_size(header_size)})"
        rows.append(("Detached header", code(exhibit.header), size, "its parts: see Hashes"))
    return table(("File", "Name", "Size", "SHA-256 of all of it"), rows, class_="hashes")


def value(of: object) -> str:
    """A member of a JSON text, cut where it is long."""
    text = "(none)" if of is None else json.dumps(of)
    return text if len(text) <= _VALUE_SHOWN else f"{text[:_VALUE_SHOWN]}…"
