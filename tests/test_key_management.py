"""Keyslots added, changed and removed: what is written, in which order, and that no crash hurts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

import luksmeta
from luksmeta import (
    HeaderError,
    KeyslotError,
    KeyslotNotFoundError,
    KeyslotsAreaFullError,
    MemoryStorage,
    PassphraseError,
    Volume,
)
from luksmeta.file_storage import FileStorage
from luksmeta.format_options import Version
from luksmeta.model import Keyslot, KeyslotPriority
from luksmeta.overlay import OverlayStorage
from tests.builders import (
    FIRST,
    KDF,
    KEYSLOTS_THAT_FIT,
    SECOND,
    THIRD,
    VERSIONS,
    VOLUME_KEY,
    document_of,
    image,
    key_behind,
    memory,
    opened,
    with_document,
)
from tests.corpus import Corpus
from tests.disk_states import states

NEW = b"new passphrase"
NOTE = luksmeta.Note(owner="Ann")
OTHER_UUID = "c0ffee00-0000-4000-8000-000000000002"


def _area(volume: Volume, keyslot: int) -> tuple[int, int]:
    area = volume.metadata.keyslot(keyslot).area
    return area.offset, area.size


def _change(volume: Volume, keyslot: int, *, keep_id: bool = True) -> int:
    with volume.unlock(volume_key=VOLUME_KEY) as unlocked:
        return unlocked.change_keyslot(keyslot, NEW, pbkdf=KDF, keep_id=keep_id)


def _add(volume: Volume, keyslot: int | None = None) -> int:
    with volume.unlock(volume_key=VOLUME_KEY) as unlocked:
        return unlocked.add_keyslot(NEW, keyslot=keyslot, pbkdf=KDF)


def _add_recovery_key(volume: Volume) -> None:
    with volume.unlock(volume_key=VOLUME_KEY) as unlocked:
        unlocked.add_recovery_key(note=NOTE)


def _remove_two_with_tokens(volume: Volume) -> None:
    volume.configure(notes={0: NOTE, 1: NOTE})
    volume.tokens.add_keyring("all")
    volume.remove_keyslot([0, 1])


def _full(version: Version) -> tuple[bytes, ...]:
    count = 8 if version == "luks1" else KEYSLOTS_THAT_FIT
    return (FIRST, SECOND, *(b"passphrase %d" % number for number in range(2, count)))


# Adding


@pytest.mark.parametrize("version", VERSIONS)
def test_a_keyslot_is_added_at_the_lowest_free_id_and_opens_the_same_key(version: Version) -> None:
    with opened(version, FIRST, SECOND, THIRD) as volume:
        volume.remove_keyslot(1)
        assert _add(volume) == 1
        assert key_behind(volume, NEW) == VOLUME_KEY
        assert volume.unlock(NEW).keyslot == 1
        assert key_behind(luksmeta.open(volume.header_storage), NEW) == VOLUME_KEY


@pytest.mark.parametrize("version", VERSIONS)
def test_a_taken_id_and_an_id_out_of_range_are_refused(version: Version) -> None:
    last = 7 if version == "luks1" else 31
    with opened(version) as volume:
        assert _add(volume, last) == last
        with pytest.raises(KeyslotError, match=f"keyslot {last}: in use already"):
            _add(volume, last)
        with pytest.raises(KeyslotError, match=f"ids go from 0 to {last} here"):
            _add(volume, last + 1)


@pytest.mark.parametrize("version", VERSIONS)
def test_without_room_nothing_is_added_or_written(version: Version) -> None:
    storage = memory(version, *_full(version))
    before = bytes(storage.data)
    with luksmeta.open(storage, writable=True) as volume:
        with pytest.raises(KeyslotsAreaFullError):
            _add(volume)
        assert volume.written == []
    assert bytes(storage.data) == before


def test_cryptsetups_full_header_has_no_room(corpus: Corpus) -> None:
    with luksmeta.open(OverlayStorage(FileStorage(corpus("made/l1-slots-full")))) as volume:
        with (
            volume.unlock(b"correct horse battery staple") as unlocked,
            pytest.raises(KeyslotsAreaFullError, match="all 8 keyslots"),
        ):
            unlocked.add_keyslot(NEW, pbkdf=KDF)
        assert len(volume.keyslots) == 8


def test_a_gap_of_the_keyslots_area_is_used_again() -> None:
    with opened("luks2", FIRST, SECOND, THIRD) as volume:
        place = _area(volume, 1)
        volume.remove_keyslot(1)
        assert _area(volume, _add(volume, 20)) == place


def test_a_new_area_is_aligned_even_behind_one_that_is_not() -> None:
    document = document_of(image("luks2"))
    area = {"type": "x", "offset": str(32768 + (128 << 10)), "size": "1"}
    document["keyslots"]["9"] = {"type": "acme", "key_size": 1, "area": area}
    storage = MemoryStorage(with_document(image("luks2"), document))
    with luksmeta.open(storage, writable=True) as volume:
        assert _area(volume, _add(volume)) == (32768 + (128 << 10) + 4096, 128 << 10)
        assert key_behind(volume, NEW) == VOLUME_KEY


def test_an_area_smaller_than_its_key_is_never_written_over_its_end() -> None:
    document = document_of(image("luks2", _full("luks2")))
    document["keyslots"]["1"]["area"]["size"] = "4096"
    taken = document["keyslots"]["1"]["area"]["offset"]
    document["keyslots"]["9"] = {
        "type": "acme",
        "key_size": 1,
        "area": {"type": "x", "offset": str(int(taken) + 4096), "size": str(126976)},
    }
    data = with_document(image("luks2", _full("luks2")), document)
    storage = MemoryStorage(data)
    with (
        luksmeta.open(storage, writable=True) as volume,
        pytest.raises(KeyslotError, match="area of 4096 bytes, its key needs 128000"),
    ):
        _change(volume, 1)
    assert bytes(storage.data) == data


# Removing


@pytest.mark.parametrize("version", VERSIONS)
def test_a_removed_keyslot_leaves_no_key_material(version: Version) -> None:
    with opened(version, FIRST, SECOND) as volume:
        offset, size = _area(volume, 1)
        size = min(size, 128000)  # what the key material takes of a LUKS2 area
        before = volume.header_storage.read_at(offset, size)
        volume.remove_keyslot(1)
        after = volume.header_storage.read_at(offset, size)
        assert list(volume.keyslots) == [0]
        with pytest.raises(PassphraseError):
            volume.unlock(SECOND)
    same = sum(a == b for a, b in zip(before, after, strict=True))
    assert same < size / 100  # one random byte in 256 is what it was


@pytest.mark.parametrize("version", VERSIONS)
def test_the_last_way_in_is_removed_only_on_demand(version: Version) -> None:
    with opened(version, FIRST, SECOND) as volume:
        volume.remove_keyslot(0)
        with pytest.raises(KeyslotError, match="the last one that opens the volume"):
            volume.remove_keyslot(1)
        volume.remove_keyslot(1, allow_last=True)
        assert not volume.keyslots
        with pytest.raises(PassphraseError, match="no keyslot is there") as caught:
            volume.unlock(FIRST)
        assert caught.value.tried == ()


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_not_in_use_cannot_be_removed_or_changed(version: Version) -> None:
    with opened(version) as volume:
        for call in (
            lambda: volume.remove_keyslot(5),
            lambda: _change(volume, 5),
            lambda: volume.unlock(FIRST, keyslot=5),
        ):
            with pytest.raises(KeyslotNotFoundError, match="keyslot 5: not in use"):
                call()


@pytest.mark.parametrize("version", VERSIONS)
def test_erasing_removes_every_keyslot_that_opens(version: Version) -> None:
    with opened(version, FIRST, SECOND, THIRD) as volume:
        volume.erase()
        assert not volume.keyslots
        assert len(volume.written) == 3


def test_erasing_leaves_an_unbound_keyslot(corpus: Corpus) -> None:
    with luksmeta.open(OverlayStorage(FileStorage(corpus("made/l2-unbound")))) as volume:
        volume.erase()
        assert list(volume.keyslots) == [3]
        assert key_behind(volume, b"purple monkey dishwasher", 3)


def test_a_foreign_keyslot_is_neither_removed_changed_nor_tried() -> None:
    document = document_of(image("luks2"))
    area = {"type": "x", "offset": str(32768 + (128 << 10)), "size": "4096"}
    document["keyslots"]["1"] = {"type": "acme", "key_size": 1, "area": area}
    document["digests"]["0"]["keyslots"].append("1")
    storage = MemoryStorage(with_document(image("luks2"), document))
    with luksmeta.open(storage, writable=True) as volume:
        with pytest.raises(KeyslotError, match="of type acme, not removed"):
            volume.remove_keyslot(1)
        with pytest.raises(KeyslotError, match="of type acme, it has no passphrase"):
            _change(volume, 1)
        with pytest.raises(KeyslotError, match="of type acme, no passphrase opens it"):
            volume.unlock(FIRST, keyslot=1)
        with pytest.raises(PassphraseError) as caught:
            volume.unlock(NEW)
        assert caught.value.tried == (0,)


# Changing


def test_a_luks2_keyslot_keeps_its_id_and_moves_its_area() -> None:
    with opened("luks2", FIRST, SECOND) as volume:
        volume.set_priority(0, "high")
        old = _area(volume, 0)
        assert _change(volume, 0) == 0
        assert _area(volume, 0) != old
        assert volume.unlock(NEW).keyslot == 0
        assert volume.keyslots[0].priority is KeyslotPriority.HIGH
        assert list(volume.keyslots) == [1, 0]  # the last in the order of trying, as in cryptsetup
        with pytest.raises(PassphraseError):
            volume.unlock(FIRST)
        assert key_behind(volume, SECOND) == VOLUME_KEY


def test_a_changed_luks2_keyslot_stays_in_its_tokens() -> None:
    document = document_of(image("luks2", (FIRST, SECOND)))
    document["tokens"] = {
        "0": {"type": "acme", "keyslots": ["0", "1"]},
        "1": {"type": "acme", "keyslots": ["1"]},
    }
    storage = MemoryStorage(with_document(image("luks2", (FIRST, SECOND)), document))
    with luksmeta.open(storage, writable=True) as volume:
        _change(volume, 0)
        between = volume.written[0]
        assert between.what == "store keyslot 2"
    assert document_of(bytes(storage.data))["tokens"] == document["tokens"]


@pytest.mark.parametrize("version", VERSIONS)
def test_in_a_full_header_the_area_is_written_over(version: Version) -> None:
    with opened(version, *_full(version)) as volume:
        old = _area(volume, 1)
        assert _change(volume, 1) == 1
        assert _area(volume, 1) == old
        assert volume.unlock(NEW).keyslot == 1
        with pytest.raises(PassphraseError):
            volume.unlock(SECOND)
        assert len(volume.written) == 1


def test_a_luks1_keyslot_keeps_its_id_by_way_of_another() -> None:
    with opened("luks1", FIRST, SECOND) as volume:
        assert _change(volume, 0) == 0
        assert list(volume.keyslots) == [0, 1]
        assert volume.unlock(NEW).keyslot == 0
        assert [plan.what for plan in volume.written] == [
            "store keyslot 2",
            "store keyslot 0",
            "remove keyslot 2",
        ]


def test_a_luks1_keyslot_moves_when_its_id_need_not_stay() -> None:
    with opened("luks1", FIRST, SECOND) as volume:
        assert _change(volume, 0, keep_id=False) == 2
        assert list(volume.keyslots) == [1, 2]
        assert volume.unlock(NEW).keyslot == 2
        with pytest.raises(PassphraseError):
            volume.unlock(FIRST)


def test_an_unbound_keyslot_is_not_changed_to_another_key(corpus: Corpus) -> None:
    purple = b"purple monkey dishwasher"
    with luksmeta.open(OverlayStorage(FileStorage(corpus("made/l2-unbound")))) as volume:
        key = key_behind(volume, purple, 3)
        with (
            volume.unlock(b"correct horse battery staple") as unlocked,
            pytest.raises(KeyslotError, match="keyslot 3: holds another key"),
        ):
            unlocked.change_keyslot(3, NEW, pbkdf=KDF)
        with volume.unlock(purple, keyslot=3) as unlocked:
            assert unlocked.change_keyslot(3, NEW, pbkdf=KDF) == 3
        assert key_behind(volume, NEW, 3) == key
        assert not volume.metadata.is_bound(3)


def test_a_key_is_stored_under_no_digest_but_the_one_that_proved_it(corpus: Corpus) -> None:
    storage = OverlayStorage(FileStorage(corpus("made/l2-unbound")))
    purple = b"purple monkey dishwasher"
    with (
        luksmeta.open(storage) as volume,
        luksmeta.open(storage) as other,
        volume.unlock(purple, keyslot=3) as unlocked,
    ):
        other.remove_keyslot(3)  # and its digest with it
        with pytest.raises(KeyslotError, match="digest 1: no longer the one that proved"):
            unlocked.add_keyslot(NEW, pbkdf=KDF)
        with pytest.raises(KeyslotNotFoundError):
            unlocked.change_keyslot(3, NEW, pbkdf=KDF)


def test_a_keyslot_can_get_another_kdf_hash_and_cipher() -> None:
    argon2 = luksmeta.Argon2id(time=4, memory=32, cpus=1)
    with opened("luks2") as volume, volume.unlock(FIRST) as unlocked:
        unlocked.change_keyslot(
            0, NEW, pbkdf=argon2, hash="sha512", encryption="aes-cbc-essiv:sha256", area_key_size=16
        )
        keyslot = volume.keyslots[0]
        assert isinstance(keyslot, Keyslot)
        assert keyslot.kdf == argon2
        assert keyslot.af.hash == "sha512"
        assert (keyslot.area.encryption, keyslot.area.key_size) == ("aes-cbc-essiv:sha256", 16)
        assert key_behind(luksmeta.open(volume.header_storage), NEW) == VOLUME_KEY


# The order of writes


@pytest.mark.parametrize(
    ("version", "header"),
    [("luks1", ["partition header"]), ("luks2", ["primary header", "secondary header"])],
)
def test_areas_are_written_before_the_header_each_with_a_barrier(
    version: Version, header: list[str]
) -> None:
    with opened(version, FIRST, SECOND) as volume:
        _add(volume)
        volume.remove_keyslot(0)
        steps = [
            [getattr(step, "what", "barrier").partition(", seqid")[0] for step in plan.steps]
            for plan in volume.written
        ]
    rest = [each for part in header for each in (part, "barrier")]
    assert steps == [
        ["keyslot 2 area", "barrier", *rest],
        ["keyslot 0 area wiped", "barrier", *rest],
    ]


@dataclass(frozen=True)
class Act:
    """One change of a volume."""

    name: str
    version: Version
    passphrases: tuple[bytes, ...]
    do: Callable[[Volume], object]


def _acts(version: Version) -> list[Act]:
    two = (FIRST, SECOND)
    common = [
        Act("add", version, (FIRST,), _add),
        Act("remove", version, two, lambda volume: volume.remove_keyslot(0)),
        Act("change", version, (FIRST,), lambda volume: _change(volume, 0)),
        Act("change in place", version, _full(version), lambda volume: _change(volume, 1)),
        Act("erase", version, two, lambda volume: volume.erase()),
    ]
    if version == "luks1":
        return [
            *common,
            Act("move", version, (FIRST,), lambda volume: _change(volume, 0, keep_id=False)),
            Act("uuid", version, (FIRST,), lambda volume: volume.configure(uuid=OTHER_UUID)),
        ]
    return [
        *common,
        Act("recovery key", version, (FIRST,), _add_recovery_key),
        Act("note", version, (FIRST,), lambda volume: volume.configure(notes={0: NOTE})),
        Act("token", version, (FIRST,), lambda volume: volume.tokens.add_keyring("x")),
        Act("remove two", version, (FIRST, SECOND, THIRD), _remove_two_with_tokens),
        Act("configure", version, (FIRST,), lambda volume: volume.configure(label="new")),
        Act("priority", version, two, lambda volume: volume.set_priority(1, "high")),
    ]


ACTS = [act for version in VERSIONS for act in _acts(version)]


def test_a_crash_never_parts_a_recovery_key_from_its_token() -> None:
    storage = memory("luks2")
    before = bytes(storage.data)
    with luksmeta.open(storage, writable=True) as volume:
        _add_recovery_key(volume)
        plans = volume.written
    assert len(plans) == 1
    found = set()
    for _, state in states(before, plans):
        with luksmeta.open(MemoryStorage(state)) as volume:
            found.add((len(volume.keyslots), *(each.type for each in volume.tokens.values())))
    assert found == {(1,), (2, "systemd-recovery", "luksmeta-note")}


def test_a_crash_while_keyslots_go_leaves_no_note_of_one_that_is_gone() -> None:
    storage = memory("luks2", FIRST, SECOND, THIRD)
    with luksmeta.open(storage, writable=True) as volume:
        volume.configure(notes=dict.fromkeys(range(3), NOTE))
        before, done = bytes(storage.data), len(volume.written)
        volume.remove_keyslot([0, 1])
        plans = volume.written[done:]
    for name, state in states(before, plans):
        with luksmeta.open(MemoryStorage(state)) as volume:
            assert [each.keyslots for each in volume.tokens.values()] == [
                (keyslot,) for keyslot in volume.keyslots
            ], name


def test_the_header_that_a_change_promises_is_the_one_on_the_disk() -> None:
    for act in ACTS:
        storage = memory(act.version, *act.passphrases)
        with luksmeta.open(storage, writable=True) as volume:
            act.do(volume)
            on_disk = luksmeta.open(storage)
            assert on_disk.metadata == volume.metadata, act.name
            assert all(state.problem is None for state in on_disk.header.copies)


def test_another_process_that_put_another_volume_there_is_noticed() -> None:
    storage = memory("luks2")
    with luksmeta.open(storage, writable=True) as volume:
        document = document_of(bytes(storage.data))
        document["segments"]["0"]["iv_tweak"] = "8"
        storage.data[:] = with_document(bytes(storage.data), document, seqid=9)
        with pytest.raises(luksmeta.StorageBusyError, match="another volume"):
            volume.configure(label="mine")
        storage.data[:32768] = bytes(32768)
        with pytest.raises((HeaderError, luksmeta.NotLuksError)):
            volume.configure(label="mine")
