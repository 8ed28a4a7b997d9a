"""Everything erased: areas first, then headers, and after a crash the rest can be erased."""

from __future__ import annotations

from dataclasses import replace

import pytest

import luksmeta
from luksmeta import MemoryStorage, NotLuksError, PassphraseError
from luksmeta.format_options import Version
from luksmeta.luks1.header import Luks1Header
from tests.builders import (
    FIRST,
    SECOND,
    VERSIONS,
    data_offset,
    document_of,
    image,
    key_behind,
    memory,
    with_document,
)
from tests.disk_states import states

on_versions = pytest.mark.parametrize("version", VERSIONS)


def erased(storage: MemoryStorage) -> luksmeta.Volume:
    with luksmeta.open(storage, writable=True) as volume:
        volume.erase(everything=True)
    return volume


@on_versions
def test_no_byte_of_header_and_key_material_stays(version: Version) -> None:
    storage = memory(version, FIRST, SECOND)
    before = bytes(storage.data)
    with luksmeta.open(storage) as volume:
        areas = [each.area.extent for each in volume.keyslots.values()]
    erased(storage)
    with pytest.raises(NotLuksError):
        luksmeta.open(storage)
    for area in areas:
        old, new = (data[area.offset : area.end] for data in (before, storage.data))
        assert sum(a == b for a, b in zip(old, new, strict=True)) < len(old) / 100
    assert not any(storage.data[:4096])
    assert storage.data[data_offset(version) :] == before[data_offset(version) :]


@on_versions
def test_after_a_crash_in_the_middle_the_rest_can_be_erased(version: Version) -> None:
    storage = memory(version, FIRST)
    before = bytes(storage.data)
    plans = erased(storage).written
    seen = set()
    for name, state in states(before, plans):
        left = MemoryStorage(state)
        try:
            volume = luksmeta.open(left, writable=True)
        except luksmeta.LuksError:
            assert "header wiped" in name
            continue
        if "header wiped" in name:
            with pytest.raises(PassphraseError):
                key_behind(volume, FIRST)
        seen.add(name.partition(", ")[0])
        volume.erase(everything=True)
        with pytest.raises(NotLuksError):
            luksmeta.open(left)
    assert seen == {"before", "erase everything"}


def test_unknown_requirements_and_foreign_keyslots_are_no_hindrance() -> None:
    document = document_of(image("luks2"))
    area = document["keyslots"]["0"]["area"]
    place = str(int(area["offset"]) + int(area["size"]))
    document["keyslots"]["5"] = {
        "type": "future",
        "key_size": 1,
        "area": {"type": "raw", "offset": place, "size": "4096"},
    }
    document["config"]["requirements"] = {"mandatory": ["future-thing"]}
    storage = MemoryStorage(with_document(image("luks2"), document))
    with luksmeta.open(storage, writable=True) as volume:
        with pytest.raises(luksmeta.RequirementError):
            volume.erase()
        volume.erase(everything=True)
    with pytest.raises(NotLuksError):
        luksmeta.open(storage)


def test_luks1_areas_are_erased_wherever_they_lie_and_nothing_between_them() -> None:
    """The bytes between a header and far-away areas may be anybody's."""
    data = bytearray(image("luks1")).ljust(3 << 20, b"\x55")
    header = Luks1Header.read(MemoryStorage(data))
    detached = replace(header, record=replace(header.record, payload_offset=0))
    header = detached.relocated({**header.offsets, 7: 2 << 20})
    data[:1024] = header.to_bytes()
    storage = MemoryStorage(data)
    erased(storage)
    between = slice(header.offsets[6] + (128 << 10), 2 << 20)
    assert storage.data[between] == data[between]
    assert storage.data[2 << 20 : (2 << 20) + 512] != data[2 << 20 : (2 << 20) + 512]
    assert not any(storage.data[:4096])
