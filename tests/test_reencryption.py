"""A half reencrypted volume is read only when the keys themselves vouch for its segments."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

import luksmeta
from luksmeta import reencryption
from luksmeta.errors import KeyslotError, RequirementError, UnsupportedError, VolumeKeyError
from luksmeta.model import CryptSegment, ForeignKeyslot, LinearSegment, Metadata
from luksmeta.segment import lay_out
from luksmeta.storage import MemoryStorage
from tests.corpus import Corpus, corpus_image

IMAGES = ("made/l2-reencrypt-init-checksum", "made/l2-reencrypt-midway-none")
PASSPHRASE = b"correct horse battery staple"


def _volume(corpus: Corpus, name: str) -> luksmeta.Volume:
    return luksmeta.open(MemoryStorage(corpus(name).read_bytes(), writable=False))


@pytest.mark.parametrize("name", IMAGES)
def test_a_volume_in_reencryption_gives_its_plaintext(corpus: Corpus, name: str) -> None:
    with (
        _volume(corpus, name) as volume,
        volume.unlock(PASSPHRASE) as unlocked,
        unlocked.open() as stream,
    ):
        for part in corpus_image(name).payload:
            stream.seek(part.offset)
            assert hashlib.sha256(stream.read(part.length) or b"").hexdigest() == part.sha256


@pytest.mark.parametrize("name", IMAGES)
def test_a_volume_in_reencryption_is_not_written(corpus: Corpus, name: str) -> None:
    volume = luksmeta.open(MemoryStorage(corpus(name).read_bytes()))
    with volume, volume.unlock(PASSPHRASE) as unlocked:
        with pytest.raises(RequirementError, match="must be finished first"):
            unlocked.open(writable=True)
        with pytest.raises(RequirementError, match="must be finished first"):
            unlocked.add_keyslot(b"another")


def _with_segment(metadata: Metadata, flag: str, **changes: Any) -> Metadata:  # noqa: ANN401  # fields of any type
    segment_id = next(i for i, each in metadata.segments.items() if flag in each.flags)
    changed = replace(metadata.segments[segment_id], **changes)
    return replace(metadata, segments={**metadata.segments, segment_id: changed})


def _with_keyslot(metadata: Metadata, **members: str) -> Metadata:
    keyslot_id, keyslot = next(
        (i, each) for i, each in metadata.keyslots.items() if isinstance(each, ForeignKeyslot)
    )
    changed = replace(keyslot, as_read={**keyslot.as_read, **members})
    return replace(metadata, keyslots={**metadata.keyslots, keyslot_id: changed})


def _linear_previous(metadata: Metadata) -> Metadata:
    segment_id = next(i for i, s in metadata.segments.items() if "backup-previous" in s.flags)
    old = metadata.segments[segment_id]
    linear = LinearSegment(offset=old.offset, size=old.size, flags=old.flags)
    return replace(metadata, segments={**metadata.segments, segment_id: linear})


def _version_3(metadata: Metadata) -> Metadata:
    config = replace(metadata.config, requirements=("online-reencrypt-v3",))
    return replace(metadata, config=config)


FORGERIES: Mapping[str, Callable[[Metadata], Metadata]] = {
    "another mode": lambda m: _with_keyslot(m, mode="decrypt"),
    "another direction": lambda m: _with_keyslot(m, direction="backward"),
    "the old segment moved": lambda m: _with_segment(m, "backup-previous", offset=1 << 20),
    "the old segment without encryption": _linear_previous,
    "another cipher at the end": lambda m: _with_segment(
        m, "backup-final", encryption="cipher_null-ecb"
    ),
    "another IV": lambda m: _with_segment(m, "backup-final", iv_tweak=8),
    "another sector size": lambda m: _with_segment(m, "backup-final", sector_size=1024),
    "another size": lambda m: _with_segment(m, "backup-final", size=1 << 20),
    "another version": _version_3,
}


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
def test_a_forged_reencryption_is_refused(
    corpus: Corpus, name: str, forge: Callable[[Metadata], Metadata]
) -> None:
    with _volume(corpus, name) as volume, volume.unlock(PASSPHRASE) as unlocked:
        keys = unlocked.keys_by_digest
        reencryption.check(volume.metadata, keys)
        with pytest.raises(VolumeKeyError, match="does not match its digest"):
            reencryption.check(forge(volume.metadata), keys)


@pytest.mark.parametrize("requirement", ["online-reencrypt", "online-reencrypt-v9"])
def test_a_reencryption_of_another_version_is_not_read(corpus: Corpus, requirement: str) -> None:
    with _volume(corpus, IMAGES[0]) as volume, volume.unlock(PASSPHRASE) as unlocked:
        config = replace(volume.metadata.config, requirements=(requirement,))
        with pytest.raises(RequirementError, match="unknown version"):
            reencryption.check(replace(volume.metadata, config=config), unlocked.keys_by_digest)


def test_a_reencryption_whose_other_key_was_not_opened_is_not_read(corpus: Corpus) -> None:
    with _volume(corpus, IMAGES[0]) as volume, volume.unlock(PASSPHRASE) as unlocked:
        old_key_only = {0: unlocked.keys_by_digest[0]}
        with pytest.raises(VolumeKeyError, match="digest 1: its key was not opened"):
            reencryption.check(volume.metadata, old_key_only)


def test_an_interrupted_hot_zone_is_not_read(corpus: Corpus) -> None:
    with _volume(corpus, IMAGES[1]) as volume, volume.unlock(PASSPHRASE) as unlocked:
        first = volume.metadata.segments[0]
        assert isinstance(first, CryptSegment)
        cut = {**volume.metadata.segments, 0: replace(first, flags=("in-reencryption",))}
        metadata = replace(volume.metadata, segments=cut)
        with pytest.raises(UnsupportedError, match="must be recovered first"):
            lay_out(metadata, unlocked.keys_by_digest, volume.data_storage)


# Two keys, and keyslots of both


def keyslot_of_current_data(volume: luksmeta.Volume) -> tuple[int, int]:
    """A keyslot of the key that segment 0 has, and one of the other key."""
    found = volume.metadata.digest_of_segment(0)
    assert found is not None
    own, *others = sorted(volume.metadata.bound_keyslots, key=lambda i: i not in found[1].keyslots)
    return own, others[0]


@pytest.mark.parametrize("name", IMAGES)
def test_each_of_both_keys_keeps_a_keyslot(corpus: Corpus, name: str) -> None:
    storage = MemoryStorage(corpus(name).read_bytes())
    with luksmeta.open(storage, writable=True) as volume:
        for keyslot in keyslot_of_current_data(volume):
            with pytest.raises(KeyslotError, match=rf"keyslot {keyslot}: the last one of digest"):
                volume.remove_keyslot(keyslot)
        with pytest.raises(KeyslotError, match="keyslot 0, 1: the last one that opens the volume"):
            volume.remove_keyslot(volume.metadata.bound_keyslots)
        assert not volume.written
        volume.remove_keyslot(keyslot, allow_last=True)
        with volume.unlock(PASSPHRASE) as unlocked:
            assert len(unlocked.keys_by_digest) == 1


def test_a_key_with_two_keyslots_can_spare_one(corpus: Corpus) -> None:
    """cryptsetup makes such a volume of one with two passphrases."""
    metadata = _volume(corpus, IMAGES[1]).metadata
    for digest_id in (0, 1):
        (keyslot,) = metadata.digests[digest_id].keyslots
        more = metadata.with_keyslot(9, metadata.keyslots[keyslot], digest_id)
        assert more.keys_without_keyslot([9]) == more.keys_without_keyslot([keyslot]) == ()
        assert more.keys_without_keyslot([keyslot, 9]) == (digest_id,)
        assert more.keys_without_keyslot([*more.keyslots]) == (0, 1)
