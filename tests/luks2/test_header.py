"""Which copy of a LUKS2 header is believed, and what is written over a damaged one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import luksmeta
from luksmeta import (
    ChecksumError,
    HeaderError,
    JsonAreaFullError,
    LuksError,
    MemoryStorage,
    MetadataError,
    NotLuksError,
    PassphraseError,
    Severity,
    StorageError,
    VersionError,
)
from luksmeta.file_storage import FileStorage
from luksmeta.header_copies import HeaderCopy
from luksmeta.luks2.binary_header import BinaryHeader, checksum
from luksmeta.luks2.header import Luks2Header
from luksmeta.luks2.header_copy import violations_of
from luksmeta.luks2.json_text import dump_json
from luksmeta.luks2.limits import BINARY_HEADER_SIZE, HDR_SIZES
from luksmeta.luks2.validation import validate
from luksmeta.overlay import OverlayStorage
from luksmeta.write_plan import WritePlan
from tests.builders import FIRST, SECOND, document_of, image, key_behind, memory, with_document
from tests.corpus import Corpus
from tests.disk_states import states
from tests.interop.peers import cryptsetup
from tests.storages import UnreadableStorage, UntouchedStorage

PRIMARY, SECONDARY = HeaderCopy.PRIMARY, HeaderCopy.SECONDARY
HDR_SIZE = 0x4000

Damage = Callable[[bytearray], None]


def _bytes_at(offset: int, data: bytes) -> Damage:
    def damage(disk: bytearray) -> None:
        disk[offset : offset + len(data)] = data

    return damage


def _document(**label: str) -> bytes:
    document = document_of(image("luks2"))
    document["tokens"]["0"] = {"type": "acme", "keyslots": [], **label}
    return with_document(image("luks2"), document, copies=(SECONDARY,))


_DAMAGES: dict[str, tuple[type[LuksError], str, Damage]] = {
    "binary header wiped": (NotLuksError, "no magic", _bytes_at(0, bytes(4096))),
    "magic of the secondary": (NotLuksError, "no magic", _bytes_at(0, b"SKUL")),
    "version 3": (VersionError, "LUKS version 3", _bytes_at(6, b"\0\3")),
    "hdr_size 0": (HeaderError, "hdr_size 0x0", _bytes_at(8, bytes(8))),
    "hdr_size huge": (HeaderError, "hdr_size 0xff", _bytes_at(8, b"\xff" * 8)),
    "hdr_offset wrong": (HeaderError, "its hdr_offset is", _bytes_at(256, b"\1")),
    "checksum wrong": (ChecksumError, "checksum is", _bytes_at(448, b"\0\0\0")),
    "checksum algorithm unknown": (HeaderError, "algorithm 'xha256'", _bytes_at(72, b"x")),
    "padding touched": (ChecksumError, "checksum is", _bytes_at(300, b"\xaa")),
    "json touched": (ChecksumError, "checksum is", _bytes_at(5000, b"?")),
    "last byte of the json area": (ChecksumError, "checksum is", _bytes_at(HDR_SIZE - 1, b"?")),
}


def _damaged(name: str, copy: HeaderCopy) -> bytes:
    disk = bytearray(image("luks2"))
    start = 0 if copy is PRIMARY else HDR_SIZE
    part = disk[start : start + HDR_SIZE]
    _DAMAGES[name][2](part)
    if copy is SECONDARY and name == "magic of the secondary":
        part[:4] = b"LUKS"
    disk[start : start + HDR_SIZE] = part
    return bytes(disk)


def _problems(header: Luks2Header) -> dict[HeaderCopy, str | None]:
    return {state.copy: state.problem for state in header.copies}


# Choosing


def test_two_good_copies_have_no_problem_and_the_primary_is_believed() -> None:
    header = Luks2Header.read(UntouchedStorage(image("luks2")))
    assert header.loaded.copy is PRIMARY
    assert _problems(header) == {PRIMARY: None, SECONDARY: None}
    assert [state.seqid for state in header.copies] == [3, 3]
    assert [state.offset for state in header.copies] == [0, HDR_SIZE]


@pytest.mark.parametrize("name", _DAMAGES)
def test_a_damaged_primary_is_reported_and_the_secondary_believed(name: str) -> None:
    storage = UntouchedStorage(_damaged(name, PRIMARY))
    with luksmeta.open(storage) as volume:
        first, second = volume.header.copies
        assert first.problem is not None
        assert first.seqid is None
        assert second.problem is None
        assert key_behind(volume, FIRST)


@pytest.mark.parametrize("name", _DAMAGES)
def test_a_damaged_secondary_is_reported_and_the_primary_believed(name: str) -> None:
    storage = UntouchedStorage(_damaged(name, SECONDARY))
    with luksmeta.open(storage) as volume:
        first, second = volume.header.copies
        assert first.problem is None
        assert second.problem is not None
        assert key_behind(volume, FIRST)


@pytest.mark.parametrize("name", _DAMAGES)
def test_without_a_good_copy_the_most_telling_error_is_raised(name: str) -> None:
    error, message, _ = _DAMAGES[name]
    disk = bytearray(_damaged(name, PRIMARY))
    disk[HDR_SIZE : 2 * HDR_SIZE] = bytes(HDR_SIZE)
    with pytest.raises(error, match=message if error is not NotLuksError else "not a LUKS volume"):
        luksmeta.open(UntouchedStorage(disk))


def test_a_damaged_secondary_tells_more_than_a_primary_that_is_gone() -> None:
    disk = bytearray(_damaged("json touched", SECONDARY))
    disk[:BINARY_HEADER_SIZE] = bytes(BINARY_HEADER_SIZE)
    with pytest.raises(ChecksumError) as caught:
        luksmeta.open(MemoryStorage(disk))
    assert caught.value.copy == "secondary"
    assert caught.value.offset == HDR_SIZE + 448


@pytest.mark.parametrize(("old", "new"), [(PRIMARY, SECONDARY), (SECONDARY, PRIMARY)])
def test_the_copy_with_the_lower_seqid_is_obsolete(old: HeaderCopy, new: HeaderCopy) -> None:
    document = document_of(image("luks2"))
    data = with_document(image("luks2"), document, copies=(old,), seqid=2)
    header = Luks2Header.read(UntouchedStorage(data))
    assert header.loaded.copy is new
    assert _problems(header)[new] is None
    assert _problems(header)[old] == "obsolete: seqid 2, the other copy has 3"


def test_of_different_copies_with_equal_seqid_the_primary_is_believed() -> None:
    header = Luks2Header.read(UntouchedStorage(_document(note="another")))
    assert header.loaded.copy is PRIMARY
    assert not header.metadata.tokens
    assert _problems(header)[SECONDARY] == "differs from the other copy at the same seqid 3"


def test_a_copy_with_a_right_checksum_and_bad_metadata_is_damaged() -> None:
    document = document_of(image("luks2"))
    document["keyslots"]["0"]["area"]["offset"] = "0"
    data = with_document(image("luks2"), document, copies=(PRIMARY,))
    header = Luks2Header.read(UntouchedStorage(data))
    assert header.loaded.copy is SECONDARY
    assert "keyslots.0.area" in (_problems(header)[PRIMARY] or "")
    with pytest.raises(MetadataError) as caught:
        luksmeta.open(UntouchedStorage(with_document(data, document)))
    assert caught.value.copy == "primary"
    assert caught.value.violations


@pytest.mark.parametrize("hdr_size", HDR_SIZES)
def test_the_secondary_is_found_by_itself_at_each_legal_offset(hdr_size: int) -> None:
    storage = MemoryStorage(2 * hdr_size + (2 << 20))
    luksmeta.format(
        storage,
        FIRST,
        volume_key=bytes(range(32)),
        pbkdf=luksmeta.Pbkdf2(hash="sha256", iterations=1000),
        digest_iterations=1000,
        metadata_size=hdr_size,
        keyslots_size=1 << 20,
    )
    storage.data[:BINARY_HEADER_SIZE] = bytes(BINARY_HEADER_SIZE)
    with luksmeta.open(UntouchedStorage(storage.data)) as volume:
        assert volume.header.copies[1].offset == hdr_size
        assert key_behind(volume, FIRST) == bytes(range(32))


@pytest.mark.parametrize("size", [16, 64, 256, 1024, 4096])
def test_cryptsetups_secondaries_are_found_by_themselves(corpus: Corpus, size: int) -> None:
    with OverlayStorage(FileStorage(corpus(f"luks2/metadata-{size}k"))) as storage:
        both = Luks2Header.read(storage)
        storage.write_at(0, bytes(BINARY_HEADER_SIZE))
        alone = Luks2Header.read(storage)
    assert alone.loaded.copy is SECONDARY
    assert alone.document == both.document
    assert alone.copies[1].offset == size << 10


@pytest.mark.parametrize(
    ("size", "offset"),
    [("32k", 32 << 10), ("128k", 128 << 10), ("512k", 512 << 10), ("2m", 2 << 20)],
)
def test_cryptsetups_images_without_a_primary_are_read(
    corpus: Corpus, size: str, offset: int
) -> None:
    with FileStorage(corpus(f"luks2-validation/metadata-size-{size}-secondary")) as storage:
        header = Luks2Header.read(storage)
    assert header.loaded.copy is SECONDARY
    assert header.copies[1].offset == offset
    assert header.copies[0].problem is not None


def test_the_document_is_as_it_lies_there_and_the_metadata_repaired(corpus: Corpus) -> None:
    with FileStorage(corpus("luks2-validation/pbkdf2-leftover-params-0")) as storage:
        header = Luks2Header.read(storage)
        hdr_size = header.loaded.record.hdr_size
        area = storage.read_at(BINARY_HEADER_SIZE, hdr_size - BINARY_HEADER_SIZE)
    assert dump_json(header.document, len(area)) == area
    assert {each.rule for each in validate(header.document, hdr_size)} == {"kdf-members"}
    written = header.updated(header.metadata)
    assert validate(written.document, hdr_size) == ()
    assert written.metadata == header.metadata


def test_a_volume_that_cryptsetup_formatted_with_md5_opens_to_its_passphrase_alone(
    tmp_path: Path,
) -> None:
    path = cryptsetup.luks_format(tmp_path / "volume", FIRST, hash="md5")
    with luksmeta.open(path) as volume:
        assert key_behind(volume, FIRST) == cryptsetup.dump_volume_key(path, FIRST)
        with pytest.raises(PassphraseError):  # where cryptsetup compares nothing and takes any
            volume.unlock(SECOND)


def test_a_stale_secondary_of_a_smaller_header_does_not_hide_the_good_one() -> None:
    data = bytearray(with_document(image("luks2"), document_of(image("luks2"))))
    data[HDR_SIZE : HDR_SIZE + 4096] = bytes(4096)
    data[0x8000:0x8004] = b"SKUL"  # a magic, and nothing that fits it
    assert Luks2Header.read(MemoryStorage(data)).loaded.copy is PRIMARY
    data[:4096] = bytes(4096)
    with pytest.raises(LuksError):
        Luks2Header.read(MemoryStorage(data))


@pytest.mark.parametrize(
    ("bad", "believed"), [(range(16), SECONDARY), (range(HDR_SIZE, HDR_SIZE + 1), PRIMARY)]
)
def test_a_copy_that_cannot_be_read_is_a_damaged_copy(bad: range, believed: HeaderCopy) -> None:
    header = Luks2Header.read(UnreadableStorage(image("luks2"), bad))
    assert header.loaded.copy is believed
    unread = SECONDARY if believed is PRIMARY else PRIMARY
    assert "short read" in (_problems(header)[unread] or "")


def test_a_storage_that_cannot_be_read_at_all_is_its_own_error() -> None:
    with pytest.raises(StorageError, match="short read"):
        Luks2Header.read(UnreadableStorage(image("luks2"), range(1 << 20)))


def test_a_device_that_ends_within_the_keyslots_area_is_refused_with_both_numbers() -> None:
    with pytest.raises(HeaderError, match="keyslots area ends at 0x88000, memory at 0x87fff"):
        Luks2Header.read(MemoryStorage(image("luks2")[:0x87FFF]))


# Writing


@pytest.mark.parametrize("copy", HeaderCopy)
@pytest.mark.parametrize("name", _DAMAGES)
def test_the_next_change_makes_both_copies_good_again(name: str, copy: HeaderCopy) -> None:
    storage = MemoryStorage(_damaged(name, copy))
    with luksmeta.open(storage, writable=True) as volume:
        volume.configure(label="mended")
    header = Luks2Header.read(storage)
    assert _problems(header) == {PRIMARY: None, SECONDARY: None}
    assert [state.seqid for state in header.copies] == [4, 4]
    assert header.metadata.label == "mended"


@pytest.mark.parametrize("copy", HeaderCopy)
@pytest.mark.parametrize("name", _DAMAGES)
def test_with_one_sound_copy_a_crash_at_any_moment_leaves_one(name: str, copy: HeaderCopy) -> None:
    damaged = _damaged(name, copy)
    with luksmeta.open(MemoryStorage(damaged), writable=True) as volume:
        volume.configure(label="mended")
        plans = volume.written
    labels = {
        Luks2Header.read(MemoryStorage(state)).metadata.label for _, state in states(damaged, plans)
    }
    assert labels == {"", "mended"}


def test_each_copy_has_a_salt_of_its_own_and_keeps_it() -> None:
    storage = memory("luks2")
    before = Luks2Header.read(storage).salts
    assert before[PRIMARY] != before[SECONDARY]
    with luksmeta.open(storage, writable=True) as volume:
        volume.configure(label="changed")
    assert Luks2Header.read(storage).salts == before


def test_a_written_header_is_current_and_one_that_another_wrote_over_is_not() -> None:
    storage = memory("luks2")
    with luksmeta.open(storage, writable=True) as mine, luksmeta.open(storage) as theirs:
        assert theirs.header.is_current(storage)
        mine.configure(label="changed")
        assert mine.header.is_current(storage)
        assert not theirs.header.is_current(storage)


def test_a_header_is_current_while_only_its_secondary_is_left() -> None:
    storage = MemoryStorage(_damaged("binary header wiped", PRIMARY))
    assert Luks2Header.read(storage).is_current(storage)


def test_a_seqid_at_its_end_cannot_be_followed_and_nothing_is_written() -> None:
    document = document_of(image("luks2"))
    data = with_document(image("luks2"), document, seqid=(1 << 64) - 1)
    with luksmeta.open(UntouchedStorage(data), writable=True) as volume, pytest.raises(HeaderError):
        volume.configure(label="one more")


@pytest.mark.parametrize("length", [47, 48])
def test_a_label_fits_with_its_nul_or_is_refused(length: int) -> None:
    storage = memory("luks2")
    with luksmeta.open(storage, writable=True) as volume:
        if length < 48:
            volume.configure(label="x" * length)
            assert Luks2Header.read(storage).metadata.label == "x" * length
        else:
            with pytest.raises(ValueError, match="at most 47"):
                volume.configure(label="x" * length)


def test_label_bytes_that_are_no_utf8_are_kept() -> None:
    data = bytearray(image("luks2"))
    record = BinaryHeader.from_bytes(bytes(data[:BINARY_HEADER_SIZE]))
    record = replace(record, label=b"caf\xe9".ljust(48, b"\0"))
    data[:BINARY_HEADER_SIZE] = record.to_bytes()
    storage = MemoryStorage(with_document(bytes(data), document_of(image("luks2"))))
    with luksmeta.open(storage, writable=True) as volume:
        volume.configure(subsystem="changed")
    assert bytes(storage.data[24:28]) == bytes(storage.data[HDR_SIZE + 24 :][:4]) == b"caf\xe9"


def test_a_document_too_long_for_its_area_is_refused_before_anything_is_written() -> None:
    with (
        luksmeta.open(UntouchedStorage(image("luks2")), writable=True) as volume,
        pytest.raises(JsonAreaFullError) as raised,
    ):
        volume.tokens.add_keyring("x" * 13000)
    assert raised.value.size == 12288 < 13000 < raised.value.needed


def test_no_repr_shows_salts_digests_or_documents() -> None:
    header = Luks2Header.read(memory("luks2"))
    shown = repr(header)
    document = document_of(image("luks2"))
    assert document["digests"]["0"]["salt"] not in shown
    assert document["digests"]["0"]["digest"] not in shown
    assert document["keyslots"]["0"]["kdf"]["salt"] not in shown
    assert "salt=" not in shown
    assert "csum=" not in shown.replace("csum_alg=", "")


@pytest.mark.parametrize(
    ("rule", "offset", "data"),
    [
        ("binary-padding", 300, b"\1"),
        ("binary-terminated", 24, b"x" * 48),
        ("binary-uuid", 168, b"x"),
        ("binary-csum-alg-usual", 72, b"sha512"),
    ],
)
def test_an_odd_binary_header_is_taken_and_warned_of(rule: str, offset: int, data: bytes) -> None:
    disk = bytearray(image("luks2"))
    disk[offset : offset + len(data)] = data
    header, area = bytes(disk[:BINARY_HEADER_SIZE]), bytes(disk[BINARY_HEADER_SIZE:HDR_SIZE])
    algorithm = "sha512" if rule == "binary-csum-alg-usual" else "sha256"
    disk[448:512] = checksum(algorithm, header, area).ljust(64, b"\0")
    storage = UntouchedStorage(disk)
    assert Luks2Header.read(storage).loaded.copy is PRIMARY
    assert [(each.rule, each.severity) for each in violations_of(storage, PRIMARY, 0)] == [
        (rule, Severity.WARNING)
    ]


@pytest.mark.parametrize("copy", HeaderCopy)
@pytest.mark.parametrize("name", _DAMAGES)
def test_a_restored_header_has_both_copies_good_and_the_same_seqid(
    name: str, copy: HeaderCopy
) -> None:
    damaged = _damaged(name, copy)
    restored = Luks2Header.read(MemoryStorage(damaged)).restored()
    assert restored.write_order == (copy,)
    plan = WritePlan.of("restore", restored.steps())
    storage = MemoryStorage(damaged)
    plan.apply(storage)
    assert _problems(Luks2Header.read(storage)) == {PRIMARY: None, SECONDARY: None}
    for _, state in states(damaged, [plan]):
        assert Luks2Header.read(MemoryStorage(state)).seqid == 3
