"""Findings and verdicts: what is said of damage that is known."""

from __future__ import annotations

from pathlib import Path

import pytest

import luksmeta
from luksmeta import Inspection
from luksmeta.extents import Extent
from luksmeta.forensics.report.findings import Finding, Level, findings_of
from luksmeta.forensics.report.meanings import MEANINGS
from luksmeta.forensics.report.verdict import Opening, kind_of, uuid_of, verdict_of
from luksmeta.format_options import Version
from tests.builders import FIRST, SECOND, VERSIONS, document_of, image, with_document
from tests.corpus import PROJECT
from tests.defects.damage import (
    HDR_SIZE,
    LUKS1_BEYOND_REPAIR,
    LUKS1_REPAIRED_BY_CRYPTSETUP,
    LUKS2_BEYOND_REPAIR,
    LUKS2_REPAIRABLE,
    Damage,
    bytes_at,
)
from tests.forensics.report.samples import GPT, SLOT
from tests.storages import UnreadableStorage, UntouchedStorage

AREA = 0x20000
on_versions = pytest.mark.parametrize("version", VERSIONS)


def inspected(version: Version, *damages: Damage) -> Inspection:
    disk = bytearray(image(version, (FIRST, SECOND)))
    for damage in damages:
        damage(disk)
    return luksmeta.inspect(UntouchedStorage(disk))


def of_level(inspection: Inspection, level: Level) -> list[Finding]:
    return [each for each in findings_of(inspection) if each.level is level]


def titles(inspection: Inspection, level: Level) -> list[str]:
    return [each.title for each in of_level(inspection, level)]


def gone(*keyslots: int) -> Damage:
    def damage(disk: bytearray) -> None:
        start = SLOT["luks1" if disk[7] == 1 else "luks2"]
        for each in keyslots:
            disk[start + each * AREA : start + each * AREA + 0x1000] = bytes(0x1000)

    return damage


@on_versions
def test_a_sound_volume_has_nothing_but_notes(version: Version) -> None:
    inspection = inspected(version)
    assert [each for each in findings_of(inspection) if each.level is not Level.NOTE] == []
    verdict = verdict_of(inspection)
    assert verdict.opening is Opening.PERHAPS
    assert "The header is sound." in verdict.sentences
    assert "Keyslots 0 and 1 look whole" in " ".join(verdict.sentences)
    assert uuid_of(inspection) in verdict.sentences[0]
    assert kind_of(inspection) == version.upper()


@on_versions
def test_damage_to_a_keyslot_is_critical_and_has_its_bytes(version: Version) -> None:
    start = SLOT[version] + AREA + 0x400
    inspection = inspected(version, bytes_at(start, bytes(1024)))
    (finding,) = of_level(inspection, Level.CRITICAL)
    assert finding.title == "keyslot 1 is damaged, and cannot open"
    assert finding.where == (Extent(start, 1024),)
    assert finding.clause == "L6.1.6"
    verdict = verdict_of(inspection)
    assert verdict.opening is Opening.PARTLY
    assert "Keyslot 1 cannot open any more." in verdict.sentences
    assert any(each.startswith("Keyslot 0 looks whole") for each in verdict.sentences)


@on_versions
def test_without_a_keyslot_that_opens_the_data_is_out_of_reach(version: Version) -> None:
    inspection = inspected(version, gone(0, 1))
    assert titles(inspection, Level.CRITICAL)[0] == "no keyslot can open"
    verdict = verdict_of(inspection)
    assert verdict.opening is Opening.NO
    assert verdict.sentences[-1].startswith("Keyslots 0 and 1 cannot open any more")


def test_one_broken_copy_is_a_warning_with_the_copys_bytes() -> None:
    inspection = inspected("luks2", bytes_at(300, b"\1"))
    assert titles(inspection, Level.CRITICAL) == []
    (copy, *others) = of_level(inspection, Level.WARNING)
    assert copy.title == "the primary copy is damaged"
    assert copy.where == (Extent(0, HDR_SIZE),)
    assert any(each.where == (Extent(448, 64),) for each in others)  # csum
    assert verdict_of(inspection).opening is Opening.PERHAPS


