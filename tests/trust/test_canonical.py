"""The canonical encoding: one sequence of bytes for what a header says, another for all else."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import luksmeta
from luksmeta import MemoryStorage, StorageBusyError
from luksmeta.binary import field_offsets
from luksmeta.format_options import Version
from luksmeta.header import read_header
from luksmeta.luks2.binary_header import BINARY_HEADER
from luksmeta.luks2.json_text import parse_json
from luksmeta.model import JsonValue
from luksmeta.trust import canonical
from luksmeta.trust.canonical import encode
from luksmeta.trust.terms import SEAL_TYPE
from tests import builders
from tests.builders import FIRST, SECOND, VERSIONS
from tests.trust import plain
from tests.trust.images import with_copies, with_text

OFFSETS = field_offsets(BINARY_HEADER)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def measured(image: bytes, hash: str = "sha256") -> str:
    return luksmeta.measure(MemoryStorage(image), hash=hash).hex()


@pytest.fixture
def image() -> bytes:
    return builders.image("luks2", (FIRST, SECOND))


# --- values --------------------------------------------------------------------------------------


@given(JSON)
def test_plain_code_encodes_every_value_alike(value: JsonValue) -> None:
    assert encode(value) == plain.encode(value)


@given(JSON, JSON)
def test_values_that_differ_are_encoded_differently(one: JsonValue, other: JsonValue) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (encode(one) == encode(other)) == same


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=5))
def test_the_order_of_members_does_not_count(value: dict[str, JsonValue]) -> None:
    assert encode(dict(reversed(value.items()))) == encode(value)


def test_a_number_counts_and_not_its_spelling() -> None:
    one, other = (parse_json(b'{"a":%b}' % number) for number in (b"1.10", b"11e-1"))
    assert encode(one) == encode(other) == b"d1:ar3ff199999999999ae"
    assert encode(1) != encode(1.0) != encode("1") != encode(True)


def test_bytes_that_are_no_utf8_are_kept() -> None:
    assert encode(parse_json(b'{"a":"\xff"}')) == b"d1:a1:\xffe"


# --- headers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("hash", ["sha256", "sha384", "sha512"])
def test_plain_code_measures_every_header_alike(version: Version, hash: str) -> None:
    data = builders.image(version, (FIRST, SECOND))
    tree = {"luks1": plain.luks1, "luks2": plain.luks2}[version](data)
    assert measured(data, hash) == plain.measure(tree, hash)


def test_members_in_another_order_and_other_white_space_measure_alike(image: bytes) -> None:
    shuffled = with_text(
        image, json.dumps(_shuffled(builders.document_of(image)), indent=1).encode()
    )
    assert measured(shuffled) == measured(image)


def _shuffled(value: JsonValue) -> JsonValue:
    if isinstance(value, list):
        return [_shuffled(each) for each in value]
    if not isinstance(value, dict):
        return value
    names = sorted(value)
    random.Random(7).shuffle(names)
    return {name: _shuffled(value[name]) for name in names}


def test_seqid_and_salts_do_not_count(image: bytes) -> None:
    def put(copy: bytearray) -> None:
        for name, size in (("seqid", 8), ("salt", 64)):
            copy[OFFSETS[name] : OFFSETS[name] + size] = bytes([7]) * size

    assert measured(with_copies(image, put)) == measured(image)


def test_the_secondary_measures_as_the_primary_did(image: bytes) -> None:
    assert measured(bytes(4096) + image[4096:]) == measured(image)


@pytest.mark.parametrize("name", ["label", "uuid", "subsystem"])
def test_nothing_hides_behind_a_text_of_the_binary_header(name: str, image: bytes) -> None:
    at = OFFSETS[name] + 39

    def put(copy: bytearray) -> None:
        copy[at] ^= 1

    assert measured(with_copies(image, put)) != measured(image)


@pytest.mark.parametrize("at", [264, 447, 480, 511, 512, 4095])
def test_every_byte_of_the_binary_header_that_is_no_field_counts(at: int, image: bytes) -> None:
    def put(copy: bytearray) -> None:
        copy[at] ^= 1

    changed = bytearray(with_copies(image, put))
    if OFFSETS["csum"] <= at < 512:  # filled in by now
        put(changed)
    assert measured(bytes(changed)) != measured(image)


def test_the_document_is_in_the_tree_as_it_stands(image: bytes) -> None:
    document = builders.document_of(image)
    document["x-unknown"] = {"deep": [1, {"er": None}]}
    document["keyslots"]["0"]["x"] = document["config"]["x"] = 1.5
    storage = MemoryStorage(builders.with_document(image, document))
    tree = canonical.tree(read_header(storage), storage)
    assert tree["metadata"] == document
    parts = canonical.objects(tree)
    assert parts["metadata", "x-unknown"] == document["x-unknown"]
    assert parts["keyslots", "0"] == document["keyslots"]["0"]
    assert {path[0] for path in parts} == {
        *("header", "areas", "keyslots", "segments", "digests", "config", "metadata")
    }


def test_every_byte_of_the_keyslots_area_counts(image: bytes) -> None:
    before = measured(image)
    metadata = luksmeta.open(MemoryStorage(image)).metadata
    area, data = metadata.keyslots_area, metadata.data_offset
    for at in (area.offset, area.offset + (128 << 10) - 1, area.end - 1):
        assert measured(image[:at] + bytes([image[at] ^ 1]) + image[at + 1 :]) != before
    assert measured(image[:data] + bytes([image[data] ^ 1]) + image[data + 1 :]) == before


def test_bytes_between_the_keyslots_area_and_the_data_count_unless_they_are_zero(
    image: bytes,
) -> None:
    storage = MemoryStorage(image)
    with luksmeta.open(storage, writable=True) as volume:
        volume.configure(keyslots_size=2 * (128 << 10))
        end, data = volume.metadata.keyslots_area.end, volume.metadata.data_offset
        storage.write_at(end, bytes(data - end))
        content = bytes(storage.data)
        before = volume.measure()
    assert measured(content[:end]) == before.hex()  # as of a header backup
    seen = {before.hex()}
    for at in (end, data - 1):
        for value in (1, 2):
            seen.add(measured(content[:at] + bytes([value]) + content[at + 1 :]))
    assert len(seen) == 5


def test_a_header_backup_and_a_detached_header_measure_as_the_volume(image: bytes) -> None:
    header = read_header(MemoryStorage(image))
    assert measured(image[: header.backup_size]) == measured(image)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_seal_changes_no_measurement(version: Version) -> None:
    with builders.opened(version) as volume:
        before = volume.measure()
        if version == "luks2":
            with volume.unlock(FIRST) as unlocked:
                unlocked.seal()
        assert volume.measure() == before


def test_of_two_seals_none_is_left_out(image: bytes) -> None:
    token = {"type": SEAL_TYPE, "keyslots": []}
    document = builders.document_of(image)
    seen = set()
    for tokens in ({}, {"0": token}, {"0": token, "1": token}):
        document["tokens"] = tokens
        seen.add(measured(builders.with_document(image, document)))
    assert len(seen) == 2


def test_unused_luks1_keyslots_count_by_their_entries_alone() -> None:
    image = builders.image("luks1")
    before = measured(image)
    last = luksmeta.open(MemoryStorage(image)).metadata.keyslots_area.end - 1
    assert measured(image[:last] + b"?" + image[last + 1 :]) == before
    storage = MemoryStorage(image)
    with luksmeta.open(storage, writable=True) as volume:
        builders.add_keyslots(volume, (SECOND,))
    assert measured(bytes(storage.data)) != before


def test_a_header_that_another_process_changed_is_not_measured() -> None:
    storage = builders.memory("luks2")
    with luksmeta.open(MemoryStorage(storage.data)) as stale:
        with luksmeta.open(storage, writable=True) as volume:
            volume.configure(label="new")
        stale.header_storage = storage
        with pytest.raises(StorageBusyError, match="has been changed"):
            stale.measure()


def test_hashes_without_a_name_here_are_refused(image: bytes) -> None:
    with pytest.raises(ValueError, match="'md5' is none of sha256, sha384, sha512"):
        measured(image, "md5")
