"""The LUKS1 partition header's layout, against the specification's figures and real images."""

from __future__ import annotations

from dataclasses import fields

import pytest

from luksmeta.errors import HeaderError
from luksmeta.extents import align_up
from luksmeta.luks1 import partition_header
from luksmeta.luks1.partition_header import (
    KEYSLOT,
    PARTITION_HEADER,
    SIZE,
    KeyslotRecord,
    PartitionHeader,
    area_offset,
    area_size,
    areas_end,
)
from tests.corpus import Corpus, corpus_images
from tests.layouts import offsets_in_comments, true_offsets

# LUKS1 specification 1.2.3, figures 1 and 2.
_FIGURE_1 = {
    "magic": 0,
    "version": 6,
    "cipher_name": 8,
    "cipher_mode": 40,
    "hash_spec": 72,
    "payload_offset": 104,
    "key_bytes": 108,
    "mk_digest": 112,
    "mk_digest_salt": 132,
    "mk_digest_iter": 164,
    "uuid": 168,
    "keyslots": 208,
}
_FIGURE_2 = {"active": 0, "iterations": 4, "salt": 8, "key_material_offset": 40, "stripes": 44}


def test_the_layouts_have_the_specified_sizes() -> None:
    assert PARTITION_HEADER.sizeof() == SIZE == 592
    assert KEYSLOT.sizeof() == 48


@pytest.mark.parametrize(
    ("name", "layout", "figure"),
    [("PARTITION_HEADER", PARTITION_HEADER, _FIGURE_1), ("KEYSLOT", KEYSLOT, _FIGURE_2)],
)
def test_every_field_lies_where_figure_and_comment_say(
    name: str, layout: object, figure: dict[str, int]
) -> None:
    assert true_offsets(layout) == figure
    assert offsets_in_comments(partition_header, name) == figure


def test_the_records_have_the_fields_of_the_layouts() -> None:
    assert [each.name for each in fields(PartitionHeader)] == list(_FIGURE_1)
    assert [each.name for each in fields(KeyslotRecord)] == list(_FIGURE_2)


@pytest.mark.parametrize(
    "name", [each.name for each in corpus_images() if each.version == 1 and each.valid]
)
def test_a_real_header_survives_a_round_trip(corpus: Corpus, name: str) -> None:
    with corpus(name).open("rb") as image:
        data = image.read(SIZE)
    record = PartitionHeader.from_bytes(data)
    assert record.to_bytes() == data
    assert record.with_keyslot_records(record.keyslot_records()).to_bytes() == data


@pytest.mark.parametrize("size", [0, SIZE - 1, SIZE + 1])
def test_a_header_of_another_size_is_refused_with_both_numbers(size: int) -> None:
    with pytest.raises(HeaderError, match=f"{size} bytes, its layout has 592"):
        PartitionHeader.from_bytes(bytes(size))


@pytest.mark.parametrize(
    ("key_size", "size", "second", "end"),
    # cryptsetup 2.6.1 with 128, 256 and 512 bits; ``end`` is the size of its new detached header.
    [(16, 64000, 69632, 528384), (32, 128000, 135168, 1052672), (64, 256000, 262144, 2068480)],
)
def test_areas_lie_where_cryptsetup_puts_them(
    key_size: int, size: int, second: int, end: int
) -> None:
    assert area_size(key_size) == size
    assert area_offset(1, key_size) == second
    assert align_up(areas_end(key_size), 4096) == end


def test_no_repr_shows_salts_or_digests(corpus: Corpus) -> None:
    with corpus("made/l1-aes-xts-plain64-256").open("rb") as image:
        record = PartitionHeader.from_bytes(image.read(SIZE))
    shown = repr(record) + repr(record.keyslot_records())
    for secret in (record.mk_digest, record.mk_digest_salt, record.keyslot_records()[0].salt):
        assert repr(secret) not in shown