def test_a_gpt_over_a_volume_leaves_what_could_open_after_repair() -> None:
    inspection = inspected("luks2", GPT)
    assert titles(inspection, Level.CRITICAL) == ["no copy of the header is believed"]
    signatures = [each for each in findings_of(inspection) if each.clause == "L6.1.5"]
    assert Extent(512, 512) in [each.where[0] for each in signatures]
    verdict = verdict_of(inspection)
    assert verdict.opening is Opening.AFTER_REPAIR
    assert any("refuse the header" in each for each in verdict.sentences)


def test_a_disk_without_luks_says_so_and_what_is_there_instead() -> None:
    inspection = luksmeta.inspect(UntouchedStorage(bytes(1080) + b"\x53\xef" + bytes(70000)))
    assert titles(inspection, Level.CRITICAL) == ["no trace of a LUKS header"]
    verdict = verdict_of(inspection)
    assert verdict.opening is Opening.UNKNOWN
    assert "ext2/3/4 file system at 0x438" in verdict.sentences[0]
    assert (kind_of(inspection), uuid_of(inspection)) == ("no LUKS", "")


def test_what_cannot_be_read_is_told_with_its_bytes() -> None:
    disk = image("luks2", (FIRST, SECOND))
    storage = UnreadableStorage(disk, range(0x9000, 0x9200))
    (finding,) = (
        each
        for each in findings_of(luksmeta.inspect(storage))
        if each.title == "keyslot 0: not readable"
    )
    assert finding.where == (Extent(0x9000, 0x200),)


def test_what_is_hidden_odd_and_over_the_data_is_told() -> None:
    disk = image("luks2", (FIRST, SECOND))
    document = document_of(disk)
    document["secret"] = "x" * 10
    changed = bytearray(with_document(disk, document))
    changed[HDR_SIZE : 2 * HDR_SIZE] = disk[HDR_SIZE : 2 * HDR_SIZE]
    changed[0x88000:0x89000] = b"plain text, no ciphertext at all" * 128
    changed[0x27400:0x27600] = b"what is this for" * 2 + bytes(480)
    found = findings_of(luksmeta.inspect(UntouchedStorage(changed)))
    by_title = {each.title: each for each in found}
    assert by_title["luksDump does not show secret"].where[0].offset == 0x1000
    assert "the two copies differ in 1 member" in by_title
    assert "keyslot 0, behind its key: neither zero nor random" in by_title
    assert "segment 0 begins with data that is no ciphertext" in by_title


def test_an_area_that_is_not_encrypted_is_a_warning() -> None:
    disk = image("luks2", (FIRST, SECOND))
    document = document_of(disk)
    document["keyslots"]["0"]["area"]["encryption"] = "cipher_null-ecb"
    inspection = luksmeta.inspect(UntouchedStorage(with_document(disk, document)))
    assert "keyslot 0 protects nothing" in titles(inspection, Level.WARNING)


_DAMAGES: dict[Version, dict[str, Damage]] = {
    "luks1": {**LUKS1_REPAIRED_BY_CRYPTSETUP, **LUKS1_BEYOND_REPAIR},
    "luks2": {**LUKS2_REPAIRABLE, **LUKS2_BEYOND_REPAIR},
}


@on_versions
def test_every_damage_is_found_and_every_finding_has_its_meaning(version: Version) -> None:
    for name, damage in _DAMAGES[version].items():
        inspection = inspected(version, damage)
        found = findings_of(inspection)
        is_told = any(each.level is not Level.NOTE for each in found)
        assert is_told or inspection.diagnosis.is_sound, name
        levels = [list(Level).index(each.level) for each in found]
        assert levels == sorted(levels)
        for each in found:
            assert each.clause in MEANINGS
            assert each.meaning.endswith(".")
            assert each.title
            assert each.certainty
            assert all(0 <= extent.offset < inspection.size for extent in each.where)
        assert verdict_of(inspection).sentences


def test_every_meaning_is_that_of_a_clause() -> None:
    spec = Path(PROJECT / "spec" / "forensics.md").read_text(encoding="utf-8")
    assert [each for each in MEANINGS if f"**{each}** " not in spec] == []
