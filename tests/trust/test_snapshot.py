"""A header is read once: what was checked is what is used, whatever becomes of the disk."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import luksmeta
from luksmeta import (
    HeaderError,
    MemoryStorage,
    NotLuksError,
    PolicyError,
    PolicyFinding,
    StorageError,
)
from luksmeta.format_options import Version
from luksmeta.trust.snapshot import HeaderSnapshot
from tests import builders
from tests.builders import FIRST
from tests.trust.attacks import ATTACKS
from tests.trust.images import DATA_OFFSET, PASSPHRASE, VOLUME_KEY, good_image

_PATTERN = bytes(range(251)) * 400  # 100 400 bytes, no two pages alike


class CountingStorage(MemoryStorage):
    """Counts how often each byte is read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reads = bytearray(len(data))

    def _read(self, offset: int, size: int) -> bytes:
        for at in range(offset, offset + size):
            self.reads[at] += 1
        return super()._read(offset, size)


@pytest.mark.parametrize(
    ("offset", "size"),
    [(0, 0), (0, 1), (5, 16384), (16383, 2), (16384, 16384), (40000, 60400), (100399, 1)],
)
def test_a_snapshot_reads_as_its_base_does(offset: int, size: int) -> None:
    snapshot = HeaderSnapshot(MemoryStorage(_PATTERN))
    for _ in range(2):
        assert snapshot.read_at(offset, size) == _PATTERN[offset : offset + size]
    assert snapshot.read_at(0, len(_PATTERN)) == _PATTERN
    buffer = bytearray(size)
    snapshot.read_into(offset, memoryview(buffer))
    assert buffer == _PATTERN[offset : offset + size]


def test_no_byte_is_read_twice() -> None:
    base = CountingStorage(_PATTERN)
    snapshot = HeaderSnapshot(base)
    for offset, size in ((10, 20), (16000, 1000), (0, 50000), (90000, 10), (0, 100400)):
        snapshot.read_at(offset, size)
    snapshot.hold(70000)
    snapshot.read_at(0, 70000)
    assert set(base.reads) == {1}


def test_what_was_read_stays_and_what_lies_behind_is_the_base() -> None:
    base = MemoryStorage(_PATTERN)
    snapshot = HeaderSnapshot(base)
    snapshot.hold(20000)
    base.data[:] = bytes(len(_PATTERN))
    assert snapshot.read_at(19990, 20) == _PATTERN[19990:20000] + bytes(10)
    assert snapshot.read_at(20000, 100) == bytes(100)
    buffer = bytearray(20)
    snapshot.read_into(19990, memoryview(buffer))
    assert buffer == _PATTERN[19990:20000] + bytes(10)


def test_a_held_header_cannot_be_written_and_the_data_can() -> None:
    base = MemoryStorage(_PATTERN)
    snapshot = HeaderSnapshot(base)
    with pytest.raises(StorageError, match="held"):
        snapshot.write_at(50000, b"x")
    snapshot.hold(20000)
    for offset in (0, 19999):
        with pytest.raises(StorageError, match="without a policy"):
            snapshot.write_at(offset, b"xy")
    snapshot.write_at(20000, b"xy")
    assert base.data == _PATTERN[:20000] + b"xy" + _PATTERN[20002:]


def test_a_snapshot_ends_where_its_base_did() -> None:
    snapshot = HeaderSnapshot(MemoryStorage(_PATTERN))
    for offset, size in ((100400, 1), (-1, 1), (0, 100401)):
        with pytest.raises(StorageError, match="ends at"):
            snapshot.read_at(offset, size)
    with pytest.raises(StorageError, match="ends at"):
        snapshot.hold(100401)
    with pytest.raises(StorageError, match="cannot be changed"):
        snapshot.resize(1)


# --- opening with a policy ---------------------------------------------------------------------


def attacked(name: str) -> bytes:
    (attack,) = (each for each in ATTACKS if each.name == name)
    return attack.change(good_image())


def test_a_header_that_breaks_the_policy_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "volume.img"
    path.write_bytes(attacked("null-cipher-in-segment"))
    with pytest.raises(PolicyError, match=r"segment 0.*more\)") as refusal:
        luksmeta.open(path, policy="confidential-vm")
    rules = [each.rule for each in refusal.value.findings if isinstance(each, PolicyFinding)]
    assert rules == ["segment-null-cipher", "segment-cipher"]
    assert refusal.value.exit_status == 2
    luksmeta.open(path).close()


def test_what_is_no_header_is_what_it_is_without_a_policy() -> None:
    with pytest.raises(NotLuksError):
        luksmeta.open(MemoryStorage(1 << 20), policy="default")
    with pytest.raises(HeaderError):
        luksmeta.open(MemoryStorage(attacked("checksum-wrong")), policy="default")
    with pytest.raises(ValueError, match="nonsense"):
        luksmeta.open(MemoryStorage(good_image()), policy="nonsense")


