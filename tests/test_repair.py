"""Repair: what is restored, what is left alone, and what a crash in between leaves."""

from __future__ import annotations

import contextlib
import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import luksmeta
from luksmeta import HeaderError, LuksError, NotLuksError, StorageBusyError
from luksmeta.diagnosis import diagnose_storage
from luksmeta.format_options import Version
from luksmeta.header_copies import HeaderCopy
from luksmeta.keyslot import trial_order
from luksmeta.luks2.binary_header import BinaryHeader, with_checksum
from luksmeta.luks2.header import Luks2Header
from luksmeta.model import Metadata
from luksmeta.repair import Repair, prepare
from luksmeta.storage import MemoryStorage, Storage
from luksmeta.unlocking import OpenedKeys, open_with_passphrase
from tests.builders import (
    FIRST,
    SECOND,
    VOLUME_KEY,
    document_of,
    image,
    key_behind,
    with_document,
)
from tests.corpus import Corpus
from tests.defects.damage import (
    HDR_SIZE,
    LUKS1_REPAIRED_BY_CRYPTSETUP,
    LUKS2_BEYOND_REPAIR,
    LUKS2_REPAIRABLE,
)
from tests.disk_states import states, writes_without_barrier
from tests.interop.peers import cryptsetup
from tests.storages import UntouchedStorage

PRIMARY, SECONDARY = HeaderCopy.PRIMARY, HeaderCopy.SECONDARY
_UNLOCKING = ("ecb with an IV",)  # keys were made with another mode: only the header comes back


def _damaged(version: Version, name: str) -> bytes:
    damages = {"luks1": LUKS1_REPAIRED_BY_CRYPTSETUP, "luks2": LUKS2_REPAIRABLE}[version]
    disk = bytearray(image(version, (FIRST, SECOND)))
    damages[name](disk)
    return bytes(disk)


def _applied(disk: bytes, repair: Repair) -> bytes:
    storage = MemoryStorage(disk)
    for plan in repair.plans:
        plan.apply(storage)
    return bytes(storage.data)


def _opens(disk: bytes) -> bool:
    with contextlib.suppress(LuksError), luksmeta.open(MemoryStorage(disk)) as volume:
        return key_behind(volume, FIRST) == key_behind(volume, SECOND) == VOLUME_KEY
    return False


# Both copies of LUKS2


@pytest.mark.parametrize("name", LUKS2_REPAIRABLE)
def test_both_copies_are_good_again_with_their_seqid(name: str) -> None:
    disk = _damaged("luks2", name)
    repair = prepare(UntouchedStorage(disk))
    after = _applied(disk, repair)
    header = Luks2Header.read(MemoryStorage(after))
    sound = Luks2Header.read(MemoryStorage(image("luks2", (FIRST, SECOND))))
    assert [state.problem for state in header.copies] == [None, None]
    assert [state.seqid for state in header.copies] == [sound.seqid, sound.seqid]
    assert header.document == sound.document
    assert after[2 * HDR_SIZE :] == disk[2 * HDR_SIZE :]
    assert _opens(after)
    assert diagnose_storage(MemoryStorage(after)).is_sound


