"""The rules of LUKS1 partition headers: each is broken by a defect, and cryptsetup agrees."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

import luksmeta
from luksmeta.errors import MetadataError, Severity
from luksmeta.file_storage import FileStorage
from luksmeta.luks1.header import Luks1Header
from luksmeta.luks1.partition_header import PartitionHeader
from luksmeta.luks1.validation import RULES, offset_of, validate, warnings
from luksmeta.storage import MemoryStorage
from tests.builders import FIRST, KDF, SECOND, VOLUME_KEY, image, key_behind
from tests.corpus import Corpus
from tests.interop.peers import cryptsetup

Spoil = Callable[[bytearray], None]


def _put(offset: int, data: bytes) -> Spoil:
    def spoil(disk: bytearray) -> None:
        disk[offset : offset + len(data)] = data

    return spoil


def _number(path: str, number: int) -> Spoil:
    return _put(offset_of(path), struct.pack(">I", number))


def _spoiled(spoil: Spoil) -> bytearray:
    disk = bytearray(image("luks1", (FIRST, SECOND)))
    spoil(disk)
    return disk


def _record(disk: bytearray) -> PartitionHeader:
    return PartitionHeader.from_bytes(bytes(disk[:592]))


ERRORS = {
    "key-bytes": _number("key-bytes", 0),
    "hash-size": _put(72, b"md5\0\0\0\0"),
    "keyslot-stripes": _number("keyslots.5.stripes", 0),
    "area-begin": _number("keyslots.3.key-material-offset", 1),
    "area-end": _number("keyslots.3.key-material-offset", 1 << 31),
    "area-overlap": _number("keyslots.3.key-material-offset", 8),
}
WARNINGS = {
    "text-terminated": _put(168, b"u" * 40),
    "text-ascii": _put(168, b"\xe4"),
    "hash-known": _put(72, b"sha257"),
    "hash-lower-case": _put(72, b"SHA256"),
    "cipher-mode-ecb": _put(40, b"ecb-plain\0\0\0"),
    "uuid-form": _put(168, b"x"),
    "cipher-null": _put(8, b"cipher_null"),
    "digest-cost": _number("mk-digest-iter", 999),
    "keyslot-state": _number("keyslots.4.active", 0),
    "keyslot-cost": _number("keyslots.1.iterations", 1),
    "keyslot-empty": _number("keyslots.6.iterations", 1),
    "area-place": _number("keyslots.7.key-material-offset", 1801),
}
STRICTER_PEER = ("hash-known",)  # it refuses a hash that it has not got; here it may be looked at


def test_every_rule_has_a_header_that_breaks_it() -> None:
    assert set(ERRORS) == {each.name for each in RULES if each.severity is Severity.ERROR}
    assert set(WARNINGS) == {each.name for each in RULES if each.severity is Severity.WARNING}


def test_a_good_header_breaks_none() -> None:
    record = _record(bytearray(image("luks1")))
    assert validate(record) == warnings(record) == ()


@pytest.mark.parametrize("rule", ERRORS)
def test_a_broken_rule_refuses_the_header(rule: str) -> None:
    disk = _spoiled(ERRORS[rule])
    with pytest.raises(MetadataError) as caught:
        luksmeta.open(MemoryStorage(disk))
    assert caught.value.violations == validate(_record(disk))
    assert rule in {each.rule for each in caught.value.violations}
    assert {each.severity for each in caught.value.violations} == {Severity.ERROR}


@pytest.mark.parametrize("rule", WARNINGS)
def test_an_oddity_is_told_and_taken(rule: str) -> None:
    disk = _spoiled(WARNINGS[rule])
    assert validate(_record(disk)) == ()
    odd = warnings(_record(disk))
    assert rule in {each.rule for each in odd}
    assert {each.severity for each in odd} == {Severity.WARNING}
    luksmeta.open(MemoryStorage(disk)).close()


@pytest.mark.parametrize("rule", [*ERRORS, *WARNINGS])
def test_cryptsetup_refuses_and_takes_the_same(rule: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(_spoiled((ERRORS | WARNINGS)[rule]))
    accepted = cryptsetup.answer("luksDump", path).returncode == 0
    assert accepted == (rule in WARNINGS and rule not in STRICTER_PEER)


def test_a_violation_says_where_what_and_which_value() -> None:
    disk = _spoiled(_number("keyslots.3.key-material-offset", 1))
    first, *_ = validate(_record(disk))
    assert first.path == "keyslots.3.key-material-offset"
    assert first.value == 1
    assert first.text == "keyslot 3: area starts at 0x200, the header ends at 0x400"


def test_all_violations_are_collected_and_the_message_counts_them() -> None:
    disk = _spoiled(_put(offset_of("keyslots.4.active"), bytes(4 * 48)))
    with pytest.raises(MetadataError, match=r"keyslot 4: 0 stripes.* \(and \d+ more\)$") as caught:
        luksmeta.open(MemoryStorage(disk))
    paths = {each.path for each in caught.value.violations}
    assert {f"keyslots.{n}.stripes" for n in range(4, 8)} <= paths
    assert {f"keyslots.{n}.key-material-offset" for n in range(4, 8)} <= paths
    assert caught.value.offset == 208 + 4 * 48 + 44


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("luks1/evil-keyslot-overlap", {"area-overlap"}),
        ("luks1/evil-luks-hdr-damage", {"area-begin", "area-overlap"}),
    ],
)
def test_cryptsetups_evil_headers_break_these_rules(
    corpus: Corpus, name: str, rules: set[str]
) -> None:
    with FileStorage(corpus(name)) as storage, pytest.raises(MetadataError) as caught:
        Luks1Header.read(storage)
    assert {each.rule for each in caught.value.violations} == rules


def test_an_entry_of_strange_state_is_left_alone() -> None:
    """One flipped bit may be all that is between it and its key."""
    storage = MemoryStorage(_spoiled(_number("keyslots.2.active", 0x00AC71F2)))
    entry = bytes(storage.data[208 + 96 : 208 + 144])
    with luksmeta.open(storage, writable=True) as volume:
        with volume.unlock(volume_key=VOLUME_KEY) as unlocked:
            assert unlocked.add_keyslot(b"third", pbkdf=KDF) == 3
            with pytest.raises(luksmeta.KeyslotError, match="keyslot 2: in use already"):
                unlocked.add_keyslot(b"fourth", keyslot=2, pbkdf=KDF)
        volume.remove_keyslot(1)
        assert key_behind(volume, FIRST) == VOLUME_KEY
    assert bytes(storage.data[208 + 96 : 208 + 144]) == entry
