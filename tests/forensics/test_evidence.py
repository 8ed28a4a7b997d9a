"""Evidence: nothing is written, and every byte that is read is told."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

import luksmeta
from luksmeta import MemoryStorage, StorageError
from luksmeta.extents import Extent
from luksmeta.forensics.evidence import EvidenceFile, MappedEvidence, data_extents
from luksmeta.forensics.read_log import READ_LOG_FORMAT, ReadLog
from tests import builders
from tests.forensics import disks
from tests.forensics.disks import MIB


def entries(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_reads_behind_one_another_are_one_entry_and_others_their_own(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 16)
    stream = io.StringIO()
    with EvidenceFile(path, ReadLog(stream)) as file:
        file.read_at(0, 100)
        file.read_at(1000, 10)  # in between, and the first run goes on
        file.read_into(100, memoryview(bytearray(50)))
        file.read_at(1000, 10)
    head, opened, *runs = entries(stream)
    assert head == {"format": READ_LOG_FORMAT}
    assert (opened["file"], opened["file_size"]) == (str(path), 4096)
    assert sorted((each["offset"], each["size"]) for each in runs) == [
        (0, 150),
        (1000, 10),
        (1000, 10),
    ]
    data = path.read_bytes()
    for each in runs:
        part = data[each["offset"] : each["offset"] + each["size"]]
        assert each["sha256"] == hashlib.sha256(part).hexdigest()


def test_many_places_are_all_told(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(MIB))
    stream = io.StringIO()
    with EvidenceFile(path, ReadLog(stream)) as file:
        for offset in range(0, MIB, 4096):
            file.read_at(offset, 16)
    assert len(entries(stream)) == 2 + 256


def test_a_scan_tells_all_of_a_disk(tmp_path: Path) -> None:
    path = disks.write(tmp_path / "disk", 2 * MIB, [(0, b"x" * 2 * MIB), (MIB, disks.volume())])
    stream = io.StringIO()
    luksmeta.scan(path, read_log=ReadLog(stream))
    whole = hashlib.sha256(path.read_bytes()).hexdigest()
    assert {"file": str(path), "offset": 0, "size": 2 * MIB, "sha256": whole} in entries(stream)


def test_evidence_takes_no_writes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"evidence")
    with EvidenceFile(path) as file:
        with pytest.raises(StorageError, match="opened read-only"):
            file.write_at(0, b"x")
        with pytest.raises(StorageError):
            file.resize(100)
    assert path.read_bytes() == b"evidence"


def test_reading_leaves_the_access_time(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(4096))
    os.utime(path, ns=(1, 2))
    luksmeta.scan(path)
    status = path.stat()
    assert (status.st_atime_ns, status.st_mtime_ns) == (1, 2)


def test_holes_are_no_data(tmp_path: Path) -> None:
    path = disks.write(tmp_path / "file", 64 * MIB, [(8 * MIB, b"x" * 4096), (63 * MIB, b"y")])
    with EvidenceFile(path) as file:
        extents = list(data_extents(file))
    assert Extent(8 * MIB, 4096) in extents
    assert sum(extent.size for extent in extents) < MIB
    assert extents[-1].contains(Extent(63 * MIB, 1))


def test_a_file_of_one_hole_has_no_data(tmp_path: Path) -> None:
    with EvidenceFile(disks.write(tmp_path / "file", MIB, [])) as file:
        assert list(data_extents(file)) == []


def test_parts_of_a_storage_one_behind_the_other() -> None:
    base = MemoryStorage(bytes(range(100)))
    mapped = MappedEvidence(base, [Extent(50, 10), Extent(0, 5)], "parts")
    assert mapped.size == 15
    assert mapped.read_at(8, 4) == bytes([58, 59, 0, 1])
    assert list(data_extents(mapped)) == [Extent(0, 10), Extent(10, 5)]
    with pytest.raises(StorageError, match="reaches to 0x65"):
        MappedEvidence(base, [Extent(99, 2)], "parts")


def test_holes_of_a_file_are_holes_of_its_parts(tmp_path: Path) -> None:
    path = disks.write(tmp_path / "file", 64 * MIB, [(8 * MIB, b"x" * 4096)])
    with EvidenceFile(path) as file:
        mapped = MappedEvidence(file, [Extent(0, MIB), Extent(8 * MIB, MIB)], "parts")
        assert list(data_extents(mapped)) == [Extent(MIB, 4096)]


def test_a_folder_is_no_evidence(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="directory"):
        EvidenceFile(tmp_path)


def test_the_volume_is_as_it_was(tmp_path: Path) -> None:
    path = builders.file(tmp_path / "volume", "luks2")
    before = path.read_bytes()
    luksmeta.scan(path, deep=True, unaligned=True)
    assert path.read_bytes() == before
