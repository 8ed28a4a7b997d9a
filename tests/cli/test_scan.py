"""``scan``."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from luksmeta.cli import scan as scan_module
from luksmeta.extents import Extent
from luksmeta.forensics.findings import Scan
from luksmeta.forensics.read_log import ReadLog, ReadLogError
from luksmeta.forensics.scanner import scan
from luksmeta.luks2.binary_header import BinaryHeader, with_checksum
from tests import builders
from tests.cli.runner import COMMAND, done, luksmeta, refused
from tests.corpus import PROJECT
from tests.crash.processes import STRACE
from tests.forensics import disks
from tests.forensics.disks import MIB, PRIMARY

UUID = "c0ffee00-0000-4000-8000-000000000001"


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    pieces = [(MIB, disks.volume()), (3 * MIB, PRIMARY + b"\0\2 in a text")]
    return disks.write(tmp_path / "disk", 64 * MIB, pieces)


def test_a_page_for_people(disk: Path) -> None:
    lines = done(luksmeta("scan", disk)).out.splitlines()
    assert lines[0].startswith(f"{disk}: 64 MiB, 6")
    assert lines[0].endswith(" MiB of holes: 2 findings")
    assert "  0x000000100000  luks2-primary (volume), high confidence" in lines
    assert "  0x000000104000  luks2-secondary (volume), high confidence" in lines
    assert f"      UUID {UUID}" in lines
    assert "      volume starts at 0x100000" in lines
    assert lines[-1] == "1 more of low confidence; --all shows them"
    assert max(map(len, lines[1:])) <= 100


def test_all_shows_what_is_doubtful(disk: Path) -> None:
    assert "luks2-primary, low confidence" not in done(luksmeta("scan", disk)).out
    document = done(luksmeta("scan", disk, "--all", "--json")).json
    assert [each["confidence"] for each in document["findings"]] == ["high", "high", "low"]
    assert "luks2-primary, low confidence" in done(luksmeta("scan", disk, "--all")).out


def test_one_document_for_programs(disk: Path, tmp_path: Path) -> None:
    other = disks.write(tmp_path / "other", MIB, [])
    document = done(luksmeta("scan", disk, other, "--json")).json
    first, second = document["findings"]
    assert (first["disk"], first["offset"], first["kind"]) == (str(disk), MIB, "luks2-primary")
    assert (first["uuid"], first["version"], first["copy"]) == (UUID, 2, "primary")
    assert (first["confidence"], first["role"], first["pair"]) == ("high", "volume", MIB + 16384)
    assert second["volume_offset"] == MIB
    assert [each["disk"] for each in document["disks"]] == [str(disk), str(other)]
    assert document["disks"][0]["size"] == 64 * MIB
    assert document["disks"][0]["searched"] < 4 * MIB
    assert document["disks"][1]["container"] is None


def test_the_document_is_that_of_the_specification(disk: Path) -> None:
    document = done(luksmeta("scan", disk, "--json")).json
    text = (PROJECT / "spec" / "forensics.md").read_text()
    clause = text[text.index("**L6.7.11**") :]
    first, second = re.findall(r"(?:^\| `.*\n)+", clause, re.MULTILINE)[:2]
    assert list(document) == ["findings", "disks", "errors"]
    for table, members in ((first, document["findings"]), (second, document["disks"])):
        named = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
        assert all(list(each) == named for each in members)


def test_nothing_found_is_no_error(tmp_path: Path) -> None:
    empty = disks.write(tmp_path / "empty", 0, [])
    assert done(luksmeta("scan", empty)).out == f"{empty}: 0 bytes: no findings\n"


def test_errors_name_the_disk(tmp_path: Path) -> None:
    refused(luksmeta("scan", tmp_path / "none"), 4, str(tmp_path / "none"), "no such file")
    refused(luksmeta("scan", tmp_path), 4, "directory")
    refused(luksmeta("scan"), 1, "DISK")
    disk = disks.write(tmp_path / "disk", MIB, [])
    refused(luksmeta("scan", f"{disk}#part=1"), 4, f"{disk}: no part=1; there are: none")


def test_what_cannot_be_read_is_told_and_is_the_exit_status(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scan(_name: str, **_options: object) -> Scan:
        return Scan(
            disk=str(disk),
            size=MIB,
            searched=MIB,
            container=None,
            partitions=0,
            findings=(),
            dismissed=(),
            unreadable=(Extent(4096, 8192),),
            notes=(),
        )

    monkeypatch.setattr(scan_module, "scan", scan)
    answer = luksmeta("scan", disk, "--json")
    assert answer.status == 4
    assert answer.err == f"luksmeta: warning: {disk}: 8192 bytes at 0x1000 cannot be read\n"
    assert answer.json["disks"][0]["unreadable"] == [{"offset": 4096, "size": 8192}]


def test_texts_from_a_disk_do_not_steer_a_terminal(tmp_path: Path) -> None:
    hostile = disks.with_uuid(disks.volume(), UUID)
    image = bytearray(hostile)
    record = replace(BinaryHeader.from_bytes(hostile[:4096]), label=b"\x1b[31mred".ljust(48, b"\0"))
    image[: disks.HDR_SIZE] = with_checksum(record, hostile[4096 : disks.HDR_SIZE])
    path = disks.write(tmp_path / "disk", 4 * MIB, [(MIB, bytes(image))])
    out = done(luksmeta("scan", path)).out
    assert "\x1b" not in out
    assert "[31mred" in out


# --- the log of reads --------------------------------------------------------------------------


def test_the_log_tells_every_byte_with_its_hash(disk: Path, tmp_path: Path) -> None:
    log = tmp_path / "reads"
    done(luksmeta("scan", disk, "--read-log", log))
    head, opened, *runs = [json.loads(line) for line in log.read_text().splitlines()]
    assert head == {"format": "luksmeta-read-log-1"}
    assert (opened["file"], opened["file_size"]) == (str(disk), 64 * MIB)
    data = disk.read_bytes()
    for run in runs:
        part = data[run["offset"] : run["offset"] + run["size"]]
        assert hashlib.sha256(part).hexdigest() == run["sha256"]
    assert any(run["offset"] <= MIB < run["offset"] + run["size"] for run in runs)


def test_the_log_overwrites_nothing(disk: Path) -> None:
    before = disk.read_bytes()
    refused(luksmeta("scan", disk, "--read-log", disk), 5, f"{disk}: file exists")
    assert disk.read_bytes() == before


def test_the_log_is_all_that_the_system_sees_read(disk: Path, tmp_path: Path) -> None:
    """strace's list of reads, merged, is the log's."""
    log, trace = tmp_path / "reads", tmp_path / "trace"
    calls = ("-f", "-y", "-e", "trace=read,readv,pread64,preadv,preadv2,mmap", "-s", "0")
    STRACE.run(*calls, "-o", trace, *COMMAND, "scan", disk, "--read-log", log)
    file = re.escape(str(disk))
    flags = "(?:, [^,]+)"  # the last argument of preadv2
    pattern = re.compile(
        rf"(?:pread64\(|preadv\(|(?P<v2>preadv2)\()\d+<{file}>, .*, (?P<offset>\d+)"
        rf"(?(v2){flags})\) = (?P<size>\d+)$"
    )
    lines = [line for line in trace.read_text().splitlines() if f"<{disk}>" in line]
    seen = [pattern.search(line) for line in lines]
    assert lines
    assert all(seen), lines
    read = {byte for each in seen if each for byte in pages(int(each["offset"]), int(each["size"]))}
    told = [json.loads(line) for line in log.read_text().splitlines()[2:]]
    assert read == {byte for each in told for byte in pages(each["offset"], each["size"])}


def pages(offset: int, size: int) -> range:
    """The sectors of a read."""
    return range(offset // 512, -(-(offset + size) // 512))


def test_a_disk_that_cannot_be_searched_stops_no_other(tmp_path: Path) -> None:
    volume = builders.file(tmp_path / "volume", "luks2")
    for order in ((volume, tmp_path / "none"), (tmp_path / "none", volume)):
        answer = luksmeta("scan", "--json", *order)
        assert answer.status == 4
        assert len(answer.json["findings"]) == 2
        assert [each["disk"] for each in answer.json["errors"]] == [str(tmp_path / "none")]
        (line,) = answer.err.splitlines()
        assert line.startswith(f"luksmeta: error: {tmp_path / 'none'}: no such file")
    refused(luksmeta("scan", "--json", tmp_path / "none"), 4, "no such file")


def test_a_log_that_cannot_be_written_is_no_fault_of_the_disk(tmp_path: Path) -> None:
    volume = builders.file(tmp_path / "volume", "luks2")
    log = ReadLog(_FullDisk(), "the log")
    with pytest.raises(ReadLogError, match="the log: no space left"):
        scan(volume, read_log=log)


class _FullDisk(io.StringIO):
    """Takes two lines."""

    lines = 0

    def write(self, text: str) -> int:
        self.lines += 1
        if self.lines > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(text)
