"""Inspections of real damage: which bytes are named, what is said of headers nobody believes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import luksmeta
from luksmeta import Inspection, StorageError
from luksmeta.extents import Extent
from luksmeta.forensics.material import Condition
from luksmeta.forensics.randomness import StepState
from luksmeta.forensics.regions import EXAMINED_MAX, RegionKind
from luksmeta.format_options import Version
from luksmeta.header_copies import HeaderCopy
from luksmeta.luks2.limits import BINARY_HEADER_SIZE
from tests import builders
from tests.builders import FIRST, SECOND, VERSIONS, document_of, image, with_document
from tests.corpus import stream
from tests.defects.damage import (
    HDR_SIZE,
    LUKS1_BEYOND_REPAIR,
    LUKS1_REPAIRED_BY_CRYPTSETUP,
    LUKS2_BEYOND_REPAIR,
    LUKS2_REPAIRABLE,
    Damage,
    all_of,
    bytes_at,
)
from tests.interop.peers.process import Tool
from tests.storages import UnreadableStorage, UntouchedStorage

SLOT = {"luks1": 0x1000, "luks2": 0x8000}  # of keyslot 0
MATERIAL = 128000  # bytes, of a key of 256 bits
AREA = 0x20000  # from one keyslot's area to the next
on_versions = pytest.mark.parametrize("version", VERSIONS)


def inspected(version: Version, *damages: Damage) -> Inspection:
    disk = bytearray(image(version, (FIRST, SECOND)))
    for damage in damages:
        damage(disk)
    return luksmeta.inspect(UntouchedStorage(disk))


def extents(runs: Iterable[object]) -> list[tuple[int, int]]:
    return [(run.extent.offset, run.extent.end) for run in runs]  # type: ignore[attr-defined]  # of Run


def damage_of(inspection: Inspection, keyslot_id: int) -> list[tuple[int, int]]:
    return extents(inspection.keyslots[keyslot_id].damage)


def conditions(inspection: Inspection) -> list[Condition]:
    return [each.condition for each in inspection.keyslots.values()]


def regions(inspection: Inspection, kind: RegionKind) -> list[tuple[int, int]]:
    found = (each.place.extent for each in inspection.regions if each.place.kind is kind)
    return [(each.offset, each.end) for each in found]


# --- what is sound -------------------------------------------------------------------------------


@on_versions
def test_sound_keyslots_look_whole_and_nothing_is_said_to_open(version: Version) -> None:
    inspection = inspected(version)
    assert conditions(inspection) == [Condition.LOOKS_WHOLE] * 2
    assert [each.can_open for each in inspection.keyslots.values()] == [None, None]
    start = SLOT[version]
    assert inspection.keyslots[1].material == Extent(start + AREA, MATERIAL)
    assert inspection.has_traces
    assert inspection.signatures == ()
    assert inspection.hidden == ()


@on_versions
def test_every_byte_up_to_the_data_is_in_one_region(version: Version) -> None:
    at = 0
    for region in inspected(version).regions:
        assert region.place.extent.offset == at
        at = region.place.extent.end
        assert region.examined == region.place.extent.size
    assert at == builders.data_offset(version)


def test_the_map_of_luks2() -> None:
    inspection = inspected("luks2")
    text = len(inspection.copies[0].json_text) + 1
    assert regions(inspection, RegionKind.BINARY_HEADER) == [(0, 0x1000), (0x4000, 0x5000)]
    assert regions(inspection, RegionKind.JSON_TEXT) == [
        (0x1000, 0x1000 + text),
        (0x5000, 0x5000 + text),
    ]
    assert regions(inspection, RegionKind.MATERIAL) == [(0x8000, 0x27400), (0x28000, 0x47400)]
    assert regions(inspection, RegionKind.SLACK) == [
        (0x1000 + text, 0x4000),
        (0x5000 + text, 0x8000),
        (0x27400, 0x28000),
        (0x47400, 0x48000),
    ]
    assert regions(inspection, RegionKind.GAP) == [(0x48000, 0x88000)]


def test_the_map_of_luks1() -> None:
    inspection = inspected("luks1")
    assert regions(inspection, RegionKind.PARTITION_HEADER) == [(0, 592)]
    assert regions(inspection, RegionKind.MATERIAL) == [(0x1000, 0x20400), (0x21000, 0x40400)]
    unused = regions(inspection, RegionKind.UNUSED_AREA)
    assert unused == [(0x1000 + n * AREA, 0x20400 + n * AREA) for n in range(2, 8)]
    assert regions(inspection, RegionKind.GAP)[0] == (592, 0x1000)


def test_copies_are_told_with_all_that_tells_them_apart() -> None:
    one, other = inspected("luks2").describe()["copies"].values()  # type: ignore[attr-defined]  # a mapping
    assert (one["checksum"]["is_right"], other["checksum"]["is_right"]) == (True, True)
    assert one["salt"] != other["salt"]
    assert one["checksum"]["stored"] == one["checksum"]["computed"].ljust(128, "0")
    assert (one["hdr_offset"], other["hdr_offset"]) == (0, HDR_SIZE)
    assert (one["seqid"], one["uuid"]) == (other["seqid"], other["uuid"])
    assert one["sha256"] != other["sha256"]


# --- damage to key material ----------------------------------------------------------------------


@on_versions
@pytest.mark.parametrize(
    ("offset", "data", "state"),
    [
        pytest.param(0, bytes(512), StepState.ZERO, id="first sector zeroed"),
        pytest.param(0x6000, bytes(4096), StepState.ZERO, id="a page zeroed"),
        pytest.param(MATERIAL - 512, bytes(512), StepState.ZERO, id="last sector zeroed"),
        pytest.param(0x800, b"\xff" * 1024, StepState.PATTERN, id="erased flash"),
        pytest.param(0x2000, (b"some text, " * 100)[:1024], StepState.PATTERN, id="text"),
        pytest.param(0x2000, bytes(range(256)) * 2, StepState.OTHER, id="a table"),
    ],
)
def test_damage_is_named_to_the_sector(
    version: Version, offset: int, data: bytes, state: StepState
) -> None:
    at = SLOT[version] + AREA + offset
    inspection = inspected(version, bytes_at(at, data))
    assert conditions(inspection) == [Condition.LOOKS_WHOLE, Condition.DAMAGED]
    damaged = inspection.keyslots[1]
    assert damaged.can_open is False
    assert [(run.extent, run.state) for run in damaged.damage] == [(Extent(at, len(data)), state)]
    assert f"{at:#x}..{at + len(data):#x}" in damaged.text


@on_versions
def test_a_few_bytes_make_their_sector_the_damage(version: Version) -> None:
    at = SLOT[version] + 0x3000
    inspection = inspected(version, bytes_at(at + 100, bytes(40)), bytes_at(at + 0x1400, bytes(9)))
    assert damage_of(inspection, 0) == [(at, at + 512), (at + 0x1400, at + 0x1600)]


@on_versions
def test_other_ciphertext_in_its_place_is_not_seen(version: Version) -> None:
    inspection = inspected(version, bytes_at(SLOT[version], stream("forensics/overwritten", 4096)))
    assert conditions(inspection) == [Condition.LOOKS_WHOLE] * 2
    assert "a passphrase can prove it" in inspection.keyslots[0].text


@on_versions
def test_what_was_wiped_with_zeroes_is_gone(version: Version) -> None:
    inspection = inspected(version, bytes_at(SLOT[version], bytes(AREA)))
    assert conditions(inspection)[0] is Condition.GONE
    assert inspection.keyslots[0].can_open is False


def test_a_cut_device_has_a_keyslot_that_is_not_all_there() -> None:
    disk = image("luks2", (FIRST, SECOND))[: 0x28000 + 1000]
    inspection = luksmeta.inspect(UntouchedStorage(disk))
    assert conditions(inspection) == [Condition.LOOKS_WHOLE, Condition.CUT_OFF]
    assert inspection.keyslots[1].can_open is False
    assert inspection.segments[0].runs == ()
    assert inspection.source == "remains of the primary copy"


def test_bad_sectors_are_damage_and_nothing_else_is_lost() -> None:
    bad = range(0x9000, 0x9100)
    storage = UnreadableStorage(image("luks2", (FIRST, SECOND)), bad)
    inspection = luksmeta.inspect(storage)
    assert [each.copy for each in inspection.copies] == list(HeaderCopy)
    assert [(r.extent, r.state) for r in inspection.keyslots[0].damage] == [
        (Extent(0x9000, 0x200), StepState.UNREADABLE)
    ]
    assert inspection.keyslots[1].condition is Condition.LOOKS_WHOLE
    json.dumps(inspection.describe())


# --- damage by other programs --------------------------------------------------------------------


SFDISK = Tool("sfdisk", "fdisk")
WIPEFS, MKSWAP = Tool("wipefs", "util-linux"), Tool("mkswap", "util-linux")
MKFS = Tool("mkfs.ext4", "e2fsprogs")


def run_on(disk: Path, tool: Tool, *options: str, stdin: bytes = b"") -> Inspection:
    """Run a program on a disk image and inspect what it left."""
    tool.run(*options, disk, stdin=stdin)
    before = disk.read_bytes()
    inspection = luksmeta.inspect(disk)
    assert disk.read_bytes() == before
    return inspection


def disk_with(folder: Path, version: Version) -> Path:
    """A volume on a disk that has room for a partition and a file system."""
    disk = builders.file(folder / "disk.img", version, FIRST, SECOND)
    with disk.open("r+b") as file:
        file.truncate(16 << 20)
    return disk


def test_a_gpt_over_luks1_hits_the_first_keyslot(tmp_path: Path) -> None:
    disk = disk_with(tmp_path, "luks1")
    inspection = run_on(disk, SFDISK, "-q", stdin=b"label: gpt\n2048,1M\n")
    assert inspection.source == "remains of the partition header"
    assert damage_of(inspection, 0) == [(0x1000, 0x4400)]  # 128 entries from sector 2 on
    assert conditions(inspection) == [Condition.DAMAGED, Condition.LOOKS_WHOLE]
    assert [each.offset for each in inspection.signatures] == [0x200, 0x1FE, (16 << 20) - 512]


def test_a_gpt_over_luks2_leaves_the_keyslots_and_the_second_json_text(tmp_path: Path) -> None:
    disk = disk_with(tmp_path, "luks2")
    inspection = run_on(disk, SFDISK, "-q", stdin=b"label: gpt\n2048,1M\n")
    assert inspection.diagnosis.header is None
    assert inspection.source == "remains of the secondary copy"
    assert conditions(inspection) == [Condition.LOOKS_WHOLE] * 2
    primary, secondary = inspection.copies
    assert (primary.has_magic, primary.has_right_checksum, primary.document) == (True, False, None)
    assert (secondary.has_magic, secondary.offset) == (False, HDR_SIZE)
    assert secondary.document == document_of(image("luks2", (FIRST, SECOND)))


@on_versions
def test_an_mbr_is_told_and_hits_no_keyslot(version: Version, tmp_path: Path) -> None:
    disk = disk_with(tmp_path, version)
    inspection = run_on(disk, SFDISK, "-q", stdin=b"label: dos\n2048,1M\n")
    assert conditions(inspection) == [Condition.LOOKS_WHOLE] * 2
    assert [each.offset for each in inspection.signatures] == [0x1FE]


@on_versions
def test_after_wipefs_all_is_there_but_the_magic(version: Version, tmp_path: Path) -> None:
    inspection = run_on(disk_with(tmp_path, version), WIPEFS, "-a")
    assert inspection.source.startswith("remains of the p")
    assert conditions(inspection) == [Condition.LOOKS_WHOLE] * 2
    assert all(each.has_right_checksum and not each.has_magic for each in inspection.copies)


def test_after_mkswap_the_secondary_copy_is_legible(tmp_path: Path) -> None:
    inspection = run_on(disk_with(tmp_path, "luks2"), MKSWAP)
    assert "swap space" in {each.name for each in inspection.signatures}
    assert inspection.source == "remains of the secondary copy"
    assert conditions(inspection) == [Condition.LOOKS_WHOLE] * 2


def test_a_file_system_over_it_leaves_no_trace(tmp_path: Path) -> None:
    inspection = run_on(disk_with(tmp_path, "luks2"), MKFS, "-Fq")
    assert not inspection.has_traces
    assert inspection.source == "nothing legible"
    assert [each.name for each in inspection.signatures] == ["ext2/3/4 file system"]
    assert {each.place.kind for each in inspection.regions} == {RegionKind.UNKNOWN}


def test_an_old_raid_member_and_an_old_gpt_are_told_at_the_end() -> None:
    magic = bytes.fromhex("fc4e2ba9")
    disk = bytearray(image("luks2"))
    disk += bytes(-len(disk) % 0x10000 + 0x20000)
    for offset, data in (
        (len(disk) - 0x10000, magic),
        (len(disk) - 0x2000, magic),
        (len(disk) - 512, b"EFI PART"),
    ):
        disk[offset : offset + len(data)] = data
    names = [each.name for each in luksmeta.inspect(UntouchedStorage(disk)).signatures]
    assert names == [
        "RAID member (md 1.0)",
        "RAID member (md 0.90)",
        "backup of a GPT partition table",
    ]


# --- gaps ----------------------------------------------------------------------------------------


def test_material_that_no_keyslot_claims_is_told() -> None:
    document = document_of(image("luks2", (FIRST, SECOND)))
    del document["keyslots"]["0"]
    document["digests"]["0"]["keyslots"].remove("0")
    wiped = bytearray(image("luks2", (FIRST, SECOND)))
    wiped[0x48000:0x88000] = bytes(0x40000)
    inspection = luksmeta.inspect(UntouchedStorage(with_document(bytes(wiped), document)))
    assert [each.extent for each in inspection.leftovers] == [Extent(0x8000, 0x20000)]
    assert any("removed" in each.text for each in inspection.hints)


def test_less_random_data_than_a_key_has_is_no_leftover() -> None:
    inspection = inspected(
        "luks2", bytes_at(0x48000, bytes(0x40000)), bytes_at(0x50000, stream("x", 60000))
    )
    assert inspection.leftovers == ()


@pytest.mark.parametrize(
    ("offset", "magic", "name"),
    [
        (0, b"XFSB", "XFS file system"),
        (1080, bytes.fromhex("53ef"), "ext2/3/4 file system"),
        (512, b"LABELONE", "LVM2 physical volume"),
        (0, b"LUKS\xba\xbe", "LUKS header"),
    ],
)
def test_a_format_that_begins_in_a_gap_is_told(offset: int, magic: bytes, name: str) -> None:
    gap = 0x48000
    inspection = inspected("luks2", bytes_at(gap, bytes(0x10000)), bytes_at(gap + offset, magic))
    (found,) = [each for region in inspection.regions for each in region.signatures]
    assert (found.name, found.offset) == (name, gap + offset)


def test_a_magic_within_random_data_is_no_signature() -> None:
    inspection = inspected("luks2", bytes_at(0x48000 + 1080, bytes.fromhex("53ef")))
    assert [each for region in inspection.regions for each in region.signatures] == []


def test_luksmeta_data_in_the_gap_of_luks1_is_told() -> None:
    gap = 0x101000  # the first page behind the last area
    inspection = inspected("luks1", bytes_at(gap, b"LUKSMETA\0\0\0\1"))
    assert [s.offset for r in inspection.regions for s in r.signatures] == [gap]


def test_areas_that_share_bytes_are_mapped_once() -> None:
    document = document_of(image("luks2", (FIRST, SECOND)))
    document["keyslots"]["1"]["area"]["offset"] = str(0x18000)
    disk = with_document(image("luks2", (FIRST, SECOND)), document)
    inspection = luksmeta.inspect(UntouchedStorage(disk))
    assert regions(inspection, RegionKind.MATERIAL) == [(0x8000, 0x27400), (0x28000, 0x37400)]
    assert inspection.keyslots[1].material == Extent(0x18000, MATERIAL)
    assert conditions(inspection) == [Condition.LOOKS_WHOLE] * 2


def test_of_a_huge_gap_only_the_start_is_looked_at(tmp_path: Path) -> None:
    document = document_of(image("luks2"))
    document["segments"]["0"]["offset"] = str(1 << 40)
    path = tmp_path / "sparse.img"
    path.write_bytes(with_document(image("luks2"), document))
    with path.open("r+b") as file:
        file.truncate(2 << 40)
    gap = luksmeta.inspect(path).regions[-1]
    assert gap.place.extent == Extent(0x88000, (1 << 40) - 0x88000)
    assert gap.examined == EXAMINED_MAX
    assert gap.states[-1] is StepState.ZERO


# --- headers that nobody believes ----------------------------------------------------------------

ALL_DAMAGES = {
    "luks1": {**LUKS1_REPAIRED_BY_CRYPTSETUP, **LUKS1_BEYOND_REPAIR},
    "luks2": {**LUKS2_REPAIRABLE, **LUKS2_BEYOND_REPAIR},
}


@pytest.mark.parametrize(
    ("version", "name"), [(v, name) for v in VERSIONS for name in ALL_DAMAGES[v]]
)
def test_every_damage_is_inspected_and_described(version: Version, name: str) -> None:
    inspection = inspected(version, ALL_DAMAGES[version][name])
    assert inspection.regions
    json.dumps(inspection.describe())


def test_without_a_valid_copy_the_objects_that_make_sense_are_shown() -> None:
    document = document_of(image("luks2", (FIRST, SECOND)))
    document["keyslots"]["1"]["area"]["size"] = "many"
    document["digests"]["0"]["keyslots"].append("no id")
    document["config"] = 5
    disk = with_document(image("luks2", (FIRST, SECOND)), document)
    inspection = luksmeta.inspect(UntouchedStorage(disk))
    assert inspection.diagnosis.header is None
    assert inspection.source == "remains of the primary copy"
    assert list(inspection.keyslots) == [0]
    assert inspection.keyslots[0].condition is Condition.LOOKS_WHOLE
    assert inspection.metadata is not None
    assert inspection.metadata.digests[0].keyslots == (0,)
    assert inspection.metadata.keyslots_area.end == builders.data_offset("luks2")


def test_broken_json_in_both_copies_leaves_fields_and_map() -> None:
    broken = [bytes_at(at + BINARY_HEADER_SIZE + 50, b"\xff\xff{{") for at in (0, HDR_SIZE)]
    inspection = inspected("luks2", *broken)
    assert inspection.source == "nothing legible"
    assert inspection.has_traces
    assert [each.document for each in inspection.copies] == [None, None]
    assert all(each.json_error and "JSON" in each.json_error for each in inspection.copies)
    assert [each.record.seqid for each in inspection.copies] == [4, 4]


def test_copies_that_differ_are_compared() -> None:
    disk = image("luks2", (FIRST, SECOND))
    document = document_of(disk)
    document["keyslots"]["1"]["kdf"]["iterations"] = 2000
    old = with_document(disk, document, copies=(HeaderCopy.SECONDARY,), seqid=3)
    inspection = luksmeta.inspect(UntouchedStorage(old))
    assert {(each.path, each.one, each.other) for each in inspection.differences} == {
        ("seqid", 4, 3),
        ("keyslots.1.kdf.iterations", 1000, 2000),
    }
    assert any("did not reach both copies" in each.text for each in inspection.hints)


def test_a_partition_header_without_magic_and_table_is_still_shown() -> None:
    entries = bytes_at(208 + 5 * 48, bytes(3 * 48))
    inspection = inspected("luks1", all_of(bytes_at(0, bytes(6)), entries))
    assert inspection.diagnosis.version is None
    assert inspection.source == "what could be a partition header"
    assert conditions(inspection) == [Condition.LOOKS_WHOLE] * 2
    assert inspection.has_traces


def test_no_device_is_too_small_or_too_empty() -> None:
    for data in (b"", b"LUKS", bytes(600), stream("forensics/no header", 1 << 20)):
        inspection = luksmeta.inspect(UntouchedStorage(data))
        assert not inspection.has_traces
        json.dumps(inspection.describe())


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such file"):
        luksmeta.inspect(tmp_path / "nothing")


@settings(max_examples=15)
@given(st.sampled_from(VERSIONS), st.integers(0, 0x9000), st.binary(min_size=1, max_size=600))
def test_whatever_lies_in_a_header_is_described(version: Version, at: int, data: bytes) -> None:
    inspection = inspected(version, bytes_at(at, data))
    json.dumps(inspection.describe())


def test_a_detached_header_is_inspected_with_the_data_elsewhere() -> None:
    disk = image("luks2", (FIRST, SECOND))
    offset = builders.data_offset("luks2")
    header = UntouchedStorage(disk[:offset])
    data = UntouchedStorage(bytes(offset) + stream("forensics/data", 4096))
    inspection = luksmeta.inspect(data, header)
    assert inspection.size == offset
    assert conditions(inspection) == [Condition.LOOKS_WHOLE] * 2
    assert [run.state for run in inspection.segments[0].runs] == [StepState.RANDOM]
