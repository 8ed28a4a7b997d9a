"""Keyslots whose key material lies in each other's area: found by what a passphrase opens."""

from __future__ import annotations

from pathlib import Path

import pytest

import luksmeta
from luksmeta import PassphraseError
from luksmeta.format_options import Version
from tests import builders
from tests.builders import FIRST, SECOND, THIRD, VERSIONS, image
from tests.storages import UntouchedStorage

SLOT = {"luks1": 0x1000, "luks2": 0x8000}
AREA = 0x20000
on_versions = pytest.mark.parametrize("version", VERSIONS)


def with_exchanged(version: Version, one: int, other: int) -> UntouchedStorage:
    disk = bytearray(image(version, (FIRST, SECOND, THIRD)))
    left, right = (SLOT[version] + each * AREA for each in (one, other))
    disk[left : left + AREA], disk[right : right + AREA] = (
        disk[right : right + AREA],
        disk[left : left + AREA],
    )
    return UntouchedStorage(disk)


@on_versions
@pytest.mark.parametrize("passphrase", [FIRST, THIRD])
def test_either_passphrase_finds_whose_areas_were_exchanged(
    version: Version, passphrase: bytes, tmp_path: Path
) -> None:
    evidence = with_exchanged(version, 0, 2)
    header = tmp_path / "header.img"
    with luksmeta.recover(evidence) as recovery:
        proof = recovery.prove(passphrase)
        recovery.write_header(header)
        assert recovery.chosen is not None
        assert any("keyslots 0 and 2" in each for each in recovery.chosen.reasons)
    assert proof.keyslot == (0 if passphrase == FIRST else 2)
    with luksmeta.open(evidence, header=header) as volume:
        for each in (FIRST, SECOND, THIRD):
            assert builders.key_behind(volume, each) == builders.VOLUME_KEY


@on_versions
def test_where_a_keyslot_opens_nothing_is_exchanged(version: Version) -> None:
    with luksmeta.recover(with_exchanged(version, 0, 2)) as recovery:
        count = len(recovery.candidates)
        recovery.prove(SECOND)
        assert len(recovery.candidates) == count


@on_versions
def test_a_wrong_passphrase_opens_no_pair_either(version: Version) -> None:
    storage = UntouchedStorage(image(version, (FIRST, SECOND)))
    with (
        luksmeta.recover(storage) as recovery,
        pytest.raises(PassphraseError, match="no keyslot"),
    ):
        recovery.prove(b"wrong")


def test_areas_of_other_sizes_are_not_exchanged() -> None:
    disk = image("luks2", (FIRST, SECOND))
    document = builders.document_of(disk)
    document["keyslots"]["1"]["key_size"] = 16
    storage = UntouchedStorage(builders.with_document(disk, document))
    with luksmeta.recover(storage) as recovery, pytest.raises(PassphraseError):
        recovery.prove(b"wrong")
    assert not any("exchanged" in each.way for each in recovery.candidates)
