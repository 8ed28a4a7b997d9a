"""One wrong bit in key material, in a place that is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from luksmeta import KeyslotError, PassphraseError
from luksmeta.extents import Extent
from luksmeta.format_options import Version
from tests.builders import FIRST, THIRD, VERSIONS
from tests.forensics.rescue import SLOT, check_written, recovering, volume

on_versions = pytest.mark.parametrize("version", VERSIONS)
AT = 70001  # bytes into the key material of keyslot 0


def with_wrong_bits(version: Version, mask: int) -> tuple[bytes, int]:
    disk, at = bytearray(volume(version)), SLOT[version] + AT
    disk[at] ^= mask
    return bytes(disk), at


@on_versions
def test_a_wrong_bit_is_found_and_put_right(version: Version, tmp_path: Path) -> None:
    disk, at = with_wrong_bits(version, 0x20)
    with recovering(disk) as recovery:
        with pytest.raises(PassphraseError):
            recovery.prove(FIRST)
        assert recovery.flip_bit(FIRST, Extent(at - 2, 4)).keyslot == 0
        check_written(tmp_path, disk, recovery, FIRST)
    header = (tmp_path / "header").read_bytes()
    assert header[SLOT[version] :][: AT + 1] == volume(version)[SLOT[version] :][: AT + 1]


@on_versions
def test_two_wrong_bits_and_another_passphrase_are_refused(version: Version) -> None:
    for mask, passphrase in ((0x21, FIRST), (0x20, THIRD)):
        disk, at = with_wrong_bits(version, mask)
        with recovering(disk) as recovery, pytest.raises(PassphraseError, match="none of the 8"):
            recovery.flip_bit(passphrase, Extent(at, 1))


def test_the_range_is_bounded_and_lies_in_key_material() -> None:
    with recovering(volume("luks2")) as recovery:
        with pytest.raises(ValueError, match="513 bytes"):
            recovery.flip_bit(FIRST, Extent(SLOT["luks2"], 513))
        with pytest.raises(KeyslotError, match="no keyslot"):
            recovery.flip_bit(FIRST, Extent(0x1000, 1))
