"""The lock between processes: readers share, writers exclude, and nobody's keyslot is lost."""

from __future__ import annotations

import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import luksmeta
from luksmeta import locking
from luksmeta.errors import StorageBusyError, StoragePermissionError
from luksmeta.file_storage import FileStorage
from luksmeta.format_options import Version
from luksmeta.locking import locked
from luksmeta.storage import MemoryStorage
from tests.builders import FIRST, file, key_behind

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no flock")

_HOLD = """
    import fcntl, sys
    file = open(sys.argv[1], "rb+")
    fcntl.flock(file, getattr(fcntl, sys.argv[2]))
    print("held", flush=True)
    sys.stdin.read()
"""
_ADD = """
    import sys
    import luksmeta
    from luksmeta import Pbkdf2
    with luksmeta.open(sys.argv[1], writable=True) as volume:
        print("ready", flush=True)
        sys.stdin.read()
        with volume.unlock(b"first passphrase") as unlocked:
            kdf = Pbkdf2(hash="sha256", iterations=1000)
            unlocked.add_keyslot(sys.argv[2].encode(), pbkdf=kdf)
"""


def _python(source: str, *arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(source), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@contextmanager
def _held_by_another(path: Path, operation: str) -> Iterator[None]:
    """Another process holds flock's ``LOCK_SH`` or ``LOCK_EX`` on ``path``."""
    with _python(_HOLD, path, operation) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield
        process.communicate("")


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return file(tmp_path / "volume", "luks2")


@pytest.mark.parametrize(
    ("held", "exclusive"), [("LOCK_EX", True), ("LOCK_EX", False), ("LOCK_SH", True)]
)
def test_a_lock_that_another_process_keeps_is_busy_after_the_wait(
    path: Path, held: str, exclusive: bool
) -> None:
    with (
        _held_by_another(path, held),
        FileStorage(path, writable=True) as storage,
        pytest.raises(StorageBusyError, match=r"another process for 0\.05 seconds") as caught,
        locked(storage, exclusive=exclusive, wait_seconds=0.05),
    ):
        pass
    assert caught.value.exit_status == 5


def test_readers_share_and_a_released_lock_is_free(path: Path) -> None:
    with FileStorage(path, writable=True) as storage:
        with (
            _held_by_another(path, "LOCK_SH"),
            locked(storage, exclusive=False, wait_seconds=0),
        ):
            pass
        with locked(storage, exclusive=True, wait_seconds=0):
            pass
        with _held_by_another(path, "LOCK_EX"):
            pass


def test_the_lock_is_given_back_after_an_error(path: Path) -> None:
    with FileStorage(path, writable=True) as storage:
        with pytest.raises(KeyError), locked(storage, exclusive=True):
            raise KeyError
        with (
            FileStorage(path, writable=True) as other,
            locked(other, exclusive=True, wait_seconds=0),
        ):
            pass


def test_memory_needs_no_lock() -> None:
    storage = MemoryStorage(5)
    with locked(storage, exclusive=True), locked(storage, exclusive=True, wait_seconds=0):
        pass


# Block devices


@pytest.fixture(name="device")
def _device(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileStorage]:
    """What is taken for a block device, 0:0, with a lock directory of its own that is missing."""
    monkeypatch.setattr(locking, "LOCK_DIRECTORY", tmp_path / "locks")
    with FileStorage(path, writable=True) as storage:
        storage.is_regular = False
        yield storage


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_device_is_locked_by_a_file_that_the_last_holder_removes(
    device: FileStorage, tmp_path: Path, exclusive: bool
) -> None:
    lock = tmp_path / "locks" / "L_0:0"
    with locked(device, exclusive=exclusive):
        assert lock.is_file()
        assert stat.S_IMODE(lock.parent.stat().st_mode) == 0o700
        if not exclusive:
            with locked(device, exclusive=False, wait_seconds=0):
                pass
            assert lock.is_file()  # its other holder is still there
    assert list(lock.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("held", "exclusive"), [("LOCK_EX", True), ("LOCK_EX", False), ("LOCK_SH", True)]
)
def test_a_device_that_another_process_has_locked_is_busy(
    device: FileStorage, tmp_path: Path, held: str, exclusive: bool
) -> None:
    lock = tmp_path / "locks" / "L_0:0"
    lock.parent.mkdir()
    lock.touch()
    with (
        _held_by_another(lock, held),
        pytest.raises(StorageBusyError, match="locked by another process"),
        locked(device, exclusive=exclusive, wait_seconds=0.05),
    ):
        pass
    assert lock.is_file()


def test_a_lock_file_that_was_removed_while_waiting_is_made_again(
    device: FileStorage, tmp_path: Path
) -> None:
    lock = tmp_path / "locks" / "L_0:0"
    lock.parent.mkdir()
    lock.touch()
    with _held_by_another(lock, "LOCK_EX"):
        lock.unlink()  # as its holder does at last
        with locked(device, exclusive=True, wait_seconds=0):
            assert lock.is_file()


def test_without_a_lock_directory_a_device_is_read_and_not_written(
    device: FileStorage, tmp_path: Path
) -> None:
    (tmp_path / "locks").write_bytes(b"no directory")
    with locked(device, exclusive=False):
        pass
    with (
        pytest.raises(StoragePermissionError, match="locks/L_0:0 cannot be locked for writing"),
        locked(device, exclusive=True),
    ):
        pass


def test_a_link_is_not_taken_for_a_lock(device: FileStorage, tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    (tmp_path / "precious").touch()
    (tmp_path / "locks" / "L_0:0").symlink_to(tmp_path / "precious")
    with pytest.raises(StoragePermissionError), locked(device, exclusive=True):
        pass


@pytest.mark.parametrize("version", ["luks1", "luks2"])
def test_keyslots_that_processes_add_at_once_are_all_there(
    tmp_path: Path, version: Version
) -> None:
    path = file(tmp_path / "volume", version)
    names = ["one", "two", "three"] if version == "luks2" else ["one", "two", "three", "four"]
    processes = [_python(_ADD, path, name) for name in names]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:  # all have the same header in hand: now let them go
        assert process.stdin is not None
        process.stdin.close()
    assert [process.wait() for process in processes] == [0] * len(processes)
    for process in processes:
        assert process.stdout is not None
        process.stdout.close()
    with luksmeta.open(path) as volume:
        assert sorted(volume.keyslots) == list(range(len(names) + 1))
        keys = {key_behind(volume, name.encode()) for name in names}
        assert keys == {key_behind(volume, FIRST)}
