"""The page as a browser shows and prints it: complete, quiet, within its width."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.forensics.report.samples import GPT, hostile, page, parsed, volume, words
from tests.interop.peers.chromium import Browser, browser
from tests.interop.peers.process import Tool

PDFTOTEXT = Tool("pdftotext", "poppler-utils")
PDFINFO = Tool("pdfinfo", "poppler-utils")
A4_PRINTED = 688  # CSS pixels between the margins: 182 mm
KINDS = ("luks1", "luks2", "GPT", "many", "hostile")
_VISIBLE = """[...document.querySelectorAll('section, svg.map, svg.heat, table, h1, h2, h3')]
    .filter(each => !each.getClientRects().length || !each.textContent.trim())
    .map(each => each.outerHTML.slice(0, 80))"""
_TOO_WIDE = """[...document.querySelectorAll('body *')]
    .filter(each => each.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
    .map(each => each.outerHTML.slice(0, 80))"""
_WIDTHS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    luks1, luks2 = (volume(folder, each, name=f"{each}.img") for each in ("luks1", "luks2"))
    gpt = volume(folder, "luks2", GPT, name="gpt.img")
    evil = hostile(folder)
    images = {
        "luks1": [luks1],
        "luks2": [luks2],
        "GPT": [gpt],
        "many": [luks1, luks2, gpt],
        "hostile": [evil],
    }
    found = {}
    for name, paths in images.items():
        found[name] = folder / f"{name}.html"
        found[name].write_text(page(*paths), encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_is_complete_and_quiet(
    kind: str, pages: dict[str, Path], chromium: Browser
) -> None:
    chromium.load(pages[kind])
    for width, media in ((1280, "screen"), (A4_PRINTED, "print")):
        chromium.resize(width)
        chromium.call("Emulation.setEmulatedMedia", media=media)
        assert chromium.evaluate(_VISIBLE) == []
        assert chromium.evaluate(_TOO_WIDE) == []
        scrolled, shown = chromium.evaluate(_WIDTHS)
        assert scrolled == shown == width
    chromium.call("Emulation.setEmulatedMedia", media="")
    assert chromium.requests() == [pages[kind].as_uri()]
    assert chromium.complaints() == []
    assert chromium.evaluate("document.scripts.length") == 0


def test_the_checks_see_what_they_look_for(tmp_path: Path, chromium: Browser) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text(
        '<!DOCTYPE html><meta http-equiv="Content-Security-Policy" content="default-src file:">'
        "<img src='other.png'><script>1</script><section></section>"
        "<p style='width:5000px'>wide</p>",
        encoding="utf-8",
    )
    chromium.load(bad)
    chromium.resize(1280)
    assert chromium.evaluate(_VISIBLE) != []
    assert chromium.requests() != [bad.as_uri()]
    assert chromium.complaints() != []


def test_it_is_light_and_dark(pages: dict[str, Path], chromium: Browser) -> None:
    chromium.load(pages["luks2"])
    seen = []
    for scheme in ("light", "dark"):
        chromium.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        seen.append(chromium.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert seen == ["rgb(255, 255, 255)", "rgb(20, 24, 29)"]
    chromium.call("Emulation.setEmulatedMedia", features=[], media="print")
    assert chromium.evaluate("getComputedStyle(document.body).backgroundColor") == seen[0]
    chromium.call("Emulation.setEmulatedMedia", media="")


@pytest.mark.parametrize("kind", KINDS)
def test_every_heading_is_printed_on_a4(
    kind: str, pages: dict[str, Path], chromium: Browser, tmp_path: Path
) -> None:
    chromium.load(pages[kind])
    pdf = tmp_path / "page.pdf"
    pdf.write_bytes(chromium.pdf())
    printed = _squeezed(PDFTOTEXT.run("-layout", pdf, "-").decode())
    tree = parsed(pages[kind].read_text(encoding="utf-8"))
    for heading in (each for each in tree.iter() if each.tag in ("h1", "h2", "h3")):
        assert _squeezed(words(heading)) in printed
    size = re.search(r"Page size:\s+([\d.]+) x ([\d.]+) pts", PDFINFO.run(pdf).decode())
    assert size is not None
    assert [round(float(each)) for each in size.groups()] == [595, 842]


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)
