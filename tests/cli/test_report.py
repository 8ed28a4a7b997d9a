"""``report``: the file that is made, the document, exit statuses, what is read and what is not."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from luksmeta.extents import Extent, uncovered
from luksmeta.format_options import Version
from tests import builders
from tests.builders import VERSIONS
from tests.cli.runner import as_ordinary_user, done, luksmeta, process, refused
from tests.cli.volumes import detach
from tests.defects.damage import bytes_at
from tests.forensics.report.samples import by_class, parsed, section, volume, words

on_versions = pytest.mark.parametrize("version", VERSIONS)


@on_versions
def test_a_page_is_made_for_its_reader_alone(version: Version, tmp_path: Path) -> None:
    image, page = volume(tmp_path, version), tmp_path / "page.html"
    options = ("--case", "2026-17", "--examiner", "A. Byte", "--hash-image")
    line, last = done(luksmeta("report", image, "-o", page, *options)).out.splitlines()
    told = f"{image}: {version.upper()}; can it open: nothing speaks against it; "
    assert line.startswith(f"{told}0 critical, 0 warnings, ")
    assert last == f"{page}: {page.stat().st_size} bytes, report on 1 image"
    assert page.stat().st_mode & 0o777 == 0o600
    tree = parsed(page.read_text(encoding="utf-8"))
    assert words(by_class(tree, "facts")[0]).startswith("Case2026-17ExaminerA. ByteMade")
    assert hashlib.sha256(image.read_bytes()).hexdigest() in words(section(tree, "summary"))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["page.html", "volume.img"]


def test_the_document_has_the_findings_that_were_written(tmp_path: Path) -> None:
    image = volume(tmp_path, "luks2", bytes_at(0x8400, bytes(1024)))
    page = tmp_path / "page.html"
    document = done(luksmeta("report", image, "-o", page, "--json", "--case", "c")).json
    assert (document["file"], document["size"]) == (str(page), page.stat().st_size)
    assert (document["case"], document["examiner"]) == ("c", None)
    (exhibit,) = document["exhibits"]
    assert (exhibit["image"], exhibit["format"], exhibit["sha256"]) == (str(image), "LUKS2", None)
    assert exhibit["uuid"] == "c0ffee00-0000-4000-8000-000000000001"
    assert exhibit["verdict"]["can_open"] == "nothing speaks against it, but for some keyslots"
    finding = exhibit["findings"][0]
    assert finding["level"] == "critical"
    assert finding["where"] == [{"offset": 0x8400, "size": 1024}]
    assert finding["clause"] == "L6.1.6"
    tree = parsed(page.read_text(encoding="utf-8"))
    titles = [words(each) for each in by_class(tree, "title")]
    assert titles == [each["title"] for each in exhibit["findings"]]


def test_nothing_is_ever_written_over(tmp_path: Path) -> None:
    image, other = volume(tmp_path, "luks2"), tmp_path / "other"
    other.write_text("kept")
    before = image.read_bytes()
    refused(luksmeta("report", image, "-o", image), 5, str(image), "exists")
    refused(luksmeta("report", image, "-o", other), 5, str(other), "exists")
    refused(luksmeta("report", image, "-o", other, "--dry-run"), 5, "exists")
    link = tmp_path / "link"
    link.symlink_to(image)
    refused(luksmeta("report", image, "-o", link), 5, "exists")
    page = tmp_path / "page.html"
    refused(luksmeta("report", image, "-o", page, "--read-log", page), 5, "exists")
    refused(luksmeta("report", image, "-o", "-"), 1, "standard output")
    refused(luksmeta("report", image, "-o", tmp_path / "no" / "page.html"), 4, "no such")
    assert (image.read_bytes(), other.read_text()) == (before, "kept")
    assert not page.exists()


def test_a_dry_run_says_how_large_the_page_would_be(tmp_path: Path) -> None:
    image, page = volume(tmp_path, "luks1"), tmp_path / "page.html"
    plan = done(luksmeta("report", image, "-o", page, "--dry-run", "--json")).json["plan"]
    assert not page.exists()
    done(luksmeta("report", image, "-o", page))
    assert plan[0]["length"] == page.stat().st_size


# --- many ----------------------------------------------------------------------------------------


def test_one_that_cannot_be_read_does_not_stop_the_others(tmp_path: Path) -> None:
    good, page = volume(tmp_path, "luks2"), tmp_path / "page.html"
    empty, none = tmp_path / "empty", tmp_path / "none"
    empty.write_bytes(bytes(8192))
    answer = luksmeta("report", none, good, empty, "-o", page)
    assert answer.status == 4
    assert [line.partition(" (")[0] for line in answer.err.splitlines()] == [
        f"luksmeta: error: {none}: no such file or directory",
        f"luksmeta: error: {empty}: no trace of a LUKS header",
    ]
    assert answer.out.splitlines()[-1].endswith("report on 3 images")
    tree = parsed(page.read_text(encoding="utf-8"))
    rows = [words(each) for each in by_class(tree, "index")[0].findall(".//tbody/tr")]
    assert len(rows) == 3
    assert "no such file or directory" in rows[0]
    assert "LUKS2" in rows[1]
    assert "no LUKS" in rows[2]


def test_the_status_is_that_of_the_worst(tmp_path: Path) -> None:
    good, page = volume(tmp_path, "luks2"), tmp_path / "page.html"
    locked = volume(tmp_path, "luks1", name="mine.img")
    locked.chmod(0)
    answer = as_ordinary_user("report", locked, good, "-o", page)
    assert answer.status == 2
    page.unlink()
    assert as_ordinary_user("report", locked, tmp_path / "no", good, "-o", page).status == 4


def test_where_nothing_can_be_read_nothing_is_made(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    answer = luksmeta("report", tmp_path / "one", tmp_path / "two", "-o", page)
    assert answer.status == 4
    assert len(answer.err.splitlines()) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_detached_header_is_of_one_image(tmp_path: Path) -> None:
    image, page = volume(tmp_path, "luks2"), tmp_path / "page.html"
    header = detach(image)
    done(luksmeta("report", image, "--header", header, "-o", page))
    tree = parsed(page.read_text(encoding="utf-8"))
    assert str(header) in words(section(tree, "summary"))
    other = tmp_path / "other.html"
    refused(luksmeta("report", image, image, "--header", header, "-o", other), 1, "--header")
    assert not other.exists()


# --- evidence ------------------------------------------------------------------------------------


@on_versions
def test_the_read_log_has_the_hash_of_every_byte_that_was_read(
    version: Version, tmp_path: Path
) -> None:
    image, log = volume(tmp_path, version), tmp_path / "log"
    done(luksmeta("report", image, "-o", tmp_path / "page.html", "--read-log", log))
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert entries[0] == {"format": "luksmeta-read-log-1"}
    content, reads = image.read_bytes(), [each for each in entries if "sha256" in each]
    for read in reads:
        data = content[read["offset"] : read["offset"] + read["size"]]
        assert read["sha256"] == hashlib.sha256(data).hexdigest()
    extents = [Extent(read["offset"], read["size"]) for read in reads]
    assert uncovered([Extent(0, builders.data_offset(version))], extents) == []


def test_no_system_call_could_write_to_the_evidence(tmp_path: Path) -> None:
    image = volume(tmp_path, "luks2", bytes_at(0, bytes(4096)))
    before, trace = image.read_bytes(), tmp_path / "trace"
    calls = "trace=openat,open,creat,truncate,ftruncate,fallocate,unlink,rename,utimensat"
    prefix = ("strace", "-f", "-qq", "-e", calls, "-o", str(trace))
    page = tmp_path / "page.html"
    answer = process("report", image, "-o", page, "--hash-image", prefix=prefix)
    assert answer.status == 0
    opened = [line for line in trace.read_text().splitlines() if str(image) in line]
    assert opened
    assert all("openat(" in line and "O_RDONLY" in line for line in opened)
    assert image.read_bytes() == before


def test_a_name_that_steers_a_terminal_does_not(tmp_path: Path) -> None:
    image = volume(tmp_path, "luks2", name="a\x1b[2J\u202eb.img")
    answer = done(luksmeta("report", image, "-o", tmp_path / "page.html"))
    assert "\x1b" not in answer.out
    assert "\u202e" not in answer.out
    refused(luksmeta("report", os.fspath(image) + "x", "-o", tmp_path / "2"), 4, "no such")
