"""The lock between processes: readers share, writers exclude, and nobody's keyslot is lost."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import luksmeta
from luksmeta.errors import StorageBusyError
from luksmeta.formatting import Version
from luksmeta.locking import locked
from luksmeta.storage import FileStorage, MemoryStorage
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
