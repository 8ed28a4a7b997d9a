"""Volumes as a user has them: opened, unlocked, changed, closed; and what never happens."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import luksmeta
from luksmeta import (
    AlgorithmError,
    KeyslotError,
    KeyslotsUntriedError,
    Limits,
    LuksError,
    MemoryStorage,
    PassphraseError,
    RequirementError,
    ResourceLimitError,
    SecretBytes,
    StorageError,
    UnlockedVolume,
    Volume,
    VolumeKeyError,
)
from luksmeta.file_storage import FileStorage
from luksmeta.format_options import Version
from luksmeta.model import KeyslotPriority
from luksmeta.overlay import OverlayStorage
from luksmeta.storage import Storage
from tests.builders import (
    FIRST,
    KDF,
    SECOND,
    THIRD,
    VERSIONS,
    VOLUME_KEY,
    data_offset,
    document_of,
    file,
    image,
    key_behind,
    memory,
    opened,
    with_document,
)
from tests.corpus import Corpus
from tests.storages import FailingStorage, UnreadableStorage, UntouchedStorage

WRONG = b"wrong passphrase"


def _tried(volume: Volume, passphrase: bytes = WRONG, **named: int) -> tuple[int, ...]:
    with pytest.raises(PassphraseError) as caught:
        volume.unlock(passphrase, **named)  # type: ignore[arg-type]  # keyslot=, where it is given
    return caught.value.tried


def _with(**changes: Any) -> MemoryStorage:  # noqa: ANN401 - any JSON
    """A LUKS2 volume with two keyslots; each change updates the first object of its section."""
    document = document_of(image("luks2", (FIRST, SECOND)))
    for section, members in changes.items():
        target = document[section]
        (target if section in ("config", "tokens") else target["0"]).update(members)
    return MemoryStorage(with_document(image("luks2", (FIRST, SECOND)), document))


# Opening


@pytest.mark.parametrize("version", VERSIONS)
def test_a_path_a_file_object_and_a_storage_open_alike(tmp_path: Path, version: Version) -> None:
    path = file(tmp_path / "volume", version)
    with path.open("rb") as file_object:
        for target in (path, str(path), file_object, io.BytesIO(image(version)), memory(version)):
            with luksmeta.open(target) as volume:
                assert volume.version == int(version[-1])
                assert volume.uuid == "c0ffee00-0000-4000-8000-000000000001"
                assert list(volume.keyslots) == [0]
                assert volume.label == ""
                assert not volume.is_detached
                assert key_behind(volume, FIRST) == VOLUME_KEY


@pytest.mark.parametrize("version", VERSIONS)
def test_opening_and_unlocking_write_nothing(version: Version) -> None:
    with luksmeta.open(UntouchedStorage(image(version)), writable=True) as volume:
        with volume.unlock(FIRST) as unlocked, unlocked.open() as stream:
            stream.read(5000)
        assert _tried(volume) == (0,)
        assert volume.written == []


def test_a_failed_opening_closes_its_files(tmp_path: Path) -> None:
    path = tmp_path / "zeroes"
    path.write_bytes(bytes(8192))
    for _ in range(3):
        with pytest.raises(luksmeta.NotLuksError):
            luksmeta.open(path)
        with pytest.raises(StorageError, match="no such file"):
            luksmeta.open(path, header=tmp_path / "missing")


def test_a_volume_opened_for_reading_refuses_changes(tmp_path: Path) -> None:
    path = file(tmp_path / "volume", "luks2", FIRST, SECOND)
    before = path.read_bytes()
    with luksmeta.open(path) as volume:
        with pytest.raises(StorageError, match="opened read-only"):
            volume.remove_keyslot(1)
        with volume.unlock(FIRST) as unlocked:
            with pytest.raises(StorageError, match="opened read-only"):
                unlocked.add_keyslot(THIRD, pbkdf=KDF)
            with pytest.raises(StorageError, match="opened read-only"):
                unlocked.open(writable=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", VERSIONS)
def test_a_dry_run_changes_what_is_seen_and_not_the_file(tmp_path: Path, version: Version) -> None:
    path = file(tmp_path / "volume", version)
    with luksmeta.open(path, writable=True, dry_run=True) as volume:
        with volume.unlock(FIRST) as unlocked:
            unlocked.add_keyslot(SECOND, pbkdf=KDF)
        assert [plan.what for plan in volume.written] == ["store keyslot 1"]
        assert key_behind(volume, SECOND) == VOLUME_KEY
    assert path.read_bytes() == image(version)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_header_apart_from_its_data_opens_with_it(version: Version) -> None:
    header, data = MemoryStorage(0), MemoryStorage(64 << 10)
    options: dict[str, Any] = {"pbkdf": KDF, "digest_iterations": 1000, "key_size": 32}
    luksmeta.format(data, FIRST, header=header, type=version, **options).close()
    with (
        luksmeta.open(data, header=header, writable=True) as volume,
        volume.unlock(FIRST) as unlocked,
    ):
        with unlocked.open(writable=True) as stream:
            assert stream.size == 64 << 10
            stream.write(b"hello")
        with unlocked.open() as stream:
            assert stream.read(5) == b"hello"
    assert b"hello" not in data.data
    assert any(data.data[:512])


# Which keyslots are tried


def test_keyslots_are_tried_by_priority_and_then_in_json_order() -> None:
    with opened("luks2", FIRST, SECOND, THIRD) as volume:
        assert _tried(volume) == (0, 1, 2)
        volume.set_priority(2, "high")
        assert _tried(volume) == (2, 0, 1)
        volume.set_priority(0, "prefer")
        assert _tried(volume) == (0, 2, 1)
        volume.set_priority(0, KeyslotPriority.IGNORE)
        assert _tried(volume) == (2, 1)
        assert _tried(volume, FIRST) == (2, 1)
        assert volume.unlock(FIRST, keyslot=0).keyslot == 0
        with pytest.raises(ValueError, match="none of ignore, normal, high"):
            volume.set_priority(0, "often")


def test_cryptsetups_priorities_are_kept(corpus: Corpus) -> None:
    with luksmeta.open(corpus("made/l2-priority")) as volume:
        assert _tried(volume) == (1, 0)
        assert _tried(volume, b"tea at four o'clock") == (1, 0)
        assert volume.unlock(b"tea at four o'clock", keyslot=2).keyslot == 2


def test_luks1_keyslots_are_tried_in_order() -> None:
    with opened("luks1", FIRST, SECOND, THIRD) as volume:
        assert _tried(volume) == (0, 1, 2)
        volume.remove_keyslot(1)
        assert _tried(volume) == (0, 2)


def test_a_named_keyslot_is_the_only_one_tried() -> None:
    with opened("luks2", FIRST, SECOND) as volume:
        assert _tried(volume, FIRST, keyslot=1) == (1,)
        assert volume.unlock(SECOND, keyslot=1).keyslot == 1


def test_an_unbound_keyslot_opens_only_when_named_and_gives_no_data(corpus: Corpus) -> None:
    with luksmeta.open(corpus("made/l2-unbound")) as volume:
        assert 3 not in _tried(volume, b"purple monkey dishwasher")
        with volume.unlock(b"purple monkey dishwasher", keyslot=3) as unlocked:
            assert unlocked.keyslot == 3
            with pytest.raises(VolumeKeyError, match="its key was not opened"):
                unlocked.open()


def test_an_erased_volume_has_nothing_to_try(corpus: Corpus) -> None:
    with luksmeta.open(corpus("made/l1-erased")) as volume:
        assert _tried(volume) == ()


def test_a_keyslot_that_cannot_be_tried_does_not_hide_the_others() -> None:
    storage = _with(keyslots={"kdf": {"type": "scrypt"}})
    with luksmeta.open(storage) as volume:
        assert volume.unlock(SECOND).keyslot == 1
        with pytest.raises(PassphraseError, match="not tried: keyslot 0: KDF scrypt") as caught:
            volume.unlock(WRONG)
        assert caught.value.tried == (1,)
        with pytest.raises(AlgorithmError, match="keyslot 0: KDF scrypt"):
            volume.unlock(FIRST, keyslot=0)


def test_a_keyslot_over_a_limit_may_be_the_passphrases() -> None:
    costs = {"time": 4, "memory": 1 << 20, "cpus": 1}
    kdf = {"type": "argon2id", **costs, "salt": base64.b64encode(bytes(32)).decode()}
    with luksmeta.open(_with(keyslots={"kdf": kdf})) as volume:
        limits = luksmeta.Limits(memory=1 << 10)
        assert volume.unlock(SECOND, limits=limits).keyslot == 1
        with pytest.raises(KeyslotsUntriedError, match="keyslot 0: argon2id: memory") as caught:
            volume.unlock(WRONG, limits=limits)
        assert (caught.value.exit_status, caught.value.tried) == (3, (1,))


@pytest.mark.parametrize(
    ("members", "error", "message"),
    [
        ({"key_size": 0}, KeyslotError, "keyslot 0: a key of 0 bytes"),
        ({"key_size": 4294967295}, KeyslotError, "a key of 4294967295 bytes, 1 to 4096"),
        ({"key_size": 64}, KeyslotError, "area of 131072 bytes, its key of 64 bytes needs 256000"),
    ],
)
def test_a_key_size_that_no_area_holds_is_refused(
    members: dict[str, Any], error: type[LuksError], message: str
) -> None:
    with luksmeta.open(_with(keyslots=members)) as volume, pytest.raises(error, match=message):
        volume.unlock(FIRST, keyslot=0)


@pytest.mark.parametrize("kdf", [{"salt": "*"}, {"salt": "AAAA"}])
def test_a_salt_of_another_size_is_refused(kdf: dict[str, str]) -> None:
    document = document_of(image("luks2"))
    document["keyslots"]["0"]["kdf"].update(kdf)
    storage = MemoryStorage(with_document(image("luks2"), document))
    with luksmeta.open(storage) as volume, pytest.raises(KeyslotError, match="32 are expected"):
        volume.unlock(FIRST)


def test_costs_above_the_limits_are_refused_before_they_are_paid() -> None:
    costly = {"type": "argon2id", "time": 1 << 31, "memory": 1 << 31, "cpus": 4}
    document = document_of(image("luks2"))
    salt = document["keyslots"]["0"]["kdf"]["salt"]
    document["keyslots"]["0"]["kdf"] = {**costly, "salt": salt}
    storage = MemoryStorage(with_document(image("luks2"), document))
    with luksmeta.open(storage) as volume, pytest.raises(ResourceLimitError) as caught:
        volume.unlock(FIRST)
    assert caught.value.asked == 1 << 31
    with luksmeta.open(_with(digests={"iterations": 5000})) as volume:
        limits = Limits(iterations=4999)
        with pytest.raises(ResourceLimitError, match="iterations is 5000, the limit 4999"):
            volume.unlock(FIRST, limits=limits)
        with pytest.raises(ResourceLimitError, match="iterations is 5000, the limit 4999"):
            volume.unlock(volume_key=VOLUME_KEY, limits=limits)


def test_an_unencrypted_area_opens_to_the_empty_passphrase_only() -> None:
    with opened("luks2") as volume, volume.unlock(FIRST) as unlocked:
        unlocked.add_keyslot(b"", pbkdf=KDF, encryption="cipher_null-ecb", area_key_size=32)
        assert volume.unlock(b"").keyslot == 1
        assert _tried(volume, b"anything", keyslot=1) == (1,)


def test_an_area_that_cannot_be_read_is_a_storage_error() -> None:
    storage = UnreadableStorage(image("luks2"), range(40000, 40001))
    with luksmeta.open(storage) as volume, pytest.raises(StorageError, match="short read"):
        volume.unlock(FIRST)


# The volume key


@pytest.mark.parametrize("version", VERSIONS)
def test_the_volume_key_itself_unlocks(version: Version) -> None:
    with opened(version) as volume, volume.unlock(volume_key=VOLUME_KEY) as unlocked:
        assert unlocked.keyslot is None
        assert unlocked.volume_key.matches(VOLUME_KEY)
        with unlocked.open() as stream:
            stream.read(512)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_volume_key_of_another_length_or_value_is_refused(version: Version) -> None:
    with opened(version) as volume:
        for key in (VOLUME_KEY + b"\0", VOLUME_KEY[:-1], b""):
            with pytest.raises(VolumeKeyError, match=f"{len(key)} bytes, this volume's has 32"):
                volume.unlock(volume_key=key)
        with pytest.raises(VolumeKeyError, match="does not match"):
            volume.unlock(volume_key=bytes(32))
        with pytest.raises(TypeError, match="either"):
            volume.unlock()
        with pytest.raises(TypeError, match="either"):
            volume.unlock(FIRST, volume_key=VOLUME_KEY)


def test_a_digest_that_cannot_be_checked_proves_nothing() -> None:
    for members in ({"type": "acme"}, {"salt": "*"}, {"digest": "AAAA"}, {"iterations": "1000"}):
        with luksmeta.open(_with(digests=members)) as volume:
            with pytest.raises(AlgorithmError, match="only well-formed pbkdf2 digests"):
                volume.unlock(FIRST)
            with pytest.raises(AlgorithmError, match="only well-formed pbkdf2 digests"):
                volume.unlock(volume_key=VOLUME_KEY)


# Wiping


def test_closing_wipes_the_key_in_its_memory() -> None:
    with opened("luks2") as volume:
        unlocked = volume.unlock(FIRST)
        memory_of_key = memoryview(unlocked.volume_key.view())
        assert bytes(memory_of_key) == VOLUME_KEY
        unlocked.close()
        assert bytes(memory_of_key) == bytes(32)
        unlocked.close()


@pytest.mark.parametrize(
    "use",
    [
        lambda unlocked: unlocked.volume_key.view(),
        lambda unlocked: unlocked.open(),
        lambda unlocked: unlocked.add_keyslot(SECOND, pbkdf=KDF),
        lambda unlocked: unlocked.change_keyslot(0, SECOND, pbkdf=KDF),
    ],
)
def test_a_closed_unlocked_volume_gives_nothing(use: Callable[[UnlockedVolume], object]) -> None:
    storage = memory("luks2")
    with luksmeta.open(storage, writable=True) as volume:
        with volume.unlock(FIRST) as unlocked:
            pass
        with pytest.raises(ValueError, match="wiped"):
            use(unlocked)
        assert bytes(storage.data) == image("luks2")
        assert key_behind(volume, FIRST) == VOLUME_KEY  # and it can be unlocked again


def test_the_callers_secrets_are_not_wiped() -> None:
    with opened("luks2") as volume, SecretBytes(FIRST) as passphrase:
        volume.unlock(passphrase).close()
        volume.unlock(passphrase).close()
        with SecretBytes(VOLUME_KEY) as key:
            volume.unlock(volume_key=key).close()
            assert key.matches(VOLUME_KEY)


def test_no_repr_shows_keys_passphrases_salts_or_digests() -> None:
    with opened("luks2", FIRST, SECOND) as volume, volume.unlock(FIRST) as unlocked:
        unlocked.add_keyslot(THIRD, pbkdf=KDF)
        document = document_of(volume.header_storage.read_at(0, 32768))
        things = [volume, volume.header, volume.metadata, volume.written, unlocked, unlocked._keys]
        shown = " ".join(repr(thing) + str(thing) for thing in things)
    hidden = [FIRST, THIRD, VOLUME_KEY, VOLUME_KEY.hex(), document["digests"]["0"]["digest"]]
    hidden += [keyslot["kdf"]["salt"] for keyslot in document["keyslots"].values()]
    for secret in hidden:
        text = secret if isinstance(secret, str) else repr(secret)[2:-1]
        assert text not in shown


# Requirements


@pytest.mark.parametrize(
    ("requirement", "unlock", "change", "remove"),
    [
        ("acme-requirement", False, False, False),
        ("offline-reencrypt", False, False, True),
        ("inline-hw-tags", True, True, True),
        ("opal", True, True, True),
    ],
)
def test_a_requirement_allows_what_cryptsetup_allows(
    requirement: str, unlock: bool, change: bool, remove: bool
) -> None:
    def attempt(allowed: bool, action: Callable[[Volume], object]) -> None:
        storage = _with(config={"requirements": {"mandatory": [requirement]}})
        before = bytes(storage.data)
        with luksmeta.open(storage, writable=True) as volume:
            if allowed:
                action(volume)
                return
            with pytest.raises(RequirementError, match=requirement):
                action(volume)
        assert bytes(storage.data) == before

    attempt(unlock, lambda volume: volume.unlock(FIRST))
    attempt(unlock, lambda volume: volume.unlock(volume_key=VOLUME_KEY))
    attempt(change, lambda volume: volume.configure(label="x"))
    attempt(change, lambda volume: volume.set_priority(0, "high"))
    attempt(remove, lambda volume: volume.remove_keyslot(1))
    attempt(remove, lambda volume: volume.erase())


@pytest.mark.parametrize(
    "name", ["made/l2-reencrypt-init-checksum", "made/l2-reencrypt-midway-none"]
)
def test_during_a_reencryption_the_volume_unlocks_and_does_not_change(
    corpus: Corpus, name: str
) -> None:
    with luksmeta.open(OverlayStorage(FileStorage(corpus(name)))) as volume:
        with volume.unlock(b"correct horse battery staple") as unlocked:
            with pytest.raises(RequirementError, match="must be finished first"):
                unlocked.add_keyslot(THIRD, pbkdf=KDF)
            with pytest.raises(RequirementError, match="must be finished first"):
                unlocked.change_keyslot(0, THIRD, pbkdf=KDF)
            with pytest.raises(RequirementError, match="must be finished first"):
                unlocked.open(writable=True)
        with pytest.raises(RequirementError, match="must be finished first"):
            volume.configure(label="x")
        assert volume.written == []


# Changes that fail


_CHANGES: dict[str, Callable[[Volume], object]] = {
    "remove": lambda volume: volume.remove_keyslot(1),
    "uuid": lambda volume: volume.configure(uuid="c0ffee00-0000-4000-8000-000000000002"),
    "add": lambda volume: volume.unlock(volume_key=VOLUME_KEY).add_keyslot(THIRD, pbkdf=KDF),
    "change": lambda volume: volume.unlock(volume_key=VOLUME_KEY).change_keyslot(
        0, THIRD, pbkdf=KDF
    ),
}


@pytest.mark.parametrize("name", _CHANGES)
@pytest.mark.parametrize("version", VERSIONS)
def test_whichever_write_fails_the_volume_still_opens(version: Version, name: str) -> None:
    for writes in range(12):
        storage = FailingStorage(image(version, (FIRST, SECOND)), writes=writes)
        with luksmeta.open(storage, writable=True) as volume:
            try:
                _CHANGES[name](volume)
                break
            except StorageError as error:
                assert "no space left" in str(error)  # noqa: PT017 - and the state after it
        with luksmeta.open(MemoryStorage(storage.data)) as after:
            keys = set()
            for passphrase in (FIRST, SECOND, THIRD):
                try:
                    keys.add(key_behind(after, passphrase))
                except PassphraseError:
                    continue
            assert keys == {VOLUME_KEY}
    assert 1 <= writes < 11


def test_a_change_can_be_repeated_after_a_failure() -> None:
    storage = FailingStorage(image("luks2"), writes=1)
    with luksmeta.open(storage, writable=True) as volume:
        with pytest.raises(StorageError):
            volume.configure(label="changed")
        storage.writes_left = 1 << 30
        volume.configure(label="changed")
        assert volume.label == "changed"
    assert luksmeta.open(storage).label == "changed"


def test_two_volumes_over_one_storage_do_not_lose_each_others_changes() -> None:
    storage = memory("luks2")
    with (
        luksmeta.open(storage, writable=True) as one,
        luksmeta.open(storage, writable=True) as other,
        one.unlock(FIRST) as unlocked_one,
        other.unlock(FIRST) as unlocked_other,
    ):
        assert unlocked_one.add_keyslot(SECOND, pbkdf=KDF) == 1
        assert unlocked_other.add_keyslot(THIRD, pbkdf=KDF) == 2
        one.configure(label="both")
        assert list(one.keyslots) == [0, 1, 2]


# Configuration


def test_configuring_changes_only_what_is_given() -> None:
    storage = memory("luks2")
    with luksmeta.open(storage, writable=True) as volume:
        volume.configure(label="a label", flags=("allow-discards", "no-journal"))
        volume.configure(subsystem="a subsystem")
        volume.configure(uuid="c0ffee00-0000-4000-8000-000000000002")
    metadata = luksmeta.open(storage).metadata
    assert metadata.label == "a label"
    assert metadata.subsystem == "a subsystem"
    assert metadata.config.flags == ("allow-discards", "no-journal")
    assert metadata.uuid == "c0ffee00-0000-4000-8000-000000000002"
    with luksmeta.open(storage, writable=True) as volume:
        volume.configure(label="", flags=())
        assert volume.label == ""
        assert volume.metadata.config.flags == ()


@pytest.mark.parametrize("version", VERSIONS)
def test_data_written_is_read_back_by_another_volume(version: Version) -> None:
    storage: Storage = memory(version)
    with (
        luksmeta.open(storage, writable=True) as volume,
        volume.unlock(FIRST) as unlocked,
        unlocked.open(writable=True) as stream,
    ):
        stream.seek(1000)
        stream.write(b"hello")
    with (
        luksmeta.open(storage) as volume,
        volume.unlock(FIRST) as unlocked,
        unlocked.open() as stream,
    ):
        assert stream.read_at(1000, 5) == b"hello"
        assert stream.size == storage.size - data_offset(version)
