"""LUKS2 headers brought back: by checksum, by JSON text, out of two halves, out of pieces."""

from __future__ import annotations

import random
import re
from contextlib import suppress
from pathlib import Path

import pytest

import luksmeta
from luksmeta import HeaderError, LuksError, PassphraseError
from luksmeta.extents import Extent
from luksmeta.forensics.recovery.candidates import Confidence
from luksmeta.luks2.limits import BINARY_HEADER_SIZE
from tests.builders import FIRST, SECOND, THIRD
from tests.corpus import stream
from tests.defects.damage import (
    HDR_SIZE,
    LUKS2_BEYOND_REPAIR,
    LUKS2_REPAIRABLE,
    Damage,
    all_of,
    bytes_at,
)
from tests.forensics.rescue import (
    AREA,
    MATERIAL,
    SLOT,
    damaged,
    keyslots,
    recovering,
    rescued,
    volume,
    way,
)

JSON = BINARY_HEADER_SIZE
NOISE = stream("recovery/noise", 4096)
GPT = all_of(  # what sgdisk leaves: sectors 0 to 33
    bytes_at(446, b"\0\2\0\xee".ljust(64, b"\1") + b"\x55\xaa"),
    bytes_at(512, b"EFI PART".ljust(512, b"\1")),
    bytes_at(1024, bytes(32 * 512)),
)
BOTH_HEADERS = all_of(bytes_at(0, NOISE), bytes_at(HDR_SIZE, NOISE))


def sources(recovery: luksmeta.Recovery) -> list[tuple[str, Extent]]:
    assert recovery.chosen is not None
    return [(each.what, each.extent) for each in recovery.chosen.sources]


@pytest.mark.parametrize("name", LUKS2_REPAIRABLE)
def test_what_repair_could_mend_is_certain(name: str, tmp_path: Path) -> None:
    recovery = rescued(tmp_path, damaged("luks2", LUKS2_REPAIRABLE[name]))
    assert recovery.chosen is not None
    assert recovery.chosen.confidence is Confidence.CERTAIN
    assert recovery.chosen.metadata.uuid == "c0ffee00-0000-4000-8000-000000000001"
    assert recovery.chosen.lost == ()


def test_a_sound_header_is_copied_as_it_is(tmp_path: Path) -> None:
    recovery = rescued(tmp_path, volume("luks2"))
    assert way(recovery) == "sound header"
    header = (tmp_path / "header").read_bytes()
    assert header == volume("luks2")[: len(header)]


@pytest.mark.parametrize("damage", [GPT, BOTH_HEADERS], ids=["GPT", "binary headers"])
def test_a_json_text_that_survives_is_enough(damage: Damage, tmp_path: Path) -> None:
    recovery = rescued(tmp_path, damaged("luks2", damage))
    assert recovery.chosen is not None
    assert recovery.chosen.confidence is Confidence.LIKELY
    assert keyslots(recovery) == [0, 1]
    assert recovery.proof is not None
    assert recovery.proof.by_digest
    assert recovery.proof.data is not None
    assert recovery.proof.data.name == "ext2/3/4 file system"


def test_the_uuid_is_the_one_that_survives(tmp_path: Path) -> None:
    recovery = rescued(tmp_path, damaged("luks2", GPT))
    assert recovery.chosen is not None
    assert recovery.chosen.metadata.uuid == "c0ffee00-0000-4000-8000-000000000001"
    assert recovery.chosen.lost == ()


def test_a_uuid_that_is_gone_is_new_or_the_one_that_is_given(tmp_path: Path) -> None:
    disk = damaged("luks2", BOTH_HEADERS)
    made = rescued(tmp_path, disk).chosen
    assert made is not None
    assert any(made.metadata.uuid in loss for loss in made.lost)
    given = "11111111-2222-4333-8444-555555555555"
    with recovering(disk, uuid=given) as recovery:
        assert recovery.chosen is not None
        assert recovery.chosen.metadata.uuid == given


def test_a_checksum_that_is_left_makes_it_certain(tmp_path: Path) -> None:
    """Version, sizes and place are known: the rest of the binary header proves the text."""
    disk = damaged("luks2", bytes_at(0, bytes(16)), bytes_at(HDR_SIZE, bytes(4096)))
    recovery = rescued(tmp_path, disk)
    assert recovery.chosen is not None
    assert recovery.chosen.confidence is Confidence.CERTAIN
    assert recovery.chosen.metadata.uuid == "c0ffee00-0000-4000-8000-000000000001"


