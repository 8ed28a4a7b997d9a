"""The LUKS1 header: refused by named defects, read and written as cryptsetup does it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

import luksmeta
from luksmeta import HeaderError, Limits, MemoryStorage, NotLuksError, ResourceLimitError
from luksmeta.errors import UnsupportedError
from luksmeta.file_storage import FileStorage
from luksmeta.luks1.header import Luks1Header
from luksmeta.luks1.partition_header import SIZE
from luksmeta.model import DYNAMIC, Keyslot, Pbkdf2Digest
from tests.builders import FIRST, KDF, SECOND, VOLUME_KEY, image, key_behind, memory, opened
from tests.corpus import Corpus, CorpusImage, corpus_images
from tests.defects.luks1 import LUKS1_DEFECTS, Luks1Defect
from tests.storages import UntouchedStorage


def _spoiled(defect: Luks1Defect) -> UntouchedStorage:
    data = bytearray(image("luks1"))
    defect.spoil(data)
    return UntouchedStorage(data)


@pytest.mark.parametrize("defect", LUKS1_DEFECTS, ids=lambda defect: defect.name)
def test_a_defect_is_refused_by_its_error_at_its_field(defect: Luks1Defect) -> None:
    storage = _spoiled(defect)
    if defect.at_unlock:
        with (
            luksmeta.open(storage) as volume,
            pytest.raises(defect.error, match=re.escape(defect.message)),
        ):
            volume.unlock(FIRST)
        return
    with pytest.raises(defect.error, match=re.escape(defect.message)) as caught:
        luksmeta.open(storage)
    assert getattr(caught.value, "offset", None) == defect.offset


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("luks1/evil-keyslot-overlap", "overlaps that of keyslot"),
        ("luks1/evil-luks-hdr-damage", "the header ends at 0x400"),
    ],
)
def test_cryptsetups_evil_headers_are_refused(corpus: Corpus, name: str, message: str) -> None:
    with FileStorage(corpus(name)) as storage, pytest.raises(HeaderError, match=message):
        Luks1Header.read(storage)


@pytest.mark.parametrize("size", [0, 1, 6, 8, 591])
def test_less_than_a_header_is_no_luks(size: int) -> None:
    with pytest.raises(NotLuksError):
        luksmeta.open(MemoryStorage(image("luks1")[:size]))


def test_a_device_that_ends_before_the_last_area_is_refused_with_both_numbers() -> None:
    with pytest.raises(HeaderError, match="area ends at 0x100400, the device at 0x1003ff"):
        luksmeta.open(MemoryStorage(image("luks1")[:0x1003FF]))


_LUKS1 = [each for each in corpus_images() if each.version == 1 and "header" in each.entry]


@pytest.mark.parametrize("entry", _LUKS1, ids=lambda entry: entry.name)
def test_the_model_says_what_luksdump_said(corpus: Corpus, entry: CorpusImage) -> None:
    with FileStorage(corpus(entry.name)) as storage:
        metadata = Luks1Header.read(storage).metadata
    said: Mapping[str, object] = entry.entry["header"]
    assert metadata.uuid == said.get("uuid", metadata.uuid)
    segment = metadata.segments[0]
    assert segment.size is DYNAMIC
    known = [each.slot for each in entry.passphrases if each.slot is not None]
    assert set(known) <= set(metadata.keyslots)
    for keyslot in metadata.keyslots.values():
        assert isinstance(keyslot, Keyslot)
        assert keyslot.key_size == keyslot.area.key_size
        assert keyslot.area.extent.end <= metadata.keyslots_area.end


def test_an_unchanged_header_is_written_as_it_was_read(corpus: Corpus) -> None:
    for entry in _LUKS1:
        with FileStorage(corpus(entry.name)) as storage:
            header = Luks1Header.read(storage)
            same = header.updated(header.metadata)
            write = same.steps()[0]
            assert getattr(write, "data", b"")[:SIZE] == storage.read_at(0, SIZE)
            assert len(getattr(write, "data", b"")) == 1024


def test_an_unused_keyslot_keeps_its_place_and_loses_salt_and_iterations() -> None:
    with opened("luks1", FIRST, SECOND) as volume:
        before = volume.header_storage.read_at(208, 96)
        volume.remove_keyslot(0)
        after = volume.header_storage.read_at(208, 96)
    assert after[48:] == before[48:]
    assert after[:4] == b"\0\0\xde\xad"
    assert after[4:40] == bytes(36)
    assert after[40:48] == before[40:48]


@pytest.mark.parametrize(
    "change", [{"label": "x"}, {"subsystem": "x"}, {"flags": ("allow-discards",)}]
)
def test_what_luks1_has_no_place_for_is_refused(change: dict[str, str]) -> None:
    storage = UntouchedStorage(image("luks1"))
    with luksmeta.open(storage, writable=True) as volume, pytest.raises(UnsupportedError):
        volume.configure(**change)  # type: ignore[arg-type]  # one of its keywords


def test_keyslots_of_other_kdfs_hashes_and_priorities_are_refused() -> None:
    argon2 = luksmeta.Argon2id(time=4, memory=32, cpus=1)
    sha1 = luksmeta.Pbkdf2(hash="sha1", iterations=1000)
    storage = UntouchedStorage(image("luks1"))
    with luksmeta.open(storage, writable=True) as volume, volume.unlock(FIRST) as unlocked:
        with pytest.raises(UnsupportedError, match="PBKDF2 only"):
            unlocked.add_keyslot(SECOND, pbkdf=argon2)
        with pytest.raises(UnsupportedError, match="one for all"):
            unlocked.add_keyslot(SECOND, pbkdf=sha1)
        with pytest.raises(UnsupportedError, match="priorities"):
            unlocked.add_keyslot(SECOND, pbkdf=KDF, priority="high")


def test_a_new_uuid_is_all_that_changes() -> None:
    storage = memory("luks1")
    before = bytes(storage.data)
    with luksmeta.open(storage, writable=True) as volume:
        volume.configure(uuid="c0ffee00-0000-4000-8000-000000000002")
    after = bytes(storage.data)
    assert after[168:208] == b"c0ffee00-0000-4000-8000-000000000002\0\0\0\0"
    assert after[:168] + after[208:] == before[:168] + before[208:]


def test_limits_hold_for_the_digest_as_well() -> None:
    limits = Limits(iterations=999)
    with opened("luks1") as volume:
        with pytest.raises(ResourceLimitError):
            volume.unlock(FIRST, limits=limits)
        with pytest.raises(ResourceLimitError):
            volume.unlock(volume_key=VOLUME_KEY, limits=limits)
        assert key_behind(volume, FIRST) == VOLUME_KEY


def test_no_repr_shows_salts_or_digests() -> None:
    header = Luks1Header.read(memory("luks1"))
    digest = header.metadata.digests[0]
    keyslot = header.metadata.keyslots[0]
    assert isinstance(digest, Pbkdf2Digest)
    assert isinstance(keyslot, Keyslot)
    shown = repr(header)
    for hidden in (digest.salt, digest.digest, keyslot.salt):
        assert repr(hidden)[2:-1] not in shown
