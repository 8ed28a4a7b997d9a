"""The file system with one file, called as libfuse calls it; nothing is mounted."""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import luksmeta
from luksmeta import StorageError
from luksmeta.fuse import mounting
from luksmeta.plaintext_device import PlaintextDevice
from luksmeta.secret import BytesLike
from luksmeta.segment_stream import SegmentStream
from tests import builders
from tests.requirement import missing

if TYPE_CHECKING:
    from luksmeta.fuse.filesystem import PayloadFilesystem

_PATH = "/payload"


class _Disk(luksmeta.MemoryStorage):
    """Fails with a number of the system's once that is set."""

    number = 0
    flushes = 0

    def _write(self, offset: int, data: BytesLike) -> None:
        self._fail()
        super()._write(offset, data)

    def flush(self) -> None:
        self.flushes += 1
        self._fail()

    def _fail(self) -> None:
        if self.number:
            raise StorageError("as the test wants it") from OSError(self.number, "")


def _filesystem_class() -> type[PayloadFilesystem]:
    try:
        return mounting.filesystem_class()
    except luksmeta.UnsupportedError as error:
        missing(str(error))


@contextmanager
def _filesystem(*, writable: bool = True) -> Iterator[tuple[PayloadFilesystem, _Disk]]:
    filesystem = _filesystem_class()
    disk = _Disk(builders.image("luks2"))
    with _stream(disk, writable=writable) as stream:
        yield filesystem(PlaintextDevice(stream), writable=writable), disk


@contextmanager
def _stream(disk: _Disk, *, writable: bool = True) -> Iterator[SegmentStream]:
    with (
        luksmeta.open(disk, writable=writable) as volume,
        volume.unlock(builders.FIRST) as unlocked,
        unlocked.open(writable=writable) as stream,
    ):
        yield stream
        disk.number = 0


@contextmanager
def _error(number: int) -> Iterator[None]:
    with pytest.raises(OSError, match=rf"^\[Errno {number}\]"):
        yield


@pytest.mark.parametrize(("writable", "mode"), [(False, 0o400), (True, 0o600)])
def test_there_is_one_file_of_the_payloads_size(writable: bool, mode: int) -> None:
    with _filesystem(writable=writable) as (files, _):
        assert files.readdir("/", 0) == [".", "..", "payload"]
        status = files.getattr(_PATH)
        assert status["st_mode"] == stat.S_IFREG | mode
        assert status["st_size"] == builders.DATA_SIZE
        assert stat.S_ISDIR(files.getattr("/")["st_mode"])
        with _error(errno.ENOENT):
            files.getattr("/other")


def test_bytes_are_written_where_they_are_asked_for_and_nothing_behind_the_end() -> None:
    with _filesystem() as (files, _):
        size = builders.DATA_SIZE
        before = files.read(_PATH, size, 0, 0)
        assert files.write(_PATH, b"between sectors", 505, 0) == 15
        assert files.read(_PATH, size, 0, 0) == before[:505] + b"between sectors" + before[520:]
        assert files.write(_PATH, b"last, and more", size - 4, 0) == 4
        assert files.read(_PATH, 100, size - 4, 0) == b"last"
        assert files.read(_PATH, 100, size, 0) == b""
        with _error(errno.ENOSPC):
            files.write(_PATH, b"x", size, 0)


def test_the_size_stays() -> None:
    with _filesystem() as (files, _):
        files.truncate(_PATH, builders.DATA_SIZE)
        for size in (0, builders.DATA_SIZE + 1):
            with _error(errno.EPERM):
                files.truncate(_PATH, size)


def test_the_systems_error_is_that_of_the_write() -> None:
    with _filesystem() as (files, disk):
        disk.number = errno.ENOSPC
        with _error(errno.ENOSPC):
            files.write(_PATH, bytes(512), 0, 0)
        disk.number = 0
        assert files.write(_PATH, bytes(512), 0, 0) == 512


def test_after_a_failed_flush_nothing_is_promised_any_more() -> None:
    with _filesystem() as (files, disk):
        files.fsync(_PATH, 0, 0)
        files.write(_PATH, b"x", 0, 0)
        files.flush(_PATH, 0)
        assert disk.flushes == 2
        disk.number = errno.EDQUOT
        with _error(errno.EDQUOT):
            files.fsync(_PATH, 0, 0)
        disk.number = 0
        with _error(errno.EIO):
            files.fsync(_PATH, 0, 0)
        with _error(errno.EIO):
            files.write(_PATH, b"x", 0, 0)


def test_an_unmounting_tells_of_what_an_earlier_flush_lost(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _filesystem_class()
    disk = _Disk(builders.image("luks2"))
    with _stream(disk) as stream:

        def used(filesystem: PayloadFilesystem, *_: object, **__: object) -> None:
            disk.number = errno.ENOSPC
            with _error(errno.ENOSPC):
                filesystem.fsync(_PATH, 0, 0)
            disk.number = 0

        monkeypatch.setattr(mounting, "_run", used)
        with pytest.raises(StorageError, match="not all that was written is safe"):
            mounting.mount(stream, tmp_path, name="disk", writable=True)


def test_a_read_only_volume_takes_no_write() -> None:
    with (
        _filesystem(writable=False) as (files, _),
        _error(errno.EIO),
    ):
        files.write(_PATH, b"x", 0, 0)