def test_warnings_do_not_keep_a_volume_from_being_opened() -> None:
    storage = MemoryStorage(attacked("data-in-padding"))
    luksmeta.open(storage, policy="default").close()
    with pytest.raises(PolicyError):
        luksmeta.open(storage, policy="strict")


@pytest.mark.parametrize("version", builders.VERSIONS)
def test_data_is_written_to_the_disk_with_the_header_that_was_checked(
    version: Version,
) -> None:
    storage = builders.memory(version)
    volume = luksmeta.open(storage, writable=True, policy="default")
    offset = builders.data_offset(version)
    header = bytes(storage.data[:offset])
    storage.data[:offset] = bytes(offset)  # the disk has no header any more
    with volume, volume.unlock(FIRST) as unlocked, unlocked.open(writable=True) as data:
        data.write(b"hello" * 1000)
        data.seek(0)
        assert data.read(5) == b"hello"
    assert storage.data[:offset] == bytes(offset)
    storage.data[:offset] = header
    with luksmeta.open(storage) as volume, volume.unlock(FIRST) as unlocked:
        assert unlocked.open().read(5000) == b"hello" * 1000


def test_no_reader_of_the_data_sees_another_header() -> None:
    storage = MemoryStorage(good_image())
    with luksmeta.open(storage, writable=True, policy="confidential-vm") as volume:
        storage.data[: 1 << 20] = bytes(1 << 20)
        assert volume.data_storage.read_at(0, 1 << 20) == good_image()[: 1 << 20]
        assert volume.header_storage is volume.data_storage
        assert not volume.is_detached


def test_the_header_cannot_be_changed_while_it_is_held() -> None:
    storage = MemoryStorage(good_image())
    with luksmeta.open(storage, writable=True, policy="confidential-vm") as volume:
        with pytest.raises(StorageError, match="without a policy"):
            volume.configure(label="x")
        with pytest.raises(StorageError, match="without a policy"):
            volume.remove_keyslot(0, allow_last=True)
    assert storage.data == good_image()


def test_a_detached_header_is_held_and_the_data_is_where_it_was(tmp_path: Path) -> None:
    image, header = tmp_path / "volume.img", tmp_path / "header"
    image.write_bytes(bytes(DATA_OFFSET) + good_image()[DATA_OFFSET:])
    header.write_bytes(good_image()[:DATA_OFFSET])
    with luksmeta.open(image, header=header, writable=True, policy="strict") as volume:
        header.write_bytes(attacked("null-cipher-in-segment")[:DATA_OFFSET])
        assert volume.is_detached
        with (
            volume.unlock(volume_key=VOLUME_KEY) as unlocked,
            unlocked.open(writable=True) as data,
        ):
            data.write(b"secret" * 100)
    assert b"secret" not in image.read_bytes()


def test_a_dry_run_with_a_policy_writes_nothing() -> None:
    storage = MemoryStorage(good_image())
    with luksmeta.open(storage, dry_run=True, policy="strict") as volume:
        volume.configure(label="x")
        assert len(volume.written) == 1
    assert storage.data == good_image()


# --- the race ------------------------------------------------------------------------------------

RACERS = ("null-cipher-in-segment", "kdf-memory-huge", "segment-moved", "keyslot-added")


def test_whatever_is_written_between_check_and_use_what_is_used_was_checked(
    tmp_path: Path,
) -> None:
    path = tmp_path / "volume.img"
    path.write_bytes(good_image())
    headers = [data[: 1 << 16] for data in (good_image(), *map(attacked, RACERS))]
    stop = threading.Event()

    def rewrite() -> None:
        with path.open("r+b", buffering=0) as disk:
            while not stop.is_set():
                for header in headers:
                    disk.seek(0)
                    disk.write(header)

    good = luksmeta.open(MemoryStorage(good_image())).metadata
    outcomes = {"opened": 0, "refused": 0}
    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        while min(outcomes.values()) < 15:
            try:
                volume = luksmeta.open(path, writable=True, policy="confidential-vm")
            except (PolicyError, HeaderError):
                outcomes["refused"] += 1
                continue
            outcomes["opened"] += 1
            with volume, volume.unlock(volume_key=VOLUME_KEY) as unlocked:
                assert volume.metadata == good
                with unlocked.open(writable=True) as data:
                    data.write(b"this must never lie on the disk")
    finally:
        stop.set()
        writer.join()
    assert b"this must never" not in path.read_bytes()
    path.write_bytes(good_image()[: 1 << 16] + path.read_bytes()[1 << 16 :])
    with luksmeta.open(path) as volume, volume.unlock(PASSPHRASE) as unlocked:
        assert unlocked.open().read(31) == b"this must never lie on the disk"
