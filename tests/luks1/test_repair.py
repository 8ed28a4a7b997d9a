"""What repair makes of LUKS1 headers is what cryptsetup's own repair makes, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from luksmeta.errors import HeaderError, NotLuksError
from luksmeta.file_storage import FileStorage
from luksmeta.luks1.partition_header import PartitionHeader
from luksmeta.luks1.repair import needs_repair, repaired
from luksmeta.repair import prepare
from luksmeta.storage import MemoryStorage
from tests.builders import FIRST, SECOND, image
from tests.corpus import Corpus, corpus_images
from tests.defects.damage import LUKS1_BEYOND_REPAIR, LUKS1_REPAIRED_BY_CRYPTSETUP, Damage, bytes_at
from tests.interop.peers import cryptsetup

_VALID = [each for each in corpus_images() if each.version == 1 and each.valid]


def _damaged(damage: Damage) -> bytes:
    disk = bytearray(image("luks1", (FIRST, SECOND)))
    damage(disk)
    return bytes(disk)


def _repaired_by_us(disk: bytes) -> bytes:
    storage = MemoryStorage(disk)
    repair = prepare(storage)
    for plan in repair.plans:
        plan.apply(storage)
    return bytes(storage.data)


@pytest.mark.parametrize("name", LUKS1_REPAIRED_BY_CRYPTSETUP)
def test_the_repaired_bytes_are_those_of_cryptsetup(name: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    disk = _damaged(LUKS1_REPAIRED_BY_CRYPTSETUP[name])
    path.write_bytes(disk)
    cryptsetup.repair(path)
    assert path.read_bytes() != disk or name == "partition signature"
    assert _repaired_by_us(disk) == path.read_bytes()


@pytest.mark.parametrize("name", LUKS1_BEYOND_REPAIR)
def test_neither_we_nor_cryptsetup_repair_what_would_be_a_guess(name: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    disk = _damaged(LUKS1_BEYOND_REPAIR[name])
    path.write_bytes(disk)
    assert cryptsetup.answer("repair", path).returncode != 0
    assert path.read_bytes() == disk
    storage = MemoryStorage(disk, writable=False)
    with pytest.raises(HeaderError):
        prepare(storage)


def test_the_stripes_of_a_keyslot_in_use_are_known() -> None:
    """cryptsetup does not touch such an entry, and gives up: there never were others than 4000."""
    disk = _damaged(bytes_at(208 + 48 + 44, bytes(4)))
    assert _repaired_by_us(disk) == image("luks1", (FIRST, SECOND))


def test_a_lost_magic_is_put_back() -> None:
    assert _repaired_by_us(_damaged(bytes_at(0, bytes(6)))) == image("luks1", (FIRST, SECOND))


def test_a_magic_is_not_put_before_anything_else() -> None:
    disk = _damaged(bytes_at(0, bytes(6)))
    for offset in (6, 208 + 44, 208 + 7 * 48 + 41):
        spoiled = bytearray(disk)
        spoiled[offset] ^= 0xFF
        with pytest.raises(NotLuksError):
            prepare(MemoryStorage(spoiled))


@pytest.mark.parametrize("name", [each.name for each in _VALID])
def test_a_good_header_needs_no_repair(corpus: Corpus, name: str) -> None:
    with FileStorage(corpus(name)) as storage:
        record = PartitionHeader.from_bytes(storage.read_at(0, 592))
        assert not needs_repair(record)
        assert prepare(storage).plans == ()


def test_repairing_twice_is_repairing_once() -> None:
    disk = _damaged(LUKS1_REPAIRED_BY_CRYPTSETUP["partition table over unused keyslots"])
    once = repaired(PartitionHeader.from_bytes(disk[:592]))
    assert not needs_repair(once)
