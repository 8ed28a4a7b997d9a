"""Changes that are shown first: only of the header that was looked at, which can be kept."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from luksmeta import MemoryStorage, StorageBusyError, backup
from luksmeta.format_options import Version
from luksmeta.header import read_header
from luksmeta.prepared_change import PreparedChange
from luksmeta.write_plan import Barrier, Write, WritePlan
from tests.builders import FIRST, SECOND, VERSIONS, image, memory
from tests.storages import UnreadableStorage

on_versions = pytest.mark.parametrize("version", VERSIONS)
PLAN = WritePlan.of("mark", [Write(0x300, b"mark", "a mark"), Barrier()])


def prepared(storage: MemoryStorage) -> PreparedChange:
    return PreparedChange.of(storage, [PLAN], read_header(storage))


@on_versions
def test_what_is_replaced_is_kept_and_can_be_restored(version: Version, tmp_path: Path) -> None:
    storage = memory(version, FIRST, SECOND)
    storage.data[0x500:0x504] = b"mine"  # in LUKS1, what a backup leaves out
    before, change = bytes(storage.data), prepared(storage)
    change.apply(storage, tmp_path / "copy")
    kept = (tmp_path / "copy").read_bytes()
    assert kept == before[: change.copy_size]
    assert change.copy_size == read_header(MemoryStorage(before)).backup_size
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o400
    assert bytes(storage.data[0x300:0x304]) == b"mark"
    backup.restore(storage, tmp_path / "copy")
    assert bytes(storage.data) == before


@on_versions
def test_another_header_is_not_written_over(version: Version, tmp_path: Path) -> None:
    storage = memory(version)
    change = prepared(storage)
    at = {"luks1": 1000, "luks2": (32 << 10) - 1}[version]
    storage.data[at] ^= 1
    before = bytes(storage.data)
    with pytest.raises(StorageBusyError, match="another process has changed the header"):
        change.apply(storage, tmp_path / "copy")
    assert bytes(storage.data) == before
    assert not (tmp_path / "copy").exists()
    storage.data[at] ^= 1
    storage.data[-1] ^= 1  # data is nobody's business
    change.apply(storage)


def test_a_header_that_cannot_be_read_in_part_is_still_the_same() -> None:
    """A disk may take new bytes in place of those that it cannot give back."""
    bad = UnreadableStorage(image("luks2"), range(0x4200, 0x4400))
    restoration = backup.prepare(bad, memory("luks2", SECOND))
    assert restoration.loses
    restoration.apply(bad)
    assert bad.data == memory("luks2", SECOND).data


def test_a_file_that_is_there_stops_everything(tmp_path: Path) -> None:
    storage = memory("luks2")
    (tmp_path / "copy").write_bytes(b"precious")
    with pytest.raises(StorageBusyError, match="exists"):
        prepared(storage).apply(storage, tmp_path / "copy")
    assert bytes(storage.data) == image("luks2")
    assert (tmp_path / "copy").read_bytes() == b"precious"
