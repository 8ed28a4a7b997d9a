"""What differs between two headers: fields by path, keyslots by what they hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import luksmeta
from luksmeta import MemoryStorage, Volume, convert
from luksmeta.comparison import Comparison, KeyslotState, compare
from luksmeta.format_options import Version
from luksmeta.kdf import antiforensic
from luksmeta.model import STRIPES
from tests.builders import (
    FIRST,
    KDF,
    SECOND,
    THIRD,
    VERSIONS,
    VOLUME_KEY,
    document_of,
    image,
    memory,
    with_document,
)

on_versions = pytest.mark.parametrize("version", VERSIONS)
Change = Callable[[Volume], object]


def compared(one: bytes, other: bytes) -> Comparison:
    with luksmeta.open(MemoryStorage(one)) as a, luksmeta.open(MemoryStorage(other)) as b:
        return compare(a.header, a.header_storage, b.header, b.header_storage)


def changed(version: Version, change: Change, *passphrases: bytes) -> Comparison:
    """A volume with two keyslots, or these, compared with what ``change`` makes of it."""
    storage = memory(version, *(passphrases or (FIRST, SECOND)))
    before = bytes(storage.data)
    with luksmeta.open(storage, writable=True) as volume:
        change(volume)
    return compared(before, bytes(storage.data))


def keyslots(comparison: Comparison) -> list[tuple[str, int | None, int | None]]:
    return [(each.state.value, each.one, each.other) for each in comparison.keyslots]


def paths(comparison: Comparison) -> set[str]:
    return {each.path for each in comparison.fields}


@on_versions
def test_a_header_equals_itself(version: Version) -> None:
    comparison = compared(image(version, (FIRST, SECOND)), image(version, (FIRST, SECOND)))
    assert comparison.is_equal
    assert comparison.same_volume_key is True
    assert keyslots(comparison) == [("same", 0, 0), ("same", 1, 1)]


@on_versions
def test_keyslots_that_came_went_and_changed(version: Version) -> None:
    def change(volume: Volume) -> None:
        with volume.unlock(volume_key=VOLUME_KEY) as unlocked:
            unlocked.add_keyslot(b"another", keyslot=3, pbkdf=KDF)
            unlocked.change_keyslot(1, b"changed", pbkdf=KDF)
        volume.remove_keyslot(2)

    comparison = changed(version, change, FIRST, SECOND, THIRD)
    assert keyslots(comparison) == [
        ("same", 0, 0),
        ("changed", 1, 1),
        ("only in one", 2, None),
        ("only in other", None, 3),
    ]
    assert comparison.same_volume_key is True
    assert not comparison.is_equal


def test_a_keyslot_under_another_id_is_the_same_keyslot() -> None:
    """As cryptsetup's change of a LUKS1 passphrase leaves it, done to the document here."""
    document = document_of(image("luks2", (FIRST, SECOND)))
    document["keyslots"]["7"] = document["keyslots"].pop("1")
    document["digests"]["0"]["keyslots"] = ["0", "7"]
    comparison = compared(
        image("luks2", (FIRST, SECOND)), with_document(image("luks2", (FIRST, SECOND)), document)
    )
    assert keyslots(comparison) == [("same", 0, 0), ("moved", 1, 7)]


@on_versions
def test_other_bytes_in_an_area_are_other_key_material(version: Version) -> None:
    data = bytearray(image(version, (FIRST, SECOND)))
    with luksmeta.open(MemoryStorage(data)) as volume:
        area = volume.metadata.keyslot(1).area
    data[area.offset + 4000] ^= 1
    comparison = compared(image(version, (FIRST, SECOND)), bytes(data))
    assert keyslots(comparison) == [("same", 0, 0), ("other key material", 1, 1)]
    assert comparison.fields == ()
    assert not comparison.is_equal


@on_versions
def test_bytes_behind_the_split_key_are_none_of_it(version: Version) -> None:
    data = bytearray(image(version))
    with luksmeta.open(MemoryStorage(data)) as volume:
        offset = volume.metadata.keyslot(0).area.offset
    data[offset + 4000 * 32] ^= 1
    assert compared(image(version), bytes(data)).is_equal


def test_fields_are_named_by_their_paths() -> None:
    def change(volume: Volume) -> None:
        volume.configure(label="new", flags=("allow-discards",))
        volume.set_priority(1, "high")

    comparison = changed("luks2", change)
    by_path = {each.path: (each.one, each.other) for each in comparison.fields}
    assert by_path.pop("seqid") == (4, 6)
    assert by_path == {
        "label": ("", "new"),
        "keyslots.1.priority": ("normal", "high"),
        "flags": ([], ["allow-discards"]),
    }


