"""The page: what is on it, that it is well-formed, and that evidence cannot become markup."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest

import luksmeta
from luksmeta.errors import StorageError
from luksmeta.extents import Extent
from luksmeta.forensics.report.exhibit import Failure, examine_evidence
from luksmeta.format_options import Version
from tests import builders
from tests.builders import VERSIONS
from tests.corpus import Corpus, CorpusImage, corpus_images
from tests.defects.damage import (
    LUKS1_BEYOND_REPAIR,
    LUKS1_REPAIRED_BY_CRYPTSETUP,
    LUKS2_BEYOND_REPAIR,
    LUKS2_REPAIRABLE,
    Damage,
    bytes_at,
)
from tests.forensics.report.samples import (
    EVIL,
    GPT,
    SLOT,
    by_class,
    hostile,
    page,
    page_of,
    parsed,
    section,
    volume,
    words,
)

on_versions = pytest.mark.parametrize("version", VERSIONS)
_ELEMENTS = {
    "html", "head", "meta", "title", "style", "body", "header", "main", "footer", "article",
    "section", "nav", "h1", "h2", "h3", "h4", "p", "a", "span", "strong", "small", "code", "pre",
    "ul", "li", "dl", "dt", "dd", "table", "caption", "thead", "tbody", "tr", "th", "td", "figure",
    "figcaption", "svg", "defs", "pattern", "g", "rect", "line", "path", "polygon", "text",
}  # fmt: skip


@on_versions
def test_a_sound_volume_has_every_section(version: Version, tmp_path: Path) -> None:
    path = volume(tmp_path, version)
    tree = parsed(page(path))
    names = ["summary", "findings", "maps", "randomness", "structures", "strength", "hashes"]
    names += ["reads", "meanings"] + (["json", "differences"] if version == "luks2" else [])
    for name in names:
        assert words(section(tree, name)), name
    facts = words(by_class(tree, "facts")[0])
    assert facts.startswith("Case2026-17ExaminerA. ByteMade2026-03-04 05:06:07 UTC")
    assert f"luksmeta {luksmeta.__version__}" in facts
    assert str(path) in words(next(tree.iter("h1")))
    assert "nothing speaks against it" in words(section(tree, "summary"))
    assert f"{path.stat().st_size} bytes" in words(section(tree, "summary"))


def test_damage_is_on_the_map_in_the_heat_map_and_in_hex(tmp_path: Path) -> None:
    start = SLOT["luks2"] + 0x400
    tree = parsed(page(volume(tmp_path, "luks2", bytes_at(start, b"\xff" * 1024))))
    damage = by_class(section(tree, "maps"), "k-damage")
    assert {words(each) for each in damage if len(each)} == {
        f"keyslot 0, {start:#x}..{start + 1024:#x}: pattern: {start:#x}..{start + 1024:#x}, 1 KiB"
    }
    outlines = by_class(section(tree, "randomness"), "damaged")
    assert len(outlines) == 2  # one in the legend
    assert f"Damage of keyslot 0 (pattern, {start:#x}" in words(section(tree, "structures"))
    assert "ff ff ff ff" in words(section(tree, "structures"))


def test_maps_are_to_scale(tmp_path: Path) -> None:
    path = volume(tmp_path, "luks2")
    os.truncate(path, 1 << 24)
    tree = parsed(page(path))
    disk, header = (
        each for each in section(tree, "maps").iter("svg") if each.get("class") == "map"
    )
    data, _ = by_class(disk, "k-data")
    at = builders.data_offset("luks2") / (1 << 24)
    assert float(data.get("x", "")) == pytest.approx(1 + 798 * at, abs=0.02)
    assert float(data.get("width", "")) == pytest.approx(798 * (1 - at), abs=0.02)
    slots = by_class(header, "k-key-material")
    size = builders.data_offset("luks2")
    assert float(slots[0].get("x", "")) == pytest.approx(1 + 798 * 0x8000 / size, abs=0.02)
    assert float(slots[0].get("width", "")) == pytest.approx(798 * 128000 / size, abs=0.02)


def test_the_hashes_are_those_of_the_bytes(tmp_path: Path) -> None:
    path = volume(tmp_path, "luks2")
    content = path.read_bytes()
    exhibit = examine_evidence(path, hash_image=True)
    assert exhibit.whole_sha256 == hashlib.sha256(content).hexdigest()
    tree = parsed(page_of(exhibit))
    assert exhibit.whole_sha256 in words(section(tree, "summary"))
    assert len(exhibit.parts) > 8
    stated = [(each.extent, each.sha256) for each in exhibit.parts]
    for extent, sha256 in (*stated, *((each.extent, each.sha256) for each in exhibit.reads)):
        assert sha256 == hashlib.sha256(content[extent.offset : extent.end]).hexdigest()
    assert exhibit.parts[0].extent == Extent(0, 0x4000)
    assert all(str(each.sha256) in words(section(tree, "hashes")) for each in exhibit.parts)


def test_a_detached_header_is_told_apart_from_its_data(tmp_path: Path) -> None:
    header, data = volume(tmp_path, "luks2"), tmp_path / "data.img"
    data.write_bytes(bytes(1 << 20))
    exhibit = examine_evidence(data, header)
    tree = parsed(page_of(exhibit))
    summary = words(section(tree, "summary"))
    assert str(header) in summary
    assert "1048576 bytes (1 MiB)" in summary
    assert {each.file for each in exhibit.reads} == {str(header), str(data)}


def test_a_file_without_any_header_still_has_a_page(tmp_path: Path) -> None:
    for content in (b"", b"x", bytes(5000), b"no LUKS at all " * 400):
        path = tmp_path / "file"
        path.write_bytes(content)
        tree = parsed(page(path))
        assert "no trace of a LUKS header" in words(section(tree, "findings"))


# --- evidence is hostile -------------------------------------------------------------------------


def test_no_text_of_evidence_becomes_markup_or_steers(tmp_path: Path) -> None:
    text = page(hostile(tmp_path))
    tree = parsed(text)
    assert {each.tag for each in tree.iter()} == _ELEMENTS
    assert "alert(1)" in words(tree)
    assert "\\u202egnp" in words(tree)
    assert [each for each in text if not each.isprintable() and each != "\n"] == []
    handlers = [name for each in tree.iter() for name in each.attrib if name.startswith("on")]
    assert handlers == []
    assert "<script" not in text
    assert "<b>" not in text


def test_hostile_words_in_case_and_error_are_text(tmp_path: Path) -> None:
    failure = Failure(EVIL, StorageError(EVIL))
    text = page_of(failure, failure)
    assert {each.tag for each in parsed(text).iter()} <= _ELEMENTS
    assert "<script" not in text
    assert not list(tmp_path.iterdir())


@on_versions
def test_nothing_is_asked_for_from_elsewhere(version: Version, tmp_path: Path) -> None:
    text = page(volume(tmp_path, version))
    tree = parsed(text)
    (policy,) = (each for each in tree.iter("meta") if each.get("http-equiv"))
    assert policy.get("content") == "default-src 'none'; style-src 'unsafe-inline'"
    assert not re.search(r"(?:src|srcset|data)=|@import|url\((?!#)|https?:", text)
    ids = [each.get("id") for each in tree.iter() if each.get("id")]
    assert len(ids) == len(set(ids))
    links = {each.get("href", "") for each in tree.iter("a")}
    assert links
    assert links <= {f"#{each}" for each in ids}
    fills = set(re.findall(r"url\(#([\w-]+)\)", text))
    assert fills == {"p-damage", "p-json", "p-unused", "p-gap"} <= set(ids)


_DAMAGES: dict[Version, dict[str, Damage]] = {
    "luks1": {**LUKS1_REPAIRED_BY_CRYPTSETUP, **LUKS1_BEYOND_REPAIR},
    "luks2": {**LUKS2_REPAIRABLE, **LUKS2_BEYOND_REPAIR, "GPT": GPT},
}


@on_versions
def test_every_damage_has_a_page(version: Version, tmp_path: Path) -> None:
    exhibits = [
        examine_evidence(volume(tmp_path, version, damage, name=f"{number}.img"))
        for number, damage in enumerate(_DAMAGES[version].values())
    ]
    text = page_of(*exhibits)
    tree = parsed(text)
    assert len(by_class(tree, "index")[0].findall(".//tbody/tr")) == len(exhibits)
    assert len(text) < 150_000 * len(exhibits)


@pytest.mark.parametrize("image", corpus_images()[::4], ids=lambda image: image.name)
def test_images_of_every_kind_have_a_page(image: CorpusImage, corpus: Corpus) -> None:
    text = page(corpus(image.name))
    parsed(text)
    assert len(text) < 2_000_000


# --- many ----------------------------------------------------------------------------------------


def test_an_index_leads_to_each_exhibit(tmp_path: Path) -> None:
    good = volume(tmp_path, "luks2", name="good.img")
    bad = volume(tmp_path, "luks1", bytes_at(0x1000, bytes(512)), name="bad.img")
    report = luksmeta.case_report([good, tmp_path / "none.img", bad], case="c")
    tree = parsed(report.html())
    rows = [words(each) for each in by_class(tree, "index")[0].findall(".//tbody/tr")]
    assert "LUKS2" in rows[0]
    assert "c0ffee00-0000-4000-8000-000000000001" in rows[0]
    assert rows[1].endswith("not readno such file or directory")
    assert "1 critical" in rows[2]
    assert "LUKS1" in rows[2]
    assert section(tree, "summary", 3) is not None
    described = report.describe()["exhibits"]
    assert isinstance(described, list)
    assert described[1] == {
        "image": str(tmp_path / "none.img"),
        "error": "no such file or directory",
    }
    assert described[2]["verdict"]["can_open"] == "nothing speaks against it, but for some keyslots"
    assert described[2]["findings"][0]["where"] == [{"offset": 0x1000, "size": 512}]


def test_a_detached_header_is_of_one_image(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one image"):
        luksmeta.case_report(["a", "b"], header="c")
    assert not list(tmp_path.iterdir())
