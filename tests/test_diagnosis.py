"""The state of a header for readers that must not fail where it does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import luksmeta
from luksmeta import ChecksumError, NotLuksError, Severity, StorageError
from luksmeta.diagnosis import Diagnosis
from luksmeta.format_options import Version
from luksmeta.header_copies import CopyCondition, HeaderCopy
from luksmeta.storage import MemoryStorage
from tests.builders import document_of, image, with_document
from tests.corpus import Corpus, CorpusImage, corpus_images
from tests.defects.damage import (
    HDR_SIZE,
    LUKS1_BEYOND_REPAIR,
    LUKS1_REPAIRED_BY_CRYPTSETUP,
    LUKS2_BEYOND_REPAIR,
    LUKS2_REPAIRABLE,
    MBR,
    Damage,
    all_of,
    bytes_at,
)
from tests.storages import UnreadableStorage, UntouchedStorage

PRIMARY, SECONDARY = HeaderCopy.PRIMARY, HeaderCopy.SECONDARY
GOOD, DAMAGED, MISSING = CopyCondition.GOOD, CopyCondition.DAMAGED, CopyCondition.MISSING


def _diagnosed(damage: Damage, version: Version = "luks2") -> Diagnosis:
    disk = bytearray(image(version))
    damage(disk)
    return luksmeta.diagnose(UntouchedStorage(disk))


def _conditions(diagnosis: Diagnosis) -> list[CopyCondition]:
    return [each.condition for each in diagnosis.copies]


def _rules(diagnosis: Diagnosis, severity: Severity) -> set[str]:
    found = (violation for _, violation in diagnosis.all_violations())
    return {each.rule for each in found if each.severity is severity}


def test_a_sound_header_is_said_to_be_sound() -> None:
    diagnosis = _diagnosed(lambda disk: None)
    assert diagnosis.is_sound
    assert diagnosis.version == 2
    assert _conditions(diagnosis) == [GOOD, GOOD]
    assert [each.seqid for each in diagnosis.copies] == [3, 3]
    assert [each.offset for each in diagnosis.copies] == [0, HDR_SIZE]
    assert diagnosis.reason == ("the primary copy serves: both copies are good and say the same")
    assert list(diagnosis.all_violations()) == []
    assert diagnosis.foreign_signatures == ()
    assert diagnosis.error is None


def test_a_luks1_header_has_one_copy() -> None:
    diagnosis = luksmeta.diagnose(UntouchedStorage(image("luks1")))
    assert diagnosis.is_sound
    assert diagnosis.version == 1
    assert _conditions(diagnosis) == [GOOD]
    assert diagnosis.reason == "the primary copy serves: it is the only copy of a LUKS1 header"


@pytest.mark.parametrize(
    ("damage", "conditions", "served_by"),
    [
        (bytes_at(0, bytes(4096)), [MISSING, GOOD], SECONDARY),
        (bytes_at(5000, b"?"), [DAMAGED, GOOD], SECONDARY),
        (bytes_at(HDR_SIZE, bytes(4096)), [GOOD, MISSING], PRIMARY),
        (bytes_at(HDR_SIZE + 5000, b"?"), [GOOD, DAMAGED], PRIMARY),
        (bytes_at(0, bytes(2 * HDR_SIZE)), [MISSING, MISSING], None),
        (all_of(bytes_at(0, bytes(6)), bytes_at(HDR_SIZE, bytes(6))), [DAMAGED, DAMAGED], None),
    ],
)
def test_every_copy_has_its_condition(
    damage: Damage, conditions: list[CopyCondition], served_by: HeaderCopy | None
) -> None:
    diagnosis = _diagnosed(damage)
    assert _conditions(diagnosis) == conditions
    assert diagnosis.served_by is served_by
    assert (diagnosis.error is None) == (diagnosis.header is not None) == (served_by is not None)
    assert not diagnosis.is_sound


@pytest.mark.parametrize(("old", "served_by"), [(PRIMARY, SECONDARY), (SECONDARY, PRIMARY)])
def test_the_obsolete_copy_is_told_with_its_seqid(old: HeaderCopy, served_by: HeaderCopy) -> None:
    base = image("luks2")
    data = with_document(base, document_of(base), copies=(old,), seqid=2)
    diagnosis = luksmeta.diagnose(UntouchedStorage(data))
    copies = {each.copy: each for each in diagnosis.copies}
    assert copies[old].condition is CopyCondition.OBSOLETE
    assert copies[old].seqid == 2
    assert copies[served_by].condition is GOOD
    assert diagnosis.reason == (
        f"the {served_by} copy serves: its seqid is greater than that of the {old} copy, 2"
    )


def test_different_copies_at_one_seqid_are_told_by_document_or_label() -> None:
    base = image("luks2")
    document = document_of(base)
    document["config"]["flags"] = ["allow-discards"]
    for data in (
        with_document(base, document, copies=(SECONDARY,)),
        _with_label_in_secondary(base),
    ):
        diagnosis = luksmeta.diagnose(UntouchedStorage(data))
        assert _conditions(diagnosis) == [GOOD, CopyCondition.DIFFERENT]
        assert "the primary comes first" in diagnosis.reason


def _with_label_in_secondary(base: bytes) -> bytes:
    labelled = bytearray(base)
    labelled[24:29] = b"label"
    labelled[:] = with_document(bytes(labelled), document_of(base))
    return base[:HDR_SIZE] + bytes(labelled[HDR_SIZE:])


def test_what_lies_behind_a_wrong_checksum_is_judged_too() -> None:
    base = image("luks2")
    document = document_of(base)
    document["keyslots"]["0"]["area"]["offset"] = "0"
    disk = bytearray(with_document(base, document, copies=(PRIMARY,)))
    disk[300] = 1
    diagnosis = luksmeta.diagnose(UntouchedStorage(disk))
    (primary, _) = diagnosis.copies
    assert isinstance(primary.error, ChecksumError)
    assert [each.rule for each in primary.violations] == [
        "binary-csum", "area-begin", "binary-padding"
    ]  # fmt: skip
    assert primary.violations[1].value == "0"


@pytest.mark.parametrize("both", [False, True])
def test_a_lost_magic_is_told_from_lost_copies(both: bool) -> None:
    damage = bytes_at(HDR_SIZE, bytes(6))
    if both:
        damage = all_of(damage, bytes_at(0, bytes(6)))
    diagnosis = _diagnosed(damage)
    assert [each.magic_is_lost for each in diagnosis.copies] == [both, True]
    assert diagnosis.copies[1].seqid == 3
    assert diagnosis.version == 2


def test_a_luks1_header_without_magic_is_known_by_all_the_rest() -> None:
    diagnosis = _diagnosed(bytes_at(0, bytes(6)), "luks1")
    assert diagnosis.version == 1
    assert diagnosis.copies[0].magic_is_lost
    assert isinstance(diagnosis.error, NotLuksError)
    assert "its magic is gone" in diagnosis.reason


def test_what_is_no_luks_at_all_has_no_version() -> None:
    for data in (b"", b"x" * 100, bytes(1 << 16)):
        diagnosis = luksmeta.diagnose(UntouchedStorage(data))
        assert diagnosis.version is None
        assert diagnosis.header is None
        assert isinstance(diagnosis.error, NotLuksError)
        assert list(diagnosis.all_violations()) == []


def test_known_faults_are_warnings_of_what_is_dropped(corpus: Corpus) -> None:
    diagnosis = luksmeta.diagnose(corpus("luks2-validation/pbkdf2-leftover-params-0"))
    assert diagnosis.header is not None
    assert _rules(diagnosis, Severity.ERROR) == set()
    assert "kdf-members" in _rules(diagnosis, Severity.WARNING)


def test_foreign_signatures_are_told() -> None:
    diagnosis = _diagnosed(bytes_at(446, MBR))
    assert [each.offset for each in diagnosis.foreign_signatures] == [0x1FE]


def test_a_segment_behind_the_end_of_its_data_is_a_warning(tmp_path: Path) -> None:
    header, data = tmp_path / "header", tmp_path / "data"
    header.write_bytes(image("luks2"))
    data.write_bytes(bytes(512))
    (violation,) = luksmeta.diagnose(data, header).violations
    assert violation.rule == "segment-device"
    assert violation.severity is Severity.WARNING
    assert violation.value == 512
    assert luksmeta.diagnose(header).violations == ()


def test_a_bad_sector_is_a_damaged_copy() -> None:
    diagnosis = luksmeta.diagnose(UnreadableStorage(image("luks2"), range(16)))
    assert diagnosis.served_by is SECONDARY
    assert isinstance(diagnosis.copies[0].error, StorageError)


def test_a_storage_stays_open_and_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        luksmeta.diagnose(tmp_path / "missing")
    storage = MemoryStorage(image("luks2"))
    luksmeta.diagnose(storage)
    assert storage.read_at(0, 4) == b"LUKS"


_EVERY_DAMAGE = [
    pytest.param(version, name, damage, id=f"{version}-{name}")
    for version, damages in (
        ("luks2", {**LUKS2_REPAIRABLE, **LUKS2_BEYOND_REPAIR}),
        ("luks1", {**LUKS1_REPAIRED_BY_CRYPTSETUP, **LUKS1_BEYOND_REPAIR}),
    )
    for name, damage in damages.items()
]


@pytest.mark.parametrize(("version", "name", "damage"), _EVERY_DAMAGE)
def test_every_damage_is_described_as_json(version: Version, name: str, damage: Damage) -> None:
    diagnosis = _diagnosed(damage, version)
    described = json.loads(json.dumps(diagnosis.describe(), allow_nan=False))
    no_trace = name in ("both copies zeroed", "magics and a byte in each")
    assert described["format"] == (None if no_trace else version)
    assert described["reason"]


@pytest.mark.parametrize("entry", corpus_images(), ids=lambda entry: entry.name)
def test_every_shared_image_gets_the_verdict_of_the_manifest(
    entry: CorpusImage, corpus: Corpus
) -> None:
    diagnosis = luksmeta.diagnose(corpus(entry.name))
    assert (diagnosis.header is not None) == entry.valid
    if not entry.valid and entry.name != "made/l2-both-magic-wiped":
        assert any(copy.error or copy.violations for copy in diagnosis.copies)
    for copy in diagnosis.copies:
        if copy.condition is GOOD:
            assert all(each.severity is Severity.WARNING for each in copy.violations)


_VALIDATION = [each for each in corpus_images() if each.name.startswith("luks2-validation/")]


@pytest.mark.parametrize(
    "entry", [each for each in _VALIDATION if not each.valid], ids=lambda entry: entry.name
)
def test_a_refused_image_of_the_validation_tests_is_refused_by_named_rules(
    entry: CorpusImage, corpus: Corpus
) -> None:
    diagnosis = luksmeta.diagnose(corpus(entry.name))
    assert _rules(diagnosis, Severity.ERROR)


_BYTES = st.binary(min_size=1, max_size=64)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["luks1", "luks2"]),
    st.lists(st.tuples(st.integers(0, 600), _BYTES), max_size=3),
    st.lists(st.tuples(st.integers(0, 2 * HDR_SIZE), _BYTES), max_size=3),
)
def test_no_damage_makes_a_diagnosis_fail(
    version: Version, early: list[tuple[int, bytes]], later: list[tuple[int, bytes]]
) -> None:
    damage = all_of(*(bytes_at(offset, data) for offset, data in (*early, *later)))
    diagnosis = _diagnosed(damage, version)
    assert json.dumps(diagnosis.describe(), allow_nan=False)
    assert (diagnosis.header is None) == (diagnosis.error is not None)
