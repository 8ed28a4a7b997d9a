"""Header backups: what goes into one, and what keeps one from coming back."""

from __future__ import annotations

import stat
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

import luksmeta
from luksmeta import (
    HeaderError,
    MemoryStorage,
    NotLuksError,
    RequirementError,
    StorageBusyError,
    StorageError,
    UnsupportedError,
    backup,
)
from luksmeta import backup as backup_module
from luksmeta.file_storage import FileStorage
from luksmeta.format_options import Version
from luksmeta.luks1.partition_header import PartitionHeader
from tests.builders import (
    FIRST,
    KDF,
    SECOND,
    VERSIONS,
    document_of,
    file,
    image,
    key_behind,
    memory,
    with_document,
)
from tests.fuzz.disk import SparseDisk
from tests.storages import FailingStorage


def _backed_up(path: Path, version: Version, folder: Path) -> Path:
    with luksmeta.open(path) as volume:
        backup.create(volume, folder / "backup")
    assert stat.S_IMODE((folder / "backup").stat().st_mode) == 0o400
    return folder / "backup"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_backup_brings_removed_keyslots_back(version: Version, tmp_path: Path) -> None:
    path = file(tmp_path / "volume", version, FIRST, SECOND)
    saved = _backed_up(path, version, tmp_path)
    with luksmeta.open(path, writable=True) as volume:
        key = key_behind(volume, FIRST)
        volume.erase()
    restoration = backup.restore(path, saved)
    assert restoration.notes == ()
    with luksmeta.open(path) as volume:
        assert key_behind(volume, SECOND) == key


@pytest.mark.parametrize("version", VERSIONS)
def test_a_backup_opens_as_a_header(version: Version, tmp_path: Path) -> None:
    path = file(tmp_path / "volume", version)
    with luksmeta.open(path, header=_backed_up(path, version, tmp_path)) as volume:
        assert key_behind(volume, FIRST)


def test_a_backup_never_overwrites_a_file(tmp_path: Path) -> None:
    path = file(tmp_path / "volume", "luks2")
    (tmp_path / "backup").write_bytes(b"precious")
    with luksmeta.open(path) as volume, pytest.raises(StorageBusyError):
        backup.create(volume, tmp_path / "backup")
    assert (tmp_path / "backup").read_bytes() == b"precious"


def test_a_backup_leaves_out_what_others_keep_behind_a_luks1_header(tmp_path: Path) -> None:
    path = file(tmp_path / "volume", "luks1")
    with path.open("r+b") as disk:
        disk.seek(1024)
        disk.write(b"\xaa" * 3072)
    data = _backed_up(path, "luks1", tmp_path).read_bytes()
    assert data[1024:4096] == bytes(3072)