def test_members_that_nobody_knows_are_compared_as_well() -> None:
    document = document_of(image("luks2"))
    document["future"] = {"deep": [{"a": 1}]}
    document["keyslots"]["0"]["note"] = "mine"
    comparison = compared(image("luks2"), with_document(image("luks2"), document))
    assert paths(comparison) == {"future.deep", "keyslots.0.note"}


def test_the_order_of_trying_is_a_difference() -> None:
    document = document_of(image("luks2", (FIRST, SECOND)))
    document["keyslots"] = dict(reversed(document["keyslots"].items()))
    after = with_document(image("luks2", (FIRST, SECOND)), document)
    (difference,) = compared(image("luks2", (FIRST, SECOND)), after).fields
    assert (difference.path, difference.one, difference.other) == (
        "order of trying",
        [0, 1],
        [1, 0],
    )


def test_a_damaged_copy_is_a_difference() -> None:
    data = bytearray(image("luks2"))
    data[0x4000] ^= 1
    (difference,) = compared(image("luks2"), bytes(data)).fields
    assert difference.path == "header_copies.secondary"
    assert difference.one == "whole"
    assert "magic" in str(difference.other)


def test_a_converted_volume_has_the_same_keyslots_and_volume_key() -> None:
    storage = memory("luks1", FIRST, SECOND)
    before = bytes(storage.data)
    with luksmeta.open(storage, writable=True) as volume:
        convert.prepare(volume, "luks2").apply(volume)
    comparison = compared(before, bytes(storage.data))
    assert [each.state for each in comparison.keyslots] == [KeyslotState.SAME] * 2
    assert comparison.same_volume_key is True
    assert {"format", "keyslots.0.area.offset"} <= paths(comparison)


def test_another_digest_says_nothing_of_the_volume_key() -> None:
    other = MemoryStorage(len(image("luks2")))
    offset = 557056
    luksmeta.format(other, FIRST, pbkdf=KDF, digest_iterations=1000, data_offset=offset).close()
    assert compared(image("luks2"), bytes(other.data)).same_volume_key is None


def test_foreign_keyslots_are_compared_by_type_and_bytes() -> None:
    document = document_of(image("luks2"))
    offset = int(document["keyslots"]["0"]["area"]["offset"]) + (128 << 10)
    area = {"type": "raw", "offset": str(offset), "size": "4096"}
    document["keyslots"]["1"] = {"type": "future", "key_size": 1, "area": area}
    one = with_document(image("luks2"), document)
    other = bytearray(one)
    other[offset] ^= 1
    assert keyslots(compared(one, one)) == [("same", 0, 0), ("same", 1, 1)]
    assert keyslots(compared(one, bytes(other)))[1] == ("other key material", 1, 1)


def test_a_keyslot_whose_key_has_no_bytes_is_compared_by_its_whole_area() -> None:
    document = document_of(image("luks2"))
    document["keyslots"]["0"]["key_size"] = 0
    one = with_document(image("luks2"), document)
    assert keyslots(compared(one, one)) == [("same", 0, 0)]
    last = document["keyslots"]["0"]["area"]
    end = int(last["offset"]) + int(last["size"])
    other = one[: end - 1] + bytes([one[end - 1] ^ 1]) + one[end:]
    assert keyslots(compared(one, other)) == [("other key material", 0, 0)]


def test_each_area_is_read_once_however_many_keyslots_look_alike() -> None:
    base = image("luks2", (FIRST, SECOND, THIRD))
    document = document_of(base)
    for each in ("1", "2"):
        document["keyslots"][each]["kdf"] = document["keyslots"]["0"]["kdf"]
    storage = CountingStorage(with_document(base, document))
    with luksmeta.open(storage) as volume:
        storage.taken = 0
        compare(volume.header, storage, volume.header, storage)
    assert storage.taken == 2 * 3 * antiforensic.split_size(len(VOLUME_KEY), STRIPES)


class CountingStorage(MemoryStorage):
    """Counts the bytes that are read."""

    taken = 0

    def _read(self, offset: int, size: int) -> bytes:
        self.taken += size
        return super()._read(offset, size)


def test_the_description_is_for_programs() -> None:
    comparison = changed("luks2", lambda volume: volume.remove_keyslot(1))
    described = comparison.describe()
    assert described["equal"] is False
    assert {"state": "only in one", "one": 1, "other": None} in described["keyslots"]  # type: ignore[operator]  # a list
