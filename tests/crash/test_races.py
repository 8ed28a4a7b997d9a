"""Eight processes at one volume, ours and cryptsetup's: no update is lost, the header is whole."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

import luksmeta
from luksmeta import HeaderError, MemoryStorage
from luksmeta.file_storage import FileStorage
from luksmeta.header import read_header
from tests import builders
from tests.builders import FIRST, KDF, VOLUME_KEY, key_behind
from tests.corpus import PROJECT
from tests.crash.judge import Judge
from tests.interop.peers import cryptsetup
from tests.loop import loop_device

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no flock")

_ROOM = 26  # LUKS2 areas: three for each of eight processes, one to change, one to begin with
_PAUSE_SECONDS = 0.005  # between two looks: the racers need the machine


def _volume(path: Path) -> Path:
    """A LUKS2 volume with room for many keyslots."""
    with luksmeta.format(
        path,
        FIRST,
        size=(32 << 10) + _ROOM * (128 << 10) + builders.DATA_SIZE,
        volume_key=VOLUME_KEY,
        pbkdf=KDF,
        digest_iterations=1000,
        data_offset=(32 << 10) + _ROOM * (128 << 10),
    ):
        return path


@pytest.fixture(name="device")
def _device(tmp_path: Path) -> Iterator[Path]:
    """The same volume on a loop device."""
    with loop_device(_volume(tmp_path / "volume")) as device:
        yield device


def _race(path: Path, programs: Sequence[str], operations: int, keyslots: int) -> None:
    """Let a process of each program loose on the volume, and see to what it comes."""
    with _racing(path, programs, operations, keyslots) as racers:
        while any(racer.poll() is None for racer in racers):
            _look_with_the_lock(path)
            _look_without_a_lock(path)
            time.sleep(_PAUSE_SECONDS)
    outcomes = []
    for racer in racers:
        out, err = racer.communicate()
        assert racer.returncode == 0, err
        outcomes.append(json.loads(out))
    _check(path, outcomes)


@contextmanager
def _racing(
    path: Path, programs: Sequence[str], operations: int, keyslots: int
) -> Iterator[list[subprocess.Popen[str]]]:
    racers = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.crash.racer"),
                *(str(path), f"{program} {number}", program, str(operations), str(keyslots)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
        )
        for number, program in enumerate(programs)
    ]
    try:
        yield racers
    finally:
        for racer in racers:
            if racer.poll() is None:
                racer.kill()
                racer.communicate()


def _look_with_the_lock(path: Path) -> None:
    with luksmeta.open(path) as volume:
        assert not any(copy.problem for copy in volume.header.copies), volume.header.copies


def _look_without_a_lock(path: Path) -> None:
    """At every moment a whole copy is there, though not at once for who looks at both in turn."""
    for left in reversed(range(5)):
        try:
            with FileStorage(path) as storage:
                assert read_header(storage).metadata.bound_keyslots
        except HeaderError:
            if not left:
                raise
        else:
            return


def _check(path: Path, outcomes: list[dict[str, dict[str, str]]]) -> None:
    disk = path.read_bytes()
    opening = {int(slot): p for each in outcomes for slot, p in each["opening"].items()}
    assert len(opening) == sum(len(each["opening"]) for each in outcomes)
    with luksmeta.open(MemoryStorage(disk)) as volume:
        assert set(volume.keyslots) == {0, *opening}
        for keyslot, passphrase in opening.items():
            assert key_behind(volume, passphrase.encode(), keyslot) == VOLUME_KEY, passphrase
    assert Judge((FIRST,)).open(disk).volume_key == VOLUME_KEY
    closed = [passphrase for each in outcomes for passphrase in each["closed"]]
    assert closed
    for passphrase in closed:
        assert Judge((passphrase.encode(),)).open(disk).passphrase is None, passphrase


MIXED = ("luksmeta", "cryptsetup") * 4


def test_two_hundred_operations_of_both_programs_on_one_file(tmp_path: Path) -> None:
    cryptsetup.TOOL.require()
    _race(_volume(tmp_path / "volume"), MIXED, 25, 3)


def test_both_programs_on_one_block_device(device: Path) -> None:
    cryptsetup.TOOL.require()
    _race(device, MIXED[:4], 8, 3)


def test_processes_of_ours_on_one_luks1_file(tmp_path: Path) -> None:
    """cryptsetup takes no lock for LUKS1."""
    _race(builders.file(tmp_path / "volume", "luks1"), ("luksmeta",) * 8, 12, 1)
