"""New volumes: cryptsetup's geometry, what is wiped and what is left, and failures undone."""

from __future__ import annotations

import stat
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

import luksmeta
from luksmeta import (
    AlgorithmError,
    LuksError,
    MemoryStorage,
    Storage,
    StorageBusyError,
    StorageError,
    UnsupportedError,
    Volume,
    new_volume,
)
from luksmeta.format_options import Version
from luksmeta.locking import locked
from luksmeta.model import CryptSegment, Keyslot
from luksmeta.write_plan import Barrier
from tests.builders import FIRST, KDF, VERSIONS, key_behind
from tests.disk_states import writes_without_barrier
from tests.storages import FailingStorage, UntouchedStorage

MIB = 1 << 20
CHEAP: dict[str, Any] = {"pbkdf": KDF, "digest_iterations": 1000}


def _formatted(target: luksmeta.target.Target, **options: Any) -> Volume:  # noqa: ANN401 - any option
    return luksmeta.format(target, FIRST, **{**CHEAP, **options})


def _locked_briefly(storage: Storage, *, exclusive: bool) -> AbstractContextManager[None]:
    return locked(storage, exclusive=exclusive, wait_seconds=0.05)


def _segment(volume: Volume) -> CryptSegment:
    segment = volume.metadata.segments[0]
    assert isinstance(segment, CryptSegment)
    return segment


# Geometry: what cryptsetup 2.6.1 made of the same options


@pytest.mark.parametrize(
    ("options", "data_offset", "area_offset", "keyslots_size"),
    [
        ({}, 16 * MIB, 32768, 16744448),
        ({"data_offset": MIB}, MIB, 32768, 1015808),
        ({"metadata_size": 65536, "keyslots_size": 524288}, MIB, 131072, 524288),
        ({"data_offset": 4 * MIB}, 4 * MIB, 32768, 4161536),
        ({"metadata_size": 131072, "data_offset": MIB}, MIB, 262144, 786432),
        ({"keyslots_size": 524288 + 100}, MIB, 32768, 524288),
    ],
)
def test_a_luks2_volume_is_laid_out_as_by_cryptsetup(
    tmp_path: Path, options: dict[str, int], data_offset: int, area_offset: int, keyslots_size: int
) -> None:
    with _formatted(tmp_path / "new", size="20M", **options) as volume:
        assert _segment(volume).offset == data_offset
        assert volume.keyslots[0].area.offset == area_offset
        assert volume.metadata.keyslots_area.size == keyslots_size
        assert [state.seqid for state in volume.header.copies] == [3, 3]  # "Epoch: 3"


@pytest.mark.parametrize(("key_size", "area_size"), [(16, 65536), (32, 131072), (64, 258048)])
def test_a_luks2_area_is_as_large_as_cryptsetups(key_size: int, area_size: int) -> None:
    cipher = "aes-cbc-plain64" if key_size == 16 else "aes-xts-plain64"
    storage = MemoryStorage(2 * MIB)
    with _formatted(storage, cipher=cipher, key_size=key_size, data_offset=MIB) as volume:
        assert volume.keyslots[0].area.size == area_size


@pytest.mark.parametrize(("key_size", "data_offset"), [(16, MIB), (32, 2 * MIB), (64, 2 * MIB)])
def test_a_luks1_volume_is_laid_out_as_by_cryptsetup(key_size: int, data_offset: int) -> None:
    cipher = "aes-cbc-plain64" if key_size == 16 else "aes-xts-plain64"
    with _formatted(MemoryStorage(3 * MIB), type="luks1", cipher=cipher, key_size=key_size) as made:
        assert _segment(made).offset == data_offset
        assert made.keyslots[0].area.offset == 4096