@pytest.mark.parametrize("place", [0x9000 + 2 * AREA, 0x8A00 + 2 * AREA])
def test_a_text_in_slack_may_be_older_and_is_said_to_be(place: int, tmp_path: Path) -> None:
    text = volume("luks2")[JSON:HDR_SIZE].rstrip(b"\0")
    disk = damaged("luks2", bytes_at(0, bytes(2 * HDR_SIZE)), bytes_at(place, text))
    recovery = rescued(tmp_path, disk, SECOND)
    assert recovery.chosen is not None
    assert way(recovery) == "JSON text in slack"
    assert recovery.chosen.confidence is Confidence.POSSIBLE
    assert ("JSON text", Extent(place, len(text))) in sources(recovery)


def test_two_damaged_copies_make_a_whole_one(tmp_path: Path) -> None:
    disk = damaged(
        "luks2",
        BOTH_HEADERS,
        bytes_at(JSON, NOISE[:512]),
        bytes_at(HDR_SIZE + JSON + 512, NOISE[:512]),
    )
    recovery = rescued(tmp_path, disk)
    assert way(recovery) == "JSON text of both copies"
    assert ("JSON text", Extent(HDR_SIZE + JSON, 512)) in sources(recovery)


def test_one_copy_with_zeroes_in_it_and_one_with_noise(tmp_path: Path) -> None:
    disk = damaged(
        "luks2",
        BOTH_HEADERS,
        bytes_at(JSON + 512, bytes(512)),
        bytes_at(HDR_SIZE + JSON, NOISE[:512]),
    )
    assert keyslots(rescued(tmp_path, disk)) == [0, 1]


def test_whole_objects_of_broken_texts_are_put_together(tmp_path: Path) -> None:
    """The first keyslot is gone with the beginning of both texts, the second opens."""
    gone = bytes_at(0, bytes(JSON + 64)), bytes_at(HDR_SIZE, bytes(JSON + 64))
    disk = damaged("luks2", *gone)
    recovery = rescued(tmp_path, disk, SECOND)
    assert way(recovery) == "fragments of JSON texts"
    assert keyslots(recovery) == [1]
    assert recovery.chosen is not None
    assert any("damaged part" in loss for loss in recovery.chosen.lost)
    with recovering(disk) as another, pytest.raises(PassphraseError):
        another.prove(FIRST)


def _cut_behind(word: bytes) -> Damage:
    """The text ends before this word in both copies, and both binary headers are gone."""
    at = volume("luks2").index(word, JSON) - JSON
    size = HDR_SIZE - JSON - at
    ends = (bytes_at(copy + JSON + at, bytes(size)) for copy in (0, HDR_SIZE))
    return all_of(BOTH_HEADERS, *ends)


def test_where_the_data_lies_is_found_by_the_data(tmp_path: Path) -> None:
    """Segment, digest and config are gone: the data itself proves key and place."""
    recovery = rescued(tmp_path, damaged("luks2", _cut_behind(b'"tokens"')))
    assert recovery.proof is not None
    assert not recovery.proof.by_digest
    assert recovery.chosen is not None
    assert any("digest" in loss for loss in recovery.chosen.lost)


def test_a_wrong_passphrase_is_refused_also_where_no_digest_is_left() -> None:
    with (
        recovering(damaged("luks2", _cut_behind(b'"tokens"'))) as recovery,
        pytest.raises(PassphraseError, match="no keyslot"),
    ):
        recovery.prove(THIRD)


