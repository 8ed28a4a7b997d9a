"""The JSON document <-> the model: nothing is lost, nothing moves, nothing unknown is dropped."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import luksmeta
from luksmeta import MemoryStorage, Volume
from luksmeta.file_storage import FileStorage
from luksmeta.luks2.document_reading import to_metadata
from luksmeta.luks2.document_writing import to_document
from luksmeta.luks2.header import Luks2Header
from luksmeta.luks2.json_text import LiteralFloat, compact_text
from luksmeta.luks2.validation import repair_known_faults
from luksmeta.model import (
    ForeignDigest,
    ForeignKdf,
    ForeignKeyslot,
    ForeignSegment,
    JsonObject,
    KeyslotPriority,
    Pbkdf2Digest,
)
from tests.builders import FIRST, KDF, SECOND, THIRD, VOLUME_KEY, document_of, image, with_document
from tests.corpus import Corpus, corpus_images
from tests.defects.documents import Document
from tests.defects.oddities import ODDITIES, Oddity

_AREA = 128 << 10


def _text(document: JsonObject) -> str:
    """Equal texts are equal documents with their members in equal order, numbers as spelled."""
    return compact_text(document).decode()


def _through_the_model(document: Document) -> JsonObject:
    return to_document(to_metadata(document, uuid="", label="", subsystem=""))


@pytest.mark.parametrize(
    "name", [each.name for each in corpus_images() if each.version == 2 and each.valid]
)
def test_the_document_of_a_real_image_comes_back_in_order(corpus: Corpus, name: str) -> None:
    with FileStorage(corpus(name)) as storage:
        header = Luks2Header.read(storage)
    assert _text(to_document(header.metadata)) == _text(repair_known_faults(header.document))


@pytest.mark.parametrize("oddity", ODDITIES, ids=lambda oddity: oddity.name)
def test_an_odd_document_comes_back_in_order(oddity: Oddity) -> None:
    assert _text(_through_the_model(oddity.document())) == _text(oddity.document())


def test_what_is_unknown_or_makes_no_sense_becomes_foreign() -> None:
    document = _rich_document()
    document["keyslots"]["1"]["kdf"] = {"type": "scrypt", "salt": 7}
    document["keyslots"]["0"]["priority"] = "often"
    document["digests"]["0"]["salt"] = "*"
    metadata = to_metadata(document, uuid="", label="", subsystem="")
    assert isinstance(metadata.keyslots[7], ForeignKeyslot)
    assert isinstance(metadata.segments[1], ForeignSegment)
    assert isinstance(metadata.digests[0], ForeignDigest)
    assert getattr(metadata.keyslots[1], "kdf", None) == ForeignKdf("scrypt")
    assert metadata.keyslots[0].priority is KeyslotPriority.IGNORE


@pytest.mark.parametrize(
    ("hash_name", "size", "proves"),
    [
        ("sha256", 32, True),
        ("sha256", 20, True),
        ("sha256", 31, False),
        ("sha512", 32, False),
        ("md5", 16, True),
        ("md5", 20, True),
        ("sha256", 16, False),
        ("unheard-of", 19, False),
        ("unheard-of", 64, True),  # until it is used, which says that nobody knows the hash
        ("unheard-of", 65, False),
    ],
)
def test_a_digest_has_20_bytes_or_as_many_as_its_hash(
    hash_name: str, size: int, *, proves: bool
) -> None:
    document = _rich_document()
    digest = base64.b64encode(bytes(size)).decode()
    document["digests"]["0"].update(hash=hash_name, digest=digest)
    metadata = to_metadata(document, uuid="", label="", subsystem="")
    assert isinstance(metadata.digests[0], Pbkdf2Digest if proves else ForeignDigest)


# Changes keep what they do not know

Change = Callable[[Volume], object]


def _rich_document() -> Document:
    """Two keyslots that open, one of another type, room for one more, a token, two segments."""
    document = document_of(image("luks2", (FIRST, SECOND)))
    end = int(document["segments"]["0"]["offset"])
    document["keyslots"]["7"] = {
        "type": "acme",
        "key_size": 1,
        "area": {"type": "blob", "offset": str(end - _AREA), "size": str(_AREA)},
    }
    document["segments"]["0"]["size"] = "4096"
    document["segments"]["1"] = {"type": "acme", "offset": str(end + 4096), "size": "512"}
    document["tokens"]["5"] = {"type": "acme", "keyslots": ["1", "0"], "pin": {"tries": 3}}
    return document


def _add(volume: Volume) -> None:
    with volume.unlock(volume_key=VOLUME_KEY) as unlocked:
        unlocked.add_keyslot(THIRD, pbkdf=KDF)


def _change(keyslot: int) -> Change:
    def change(volume: Volume) -> None:
        with volume.unlock(volume_key=VOLUME_KEY) as unlocked:
            unlocked.change_keyslot(keyslot, THIRD, pbkdf=KDF)

    return change


_CHANGES: dict[str, Change] = {
    "add": _add,
    "change moving the area": _change(0),
    "remove": lambda volume: volume.remove_keyslot(1),
    "raise priority": lambda volume: volume.set_priority(0, "high"),
    "label": lambda volume: volume.configure(label="a label"),
    "flags": lambda volume: volume.configure(flags=("allow-discards",)),
    "no flags": lambda volume: volume.configure(flags=()),
    "erase": lambda volume: volume.erase(),
}
_PLACES = (
    (),
    ("keyslots", "0"),
    ("keyslots", "0", "area"),
    ("keyslots", "0", "af"),
    ("keyslots", "1"),
    ("keyslots", "7"),
    ("keyslots", "7", "area"),
    ("tokens", "5"),
    ("tokens", "5", "pin"),
    ("segments", "0"),
    ("segments", "1"),
    ("digests", "0"),
    ("config",),
    ("config", "requirements"),
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), 1 << 63) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=3,
)
_UNKNOWN = st.dictionaries(st.text(max_size=5).map(lambda name: f"x-{name}"), _JSON, max_size=2)


def _at(document: Any, place: tuple[str, ...]) -> dict[str, Any] | None:  # noqa: ANN401 - JSON
    for name in place:
        document = document.get(name)
        if document is None:
            return None
    found: dict[str, Any] = document
    return found


def _unknown_members(document: Document) -> dict[tuple[str, ...], str]:
    """What was planted, by place, in its order."""
    return {
        place: _text({name: value for name, value in members.items() if name.startswith("x-")})
        for place in _PLACES
        if (members := _at(document, place)) is not None
    }


def _changed(document: Document, *changes: Change) -> Document:
    storage = MemoryStorage(with_document(image("luks2", (FIRST, SECOND)), document))
    with luksmeta.open(storage, writable=True) as volume:
        for change in changes:
            change(volume)
    return document_of(bytes(storage.data))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.data())
def test_unknown_members_anywhere_survive_every_change(data: st.DataObject) -> None:
    document = _rich_document()
    document["config"]["requirements"] = {}
    for place in _PLACES:
        members = _at(document, place)
        assert members is not None
        members.update(data.draw(_UNKNOWN))
    names = data.draw(st.lists(st.sampled_from(sorted(_CHANGES)), min_size=1, unique=True))
    names.sort(key=list(_CHANGES).index)
    after = _unknown_members(_changed(document, *(_CHANGES[name] for name in names[:3])))
    before = _unknown_members(document)
    assert after == {place: before[place] for place in after}
    assert {place for place in before if place[:1] != ("keyslots",)} <= set(after)


def test_a_keyslot_overwritten_in_place_keeps_its_unknown_members() -> None:
    document = _rich_document()
    document["keyslots"]["0"]["x-note"] = {"by": "acme"}
    after = _changed(document, _add, _change(0))
    assert after["keyslots"]["0"]["x-note"] == {"by": "acme"}
    assert after["keyslots"]["0"]["area"] == document["keyslots"]["0"]["area"]
    assert after["keyslots"]["0"]["kdf"]["salt"] != document["keyslots"]["0"]["kdf"]["salt"]


@pytest.mark.parametrize("name", sorted(set(_CHANGES) - {"erase", "remove"}))
def test_an_undecodable_salt_is_kept_by_every_change(name: str) -> None:
    document = _rich_document()
    document["keyslots"]["1"]["kdf"]["salt"] = "*"
    after = _changed(document, _CHANGES[name], lambda volume: volume.set_priority(1, "ignore"))
    assert after["keyslots"]["1"]["kdf"]["salt"] == "*"
    assert after["keyslots"]["1"]["priority"] == 0


def test_an_undecodable_digest_is_kept_when_its_keyslots_change() -> None:
    document = _rich_document()
    document["digests"]["0"]["digest"] = "*"
    after = _changed(document, lambda volume: volume.remove_keyslot(1))
    assert after["digests"]["0"] == {**document["digests"]["0"], "keyslots": ["0"]}


def test_numbers_keep_their_spelling_when_something_else_changes() -> None:
    document = _rich_document()
    numbers = ("1E2", "1.10", "-0.0", "5e-324", "0.1000000000000000055511151231257827")
    members: Document = {f"x-{text}": LiteralFloat(text) for text in numbers}
    for place in ((), ("keyslots", "0"), ("keyslots", "1", "kdf"), ("tokens", "5"), ("config",)):
        found = _at(document, place)
        assert found is not None
        found.update({} if place[2:] else members)
    document["digests"]["0"]["x-list"] = list(members.values())
    after = _changed(document, _add)
    del after["keyslots"]["2"]
    after["digests"]["0"]["keyslots"].remove("2")
    assert _text(after) == _text(document)
    assert _text(after).count("0.1000000000000000055511151231257827") == 2 * 4 + 1


def test_a_removed_keyslot_leaves_its_tokens_without_it() -> None:
    after = _changed(_rich_document(), lambda volume: volume.remove_keyslot(1))
    assert after["tokens"]["5"] == {"type": "acme", "keyslots": ["0"], "pin": {"tries": 3}}
    assert list(after["keyslots"]) == ["0", "7"]


def test_normal_priority_is_written_as_no_member() -> None:
    after = _changed(
        _rich_document(),
        lambda volume: volume.set_priority(0, "high"),
        lambda volume: volume.set_priority(0, "normal"),
    )
    assert after == _rich_document()


def test_a_new_keyslot_has_its_members_in_cryptsetups_order() -> None:
    keyslot = _changed(_rich_document(), _add)["keyslots"]["2"]
    assert list(keyslot) == ["type", "key_size", "af", "area", "kdf"]
    assert list(keyslot["af"]) == ["type", "stripes", "hash"]
    assert list(keyslot["area"]) == ["type", "offset", "size", "encryption", "key_size"]
    assert list(keyslot["kdf"]) == ["type", "hash", "iterations", "salt"]


def test_config_numbers_with_leading_zeroes_stay_as_they_were_read() -> None:
    document = _rich_document()
    document["config"]["json_size"] = "0" + document["config"]["json_size"]
    after = _changed(document, lambda volume: volume.configure(flags=("no-journal",)))
    assert after["config"] == {**document["config"], "flags": ["no-journal"]}
