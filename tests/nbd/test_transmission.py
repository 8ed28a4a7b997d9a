"""Requests and replies, and what the volume holds afterwards."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

import luksmeta
from luksmeta import MemoryStorage, StorageError
from luksmeta.secret import BytesLike
from tests import builders
from tests.corpus import stream
from tests.nbd.client import (
    BLOCK_STATUS,
    DF,
    EINVAL,
    EIO,
    ENOSPC,
    ENOTSUP,
    EOVERFLOW,
    EPERM,
    FLUSH,
    FUA,
    NO_HOLE,
    READ,
    REQ_ONE,
    TRIM,
    WRITE,
    WRITE_ZEROES,
    file_volume,
    served,
)
from tests.storages import UnreadableStorage

SIZE = builders.DATA_SIZE
START = builders.data_offset("luks2")


def _plaintext(storage: luksmeta.storage.Storage) -> bytes:
    with (
        luksmeta.open(storage) as volume,
        volume.unlock(builders.FIRST) as unlocked,
        unlocked.open() as plain,
    ):
        return plain.readall()


class _Disk(MemoryStorage):
    """Counts flushes; fails them, or writes, with a number of the system's."""

    flushes = 0
    flush_error = write_error = 0

    def flush(self) -> None:
        self.flushes += 1
        if self.flush_error:
            raise StorageError("no flush") from OSError(self.flush_error, "")

    def _write(self, offset: int, data: BytesLike) -> None:
        if self.write_error:
            raise StorageError("no write") from OSError(self.write_error, "")
        super()._write(offset, data)


@pytest.mark.parametrize("structured", [True, False])
def test_what_is_written_is_read_and_in_the_volume(structured: bool) -> None:
    with served() as running, running.client() as client:
        client.start(structured=structured)
        expected = bytearray(client.ask(READ, 0, SIZE).data)
        for offset, length in ((0, 512), (100, 5), (511, 1026), (SIZE - 1, 1), (4096, 40000)):
            data = stream(f"nbd/{offset}", length)
            assert client.ask(WRITE, offset, data=data).error == 0
            expected[offset : offset + length] = data
            assert client.ask(READ, offset, length).data == data
        assert client.ask(WRITE_ZEROES, 777, 3000, flags=NO_HOLE).error == 0
        expected[777:3777] = bytes(3000)
        assert client.ask(READ, 0, SIZE, flags=DF if structured else 0).data == expected
        assert client.ask(FLUSH).error == 0
        for command in (READ, WRITE, WRITE_ZEROES):
            assert client.ask(command, SIZE, 0).error == 0
    assert _plaintext(running.storage) == expected


def test_what_makes_no_sense_is_refused_and_the_connection_goes_on() -> None:
    with served() as running, running.client() as client:
        client.start()
        before = client.ask(READ, 0, SIZE).data
        for command, offset, length, flags, error in (
            (READ, SIZE - 1, 2, 0, EINVAL),
            (READ, 2**64 - 1, 1, 0, EINVAL),
            (READ, 0, 0xFFFFFFFF, 0, EINVAL),
            (READ, 0, 512, FUA, EINVAL),
            (WRITE_ZEROES, SIZE, 1, 0, ENOSPC),
            (WRITE_ZEROES, 0, 512, 1 << 4, EINVAL),  # fast or not at all, which is not on offer
            (TRIM, 0, 512, 0, ENOTSUP),
            (BLOCK_STATUS, 1, SIZE, 0, EINVAL),
            (BLOCK_STATUS, 0, 0, 0, EINVAL),
            (FLUSH, 0, 0, FUA, EINVAL),
            (5, 0, 512, 0, EINVAL),
            (77, 0, 0, 0, EINVAL),
        ):
            reply = client.ask(command, offset, length, flags=flags)
            assert (reply.error, reply.message != "") == (error, True)
        for offset, data, flags, error in (
            (SIZE - 1, b"ab", 0, ENOSPC),
            (2**64 - 1, b"a", 0, ENOSPC),
            (0, b"a", DF, EINVAL),
        ):
            assert client.ask(WRITE, offset, data=data, flags=flags).error == error
        assert client.ask(READ, 0, SIZE).data == before


def test_a_read_has_its_limit(tmp_path: Path) -> None:
    size = 64 << 20
    path = tmp_path / "volume.img"
    luksmeta.format(path, builders.FIRST, size=size, pbkdf=builders.KDF).close()
    with (
        luksmeta.FileStorage(path) as file,
        served(file, writable=False) as running,
        running.client() as client,
    ):
        client.start()
        assert client.ask(READ, 0, (32 << 20) + 1).error == EOVERFLOW
        assert len(client.ask(READ, 5, 32 << 20).data) == 32 << 20


def test_a_volume_that_is_served_read_only_stays_as_it_is() -> None:
    storage = builders.memory("luks2")
    before = bytes(storage.data)
    with served(storage, writable=False) as running, running.client() as client:
        client.start()
        assert client.ask(WRITE, 0, data=b"data").error == EPERM
        assert client.ask(WRITE_ZEROES, 0, 512).error == EPERM
        assert client.ask(TRIM, 0, 512).error == EPERM
        assert client.ask(FLUSH).error == 0
        assert client.ask(READ, 0, 512).error == 0
    assert storage.data == before


