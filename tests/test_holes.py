"""Holes of real files."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from luksmeta import FileStorage, MemoryStorage, StorageError, UnsupportedError, holes
from luksmeta.extents import Extent
from tests.requirement import missing

_BLOCK = 64 << 10  # bytes: of no file system is a block larger
_SIZE = 6 * _BLOCK


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Iterator[FileStorage]:
    """Data in the second and fourth block, holes elsewhere."""
    with FileStorage.create(tmp_path / "file") as file:
        file.resize(_SIZE)
        for number in (1, 3):
            file.write_at(number * _BLOCK, b"x" * _BLOCK)
        if not any(each.is_hole for each in holes.stretches(file, 0, _SIZE)):
            missing("this file system tells of no holes")
        yield file


def _found(file: FileStorage, offset: int, size: int) -> list[tuple[int, int, bool]]:
    return [
        (each.extent.offset, each.extent.size, each.is_hole)
        for each in holes.stretches(file, offset, size)
    ]


def test_holes_and_data_are_told_in_order_without_gaps(file: FileStorage) -> None:
    assert _found(file, 0, _SIZE) == [
        (0, _BLOCK, True),
        (_BLOCK, _BLOCK, False),
        (2 * _BLOCK, _BLOCK, True),
        (3 * _BLOCK, _BLOCK, False),
        (4 * _BLOCK, 2 * _BLOCK, True),
    ]
    assert _found(file, _BLOCK + 5, 10) == [(_BLOCK + 5, 10, False)]
    assert _found(file, _SIZE - 1, 1) == [(_SIZE - 1, 1, True)]
    assert _found(file, 2 * _BLOCK - 1, 2) == [
        (2 * _BLOCK - 1, 1, False),
        (2 * _BLOCK, 1, True),
    ]
    assert _found(file, 5, 0) == []


def test_where_nothing_is_known_there_is_no_hole() -> None:
    found = list(holes.stretches(MemoryStorage(100), 10, 50))
    assert found == [holes.Stretch(Extent(10, 50), is_hole=False)]


def test_a_punched_hole_is_one_and_reads_as_zeroes(file: FileStorage) -> None:
    holes.punch(file, _BLOCK, _BLOCK)
    assert _found(file, 0, 3 * _BLOCK) == [(0, 3 * _BLOCK, True)]
    assert file.read_at(_BLOCK, _BLOCK) == bytes(_BLOCK)
    holes.punch(file, 3 * _BLOCK + 7, 100)
    assert file.read_at(3 * _BLOCK, 200) == b"x" * 7 + bytes(100) + b"x" * 93
    assert file.size == _SIZE


def test_what_cannot_be_punched_is_refused(
    file: FileStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnsupportedError):
        holes.punch(MemoryStorage(100), 0, 10)
    for number, kind in (
        (errno.EOPNOTSUPP, UnsupportedError),
        (errno.ENOSYS, UnsupportedError),
        (errno.EIO, StorageError),
    ):
        monkeypatch.setattr(holes, "_fallocate", lambda number=number: lambda *_: number)
        with pytest.raises(kind, match=file.name):
            holes.punch(file, 0, 10)
