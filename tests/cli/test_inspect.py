"""``inspect``: the page, the document and its description, exit statuses."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from luksmeta.extents import Extent, uncovered
from luksmeta.forensics.inspector import SCHEMA
from luksmeta.format_options import Version
from tests import builders
from tests.builders import FIRST, SECOND, VERSIONS, document_of, with_document
from tests.cli.runner import as_ordinary_user, done, luksmeta, process, refused
from tests.corpus import PROJECT, Corpus, CorpusImage, corpus_images
from tests.defects.damage import (
    HDR_SIZE,
    LUKS1_BEYOND_REPAIR,
    LUKS1_REPAIRED_BY_CRYPTSETUP,
    LUKS2_BEYOND_REPAIR,
    LUKS2_REPAIRABLE,
    Damage,
    all_of,
    bytes_at,
)

WIDTH = 100
SPEC = PROJECT / "spec" / "forensics.md"
_ID = re.compile(r"\d+")
_OPEN = {"header", "diagnosis"}  # described where they come from: dump and repair
_OF_ANY_NAME = {"machine_years", "one", "other", "value"}
on_versions = pytest.mark.parametrize("version", VERSIONS)


def damaged(folder: Path, version: Version, *damages: Damage) -> Path:
    path = builders.file(folder / "volume.img", version, FIRST, SECOND)
    disk = bytearray(path.read_bytes())
    for damage in damages:
        damage(disk)
    path.write_bytes(disk)
    return path


# --- the page ------------------------------------------------------------------------------------


@on_versions
def test_the_page_has_everything(version: Version, tmp_path: Path) -> None:
    at = 0x21000 if version == "luks1" else 0x28000
    path = damaged(tmp_path, version, bytes_at(at + 0x400, bytes(1024)))
    page = done(luksmeta("inspect", path)).out
    for part in (
        f"LUKS{version[-1]} header  {path}",
        "UUID            c0ffee00-0000-4000-8000-000000000001",
        f"{at + 0x400:#x}..{at + 0x800:#x}: zero",
        "damaged, cannot open: 1 KiB of it do not look random",
        "looks whole: all of",
        "a second: one NVIDIA RTX 4090 (reference)",
        "40 bits 0.00581 years",
        "Hints of its past",
        "begins with: zero",
    ):
        assert part in page
    assert ("Secondary copy at 0x4000" in page) is (version == "luks2")


def test_two_copies_are_shown_with_what_differs(tmp_path: Path) -> None:
    disk = builders.image("luks2", (FIRST, SECOND))
    document = document_of(disk)
    document["config"]["flags"] = ["allow-discards"]
    path = tmp_path / "volume.img"
    path.write_bytes(with_document(disk, document))
    data = bytearray(path.read_bytes())
    data[HDR_SIZE : 2 * HDR_SIZE] = disk[HDR_SIZE : 2 * HDR_SIZE]
    path.write_bytes(data)
    page = done(luksmeta("inspect", path)).out
    assert 'config.flags: ["allow-discards"] -> (none)' in page


def test_what_a_disk_holds_cannot_steer_the_terminal(tmp_path: Path) -> None:
    disk = builders.image("luks2")
    document = document_of(disk)
    document["tokens"]["0"] = {"type": "x\x1b[2Jy", "keyslots": [], "evil\x1b[2J": "\x1b[1m\n\rz"}
    path = tmp_path / "volume.img"
    path.write_bytes(with_document(disk, document))
    page = done(luksmeta("inspect", path)).out
    assert "\x1b" not in page
    assert "\r" not in page
    assert "of a token of another's" in page


def test_entropies_can_be_named_and_this_machine_measured(tmp_path: Path) -> None:
    path = damaged(tmp_path, "luks2")
    page = done(luksmeta("inspect", path, "--entropy", "33", "--entropy", "44.5", "--measure")).out
    assert "33 bits" in page
    assert "44.5 bits" in page
    assert "this machine" in page
    assert "50 bits" not in page
    refused(luksmeta("inspect", path, "--entropy", "none"), 1, "--entropy")


# --- exit statuses -------------------------------------------------------------------------------


def test_a_header_that_nobody_believes_is_inspected_with_status_0(tmp_path: Path) -> None:
    path = damaged(tmp_path, "luks2", LUKS2_BEYOND_REPAIR["a byte in each copy"])
    page = done(luksmeta("inspect", path)).out
    assert "Shown here      remains of the primary copy" in page
    assert "looks whole" in page


def test_without_any_trace_the_page_comes_with_status_4(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(1080) + b"\x53\xef" + bytes(70000))
    for options in ((), ("--json",)):
        answer = luksmeta("inspect", path, *options)
        assert answer.status == 4
        assert answer.err.startswith(f"luksmeta: error: {path}: no trace of a LUKS header")
        assert len(answer.err.splitlines()) == 1
        assert "ext2/3/4 file system" in answer.out
    assert luksmeta("inspect", path, "--json").json["schema"] == SCHEMA


def test_a_file_that_is_not_there_or_not_readable_is_an_error(tmp_path: Path) -> None:
    refused(luksmeta("inspect", tmp_path / "nothing"), 4, "no such file")
    refused(luksmeta("inspect", tmp_path), 4, "is a directory")
    path = damaged(tmp_path, "luks2")
    path.chmod(0)
    refused(as_ordinary_user("inspect", path), 2, "permission denied")


def test_a_read_only_file_in_a_read_only_folder_is_enough(tmp_path: Path) -> None:
    path = damaged(tmp_path, "luks2", bytes_at(0, bytes(4096)))
    before = path.read_bytes(), path.stat().st_mtime_ns
    path.chmod(0o444)
    tmp_path.chmod(0o555)
    assert as_ordinary_user("inspect", path).status == 0
    tmp_path.chmod(0o755)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


# --- every image, and the document ---------------------------------------------------------------

_DAMAGES: dict[Version, dict[str, Damage]] = {
    "luks1": {**LUKS1_REPAIRED_BY_CRYPTSETUP, **LUKS1_BEYOND_REPAIR},
    "luks2": {**LUKS2_REPAIRABLE, **LUKS2_BEYOND_REPAIR},
}


def paths(value: object, path: str = "") -> Iterator[str]:
    """The members of a document, ids and array elements as ``*``."""
    if path in _OPEN or path.rpartition(".")[2] in _OF_ANY_NAME:
        yield path
    elif isinstance(value, dict):
        for name, each in value.items():
            is_id = _ID.fullmatch(name) or path == "copies"
            yield from paths(each, f"{path}.{'*' if is_id else name}".lstrip("."))
    elif isinstance(value, list) and value and isinstance(value[0], dict | list):
        for each in value:
            yield from paths(each, f"{path}.*")
    else:
        yield path


def described_paths() -> set[str]:
    _, _, clause = SPEC.read_text(encoding="utf-8").partition("**L6.5.1**")
    section, _, _ = clause.partition("\n## ")
    return set(re.findall(r"^\| `([\w.*]+)` \|", section, re.MULTILINE))


def is_described(path: str, described: set[str]) -> bool:
    """Whether the path is; one whose value is null or empty, by a member of it too."""
    return path in described or any(each.startswith(f"{path}.") for each in described)


@on_versions
def test_every_member_of_the_document_is_described(version: Version, tmp_path: Path) -> None:
    described, seen = described_paths(), set[str]()
    for damage in (bytes_at(0, b""), *_DAMAGES[version].values()):
        path = damaged(tmp_path, version, damage, bytes_at(0x9000, bytes(1024)))
        answer = luksmeta("inspect", path, "--json", "--measure")
        assert answer.status in (0, 4)
        document: dict[str, Any] = answer.json
        assert document["schema"] == SCHEMA == "luksmeta-inspection-1"
        seen |= set(paths(document))
    assert sorted(each for each in seen if not is_described(each, described)) == []


def test_every_member_that_is_described_is_there(tmp_path: Path) -> None:
    disk = builders.image("luks2", (FIRST, SECOND))
    document = document_of(disk)
    document["tokens"]["0"] = {"type": "x", "keyslots": [], "more": 1}
    signature = bytes_at(0x50000, bytes(0x8000) + b"XFSB")
    gap = all_of(bytes_at(0x57000, bytes(0x2000)), bytes_at(0x58000, b"XFSB"), signature)
    seen = set[str]()
    for name, damages in {
        "luks2": (bytes_at(0x9000, bytes(1024)), bytes_at(0x1FE, b""), bytes_at(0x1F000, b"")),
        "luks1": (bytes_at(0x1FE, b"\x55\xaa"),),
    }.items():
        version: Version = "luks1" if name == "luks1" else "luks2"
        path = damaged(tmp_path, version, *damages)
        if version == "luks2":
            data = bytearray(with_document(path.read_bytes(), document))
            gap(data)
            data[HDR_SIZE : 2 * HDR_SIZE] = disk[HDR_SIZE : 2 * HDR_SIZE]
            data[0x48000:0x50000] = bytes(0x8000)
            data[0x48000:0x48004] = b"XFSB"
            path.write_bytes(data)
        seen |= set(paths(luksmeta("inspect", path, "--json").json))
    assert described_paths() - seen == set()


@pytest.mark.parametrize("image", corpus_images(), ids=lambda image: image.name)
def test_the_page_of_every_image_keeps_to_its_width(image: CorpusImage, corpus: Corpus) -> None:
    answer = luksmeta("inspect", os.path.relpath(corpus(image.name)))
    assert answer.status in (0, 4)
    title, *lines = answer.out.splitlines()
    assert title
    assert [line for line in lines if len(line) > WIDTH] == []


# --- evidence ------------------------------------------------------------------------------------


@on_versions
def test_the_read_log_has_the_hash_of_every_byte_that_was_read(
    version: Version, tmp_path: Path
) -> None:
    path, log = damaged(tmp_path, version), tmp_path / "log"
    assert done(luksmeta("inspect", path, "--read-log", log)).out
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert entries[0] == {"format": "luksmeta-read-log-1"}
    assert (entries[1]["file"], entries[1]["file_size"]) == (str(path), path.stat().st_size)
    reads = entries[2:]
    content = path.read_bytes()
    for read in reads:
        data = content[read["offset"] : read["offset"] + read["size"]]
        assert read["sha256"] == hashlib.sha256(data).hexdigest()
    end = builders.data_offset(version)
    extents = [Extent(read["offset"], read["size"]) for read in reads]
    assert uncovered([Extent(0, end)], extents) == []
    refused(luksmeta("inspect", path, "--read-log", log), 5, "exists")


@pytest.mark.parametrize("command", [("inspect",), ("inspect", "--json"), ("hash",)])
def test_no_system_call_could_write_to_the_evidence(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    image = damaged(tmp_path, "luks2", bytes_at(0, bytes(4096)))
    with image.open("r+b") as file:
        file.seek(builders.data_offset("luks2"))
        file.write(b"\1" * 512)
    before = image.read_bytes(), image.stat()
    trace = tmp_path / "trace"
    calls = "trace=openat,open,creat,truncate,ftruncate,fallocate,unlink,rename,utimensat"
    prefix = ("strace", "-f", "-qq", "-e", calls, "-o", str(trace))
    answer = process(*command, image, prefix=prefix)
    assert answer.status == 0
    opened = [line for line in trace.read_text().splitlines() if str(image) in line]
    assert opened
    assert all("openat(" in line and "O_RDONLY" in line for line in opened)
    assert (image.read_bytes(), image.stat().st_mtime_ns) == (before[0], before[1].st_mtime_ns)