@pytest.mark.parametrize("name", LUKS2_REPAIRABLE)
def test_cryptsetup_opens_what_was_repaired(name: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    disk = _damaged("luks2", name)
    path.write_bytes(disk)
    with luksmeta.FileStorage(path, writable=True) as storage:
        prepare(storage).apply(storage, tmp_path / "backup")
    after = path.read_bytes()
    assert cryptsetup.unlocked_slot(path, SECOND) == 1
    assert path.read_bytes() == after  # it found nothing to recover


@pytest.mark.parametrize("copy", HeaderCopy)
def test_a_restored_copy_has_a_fresh_salt_and_the_others_text(copy: HeaderCopy) -> None:
    base = image("luks2")
    start, other = (0, HDR_SIZE) if copy is PRIMARY else (HDR_SIZE, 0)
    disk = bytearray(base)
    disk[start : start + HDR_SIZE] = bytes(HDR_SIZE)
    after = _applied(bytes(disk), prepare(MemoryStorage(disk)))
    old, new = (BinaryHeader.from_bytes(each[start : start + 4096]) for each in (base, after))
    assert new.salt not in (old.salt, bytes(64))
    assert replace(new, salt=b"", csum=b"") == replace(old, salt=b"", csum=b"")
    assert after[start + 4096 : start + HDR_SIZE] == base[other + 4096 : other + HDR_SIZE]
    assert after[other : other + HDR_SIZE] == base[other : other + HDR_SIZE]


def test_cryptsetups_own_recovery_differs_in_the_salt_alone(tmp_path: Path) -> None:
    path = tmp_path / "image"
    disk = _damaged("luks2", "partition table")
    path.write_bytes(disk)
    cryptsetup.repair(path)
    ours, theirs = _applied(disk, prepare(MemoryStorage(disk))), path.read_bytes()
    records = [BinaryHeader.from_bytes(each[:4096]) for each in (ours, theirs)]
    one, two = (replace(each, salt=b"", csum=b"") for each in records)
    assert one == two
    assert ours[4096:] == theirs[4096:]


@pytest.mark.parametrize("size", ["32k", "128k", "512k", "2m"])
def test_the_primary_comes_back_from_any_legal_place(corpus: Corpus, size: str) -> None:
    disk = corpus(f"luks2-validation/metadata-size-{size}-secondary").read_bytes()
    after = _applied(disk, prepare(UntouchedStorage(disk)))
    header = Luks2Header.read(MemoryStorage(after))
    assert header.loaded.copy is PRIMARY
    assert [state.problem for state in header.copies] == [None, None]


def test_both_magics_of_a_real_image_come_back(corpus: Corpus) -> None:
    disk = corpus("made/l2-both-magic-wiped").read_bytes()
    repair = prepare(UntouchedStorage(disk))
    assert Luks2Header.read(MemoryStorage(_applied(disk, repair))).copies[1].problem is None
    assert {field.field for field in repair.fields} == {"magic"}


@pytest.mark.parametrize("name", LUKS2_BEYOND_REPAIR)
def test_what_needs_guessing_is_beyond_repair(name: str) -> None:
    disk = bytearray(image("luks2"))
    LUKS2_BEYOND_REPAIR[name](disk)
    with pytest.raises((HeaderError, NotLuksError)):
        prepare(UntouchedStorage(disk))


def test_the_newer_copy_is_the_one_that_is_copied() -> None:
    base = image("luks2")
    document = document_of(base)
    document["config"]["flags"] = ["allow-discards"]
    disk = with_document(base, document, copies=(SECONDARY,), seqid=9)
    header = Luks2Header.read(MemoryStorage(_applied(disk, prepare(MemoryStorage(disk)))))
    assert header.metadata.config.flags == ("allow-discards",)
    assert [state.seqid for state in header.copies] == [9, 9]


def test_a_text_with_white_space_is_copied_as_it_is() -> None:
    base = image("luks2")
    text = json.dumps(document_of(base), indent=1).encode()
    area = text.ljust(HDR_SIZE - 4096, b"\0")
    disk = bytearray(base)
    disk[:HDR_SIZE] = with_checksum(BinaryHeader.from_bytes(base[:4096]), area)
    disk[HDR_SIZE : 2 * HDR_SIZE] = bytes(HDR_SIZE)
    after = _applied(bytes(disk), prepare(MemoryStorage(disk)))
    assert after[HDR_SIZE + 4096 : 2 * HDR_SIZE] == area


# Old faults


def test_left_over_kdf_members_are_dropped_for_good(corpus: Corpus) -> None:
    disk = corpus("luks2-validation/pbkdf2-leftover-params-0").read_bytes()
    before = Luks2Header.read(MemoryStorage(disk))
    repair = prepare(UntouchedStorage(disk))
    after = _applied(disk, repair)
    header = Luks2Header.read(MemoryStorage(after))
    assert before.loaded.has_known_faults
    assert not header.loaded.has_known_faults
    assert header.metadata == before.metadata
    assert header.seqid == before.seqid + 1
    fields = [each for each in repair.fields if each.where == "primary header"]
    dropped = {each.field: each.will_be for each in fields if each.field.startswith("keyslots.")}
    assert dropped == {"keyslots.2.kdf.iterations": None, "keyslots.2.kdf.hash": None}
    assert prepare(MemoryStorage(after)).plans == ()


# What is shown


def test_the_fields_say_what_was_found_and_what_will_be() -> None:
    base = image("luks2")
    document = document_of(base)
    document["keyslots"]["0"]["kdf"]["iterations"] = 7
    document["config"]["extra"] = True
    disk = bytearray(with_document(base, document, copies=(PRIMARY,), seqid=1))
    disk[24:29] = b"label"  # the checksum is wrong with that
    fields = {
        each.field: (each.found, each.will_be) for each in prepare(MemoryStorage(disk)).fields
    }
    assert fields["seqid"] == (1, 3)
    assert fields["label"] == ("label", "")
    assert fields["keyslots.0.kdf.iterations"] == (7, 1000)
    assert fields["config.extra"] == (True, None)
    assert fields["salt"][1] == "fresh random bytes"
    assert set(fields) == {
        "seqid", "label", "salt", "csum", "keyslots.0.kdf.iterations", "config.extra"
    }  # fmt: skip


def test_fields_from_hostile_bytes_are_bounded() -> None:
    base = image("luks2")
    document = document_of(base)
    document["tokens"] = {
        "0": {"type": "x", "keyslots": [], **{f"m{n}": "y" * 9 for n in range(500)}}
    }
    disk = bytearray(with_document(base, document, copies=(PRIMARY,)))
    disk[300] = 1
    fields = prepare(MemoryStorage(disk)).fields
    assert len(fields) < 120
    assert len(json.dumps([each.describe() for each in fields])) < 50_000


@pytest.mark.parametrize("version", ["luks1", "luks2"])
def test_where_nothing_is_wrong_nothing_is_planned(version: Version) -> None:
    repair = prepare(UntouchedStorage(image(version)))
    assert not repair.plans
    assert not repair.fields
    assert not repair.unproved


def test_a_foreign_signature_is_told_and_written_over() -> None:
    disk = _damaged("luks2", "partition table")
    repair = prepare(MemoryStorage(disk))
    assert [each.offset for each in repair.diagnosis.foreign_signatures] == [0x1FE]
    assert diagnose_storage(MemoryStorage(_applied(disk, repair))).foreign_signatures == ()


# Applying


def test_the_header_is_copied_as_it_is_before_it_is_written(tmp_path: Path) -> None:
    path, backup = tmp_path / "image", tmp_path / "backup"
    disk = _damaged("luks2", "partition table")
    path.write_bytes(disk)
    with luksmeta.FileStorage(path, writable=True) as storage:
        prepare(storage).apply(storage, backup)
    kept = backup.read_bytes()
    assert kept == disk[: len(kept)]
    assert len(kept) == Luks2Header.read(MemoryStorage(disk)).backup_size
    assert stat.S_IMODE(backup.stat().st_mode) == 0o400


def test_without_a_copy_nothing_is_written(tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    backup.write_bytes(b"something")
    storage = MemoryStorage(_damaged("luks2", "partition table"))
    before = bytes(storage.data)
    with pytest.raises(StorageBusyError, match="exists"):
        prepare(storage).apply(storage, backup)
    assert bytes(storage.data) == before
    assert backup.read_bytes() == b"something"


@pytest.mark.parametrize("version", ["luks1", "luks2"])
def test_a_header_that_changed_meanwhile_is_not_written_over(
    version: Version, tmp_path: Path
) -> None:
    name = {"luks1": "hash in capitals", "luks2": "partition table"}[version]
    storage = MemoryStorage(_damaged(version, name))
    repair = prepare(storage)
    storage.data[200] ^= 1
    with pytest.raises(StorageBusyError, match="another process has changed the header"):
        repair.apply(storage, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


_CASES = [
    *(pytest.param("luks2", name, id=f"luks2-{name}") for name in LUKS2_REPAIRABLE),
    *(
        pytest.param("luks1", name, id=f"luks1-{name}")
        for name in LUKS1_REPAIRED_BY_CRYPTSETUP
        if name != "partition signature"
    ),
]


def _readable(disk: bytes) -> bool:
    return diagnose_storage(MemoryStorage(disk)).header is not None


@pytest.mark.parametrize(("version", "name"), _CASES)
def test_a_crash_at_any_moment_is_no_worse_and_can_be_repaired(version: Version, name: str) -> None:
    """What could be read before can be read at every moment, and a second repair ends it."""
    before = _damaged(version, name)
    plans = prepare(MemoryStorage(before)).plans
    whole = _applied(before, prepare(MemoryStorage(before)))
    was_readable = _readable(before)
    assert not [each for plan in plans for each in writes_without_barrier(plan)]
    for state, disk in states(before, plans):
        assert _readable(disk) or not was_readable, state
        again = _applied(disk, prepare(MemoryStorage(disk)))
        assert diagnose_storage(MemoryStorage(again)).is_sound, state
        assert again[2 * HDR_SIZE :] == whole[2 * HDR_SIZE :], state
    assert name in _UNLOCKING or _opens(again)


# A reencryption without proof

PASSPHRASE = b"correct horse battery staple"
REENCRYPTING = ("made/l2-reencrypt-init-checksum", "made/l2-reencrypt-midway-none")


def _without_proof(corpus: Corpus, name: str, *, version: bool, digest: bool) -> bytes:
    """As an old cryptsetup began it: a requirement without version, a keyslot without digest."""
    base = corpus(name).read_bytes()
    document = document_of(base)
    if not version:
        document["config"]["requirements"]["mandatory"] = ["online-reencrypt"]
    if not digest:
        keyslots = document["keyslots"]
        (reencrypt,) = (i for i, each in keyslots.items() if each["type"] == "reencrypt")
        document["digests"] = {
            i: each for i, each in document["digests"].items() if reencrypt not in each["keyslots"]
        }
    return with_document(base, document)


@pytest.fixture(autouse=True)
def _cheap_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luksmeta.repair.digest_iterations", lambda _: 1000)


def _unlock(metadata: Metadata, storage: Storage) -> OpenedKeys:
    keyslots = tuple(
        each for each in trial_order(metadata.keyslots) if each in metadata.bound_keyslots
    )
    return open_with_passphrase(metadata, storage, PASSPHRASE, keyslots, None)


@pytest.mark.parametrize("name", REENCRYPTING)
@pytest.mark.parametrize(("version", "digest"), [(False, False), (True, False), (False, True)])
def test_a_reencryption_is_proved_with_its_keys(
    corpus: Corpus, name: str, version: bool, digest: bool
) -> None:
    disk = _without_proof(corpus, name, version=version, digest=digest)
    assert prepare(UntouchedStorage(disk)).unproved
    repair = prepare(UntouchedStorage(disk), _unlock)
    assert not repair.unproved
    after = _applied(disk, repair)
    with luksmeta.open(MemoryStorage(after, writable=False)) as volume:
        assert volume.metadata.config.requirements == ("online-reencrypt-v2",)
        with volume.unlock(PASSPHRASE) as unlocked, unlocked.open() as stream:
            assert stream.read(512)
    assert prepare(UntouchedStorage(after)).plans == ()


def test_cryptsetup_goes_on_with_the_reencryption_that_was_proved(
    corpus: Corpus, tmp_path: Path
) -> None:
    disk = _without_proof(corpus, REENCRYPTING[0], version=False, digest=False)
    ours, damaged = tmp_path / "ours", tmp_path / "damaged"
    ours.write_bytes(_applied(disk, prepare(UntouchedStorage(disk), _unlock)))
    damaged.write_bytes(disk)
    resume = ("reencrypt", "--resume-only", "--force-offline-reencrypt", "--key-file", "-")
    assert cryptsetup.answer(*resume, damaged, stdin=PASSPHRASE).returncode != 0
    cryptsetup.run(*resume, ours, stdin=PASSPHRASE)
    assert not cryptsetup.dump_json(ours)["config"].get("requirements")


def test_cryptsetups_repair_makes_the_same_of_it(corpus: Corpus, tmp_path: Path) -> None:
    disk = _without_proof(corpus, REENCRYPTING[0], version=False, digest=False)
    theirs = tmp_path / "theirs"
    theirs.write_bytes(disk)
    cryptsetup.run("repair", theirs, "--key-file", "-", stdin=PASSPHRASE)
    expected = cryptsetup.dump_json(theirs)
    got = document_of(_applied(disk, prepare(UntouchedStorage(disk), _unlock)))
    assert got["config"] == expected["config"]
    assert _named(got) == _named(expected)


def _named(document: dict[str, Any]) -> list[str]:
    return sorted(str(each["keyslots"]) for each in document["digests"].values())