def test_a_backup_of_far_away_keyslots_takes_little_memory(tmp_path: Path) -> None:
    """The offset of a LUKS1 keyslot's area may be anything below 2 TiB."""
    path = file(tmp_path / "volume", "luks1")
    with path.open("r+b") as disk:
        record = PartitionHeader.from_bytes(disk.read(592))
        entries = list(record.keyslot_records())
        entries[7] = replace(entries[7], key_material_offset=(256 << 20) // 512)
        moved = replace(record, payload_offset=0).with_keyslot_records(tuple(entries))
        disk.seek(0)
        disk.write(moved.to_bytes())
        disk.truncate(257 << 20)
    tracemalloc.start()
    try:
        _backed_up(path, "luks1", tmp_path)
        backup.prepare(FileStorage(path), FileStorage(tmp_path / "backup"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "backup").stat().st_size > 256 << 20
    assert peak < 16 << 20


def test_what_is_no_backup_is_refused() -> None:
    target = memory("luks2")
    with pytest.raises(NotLuksError):
        backup.prepare(target, MemoryStorage(bytes(1 << 20)))
    with pytest.raises(HeaderError):
        backup.prepare(target, MemoryStorage(image("luks2")[: 1 << 15]))


def test_one_good_copy_in_a_backup_is_enough_and_is_not_repaired() -> None:
    saved = bytearray(image("luks2"))
    saved[:4096] = bytes(4096)
    target = memory("luks2", SECOND)
    backup.prepare(target, MemoryStorage(saved)).apply(target)
    assert bytes(target.data[:4096]) == bytes(4096)
    with luksmeta.open(target) as volume:
        assert key_behind(volume, FIRST)


@pytest.mark.parametrize("requirement", ["offline-reencrypt", "opal", "future-thing"])
def test_a_backup_with_requirements_that_must_not_come_back_is_refused(requirement: str) -> None:
    document = document_of(image("luks2"))
    document["config"]["requirements"] = {"mandatory": [requirement]}
    saved = MemoryStorage(with_document(image("luks2"), document))
    with pytest.raises(RequirementError, match=requirement):
        backup.prepare(memory("luks2"), saved)


def test_a_backup_with_another_data_offset_is_refused() -> None:
    document = document_of(image("luks2"))
    document["segments"]["0"]["offset"] = str(int(document["segments"]["0"]["offset"]) + 4096)
    saved = MemoryStorage(with_document(image("luks2"), document))
    with pytest.raises(UnsupportedError, match="data starts at 0x"):
        backup.prepare(memory("luks2"), saved)


def test_a_luks2_backup_of_another_size_is_refused() -> None:
    document = document_of(image("luks2"))
    document["config"]["keyslots_size"] = str(int(document["config"]["keyslots_size"]) - 4096)
    saved = MemoryStorage(with_document(image("luks2"), document))
    with pytest.raises(UnsupportedError, match="header ends at 0x"):
        backup.prepare(memory("luks2"), saved)


def test_a_luks1_backup_with_another_key_size_is_refused() -> None:
    def volume(key_size: int) -> MemoryStorage:
        storage = MemoryStorage(4 << 20)
        luksmeta.format(
            storage,
            FIRST,
            type="luks1",
            key_size=key_size,
            data_offset=3 << 20,
            pbkdf=KDF,
            digest_iterations=1000,
        ).close()
        return storage

    with pytest.raises(UnsupportedError, match="key of 32 bytes, the target's has 64"):
        backup.prepare(volume(64), volume(32))


def test_a_target_that_is_too_small_is_refused() -> None:
    with pytest.raises(StorageError, match="has 1048576 bytes, the backup's header needs"):
        backup.prepare(MemoryStorage(1 << 20), _large())


def _large() -> MemoryStorage:
    storage = MemoryStorage(20 << 20)
    luksmeta.format(storage, FIRST, pbkdf=KDF, digest_iterations=1000).close()
    return storage


def test_what_a_user_should_know_is_noted() -> None:
    other = MemoryStorage(image("luks2"))
    with luksmeta.open(other, writable=True) as volume:
        volume.configure(uuid="11111111-2222-4333-8444-555555555555")
    (uuid_note,) = backup.prepare(memory("luks2"), other).notes
    assert "11111111-2222-4333-8444-555555555555" in uuid_note
    empty = MemoryStorage(len(image("luks2")))
    (no_header,) = backup.prepare(empty, memory("luks2")).notes
    assert "holds no LUKS header" in no_header
    damaged = memory("luks2")
    for offset in (5000, 5000 + (16 << 10)):
        damaged.data[offset] ^= 0xFF
    (damage,) = backup.prepare(damaged, memory("luks2")).notes
    assert "damaged and could not be compared" in damage


def test_a_header_that_changed_since_the_comparison_is_not_replaced() -> None:
    target = memory("luks2")
    restoration = backup.prepare(target, memory("luks2"))
    with luksmeta.open(target, writable=True) as volume:
        volume.configure(uuid="11111111-2222-4333-8444-555555555555")
    before = bytes(target.data)
    with pytest.raises(StorageBusyError, match="another process has changed the header"):
        restoration.apply(target)
    assert bytes(target.data) == before


def test_a_failed_backup_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StorageError("disk full")

    with luksmeta.open(file(tmp_path / "volume", "luks2")) as volume:
        monkeypatch.setattr(FileStorage, "flush", fail)
        with pytest.raises(StorageError, match="disk full"):
            backup.create(volume, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


def test_space_is_reserved_before_anything_is_overwritten() -> None:
    plan = backup.prepare(memory("luks2"), memory("luks2")).plan
    assert [step["step"] for step in plan.describe()] == ["reserve", *3 * ["copy", "barrier"]]


def test_a_restoration_that_fails_can_be_repeated() -> None:
    target = FailingStorage(image("luks2", (SECOND,)), writes=0)
    with pytest.raises(StorageError):
        backup.prepare(target, memory("luks2")).apply(target)
    target.writes_left = 1 << 20
    backup.prepare(target, memory("luks2")).apply(target)
    with luksmeta.open(target) as volume:
        assert key_behind(volume, FIRST)


def test_a_header_that_claims_gigabytes_is_not_compared_byte_by_byte() -> None:
    """Found by fuzzing: keyslot areas behind 8 GiB took seconds."""
    disk = SparseDisk(8 << 30, ())
    assert backup_module._loses(disk, disk.size, disk)
    assert disk.longest_read == 0
    assert not backup_module._loses(disk, 1 << 20, disk)
