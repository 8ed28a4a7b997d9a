"""Volumes in partitions, on logical volumes and from a byte on, through every layer."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import luksmeta
from luksmeta import MemoryStorage, StorageError
from luksmeta.data_lock import data_in_use
from luksmeta.disks.part_storage import PartStorage
from luksmeta.extents import Extent
from luksmeta.locking import locked
from luksmeta.target import open_storage
from tests import builders
from tests.builders import FIRST, SECOND
from tests.cli.runner import CHEAP, done, key_file, refused
from tests.cli.runner import luksmeta as run
from tests.forensics import disks
from tests.forensics.disks import MIB
from tests.interop.peers.process import Tool

_SFDISK = Tool("sfdisk", "fdisk")
_START = 3 * MIB
_PART_SIZE = 20 * MIB


@pytest.fixture(name="disk")
def _disk(tmp_path: Path) -> Path:
    """Noise, and a partition in it."""
    path = disks.write(tmp_path / "disk.raw", 32 * MIB, [(0, disks.noise("disk", 32 * MIB))])
    script = f"label: gpt\n2: start={_START // 512}, size={_PART_SIZE // 512}\n"
    _SFDISK.run("-q", "--wipe", "never", path, stdin=script.encode())
    return path


def _around(disk: Path) -> tuple[bytes, bytes]:
    content = disk.read_bytes()
    return content[:_START], content[_START + _PART_SIZE :]


def test_a_volume_lives_in_its_partition_and_leaves_the_rest_alone(
    disk: Path, tmp_path: Path
) -> None:
    before = _around(disk)
    image = f"{disk}#part=2"
    first, second = key_file(tmp_path), key_file(tmp_path, SECOND, "second")
    done(run("format", image, "-q", *CHEAP, "--sector-size", "512", "-d", first))
    cheap = ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")
    done(run("add-key", image, "-d", first, "--new-keyfile", second, *cheap))
    done(run("write", image, "-d", first, "-i", second))
    done(run("config", image, "--label", "in a partition"))
    assert done(run("dump", image, "--json")).json["label"] == "in a partition"
    assert done(run("unlock", image, "-d", second, "--json")).json == {"keyslot": 1}
    assert done(run("read", image, "-d", second, "--length", str(len(SECOND)))).raw == SECOND
    assert done(run("inspect", image, "--json")).json["header"]["label"] == "in a partition"
    done(run("remove-key", image, "-q", "-d", first))
    refused(run("unlock", image, "-d", first), 2, image)
    assert _around(disk) == before
    with luksmeta.open(f"{disk}#offset={_START}") as volume, volume.unlock(SECOND) as unlocked:
        assert unlocked.keyslot == 1
    plain = tmp_path / "part.raw"
    plain.write_bytes(disk.read_bytes()[_START : _START + _PART_SIZE])
    Tool("cryptsetup", "cryptsetup-bin").run("open", "--test-passphrase", plain, "-d", second)


def test_a_partition_that_is_not_there(disk: Path) -> None:
    line = refused(run("unlock", f"{disk}#part=3", stdin=FIRST), 4, str(disk), "part=2")
    assert "no part=3" in line
    refused(run("unlock", f"{disk}#offset=1T", stdin=FIRST), 4, "past its end")
    refused(run("format", f"{disk}.none#part=1", "-q", stdin=FIRST), 4, "no such file")
    assert [each.name for each in disk.parent.iterdir()] == [disk.name]


def test_a_partition_has_its_size(disk: Path) -> None:
    """It cannot grow, and nothing is written when it should."""
    before = disk.read_bytes()
    answer = run("format", f"{disk}#part=2", "-q", "--size", "1G", *CHEAP, stdin=FIRST)
    refused(answer, 4, f"{disk}#part=2")
    assert disk.read_bytes() == before


def test_a_file_of_that_name_is_that_file(tmp_path: Path) -> None:
    path = builders.file(tmp_path / "volume#part=2", "luks2")
    with luksmeta.open(path) as volume:
        assert volume.uuid


def test_locks_are_those_of_the_disk(disk: Path) -> None:
    with open_storage(f"{disk}#part=2", writable=True) as part, open_storage(disk) as whole:
        with (
            locked(part, exclusive=True),
            pytest.raises(luksmeta.StorageBusyError),
            locked(whole, exclusive=False, wait_seconds=0),
        ):
            pass
        with (
            data_in_use(part, writable=True),
            pytest.raises(luksmeta.StorageBusyError),
            data_in_use(whole, writable=False),
        ):
            pass


_SIZE = 64
_extents = st.lists(
    st.tuples(st.integers(0, _SIZE - 1), st.integers(1, 16)).map(
        lambda pair: Extent(pair[0], min(pair[1], _SIZE - pair[0]))
    ),
    min_size=1,
    max_size=4,
)


@given(_extents, st.data())
def test_bytes_come_and_go_where_the_extents_say(
    extents: list[Extent], data: st.DataObject
) -> None:
    """As a list of places, which may lie over one another."""
    content = bytearray(range(_SIZE))
    disk = MemoryStorage(bytes(content))
    part = PartStorage(disk, extents, "part")
    places = [at for extent in extents for at in range(extent.offset, extent.end)]
    assert part.size == len(places)
    offset = data.draw(st.integers(0, len(places)))
    new = data.draw(st.binary(max_size=len(places) - offset))
    part.write_at(offset, new)
    for at, byte in zip(places[offset:], new, strict=False):
        content[at] = byte
    assert bytes(disk.data) == bytes(content)
    assert part.read_at(0, part.size) == bytes(content[at] for at in places)


def test_nothing_outside_is_reached() -> None:
    disk = MemoryStorage(100)
    part = PartStorage(disk, [Extent(10, 20)], "part")
    for offset, size in ((20, 1), (0, 21)):
        with pytest.raises(StorageError, match="it ends at 0x14"):
            part.read_at(offset, size)
        with pytest.raises(StorageError, match="it ends at 0x14"):
            part.write_at(offset, bytes(size))
    with pytest.raises(StorageError, match="reaches to"):
        PartStorage(disk, [Extent(90, 11)], "part")
