"""Unbound keyslots, and digests that are renewed: what proves which key, and who opens what."""

from __future__ import annotations

from pathlib import Path

import pytest

import luksmeta
from luksmeta import (
    KeyslotError,
    KeyslotsAreaFullError,
    MemoryStorage,
    PassphraseError,
    RequirementError,
    UnsupportedError,
    Volume,
)
from luksmeta.digests import make
from luksmeta.format_options import Version
from luksmeta.model import KeyslotPriority, Metadata, Pbkdf2Digest
from luksmeta.secret import SecretBytes
from luksmeta.volume_key import matches
from tests.builders import (
    FIRST,
    KDF,
    SECOND,
    THIRD,
    VERSIONS,
    VOLUME_KEY,
    content,
    document_of,
    image,
    key_behind,
    memory,
    opened,
    with_document,
)
from tests.disk_states import states
from tests.interop.peers import cryptsetup

on_versions = pytest.mark.parametrize("version", VERSIONS)
KEY = bytes(range(100, 120))


def add_unbound(volume: Volume, *, key: bytes = KEY, keyslot: int | None = None) -> int:
    return volume.add_unbound_keyslot(
        THIRD, key=key, keyslot=keyslot, pbkdf=KDF, digest_iterations=1000
    )


def digest(metadata: Metadata, digest_id: int = 0) -> Pbkdf2Digest:
    found = metadata.digests[digest_id]
    assert isinstance(found, Pbkdf2Digest)
    return found


# Unbound keyslots


def test_an_unbound_keyslot_has_a_key_and_a_digest_of_its_own() -> None:
    with opened("luks2", FIRST, SECOND) as volume:
        assert add_unbound(volume) == 2
        assert not volume.metadata.is_bound(2)
        assert digest(volume.metadata, 1).keyslots == (2,)
        assert digest(volume.metadata, 1).segments == ()
        assert digest(volume.metadata, 0).keyslots == (0, 1)
        assert volume.keyslots[2].key_size == len(KEY)
        read = luksmeta.open(volume.header_storage)
        assert read.metadata == volume.metadata
        assert key_behind(read, THIRD, 2) == KEY
        assert key_behind(read, FIRST) == VOLUME_KEY


def test_an_unbound_keyslot_is_tried_only_when_named_and_opens_no_data() -> None:
    with opened("luks2") as volume:
        add_unbound(volume, keyslot=7)
        with pytest.raises(PassphraseError) as caught:
            volume.unlock(THIRD)
        assert caught.value.tried == (0,)
        with volume.unlock(THIRD, keyslot=7) as unlocked, pytest.raises(luksmeta.LuksError):
            unlocked.open()


def test_an_unbound_key_can_be_random_and_of_any_size() -> None:
    with opened("luks2") as volume:
        keys = []
        for size in (1, 32):
            added = volume.add_unbound_keyslot(
                THIRD, key_size=size, pbkdf=KDF, digest_iterations=1000, priority="high"
            )
            assert volume.keyslots[added].priority is KeyslotPriority.HIGH
            keys.append(key_behind(volume, THIRD, added))
        assert [len(key) for key in keys] == [1, 32]
        assert any(keys[1])


