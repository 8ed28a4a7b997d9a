"""Data in use: who shares a file's data, among ourselves and with qemu."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

import luksmeta
from luksmeta import StorageBusyError
from luksmeta.data_lock import data_in_use
from luksmeta.overlay import OverlayStorage
from luksmeta.storage import open_storage
from tests import builders
from tests.cli.runner import done, refused
from tests.cli.runner import luksmeta as run
from tests.interop.peers.process import Tool

_QEMU_IO = Tool("qemu-io", "qemu-utils")


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return builders.file(tmp_path / "volume.img", "luks2")


@contextmanager
def _used(path: Path, *, writable: bool) -> Iterator[None]:
    with open_storage(path, writable=writable) as storage, data_in_use(storage, writable=writable):
        yield


@pytest.mark.parametrize(
    ("one", "other", "is_busy"),
    [(False, False, False), (False, True, True), (True, False, True), (True, True, True)],
)
def test_readers_share_and_a_writer_is_alone(
    path: Path, one: bool, other: bool, is_busy: bool
) -> None:
    with _used(path, writable=one):
        if is_busy:
            with (
                pytest.raises(StorageBusyError, match=r"volume\.img: in use"),
                _used(path, writable=other),
            ):
                pass
        else:
            with _used(path, writable=other):
                pass
    with _used(path, writable=True):  # all is given back
        pass


def test_the_file_below_a_view_is_locked(path: Path) -> None:
    with (
        open_storage(path, writable=True) as file,
        closing(OverlayStorage(file)) as view,
        data_in_use(view, writable=True),
        pytest.raises(StorageBusyError),
        _used(path, writable=False),
    ):
        pass


def test_a_storage_in_memory_has_nothing_to_lock() -> None:
    storage = luksmeta.MemoryStorage(100)
    with data_in_use(storage, writable=True), data_in_use(storage, writable=True):
        pass


def test_headers_can_be_looked_at_while_the_data_is_written(path: Path) -> None:
    with _used(path, writable=True):
        done(run("dump", path))
        refused(run("read", path, "-o", path.parent / "plain", stdin=builders.FIRST), 5, str(path))
        refused(run("write", path, "-i", path, stdin=builders.FIRST), 1)
    done(run("read", path, "-o", path.parent / "plain", stdin=builders.FIRST))


def test_qemu_and_we_keep_off_each_others_image(path: Path) -> None:
    _QEMU_IO.require()
    with _used(path, writable=True):
        assert b"lock" in _qemu_io(path, "read 0 512").stderr
    with _used(path, writable=False):
        assert not _qemu_io(path, "read 0 512", "-r").stderr
        assert b"lock" in _qemu_io(path, "write 0 512").stderr
    with subprocess.Popen(
        ["qemu-io", "-f", "raw", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as qemu:
        assert qemu.stdin is not None
        assert qemu.stdout is not None
        qemu.stdin.write(b"read 0 512\n")
        qemu.stdin.flush()
        while not qemu.stdout.readline().startswith(b"512 bytes"):
            pass
        for writable in (False, True):
            with pytest.raises(StorageBusyError), _used(path, writable=writable):
                pass
        qemu.stdin.close()


def _qemu_io(path: Path, command: str, *options: str) -> subprocess.CompletedProcess[bytes]:
    words = ["qemu-io", "-f", "raw", *options, "-c", command, str(path)]
    return subprocess.run(words, capture_output=True, check=False)