def test_a_flush_is_one_of_the_disk() -> None:
    disk = _Disk(builders.image("luks2"))
    with served(disk) as running, running.client() as client:
        client.start()
        before = disk.flushes
        client.ask(WRITE, 0, data=b"unflushed")
        assert disk.flushes == before
        for number, (command, flags) in enumerate(
            ((FLUSH, 0), (WRITE, FUA), (WRITE_ZEROES, FUA)), start=1
        ):
            length = 0 if command == FLUSH else 4
            data = b"data" if command == WRITE else b""
            assert client.ask(command, 0, length, data, flags).error == 0
            assert disk.flushes == before + number


@pytest.mark.parametrize(("command", "flags"), [(FLUSH, 0), (WRITE, FUA), (WRITE_ZEROES, FUA)])
def test_after_a_failed_flush_nothing_is_written_on_any_connection(
    command: int, flags: int
) -> None:
    disk = _Disk(builders.image("luks2"))
    with (
        served(disk) as running,
        running.client() as client,
        running.client() as other,
    ):
        client.start()
        other.start()
        disk.flush_error = errno.EIO
        data = b"data" if command == WRITE else b""
        length = 0 if command == FLUSH else 4
        assert client.ask(command, 0, length, data, flags).error == EIO
        disk.flush_error = 0
        assert running.warnings == ["a flush failed, nothing more is written: no flush"]
        flushes, content = disk.flushes, disk.data.copy()
        for each in (FLUSH, WRITE, WRITE_ZEROES):
            reply = other.ask(
                each, 0, 0 if each != WRITE_ZEROES else 9, b"lost" if each == WRITE else b""
            )
            assert (reply.error, "earlier flush failed" in reply.message) == (EIO, True)
        assert (disk.flushes, disk.data) == (flushes, content)
        assert other.ask(READ, 0, 512).error == 0
        with pytest.raises(StorageError, match="not all that was written is safe"):
            running.device.finish()


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, ENOSPC), (errno.EDQUOT, ENOSPC), (errno.EROFS, EPERM), (errno.EIO, EIO)],
)
def test_the_systems_error_is_that_of_the_reply(number: int, error: int) -> None:
    disk = _Disk(builders.image("luks2"))
    with served(disk) as running, running.client() as client:
        client.start()
        disk.write_error = number
        assert client.ask(WRITE, 0, data=bytes(512)).error == error
        disk.write_error = 0
        assert client.ask(WRITE, 0, data=bytes(512)).error == 0


@pytest.mark.parametrize("structured", [True, False])
def test_a_bad_sector_is_the_error_of_its_reads_alone(structured: bool) -> None:
    bad = range(START + 1024, START + 1536)
    with (
        served(UnreadableStorage(builders.image("luks2"), bad)) as running,
        running.client() as client,
    ):
        client.start(structured=structured)
        assert client.ask(READ, 0, 2048).error == EIO
        assert client.ask(READ, 0, 1024).error == 0


def test_holes_are_told_as_holes_and_not_as_zeroes(tmp_path: Path) -> None:
    with (
        file_volume(tmp_path / "volume.img") as file,
        served(file) as running,
        running.client() as client,
    ):
        client.start()
        assert client.ask(BLOCK_STATUS, 0, SIZE).extents == [(SIZE, 1)]
        assert client.ask(READ, 0, 512).data != bytes(512)
        client.ask(WRITE, 16384, data=bytes(8192))
        whole = [(16384, 1), (8192, 0), (SIZE - 24576, 1)]
        assert client.ask(BLOCK_STATUS, 0, SIZE).extents == whole
        assert client.ask(BLOCK_STATUS, 100, SIZE - 100, flags=REQ_ONE).extents == [(16284, 1)]
        assert client.ask(BLOCK_STATUS, 20000, 1).extents == [(1, 0)]


def test_memory_has_no_holes() -> None:
    with served() as running, running.client() as client:
        client.start()
        assert client.ask(BLOCK_STATUS, 0, SIZE).extents == [(SIZE, 0)]


def test_a_trim_gives_back_whole_sectors_and_touches_nothing_else(tmp_path: Path) -> None:
    with (
        file_volume(tmp_path / "volume.img") as file,
        served(file, allow_discards=True) as running,
        running.client() as client,
    ):
        client.start()
        data = stream("nbd/trim", SIZE)
        client.ask(WRITE, 0, data=data)
        assert client.ask(TRIM, 4000, 20000, flags=FUA).error == 0
        assert client.ask(READ, 0, 4000).data == data[:4000]
        assert client.ask(READ, 24000, SIZE - 24000).data == data[24000:]
        assert client.ask(BLOCK_STATUS, 4096, 16384).extents == [(16384, 1)]


@pytest.mark.parametrize("size", [1, 37, 511, 512, 1500])
def test_connections_that_write_in_the_same_sectors_lose_nothing_of_each_other(size: int) -> None:
    """Each writes every fourth piece."""
    storage = builders.memory("luks2")
    end = size * 40
    with served(storage) as running:

        def work(number: int) -> None:
            with running.client() as client:
                client.start()
                for at in range(number * size, end, 4 * size):
                    client.ask(WRITE, at, data=bytes([number + 1]) * size)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    expected = bytes((at // size) % 4 + 1 for at in range(end))
    assert _plaintext(storage)[:end] == expected
