"""Volumes to report on, whole and broken, and what their pages say."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import html5lib

from luksmeta.forensics.report.exhibit import Exhibit, Failure, examine_evidence
from luksmeta.forensics.report.page import Case, render
from luksmeta.format_options import Version
from tests import builders
from tests.builders import FIRST, SECOND, document_of, with_document
from tests.defects.damage import Damage, all_of, bytes_at

CASE = Case(made=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC), case="2026-17", examiner="A. Byte")
SLOT = {"luks1": 0x1000, "luks2": 0x8000}  # of keyslot 0
GPT = all_of(  # 34 sectors, as partitioning writes them
    bytes_at(0, bytes(0x4400)),
    bytes_at(446, b"\0\0\2\0\xee\xff\xff\xff\1\0\0\0\xff\xff\0\0"),
    bytes_at(510, b"\x55\xaa"),
    bytes_at(512, b"EFI PART\0\0\1\0"),
)
EVIL = "<script>alert(1)</script>&amp;\"'\u202egnp.\u2066\x1b[2J\x00\ud800</table>"


def volume(folder: Path, version: Version, *damages: Damage, name: str = "volume.img") -> Path:
    path = builders.file(folder / name, version, FIRST, SECOND)
    disk = bytearray(path.read_bytes())
    for damage in damages:
        damage(disk)
    path.write_bytes(disk)
    return path


def hostile(folder: Path) -> Path:
    """A volume with markup and controls wherever a header takes text."""
    evil = EVIL.replace("\ud800", "")
    label = evil.replace("\0", "").encode()[:47]
    disk = builders.image("luks2", (FIRST, SECOND))
    document: dict[str, Any] = document_of(disk)
    document["tokens"]["0"] = {"type": evil, "keyslots": ["0"], evil: [evil]}
    document[evil] = {evil: evil}
    document["config"][evil] = evil
    data = bytearray(with_document(disk, document))
    for start in (0, 0x4000):  # the checksums are wrong then: what of that shows is shown too
        data[start + 24 : start + 24 + len(label)] = label
        data[start + 208 : start + 208 + len(label)] = label
        data[start + 168 : start + 168 + 32] = label[:32]
    path = folder / "<b>&'\u202e\"\x1b.img"
    path.write_bytes(data)
    return path


def page_of(*exhibits: Exhibit | Failure) -> str:
    return render(CASE, exhibits)


def page(*paths: Path) -> str:
    return page_of(*map(examine_evidence, paths))


def parsed(text: str) -> Element:
    """The tree of a page, of which a parser says that nothing in it is wrong."""
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    tree: Element = parser.parse(text)
    for each in tree.iter():
        each.tag = each.tag.removeprefix("{http://www.w3.org/2000/svg}")
    return tree


def words(element: Element) -> str:
    """The text of an element, spaces joined."""
    return re.sub(r"\s+", " ", "".join(element.itertext())).strip()


def by_class(tree: Element, name: str) -> list[Element]:
    return [each for each in tree.iter() if name in each.get("class", "").split()]


def section(tree: Element, name: str, number: int = 1) -> Element:
    (found,) = (each for each in tree.iter() if each.get("id") == f"exhibit-{number}-{name}")
    return found