@pytest.mark.parametrize("base", [512, 1 << 20, 12345 * 512])
def test_a_volume_that_begins_elsewhere(base: int, tmp_path: Path) -> None:
    disk = stream("recovery/before", 512) * (base // 512) + damaged("luks2", bytes_at(0, NOISE))
    recovery = rescued(tmp_path, disk)
    assert recovery.chosen is not None
    assert recovery.chosen.base == base


def test_a_volume_whose_beginning_is_cut_off(tmp_path: Path) -> None:
    recovery = rescued(tmp_path, volume("luks2")[0x2000:])
    assert recovery.chosen is not None
    assert recovery.chosen.base == -0x2000


def test_a_copy_beyond_the_search_is_found_where_it_is_said_to_be(tmp_path: Path) -> None:
    base = 9 << 20
    disk = bytes(base) + damaged("luks2", bytes_at(0, NOISE))
    with recovering(disk) as recovery:
        assert recovery.candidates == ()
    assert keyslots(rescued(tmp_path, disk, secondary_at=base + HDR_SIZE)) == [0, 1]


@pytest.mark.parametrize("name", ["both copies zeroed"])
def test_what_is_gone_is_said(name: str) -> None:
    with recovering(damaged("luks2", LUKS2_BEYOND_REPAIR[name])) as recovery:
        with pytest.raises(HeaderError, match=r"salts .* are gone.*0x0\.\.0x8000 zero"):
            recovery.require_any()
        assert recovery.chosen is None


def test_bytes_that_no_field_has_do_not_hinder(tmp_path: Path) -> None:
    rescued(tmp_path, damaged("luks2", LUKS2_BEYOND_REPAIR["a byte in each copy"]))


def test_a_keyslot_that_was_overwritten_stays_closed_and_the_other_opens(tmp_path: Path) -> None:
    disk = damaged("luks2", BOTH_HEADERS, bytes_at(SLOT["luks2"] + 512, bytes(512)))
    assert rescued(tmp_path, disk, SECOND).proof is not None
    with recovering(disk) as recovery, pytest.raises(PassphraseError):
        recovery.prove(FIRST)


def test_an_image_that_ends_within_the_keyslots(tmp_path: Path) -> None:
    disk = volume("luks2")[: SLOT["luks2"] + AREA]
    with recovering(disk) as recovery:
        assert recovery.prove(FIRST).keyslot == 0
        assert recovery.chosen is not None
        assert any("keyslot 1" in loss and "not all there" in loss for loss in recovery.chosen.lost)


def test_every_byte_that_a_candidate_came_from_is_named() -> None:
    with recovering(damaged("luks2", GPT)) as recovery:
        found = dict(sources(recovery))
    text = volume("luks2")[JSON:HDR_SIZE].rstrip(b"\0")
    assert found["JSON text"] == Extent(HDR_SIZE + JSON, len(text))
    assert found["key material of keyslot 1"] == Extent(SLOT["luks2"] + AREA, MATERIAL)


def test_hostile_beginnings_of_texts_end() -> None:
    disk = (b'{"keyslots":' * 100_000).ljust(2 << 20, b"{")
    with recovering(disk) as recovery:
        assert recovery.candidates == ()


@pytest.mark.parametrize("seed", range(40))
def test_whatever_a_damaged_text_says_it_is_refused_or_recovered(seed: int) -> None:
    """Words of the text replaced by others of it: nothing but errors of the package is raised."""
    chance = random.Random(seed)
    text = volume("luks2")[JSON:HDR_SIZE].rstrip(b"\0")
    words = re.findall(rb'"[^"]*"|[0-9]+|[{}\[\]]', text)
    for _ in range(3):
        text = text.replace(chance.choice(words), chance.choice(words), 1)
    disk = damaged(
        "luks2", *(bytes_at(each, NOISE + text[: HDR_SIZE - JSON]) for each in (0, HDR_SIZE))
    )
    with recovering(disk) as recovery:
        for candidate in recovery.candidates:
            assert candidate.describe()["format"] == "luks2"
        if recovery.candidates:
            with suppress(LuksError):
                recovery.prove(FIRST)


OTHER_UUID = b"01234567-89ab-cdef-0123-456789abcdef"


@pytest.mark.parametrize(("place", "version"), [(0, b""), (0x200000, b"\0\1")])
def test_another_volumes_remains_are_told(place: int, version: bytes) -> None:
    disk = bytearray(volume("luks2")) + bytes(0x300000)
    if version:
        disk[place + 6 : place + 8] = version
    disk[place + 168 : place + 208] = OTHER_UUID.ljust(40, b"\0")
    told = f"{OTHER_UUID.decode()}, or what is left of it, lies at {place:#x}: scan"
    with recovering(bytes(disk)) as recovery:
        recovery.prove(FIRST)
        assert recovery.chosen is not None
        assert any(told in each for each in recovery.chosen.reasons)
    with recovering(volume("luks2")) as sound:
        assert sound.chosen is not None
        assert not any("scan" in each for each in sound.chosen.reasons)