@pytest.mark.parametrize(("version", "size"), [("luks1", 2068480), ("luks2", 16777216)])
def test_a_detached_header_file_is_as_large_as_cryptsetups(
    tmp_path: Path, version: Version, size: int
) -> None:
    data, header = tmp_path / "data", tmp_path / "header"
    data.write_bytes(b"\x5a" * MIB)
    with _formatted(data, header=header, type=version, key_size=64) as volume:
        assert volume.is_detached
        assert _segment(volume).offset == 0
    assert header.stat().st_size == size
    assert data.read_bytes() == b"\x5a" * MIB
    with luksmeta.open(data, header=header) as volume:
        assert key_behind(volume, FIRST)


@pytest.mark.parametrize(
    ("size", "options", "sector_size"),
    [
        (24 * MIB, {}, 4096),
        (24 * MIB + 512, {}, 512),
        (24 * MIB, {"type": "luks1"}, 512),
        (24 * MIB, {"sector_size": 1024}, 1024),
    ],
)
def test_the_sector_size_is_the_largest_that_divides_the_data(
    tmp_path: Path, size: int, options: dict[str, Any], sector_size: int
) -> None:
    with _formatted(tmp_path / "new", size=size, **options) as volume:
        assert _segment(volume).sector_size == sector_size


def test_the_defaults_are_cryptsetups(tmp_path: Path) -> None:
    with _formatted(tmp_path / "new", size="17M") as volume:
        keyslot = volume.keyslots[0]
        assert isinstance(keyslot, Keyslot)
        assert volume.version == 2
        assert _segment(volume).encryption == "aes-xts-plain64"
        assert keyslot.key_size == keyslot.area.key_size == 64
        assert keyslot.area.encryption == "aes-xts-plain64"
        assert keyslot.af.hash == "sha256"
        assert len(keyslot.salt) == 32


def test_what_is_asked_for_is_what_the_header_says(tmp_path: Path) -> None:
    uuid = "c0ffee00-0000-4000-8000-000000000001"
    key = bytes(range(32))
    with _formatted(
        tmp_path / "new",
        size="3M",
        cipher="aes-cbc-essiv:sha256",
        volume_key=key,
        hash="sha512",
        uuid=uuid,
        label="a label",
        subsystem="a subsystem",
        data_offset=MIB,
        keyslot=5,
        keyslot_cipher="aes-xts-plain64",
        keyslot_key_size=64,
    ) as volume:
        again = luksmeta.open(volume.header_storage).metadata
        assert (again.uuid, again.label, again.subsystem) == (uuid, "a label", "a subsystem")
        assert again == volume.metadata
        keyslot = again.keyslots[5]
        assert isinstance(keyslot, Keyslot)
        assert (keyslot.area.encryption, keyslot.area.key_size) == ("aes-xts-plain64", 64)
        assert keyslot.af.hash == "sha512"
        assert key_behind(volume, FIRST) == key


@pytest.mark.parametrize(
    ("cipher", "written"), [("aes", "aes-cbc-plain"), ("null", "cipher_null-ecb")]
)
def test_short_cipher_names_are_written_out(cipher: str, written: str) -> None:
    storage = MemoryStorage(3 * MIB)
    with _formatted(storage, cipher=cipher, key_size=32, data_offset=MIB) as volume:
        assert _segment(volume).encryption == written
        assert key_behind(volume, FIRST)


# What is written


@pytest.mark.parametrize("version", VERSIONS)
def test_old_content_goes_up_to_the_data_and_not_beyond(version: Version) -> None:
    storage = MemoryStorage(b"\x5a" * (4 * MIB))
    with _formatted(storage, type=version, data_offset=3 * MIB, key_size=32) as volume:
        area = volume.metadata.keyslots_area
        used = volume.keyslots[0].area.extent
    assert storage.data[3 * MIB :] == b"\x5a" * MIB
    assert not any(storage.data[area.end : 3 * MIB])
    # Random where keyslots will be: neither zeroes nor what was there.
    unused = storage.data[used.end : area.end]
    assert max(map(unused.count, (0, 0x5A))) < len(unused) / 200
    if version == "luks1":
        assert not any(storage.data[592:4096])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_plan_has_barriers_and_the_header_last(version: Version) -> None:
    with _formatted(MemoryStorage(3 * MIB), type=version, key_size=32) as volume:
        first, second = volume.written
    assert isinstance(first.steps[-1], Barrier)
    assert writes_without_barrier(second) == []
    assert "header" in getattr(first.steps[-2], "what", "")


