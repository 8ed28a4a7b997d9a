"""Storages: bounds, short reads, what the system says, and every kind against plain bytes."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luksmeta.errors import StorageBusyError, StorageError, StoragePermissionError
from luksmeta.file_storage import FileStorage, new_file
from luksmeta.overlay import OverlayStorage
from luksmeta.storage import MemoryStorage, SliceStorage, Storage
from luksmeta.target import FileObjectStorage, open_storage
from tests.storages import UnreadableStorage, UntouchedStorage

SIZE = 3 * 4096 + 100
CONTENT = bytes(range(251)) * 50
CONTENT = CONTENT[:SIZE]


def _file(folder: Path) -> Storage:
    path = folder / "file"
    path.write_bytes(CONTENT)
    return FileStorage(path, writable=True)


def _slice_of_slice(folder: Path) -> Storage:
    base = MemoryStorage(b"\xee" * 100 + CONTENT + b"\xee" * 100)
    return SliceStorage(SliceStorage(base, 50, SIZE + 100), 50, SIZE)


_KINDS: dict[str, Callable[[Path], Storage]] = {
    "file": _file,
    "file object": lambda folder: FileObjectStorage(io.BytesIO(CONTENT)),
    "memory": lambda folder: MemoryStorage(CONTENT),
    "slice": _slice_of_slice,
    "overlay": lambda folder: OverlayStorage(UntouchedStorage(CONTENT)),
}
_RESIZABLE = sorted(set(_KINDS) - {"slice"})
_WRITES = st.lists(
    st.tuples(st.integers(0, SIZE), st.binary(max_size=64) | st.just(b"\x5a" * 5000)), max_size=6
)


@pytest.fixture(name="storage", params=_KINDS)
def _storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return _KINDS[request.param](tmp_path)


@pytest.mark.parametrize("kind", _KINDS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(writes=_WRITES, reads=st.lists(st.tuples(st.integers(0, SIZE), st.integers(0, 9000))))
def test_every_kind_reads_what_plain_bytes_would(
    kind: str, writes: list[tuple[int, bytes]], reads: list[tuple[int, int]]
) -> None:
    model = bytearray(CONTENT)
    with tempfile.TemporaryDirectory() as folder, _KINDS[kind](Path(folder)) as storage:
        for offset, data in writes:
            fitting = data[: SIZE - offset]
            storage.write_at(offset, fitting)
            model[offset : offset + len(fitting)] = fitting
        storage.flush()
        for offset, size in reads:
            end = min(offset + size, SIZE)
            assert storage.read_at(offset, end - offset) == model[offset:end]
        assert storage.read_at(0, SIZE) == model


@pytest.mark.parametrize("kind", _RESIZABLE)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(sizes=st.lists(st.integers(0, 3 * SIZE), max_size=4), data=st.binary(max_size=9))
def test_what_resizing_adds_is_zeroes(kind: str, sizes: list[int], data: bytes) -> None:
    model = bytearray(CONTENT)
    with tempfile.TemporaryDirectory() as folder, _KINDS[kind](Path(folder)) as storage:
        for size in sizes:
            storage.resize(size)
            del model[size:]
            model.extend(bytes(size - len(model)))
            if size >= len(data):
                storage.write_at(size - len(data), data)
                model[size - len(data) :] = data
            assert storage.size == size
            assert storage.read_at(0, size) == model


@pytest.mark.parametrize(
    ("offset", "size"), [(-1, 2), (0, SIZE + 1), (SIZE, 1), (SIZE + 1, 0), (1 << 70, 1), (5, -1)]
)
def test_reading_out_of_bounds_is_refused(storage: Storage, offset: int, size: int) -> None:
    with storage, pytest.raises(StorageError, match="cannot read"):
        storage.read_at(offset, size)


@pytest.mark.parametrize(("offset", "data"), [(-1, b"xx"), (SIZE, b"x"), (SIZE - 1, b"xx")])
def test_writing_out_of_bounds_is_refused_and_changes_nothing(
    storage: Storage, offset: int, data: bytes
) -> None:
    with storage:
        with pytest.raises(StorageError, match="cannot write"):
            storage.write_at(offset, data)
        assert storage.size == SIZE
        assert storage.read_at(0, SIZE) == CONTENT


def test_a_short_read_is_an_error_with_both_numbers() -> None:
    with pytest.raises(StorageError, match="short read at 0x0, 10 of 512 bytes"):
        UnreadableStorage(CONTENT, range(10, 20)).read_at(0, 512)


def test_a_read_only_storage_refuses_to_write(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    read_only: list[Storage] = [
        FileStorage(path),
        MemoryStorage(CONTENT, writable=False),
        SliceStorage(MemoryStorage(CONTENT, writable=False), 5),
    ]
    for storage in read_only:
        with storage:
            with pytest.raises(StorageError, match="opened read-only"):
                storage.write_at(0, b"x")
            storage.flush()


def test_a_slice_cannot_leave_its_base_and_grows_with_it() -> None:
    base = MemoryStorage(CONTENT)
    with pytest.raises(StorageError, match="no slice"):
        SliceStorage(base, 1, SIZE)
    with pytest.raises(StorageError, match="no slice"):
        SliceStorage(base, SIZE + 1)
    rest = SliceStorage(base, SIZE - 10)
    assert rest.size == 10
    base.resize(SIZE + 10)
    assert rest.size == 20
    with pytest.raises(StorageError, match="cannot be changed"):
        rest.resize(5)


def test_an_overlay_never_touches_its_base() -> None:
    base = MemoryStorage(CONTENT)
    with OverlayStorage(base) as overlay:
        overlay.write_at(4000, b"x" * 200)
        overlay.resize(SIZE + 5000)
        assert bytes(base.data) == CONTENT
        assert overlay.read_at(4000, 200) == b"x" * 200


def test_a_committed_overlay_is_in_its_base() -> None:
    base = MemoryStorage(CONTENT)
    with OverlayStorage(base) as overlay:
        for offset in (8000, 10, SIZE - 3):
            overlay.write_at(offset, b"new")
        overlay.commit()
        assert overlay.read_at(0, SIZE) == bytes(base.data)
    expected = bytearray(CONTENT)
    for offset in (8000, 10, SIZE - 3):
        expected[offset : offset + 3] = b"new"
    assert base.data == expected


# Files and what the system says


def test_a_missing_file_and_a_folder_are_storage_errors(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such file"):
        FileStorage(tmp_path / "missing")
    with pytest.raises(StorageError, match="directory"):
        FileStorage(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no FIFOs")
def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(StorageError, match="neither a regular file nor a block device"):
        FileStorage(tmp_path / "fifo")


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.EACCES, StoragePermissionError),
        (errno.EPERM, StoragePermissionError),
        (errno.EROFS, StoragePermissionError),
        (errno.EBUSY, StorageBusyError),
        (errno.EIO, StorageError),
    ],
)
def test_what_the_system_answers_becomes_a_typed_error_with_the_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int, error: type[StorageError]
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(error, match=r"file: [a-z]") as caught:
        FileStorage(tmp_path / "file")
    assert type(caught.value) is error


def test_a_new_file_is_the_owners_alone_and_replaces_none(tmp_path: Path) -> None:
    path = tmp_path / "new"
    with FileStorage.create(path) as storage:
        storage.resize(10)
        storage.reserve(20)
        storage.write_at(0, b"x" * 10)
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(StorageBusyError):
        FileStorage.create(path)
    assert path.read_bytes().startswith(b"x" * 10)


def test_a_path_a_file_object_and_a_storage_all_open(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    memory = MemoryStorage(CONTENT)
    assert open_storage(memory) is memory
    with path.open("rb") as file, open_storage(file) as from_object:
        assert from_object.read_at(0, SIZE) == CONTENT
        assert not from_object.writable
        assert from_object.name == str(path)
    for target in (path, str(path)):
        with open_storage(target) as from_path:
            assert from_path.read_at(SIZE - 4, 4) == CONTENT[-4:]


def test_a_repr_names_the_storage_and_not_its_bytes() -> None:
    assert repr(MemoryStorage(b"secret", name="m")) == "<MemoryStorage m size=0x6>"


def test_a_new_file_is_flushed_and_then_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda fd: flushed.append(stat.S_ISDIR(os.fstat(fd).st_mode)))
    with new_file(tmp_path / "new") as file:
        file.resize(1)
    assert flushed == [False, True]


def test_a_file_that_the_disk_has_no_room_for_keeps_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(descriptor: int, offset: int, size: int) -> None:
        os.truncate(descriptor, offset + size // 2)
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "file"
    path.write_bytes(b"content")
    monkeypatch.setattr(os, "posix_fallocate", half)
    with FileStorage(path, writable=True) as storage:
        with pytest.raises(StorageError, match="no space left"):
            storage.reserve(1 << 20)
        assert storage.size == 7
    assert path.read_bytes() == b"content"