def test_an_unbound_keyslot_is_laid_out_as_by_cryptsetup(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    cryptsetup.luks_format(theirs, FIRST)
    ours.write_bytes(theirs.read_bytes())
    cryptsetup.add_key(theirs, FIRST, THIRD, slot=4, extra=("--unbound", "--key-size", "160"))
    with luksmeta.open(ours, writable=True) as volume:
        volume.add_unbound_keyslot(THIRD, key_size=20, keyslot=4, pbkdf=KDF, digest_iterations=1000)
    found = [cryptsetup.dump_json(path) for path in (ours, theirs)]
    for document in found:
        document["keyslots"]["4"]["kdf"]["salt"] = ""
        for each in document["digests"].values():
            each["salt"] = each["digest"] = ""
    assert found[0] == found[1]
    assert "4: luks2 (unbound)" in cryptsetup.dump(ours)
    assert cryptsetup.unlocks(ours, THIRD, slot=4)
    assert not cryptsetup.unlocks(ours, THIRD)
    with luksmeta.open(theirs) as volume:
        assert len(key_behind(volume, THIRD, 4)) == 20


def test_an_unbound_keyslot_goes_with_its_digest() -> None:
    with opened("luks2") as volume:
        add_unbound(volume)
        volume.remove_keyslot(1)  # not the last that opens the volume
        assert list(volume.metadata.digests) == [0]
        assert key_behind(volume, FIRST) == VOLUME_KEY


def test_an_unbound_key_can_have_more_passphrases_and_other_ones() -> None:
    with opened("luks2") as volume:
        add_unbound(volume)
        with volume.unlock(THIRD, keyslot=1) as unlocked:
            assert unlocked.add_keyslot(SECOND, pbkdf=KDF) == 2
            assert unlocked.change_keyslot(1, FIRST, pbkdf=KDF) == 1
        assert key_behind(volume, SECOND, 2) == key_behind(volume, FIRST, 1) == KEY
        assert digest(volume.metadata, 1).keyslots == (1, 2)


def test_no_more_than_eight_digests_are_made() -> None:
    storage = MemoryStorage(2 << 20)
    luksmeta.format(
        storage, FIRST, volume_key=VOLUME_KEY, pbkdf=KDF, digest_iterations=1000,
        data_offset=1 << 20, keyslots_size=(1 << 20) - (32 << 10),
    )  # fmt: skip
    with luksmeta.open(storage, writable=True) as volume:
        for _ in range(7):
            add_unbound(volume, key=b"k")
        assert sorted(volume.metadata.digests) == list(range(8))
        with pytest.raises(KeyslotError, match="all 8 digests are in use"):
            add_unbound(volume, key=b"k")


@pytest.mark.parametrize(
    ("key", "size", "message"),
    [
        (None, None, "key of 0 bytes, from 1 to 512 are possible"),
        (None, 513, "key of 513 bytes, from 1 to 512"),
        (b"", None, "key of 0 bytes"),
        (b"x" * 513, None, "key of 513 bytes"),
        (b"x" * 8, 16, "key of 8 bytes, key size 16 is asked for"),
    ],
)
def test_a_key_of_another_size_is_refused(
    key: bytes | None, size: int | None, message: str
) -> None:
    with opened("luks2") as volume:
        with pytest.raises(ValueError, match=message):
            volume.add_unbound_keyslot(THIRD, key=key, key_size=size)
        assert volume.written == []


def test_luks1_has_no_unbound_keyslots() -> None:
    with opened("luks1") as volume:
        with pytest.raises(UnsupportedError, match="LUKS1 has no unbound keyslots"):
            add_unbound(volume)
        assert volume.written == []


def test_an_unbound_keyslot_needs_an_id_and_room_like_any_other() -> None:
    with opened("luks2", FIRST, SECOND) as volume:
        with pytest.raises(KeyslotError, match="keyslot 1: in use already"):
            add_unbound(volume, keyslot=1)
        with pytest.raises(KeyslotsAreaFullError, match="no gap of 2048000 bytes"):
            add_unbound(volume, key=b"x" * 512)


# Digests renewed


@on_versions
def test_a_renewed_digest_proves_the_same_key_with_other_salt_and_cost(version: Version) -> None:
    with opened(version, FIRST, SECOND) as volume:
        old = digest(volume.metadata)
        with volume.unlock(SECOND) as unlocked:
            assert unlocked.renew_digest(iterations=2000)[0] == 0
            unlocked.add_keyslot(THIRD, pbkdf=KDF)  # the digest is known to this object
        new = digest(volume.metadata)
        assert (new.hash, new.iterations) == (old.hash, 2000)
        assert (new.keyslots, new.segments) == ((0, 1, 2), old.segments)
        assert new.salt != old.salt
        with SecretBytes(VOLUME_KEY) as key, SecretBytes(b"x" * 32) as other:
            assert matches(0, new, key)
            assert not matches(0, new, other)
        read = luksmeta.open(volume.header_storage)
        assert read.metadata == volume.metadata
        for passphrase in (FIRST, SECOND, THIRD):
            assert key_behind(read, passphrase) == VOLUME_KEY


@on_versions
def test_cryptsetup_takes_a_renewed_digest(version: Version, tmp_path: Path) -> None:
    path = tmp_path / "volume"
    cryptsetup.luks_format(path, FIRST, version=int(version[-1]))
    with luksmeta.open(path, writable=True) as volume, volume.unlock(FIRST) as unlocked:
        unlocked.renew_digest(milliseconds=1)
        key = bytes(unlocked.volume_key.view())
    assert cryptsetup.unlocked_slot(path, FIRST) == 0
    assert not cryptsetup.unlocks(path, SECOND)
    assert cryptsetup.dump_volume_key(path, FIRST) == key


def test_a_digest_can_get_another_hash_where_the_format_has_place_for_it() -> None:
    with opened("luks2") as volume, volume.unlock(FIRST) as unlocked:
        unlocked.renew_digest(hash="sha512", iterations=1000)
        assert len(digest(volume.metadata).digest) == 64
        assert key_behind(volume, FIRST) == VOLUME_KEY
    with opened("luks1") as volume, volume.unlock(FIRST) as unlocked:
        with pytest.raises(UnsupportedError, match=r"digest 0: hash sha512.*one for all: sha256"):
            unlocked.renew_digest(hash="sha512", iterations=1000)
        assert volume.written == []


def test_what_no_digest_should_have_is_refused() -> None:
    with opened("luks2") as volume, volume.unlock(FIRST) as unlocked:
        with pytest.raises(ValueError, match=r"hash md5 has 16 bytes, a digest .* needs 20"):
            unlocked.renew_digest(hash="md5")
        with pytest.raises(ValueError, match="iterations is 999, the minimum is 1000"):
            unlocked.renew_digest(iterations=999)
        with pytest.raises(ValueError, match="at least 1 ms"):
            unlocked.renew_digest(milliseconds=0)
        assert volume.written == []


def test_the_digest_of_an_unbound_key_is_renewed_by_its_own_keyslot() -> None:
    with opened("luks2") as volume:
        add_unbound(volume)
        data = digest(volume.metadata)
        with volume.unlock(THIRD, keyslot=1) as unlocked:
            assert unlocked.renew_digest(iterations=3000)[0] == 1
        assert digest(volume.metadata) == data
        assert digest(volume.metadata, 1).iterations == 3000
        assert key_behind(volume, THIRD, 1) == KEY


def test_members_of_a_digest_that_are_not_known_stay() -> None:
    document = document_of(image("luks2"))
    document["digests"]["0"]["acme"] = {"kept": 1}
    storage = MemoryStorage(with_document(image("luks2"), document))
    with luksmeta.open(storage, writable=True) as volume, volume.unlock(FIRST) as unlocked:
        unlocked.renew_digest(iterations=1000)
    assert document_of(bytes(storage.data))["digests"]["0"]["acme"] == {"kept": 1}


@on_versions
def test_a_digest_is_renewed_by_one_write_of_the_header_and_a_crash_loses_nothing(
    version: Version,
) -> None:
    storage = memory(version)
    before = bytes(storage.data)
    with luksmeta.open(storage, writable=True) as volume, volume.unlock(FIRST) as unlocked:
        unlocked.renew_digest(iterations=1000)
        (plan,) = volume.written
    for name, state in states(before, [plan]):
        with luksmeta.open(MemoryStorage(state)) as volume:
            assert key_behind(volume, FIRST) == VOLUME_KEY, name


# Keyslots bound to the volume's digest


def test_an_unbound_keyslot_of_the_volume_key_can_be_bound() -> None:
    with opened("luks2") as volume:
        add_unbound(volume, key=VOLUME_KEY, keyslot=5)
        add_unbound(volume)
        with pytest.raises(PassphraseError):
            volume.unlock(THIRD)
        with volume.unlock(FIRST) as unlocked:
            unlocked.renew_digest(iterations=1000, bind=(5,))
        assert digest(volume.metadata).keyslots == (0, 5)
        assert sorted(volume.metadata.digests) == [0, 2]  # what proves nothing is gone
        with volume.unlock(THIRD) as unlocked:
            assert unlocked.keyslot == 5
        assert luksmeta.open(MemoryStorage(content(volume))).metadata == volume.metadata


def test_only_unbound_keyslots_of_the_same_key_are_bound() -> None:
    with opened("luks2", FIRST, SECOND) as volume:
        add_unbound(volume, key=bytes(32))
        before = content(volume)
        with volume.unlock(FIRST) as unlocked:
            for keyslot, message in (
                (1, "keyslot 1: is bound already, to digest 0"),
                (2, "keyslot 2: holds another key"),
                (9, "keyslot 9: not in use"),
            ):
                with pytest.raises(KeyslotError, match=message):
                    unlocked.renew_digest(iterations=1000, bind=(keyslot,))
        assert content(volume) == before


def test_a_key_padded_with_zeroes_is_another_key() -> None:
    """PBKDF2 cannot tell them apart; their sizes can."""
    short = VOLUME_KEY + bytes(4)
    with opened("luks2") as volume:
        add_unbound(volume, key=short)
        with (
            volume.unlock(FIRST) as unlocked,
            pytest.raises(KeyslotError, match="keyslot 1: holds another key"),
        ):
            unlocked.renew_digest(iterations=1000, bind=(1,))


def test_an_unknown_requirement_forbids_both() -> None:
    document = document_of(image("luks2"))
    storage = MemoryStorage(image("luks2"))
    with luksmeta.open(storage, writable=True) as volume, volume.unlock(FIRST) as unlocked:
        document["config"]["requirements"] = {"mandatory": ["future-thing"]}
        storage.data[:] = with_document(image("luks2"), document, seqid=9)
        before = bytes(storage.data)
        with pytest.raises(RequirementError, match="'future-thing'"):
            unlocked.renew_digest(iterations=1000)
    with (
        luksmeta.open(storage, writable=True) as volume,
        pytest.raises(RequirementError, match="'future-thing'"),
    ):
        add_unbound(volume)
    assert bytes(storage.data) == before


def test_a_digest_that_does_not_prove_its_key_is_never_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("luksmeta.digests.matches", lambda *_: False)
    with SecretBytes(KEY) as key, pytest.raises(luksmeta.VolumeKeyError, match="does not prove"):
        make(2, key, "sha256", iterations=1000)
