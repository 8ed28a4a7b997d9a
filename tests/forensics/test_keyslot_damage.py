"""What a recovery says of keyslots that no passphrase opens any more."""

from __future__ import annotations

import pytest

import luksmeta
from luksmeta import PassphraseError
from luksmeta.format_options import Version
from tests.builders import FIRST, SECOND, VERSIONS, image
from tests.defects.damage import Damage, bytes_at
from tests.storages import UntouchedStorage

SLOT = {"luks1": 0x1000, "luks2": 0x8000}
on_versions = pytest.mark.parametrize("version", VERSIONS)


def damaged(version: Version, *damages: Damage) -> UntouchedStorage:
    disk = bytearray(image(version, (FIRST, SECOND)))
    for each in damages:
        each(disk)
    return UntouchedStorage(disk)


@on_versions
def test_damaged_key_material_is_told_with_its_bytes(version: Version) -> None:
    at = SLOT[version] + 0x600
    storage = damaged(version, bytes_at(at, bytes(1024)))
    with luksmeta.recover(storage) as recovery:
        (lost,) = recovery.candidates[0].lost
        assert lost.startswith("keyslot 0: damaged, cannot open: ")
        assert f"in {at:#x}..{at + 1024:#x}" in lost
        with pytest.raises(PassphraseError, match=f"in {at:#x}[.][.]{at + 1024:#x}"):
            recovery.prove(FIRST)
        assert recovery.prove(SECOND).keyslot == 1
        assert recovery.chosen is not None
        assert recovery.chosen.lost == (lost,)


@on_versions
def test_of_sound_keyslots_nothing_is_lost(version: Version) -> None:
    with luksmeta.recover(damaged(version)) as recovery:
        assert recovery.candidates[0].lost == ()


@on_versions
def test_of_candidates_with_the_same_material_each_tells_it(version: Version) -> None:
    header = bytes_at(72, bytes(32)) if version == "luks1" else bytes_at(0, bytes(512))
    storage = damaged(version, header, bytes_at(SLOT[version], bytes(512)))
    with luksmeta.recover(storage) as recovery:
        assert all(any("keyslot 0" in text for text in c.lost) for c in recovery.candidates)


def test_what_the_device_has_no_room_for_is_told_once() -> None:
    disk = image("luks2", (FIRST, SECOND))[: 0x28000 + 1000]
    with luksmeta.recover(UntouchedStorage(disk)) as recovery:
        assert len(recovery.candidates[0].lost) == 1
