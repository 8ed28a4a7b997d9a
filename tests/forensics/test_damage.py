"""Damage by range: to the byte where a checksum proves it, and silence where nothing tells."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import luksmeta
from luksmeta.extents import Extent
from luksmeta.forensics.damage import Certainty
from luksmeta.forensics.material import Condition
from luksmeta.header_copies import HeaderCopy
from luksmeta.luks2.limits import BINARY_HEADER_SIZE
from tests.builders import FIRST, SECOND, document_of, image, with_document
from tests.corpus import Corpus, CorpusImage, corpus_images
from tests.defects.damage import HDR_SIZE, MBR, Damage, all_of, bytes_at
from tests.storages import UnreadableStorage, UntouchedStorage

Found = list[tuple[str, Extent, Certainty]]


def damage(version: luksmeta.format_options.Version, *damages: Damage) -> Found:
    disk = bytearray(image(version, (FIRST, SECOND)))
    for each in damages:
        each(disk)
    inspection = luksmeta.inspect(UntouchedStorage(disk))
    return [(each.place, each.extent, each.certainty) for each in inspection.damage]


@pytest.mark.parametrize(
    ("done", "place", "extent"),
    [
        pytest.param(bytes_at(0, bytes(6)), "primary binary header", Extent(0, 6), id="magic"),
        pytest.param(
            bytes_at(HDR_SIZE + 8, b"\xff" * 8),
            "secondary binary header",
            Extent(HDR_SIZE + 8, 8),
            id="size",
        ),
        pytest.param(
            bytes_at(BINARY_HEADER_SIZE + 100, b"\1"),
            "primary JSON area",
            Extent(BINARY_HEADER_SIZE + 100, 1),
            id="text",
        ),
        pytest.param(
            bytes_at(0x3000, b"\1\2\3"), "primary JSON area", Extent(0x3000, 3), id="behind text"
        ),
        pytest.param(
            bytes_at(0x800, b"\1"), "primary binary header", Extent(0x800, 1), id="behind fields"
        ),
    ],
)
def test_what_a_checksum_proves_is_named_to_the_byte(
    done: Damage, place: str, extent: Extent
) -> None:
    assert damage("luks2", done) == [(place, extent, Certainty.PROVED)]


def test_a_byte_of_each_text_is_proved_by_either_checksum() -> None:
    places = (BINARY_HEADER_SIZE + 100, HDR_SIZE + BINARY_HEADER_SIZE + 200)
    found = damage("luks2", *(bytes_at(at, b"\1") for at in places))
    assert [(extent, how) for _, extent, how in found] == [
        (Extent(at, 1), Certainty.PROVED) for at in places
    ]


def test_where_all_else_is_right_salt_or_checksum_are_wrong() -> None:
    for at in (104, 448):
        assert damage("luks2", bytes_at(at, b"\1\2")) == [
            ("primary binary header", Extent(104, 64), Certainty.LIKELY),
            ("primary binary header", Extent(448, 64), Certainty.LIKELY),
        ]


def test_an_older_copy_that_is_whole_is_no_damage() -> None:
    disk = image("luks2", (FIRST, SECOND))
    document = document_of(disk)
    document["keyslots"]["1"]["kdf"]["iterations"] = 2000
    old = with_document(disk, document, copies=(HeaderCopy.SECONDARY,), seqid=3)
    assert luksmeta.inspect(UntouchedStorage(old)).damage == ()


def test_a_checksum_of_another_algorithm_is_left_to_the_other_copy() -> None:
    found = damage("luks2", bytes_at(72, b"md5000"))
    assert ("primary binary header", Extent(72, 6), Certainty.PROVED) in found


def test_texts_that_differ_in_many_bytes_are_not_merged() -> None:
    places = [BINARY_HEADER_SIZE + 100 * n for n in range(1, 7)]
    done = [bytes_at(at, b"\1") for at in places]
    done += [bytes_at(HDR_SIZE + at + 40, b"\1") for at in places]
    assert all(how is Certainty.LIKELY for _, _, how in damage("luks2", *done))


def test_a_header_that_cannot_be_read_is_damage() -> None:
    storage = UnreadableStorage(image("luks2", (FIRST, SECOND)), range(100, 200))
    (found, *_) = luksmeta.inspect(storage).damage
    assert found.place == "primary binary header"
    assert found.extent.offset < 512


def test_a_partition_header_of_which_a_sector_cannot_be_read_is_inspected() -> None:
    storage = UnreadableStorage(image("luks1", (FIRST, SECOND)), range(600, 700))
    assert luksmeta.inspect(storage).damage == ()


def test_a_partition_table_over_luks1_hits_its_table() -> None:
    found = damage("luks1", bytes_at(446, MBR))
    assert found
    assert all(place == "partition header" and extent.end <= 592 for place, extent, _ in found)


def test_a_detached_header_of_luks1_begins_its_data_at_0() -> None:
    disk = all_of(bytes_at(104, bytes(4)), bytes_at(0x101000, bytes(0x17000)))
    assert damage("luks1", disk) == []
    assert damage("luks1", bytes_at(104, bytes(4)), bytes_at(0x107000, b"\1")) == [
        ("partition header", Extent(104, 4), Certainty.LIKELY)
    ]


def test_data_under_ecb_does_not_look_random_and_is_sound(corpus: Corpus) -> None:
    names = [each.name for each in corpus_images() if each.name.endswith("aes-ecb")]
    for name in names:
        assert luksmeta.inspect(corpus(name)).damage == ()
    assert names or not corpus_images()


@pytest.mark.parametrize("each", corpus_images(), ids=lambda each: each.name)
def test_of_sound_images_nothing_is_damage_but_areas_without_a_key(
    each: CorpusImage, corpus: Corpus
) -> None:
    inspection = luksmeta.inspect(corpus(each.name))
    if inspection.diagnosis.is_sound:
        gone = [
            condition.material
            for condition in inspection.keyslots.values()
            if condition.condition is Condition.GONE
        ]
        gone.sort(key=lambda extent: extent.offset)
        assert [found.extent for found in inspection.damage] == gone


@settings(max_examples=40)
@given(st.integers(0, 2 * HDR_SIZE - 1), st.integers(1, 255))
def test_any_byte_of_either_copy_is_named_and_no_other(at: int, mask: int) -> None:
    disk = bytearray(image("luks2", (FIRST, SECOND)))
    disk[at] ^= mask
    found = luksmeta.inspect(UntouchedStorage(disk)).damage
    start = at - at % HDR_SIZE
    salt_and_checksum = [Extent(start + 104, 64), Extent(start + 448, 64)]
    behind = range(start + 448 + 32, start + 512)  # the checksum itself has 32 bytes
    if at not in behind and any(each.contains(Extent(at, 1)) for each in salt_and_checksum):
        assert {each.extent for each in found} >= set(salt_and_checksum)
        assert all(start <= each.extent.offset < start + 512 for each in found)
    else:
        assert [(each.extent, each.certainty) for each in found] == [
            (Extent(at, 1), Certainty.PROVED)
        ]