def test_progress_is_told() -> None:
    seen: list[tuple[int, int]] = []
    luksmeta.format(
        MemoryStorage(3 * MIB),
        FIRST,
        progress=lambda done, total: seen.append((done, total)),
        data_offset=MIB,
        **CHEAP,
    )
    assert all(done <= total for done, total in seen)
    assert any(done == total for done, total in seen)


@pytest.mark.parametrize("exists", [True, False])
def test_a_dry_run_writes_nothing_and_shows_the_plans(tmp_path: Path, exists: bool) -> None:
    path = tmp_path / "volume"
    if exists:
        path.write_bytes(b"\x5a" * MIB)
    with _formatted(path, size="20M", dry_run=True) as volume:
        plans = [plan.what for plan in volume.written]
        assert plans == ["make room", "format", "store keyslot 0"]
        assert key_behind(volume, FIRST)
    assert path.exists() == exists
    assert not exists or path.read_bytes() == b"\x5a" * MIB


def test_a_new_file_is_sparse_and_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "new"
    _formatted(path, size="1G").close()
    found = path.stat()
    assert found.st_size == 1 << 30
    if sys.platform == "linux":
        assert stat.S_IMODE(found.st_mode) == 0o600
        assert found.st_blocks * 512 < 64 * MIB


# Mistakes: nothing is created or written


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"data_offset": 1000}, ValueError, "not a multiple of 4096"),
        ({"data_offset": -4096}, ValueError, "data offset -4096"),
        ({"data_offset": 32768}, ValueError, "no room behind two headers"),
        ({"metadata_size": 12345}, ValueError, "metadata size 12345, legal are"),
        ({"keyslots_size": 4095}, ValueError, "keyslots size 4095"),
        ({"keyslots_size": 129 * MIB}, ValueError, "keyslots size 135266304"),
        ({"sector_size": 1000}, ValueError, "sector size 1000, legal are"),
        ({"sector_size": 4096, "size": 20 * MIB + 512}, ValueError, "does not divide the data"),
        ({"uuid": "nonsense"}, ValueError, "badly formed"),
        ({"label": "x" * 48}, ValueError, "at most 47"),
        ({"keyslot": 32}, LuksError, "ids go from 0 to 31"),
        ({"key_size": 33}, AlgorithmError, "key has 33 bytes"),
        ({"volume_key": bytes(32), "key_size": 64}, ValueError, "key size 64 is asked for"),
        ({"cipher": "rot13-xts-plain64"}, AlgorithmError, "not available"),
        ({"cipher": ""}, AlgorithmError, "not a cipher specification"),
        ({"hash": "sha257"}, AlgorithmError, "hash 'sha257'"),
        ({"hash": "md5"}, ValueError, "hash md5 has 16 bytes, .* needs 20"),
        ({"type": "luks1", "hash": "md5"}, ValueError, "hash md5 has 16 bytes, .* needs 20"),
        ({"keyslot_cipher": "rot13-ecb"}, AlgorithmError, "not available"),
        ({"pbkdf": luksmeta.Pbkdf2(hash="sha256", iterations=999)}, ValueError, "minimum is 1000"),
        ({"size": "20X"}, ValueError, "a number is expected"),
        ({"type": "luks1", "label": "x"}, UnsupportedError, "LUKS1 has no label"),
        ({"type": "luks1", "sector_size": 4096}, UnsupportedError, "LUKS1 knows 512 only"),
        ({"type": "luks1", "metadata_size": 16384}, UnsupportedError, "no metadata size"),
        ({"type": "luks1", "keyslot": 8}, LuksError, "ids go from 0 to 7"),
        ({"type": "luks1", "data_offset": 4096}, ValueError, "before the keyslots' end"),
        ({"type": "luks1", "data_offset": 1 << 42}, ValueError, "is not between 0 and"),
        (
            {"type": "luks1", "pbkdf": luksmeta.Argon2id(time=4, memory=32, cpus=1)},
            UnsupportedError,
            "PBKDF2 only",
        ),
    ],
)
def test_options_that_make_no_sense_leave_no_file(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    path = tmp_path / "new"
    with pytest.raises(error, match=message):
        _formatted(path, **{"size": 20 * MIB, **options})
    assert not path.exists()


def test_a_storage_is_not_touched_before_the_key_is_derived() -> None:
    with pytest.raises(AlgorithmError):
        _formatted(UntouchedStorage(bytes(MIB)), cipher="aes-xts-plain63")


def test_a_size_below_the_files_own_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "volume"
    path.write_bytes(bytes(2 * MIB))
    with pytest.raises(ValueError, match=r"size 1048576: .* has 2097152 bytes"):
        _formatted(path, size="1M")
    assert path.stat().st_size == 2 * MIB


def test_a_missing_file_needs_a_size(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such file"):
        _formatted(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()


# Failures


@pytest.mark.parametrize("version", VERSIONS)
def test_whichever_write_fails_the_error_is_typed_and_the_size_as_before(version: Version) -> None:
    options = {"type": version, "data_offset": 2 * MIB, "key_size": 32}
    succeeded = False
    for writes in range(30):
        storage = FailingStorage(MIB, writes=writes)
        try:
            _formatted(storage, **options)
            succeeded = True
            break
        except StorageError as error:
            assert "no space left" in str(error)  # noqa: PT017 - and the state after it
        assert storage.size == MIB
    assert succeeded
    assert 4 < writes < 30


def _fail_at(monkeypatch: pytest.MonkeyPatch, write: int) -> None:
    """Let the ``write``-th write of any file fail."""
    real: Callable[..., None] = luksmeta.FileStorage._write
    left = [write]

    def failing(self: luksmeta.FileStorage, offset: int, data: bytes) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise StorageError(f"{self.name}: no space left on device")
        real(self, offset, data)

    monkeypatch.setattr(luksmeta.FileStorage, "_write", failing)


@pytest.mark.parametrize("write", [0, 1, 3, 5])
def test_a_file_that_was_created_goes_when_a_write_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    _fail_at(monkeypatch, write)
    with pytest.raises(StorageError, match="no space left"):
        _formatted(tmp_path / "new", size="4M", data_offset=MIB)
    data = tmp_path / "data"
    data.write_bytes(bytes(MIB))
    with pytest.raises(StorageError, match="no space left"):
        _formatted(data, header=tmp_path / "header", keyslots_size=MIB // 2)
    assert [each.name for each in tmp_path.iterdir()] == ["data"]


def test_a_file_that_was_extended_is_cut_back_when_a_write_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "volume"
    path.write_bytes(bytes(12345))
    _fail_at(monkeypatch, 2)
    with pytest.raises(StorageError, match="no space left"):
        _formatted(path, size="4M", data_offset=MIB)
    assert path.stat().st_size == 12345


def test_an_interrupt_is_undone_as_well(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "new"
    with pytest.raises(KeyboardInterrupt):
        luksmeta.format(path, FIRST, size="4M", progress=interrupt, data_offset=MIB, **CHEAP)
    assert not path.exists()


def test_a_header_file_that_another_process_holds_is_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.platform == "win32":
        return  # there is no flock to hold
    import fcntl

    path = tmp_path / "volume"
    path.write_bytes(bytes(2 * MIB))
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        monkeypatch.setattr(new_volume, "locked", _locked_briefly)
        with pytest.raises(StorageBusyError):
            _formatted(path, data_offset=MIB)
    assert path.read_bytes() == bytes(2 * MIB)
