"""What ``scan`` finds, how certain it is, and what it leaves alone."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

import luksmeta
from luksmeta.forensics import candidates
from luksmeta.forensics.findings import Confidence, Kind, Role
from luksmeta.header_copies import HeaderCopy
from tests import builders
from tests.forensics import disks
from tests.forensics.disks import (
    DATA,
    HDR_SIZE,
    LUKS1_DATA,
    MIB,
    PRIMARY,
    SECONDARY,
    damaged,
    found,
    searched,
)
from tests.interop.peers import cryptsetup
from tests.interop.peers.process import Tool
from tests.storages import UnreadableStorage, UntouchedStorage

UUID = "c0ffee00-0000-4000-8000-000000000001"
OTHER = "deadbeef-0000-4000-8000-000000000002"
CHECKSUM = 448


def test_a_volume_is_two_copies_that_know_each_other() -> None:
    primary, secondary = searched((MIB, disks.volume()))
    assert (primary.kind, primary.offset) == (Kind.LUKS2_PRIMARY, MIB)
    assert (secondary.kind, secondary.offset) == (Kind.LUKS2_SECONDARY, MIB + HDR_SIZE)
    for finding, other in ((primary, secondary), (secondary, primary)):
        assert finding.confidence is Confidence.HIGH
        assert finding.pair == other.offset
        assert (finding.version, finding.uuid, finding.seqid) == (2, UUID, other.seqid)
        assert (finding.volume_offset, finding.data_offset) == (MIB, DATA)
        assert finding.problem is None
        assert finding.role is Role.VOLUME


def test_the_api_names_what_users_ask_for(tmp_path: Path) -> None:
    path = disks.write(tmp_path / "disk", 4 * MIB, [(MIB, disks.volume())])
    lines = [f"{each.offset:#x} {each.version} {each.copy} {each.uuid}" for each in scan_of(path)]
    assert lines == [f"0x100000 2 primary {UUID}", f"0x104000 2 secondary {UUID}"]


def scan_of(path: Path) -> luksmeta.Scan:
    result = luksmeta.scan(path)
    assert all(each.disk == str(path) for each in result)
    return result


def test_a_luks1_header_is_proven_by_its_rules() -> None:
    (finding,) = searched((MIB, disks.luks1()))
    assert found([finding]) == [(MIB, "luks1", "high")]
    assert (finding.version, finding.uuid, finding.data_offset) == (1, UUID, LUKS1_DATA)
    assert finding.role is Role.VOLUME


def test_copies_alone_say_what_is_missing() -> None:
    volume = disks.volume()
    (primary,) = searched((MIB, volume[:HDR_SIZE]))
    assert primary.problem == f"no secondary copy at {MIB + HDR_SIZE:#x}"
    (secondary,) = searched((MIB, volume[HDR_SIZE : 2 * HDR_SIZE]))
    assert secondary.problem == f"no primary copy at {MIB - HDR_SIZE:#x}"
    assert secondary.volume_offset == MIB - HDR_SIZE


def test_a_secondary_whose_volume_would_start_before_the_disk() -> None:
    volume = disks.volume()
    (secondary,) = searched((0, volume[HDR_SIZE:]))
    assert (secondary.kind, secondary.volume_offset) == (Kind.LUKS2_SECONDARY, None)
    assert secondary.confidence is Confidence.HIGH


def test_copies_of_different_seqid_tell_it() -> None:
    volume = disks.volume()
    document = builders.document_of(volume)
    older = builders.with_document(volume, document, copies=(HeaderCopy.SECONDARY,), seqid=1)
    _, secondary = searched((MIB, older))
    assert secondary.seqid == 1
    assert any("seqid 1, that of the other copy is" in reason for reason in secondary.reasons)


# --- damage ------------------------------------------------------------------------------------


def test_copies_without_their_magic_are_proven_by_their_checksums() -> None:
    wiped = damaged(disks.volume(), (0, bytes(6)), (HDR_SIZE, bytes(6)))
    result = searched((MIB, wiped))
    assert found(result) == [
        (MIB, "luks2-primary", "high"),
        (MIB + HDR_SIZE, "luks2-secondary", "high"),
    ]
    assert [each.problem for each in result] == ["its magic is gone"] * 2
    assert [each.pair for each in result] == [MIB + HDR_SIZE, MIB]


def test_a_luks1_header_without_its_magic() -> None:
    (finding,) = searched((MIB, damaged(disks.luks1(), (0, bytes(6)))))
    assert found([finding]) == [(MIB, "luks1", "medium")]
    assert finding.problem == "its magic is gone"


def test_wipefs_leaves_enough(tmp_path: Path) -> None:
    path = builders.file(tmp_path / "volume", "luks2")
    Tool("wipefs", "util-linux").run("-a", path)
    assert [str(each.kind) for each in luksmeta.scan(path)] == ["luks2-primary", "luks2-secondary"]


def test_a_json_area_whose_binary_header_is_gone() -> None:
    gone = damaged(disks.volume(), (0, bytes(HDR_SIZE + 4096)))
    (finding,) = searched((MIB, gone))
    assert found([finding]) == [(MIB + HDR_SIZE + 4096, "luks2-json", "medium")]
    assert finding.volume_offset == MIB
    assert finding.copy is HeaderCopy.SECONDARY
    assert finding.hdr_size == HDR_SIZE
    assert finding.problem == "no binary header before it"
    assert finding.size == HDR_SIZE - 4096


def test_the_primary_json_area_is_told_from_the_secondary_by_the_key_material() -> None:
    gone = damaged(disks.volume(), (0, bytes(4096)), (HDR_SIZE, bytes(HDR_SIZE)))
    (finding,) = searched((MIB, gone))
    assert (finding.copy, finding.volume_offset) == (HeaderCopy.PRIMARY, MIB)


def test_a_gpt_written_over_a_volume_leaves_the_secondary_json(tmp_path: Path) -> None:
    path = tmp_path / "volume"
    cryptsetup.luks_format(path, builders.FIRST, version=2)
    Tool("sfdisk", "fdisk").run("-q", path, stdin=b"label: gpt\nsize=1M\n")
    result = luksmeta.scan(path)
    assert "luks2-json" in [str(each.kind) for each in result]
    json_area = next(each for each in result if each.kind is Kind.LUKS2_JSON)
    assert (json_area.offset, json_area.volume_offset) == (0x5000, 0)


def test_a_wrong_checksum_over_sound_json_is_shown_and_doubted() -> None:
    (finding,) = searched((MIB, damaged(disks.volume()[:HDR_SIZE], (CHECKSUM, b"no"))))
    assert found([finding]) == [(MIB, "luks2-primary", "medium")]
    assert (finding.problem or "").startswith("checksum is ")


def test_a_binary_header_without_json_counts_where_its_copy_or_place_speaks_for_it() -> None:
    broken = damaged(disks.volume(), (4096, b"?" * 100))
    assert found(searched((MIB, broken)))[0] == (MIB, "luks2-primary", "medium")
    alone = broken[:HDR_SIZE]
    assert found(searched((0, alone))) == [(0, "luks2-primary", "medium")]
    far = searched((MIB, alone))
    assert found(far) == []
    assert found(far.dismissed) == [(MIB, "luks2-primary", "low")]


def test_a_partition_table_over_luks1_leaves_half_of_its_entries() -> None:
    (finding,) = searched((MIB, damaged(disks.luks1(), (440, b"\x55" * 72))))
    assert found([finding]) == [(MIB, "luks1", "medium")]
    assert "of 8 keyslot entries are sound" in finding.reasons[0]
    assert (finding.problem or "").startswith("keyslot ")


def test_a_header_whose_blocks_of_zeroes_are_not_stored() -> None:
    volume = disks.volume()
    text = volume[4096:HDR_SIZE].rstrip(b"\0").ljust(4096, b"\0")
    for block in (4096, 1024, 2048):
        piece = volume[:512].ljust(block, b"\0") + text[:1024].ljust(block, b"\0")
        assert len(text.rstrip(b"\0")) < 1024
        (finding,) = searched((MIB, piece + b"something else" * 1000))
        assert found([finding]) == [(MIB, "luks2-primary", "high")]
        assert "in a file with holes" in (finding.problem or "")


# --- what is there for what ----------------------------------------------------------------------


def test_a_header_backup_is_no_volume(tmp_path: Path) -> None:
    path = builders.file(tmp_path / "volume", "luks2")
    cryptsetup.header_backup(path, tmp_path / "backup")
    assert {each.role for each in luksmeta.scan(tmp_path / "backup")} == {Role.BACKUP}


def test_a_backup_in_a_file_system_beside_its_volume(tmp_path: Path) -> None:
    volume = disks.volume()
    system, backup = tmp_path / "ext4", tmp_path / "backup"
    backup.write_bytes(volume[:DATA])
    Tool("mkfs.ext4", "e2fsprogs").run("-q", "-F", "-b", "4096", system, "16M")
    Tool("debugfs", "e2fsprogs").run("-w", "-R", f"write {backup} backup", system)
    alone = luksmeta.scan(system)
    assert len(alone) == 2
    assert {each.role for each in alone} == {Role.BACKUP}
    assert all(any("ext2/3/4 file system" in text for text in each.reasons) for each in alone)
    both = disks.damaged(bytes(32 * MIB), (0, volume), (2 * MIB, system.read_bytes()))
    roles = [each.role for each in luksmeta.scan(luksmeta.MemoryStorage(both))]
    assert roles == [Role.VOLUME, Role.VOLUME, Role.BACKUP, Role.BACKUP]


def test_a_volume_without_data_may_be_a_backup() -> None:
    roles = {each.role for each in searched((MIB, builders.image("luks2")))}
    assert roles == {Role.UNKNOWN}


def test_a_detached_header_is_one() -> None:
    storage = luksmeta.MemoryStorage(2 * MIB)
    luksmeta.format(
        luksmeta.MemoryStorage(MIB),
        builders.FIRST,
        header=storage,
        pbkdf=builders.KDF,
        keyslots_size=512 << 10,
    )
    assert {each.role for each in luksmeta.scan(storage)} == {Role.DETACHED}


def test_luksmeta_of_latchset_is_found_with_the_header_it_belongs_to(tmp_path: Path) -> None:
    path = tmp_path / "volume"
    cryptsetup.luks_format(path, builders.FIRST, version=1)
    tool = Tool("/usr/bin/luksmeta", "luksmeta")
    tool.run("init", "-f", "-d", path)
    tool.run("save", "-d", path, "-s", "1", "-u", OTHER, stdin=b"some data")
    header, table = luksmeta.scan(path)
    assert (table.kind, table.confidence) == (Kind.LUKSMETA, Confidence.HIGH)
    assert (table.pair, table.uuid) == (0, header.uuid)
    assert f"keyslot 1: 9 bytes for {OTHER}" in table.reasons
    image = bytearray(path.read_bytes())
    image[table.offset + 20] ^= 1
    result = luksmeta.scan(luksmeta.MemoryStorage(image))
    assert found(result.dismissed) == [(table.offset, "luksmeta", "low")]


def test_deep_finds_the_areas_of_a_header_that_is_gone(tmp_path: Path) -> None:
    material = disks.noise("key material", 128_000)
    gone = bytes(2 * HDR_SIZE) + material
    storage = disks.disk(4 * MIB, (MIB, gone))
    assert found(luksmeta.scan(storage)) == []
    (area,) = luksmeta.scan(storage, deep=True)
    assert found([area]) == [(MIB + 2 * HDR_SIZE, "keyslots-area", "medium")]
    assert area.size == 128_000
    assert "a key of 256 bits" in area.reasons[0]


@pytest.mark.parametrize(("version", "lost"), [(1, 4096), (2, 2 * HDR_SIZE)])
def test_deep_finds_what_cryptsetup_filled_with_random_bytes(
    tmp_path: Path, version: int, lost: int
) -> None:
    path = tmp_path / "volume"
    cryptsetup.luks_format(path, builders.FIRST, version=version)
    with path.open("r+b") as file:
        file.write(bytes(lost))
    (area,) = luksmeta.scan(path, deep=True)
    assert (area.kind, area.offset, area.volume_offset) == (Kind.KEYSLOTS_AREA, lost, 0)
    assert area.confidence is Confidence.MEDIUM


def test_deep_leaves_out_areas_that_a_header_speaks_of() -> None:
    result = luksmeta.scan(disks.disk(4 * MIB, (MIB, disks.volume())), deep=True)
    assert [str(each.kind) for each in result] == ["luks2-primary", "luks2-secondary"]


# --- what is no LUKS, and what is hostile --------------------------------------------------------

DECOYS = {
    "magic in a text": b"a text about " + PRIMARY + b" and " + SECONDARY,
    "magic and text": PRIMARY + b" is how LUKS headers start",
    "secondary magic and text": SECONDARY + b" is the other one",
    "version 3": PRIMARY + b"\0\3" + bytes(4088),
    "version 2 of zeroes": PRIMARY + b"\0\2" + bytes(4088),
    "version 1 of zeroes": PRIMARY + b"\0\1" + bytes(4088),
    "version 1 of ones": PRIMARY + b"\0\1" + b"\xff" * 4088,
    "version 1 of noise": PRIMARY + b"\0\1" + disks.noise("decoy", 4088),
    "version 2 of noise": SECONDARY + b"\0\2" + disks.noise("decoy", 4088),
    "the first sector of a header": disks.volume()[:512],
    "a binary header alone": disks.volume()[:4096],
    "a dump of the JSON": b'{\n  "keyslots":{},\n  "tokens":{}\n}\n',
    "JSON of another program": b'{"config":{"theme":"dark"},"version":3}',
    "JSON in a text": disks.volume()[4096:HDR_SIZE].rstrip(b"\0") + b" and more text" * 2000,
    "a keyslot table's state alone": bytes(6) + b"\0\1" + bytes(200) + bytes.fromhex("00ac71f3"),
    "luksmeta's magic": b"LUKSMETA is a program",
    "a secondary too close to the start": disks.volume()[HDR_SIZE : HDR_SIZE + 4096],
}


@pytest.mark.parametrize("decoy", DECOYS)
@pytest.mark.parametrize("unaligned", [False, True])
def test_a_decoy_is_not_shown(decoy: str, unaligned: bool) -> None:
    assert found(searched((MIB, DECOYS[decoy]), unaligned=unaligned)) == []


def test_a_pretty_dump_of_a_whole_json_area_is_not_shown() -> None:
    document = json.dumps(builders.document_of(disks.volume()), indent=2).encode()
    result = searched((MIB, document))
    assert found(result) == []
    assert found(result.dismissed) == [(MIB, "luks2-json", "low")]


def test_a_disk_full_of_claims_costs_no_more_than_its_allowance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(candidates, "_ALLOWANCE", 1 << 20)
    sector = damaged(disks.volume()[:512], (CHECKSUM, b"no"))
    result = searched((4096, sector * 4096), size=4 * MIB)
    assert found(result) == []
    assert any("candidates were not looked at" in note for note in result.notes)


def test_doubtful_findings_are_bounded() -> None:
    result = searched((0, (PRIMARY + b"\0\2").ljust(512, b"?") * 8192))
    assert len(result.dismissed) == 1000


def test_what_cannot_be_read_is_told_and_passed_over() -> None:
    image = disks.damaged(bytes(2 * MIB), (MIB, disks.volume()))
    bad = range(0x11000, 0x13800)
    result = luksmeta.scan(UnreadableStorage(image, bad))
    assert [str(each.kind) for each in result] == ["luks2-primary", "luks2-secondary"]
    assert [(each.offset, each.end) for each in result.unreadable] == [(0x11000, 0x14000)]


def test_a_header_in_unreadable_sectors_does_not_end_the_search() -> None:
    image = disks.damaged(bytes(2 * MIB), (MIB, disks.volume()))
    result = luksmeta.scan(UnreadableStorage(image, range(MIB + 512, MIB + 1024)))
    assert found(result) == [(MIB + HDR_SIZE, "luks2-secondary", "high")]


def test_nothing_is_written() -> None:
    storage = UntouchedStorage(disks.damaged(bytes(2 * MIB), (MIB, disks.volume())))
    assert len(luksmeta.scan(storage, unaligned=True, deep=True)) == 2


def test_unaligned_headers_are_found_on_request() -> None:
    at = MIB + 77
    volume = disks.volume()
    assert found(searched((at, volume))) == []
    assert found(searched((at, volume), unaligned=True)) == [
        (at, "luks2-primary", "high"),
        (at + HDR_SIZE, "luks2-secondary", "high"),
    ]
    luks1 = damaged(disks.luks1(), (0, bytes(6)))
    assert found(searched((at, luks1), unaligned=True)) == [(at, "luks1", "medium")]


# --- a whole disk --------------------------------------------------------------------------------

GIB = 1 << 30


def planted(number: int) -> bytes:
    """The n-th of 20 things that must be found: ten of them are two copies."""
    uuid = f"00000000-0000-4000-8000-{number:012d}"
    match number % 4:
        case 0:
            return disks.volume(uuid)
        case 1:
            return damaged(disks.luks1(), (168, uuid.encode()))
        case 2:
            return damaged(disks.volume(uuid), (0, bytes(6)), (HDR_SIZE, bytes(HDR_SIZE)))
        case _:
            return damaged(disks.volume(uuid), (0, bytes(HDR_SIZE)))


HEADERS = {number: number * (10 * GIB // 20) + (number << 12) for number in range(20)}


def great_disk(path: Path) -> Path:
    """A sparse disk of 10 GiB with the headers and all decoys, and 40 MiB of noise."""
    pieces = [(offset, planted(number)) for number, offset in HEADERS.items()]
    pieces += [((600 * number + 77) * MIB, decoy) for number, decoy in enumerate(DECOYS.values())]
    pieces += [(each * GIB + 300 * MIB, disks.noise("filler", 4 * MIB)) for each in range(10)]
    return disks.write(path, 10 * GIB, pieces)


def test_twenty_headers_on_a_sparse_disk_of_ten_gib_among_decoys(tmp_path: Path) -> None:
    path = great_disk(tmp_path / "disk")
    started = time.process_time()
    result = luksmeta.scan(path)
    taken = time.process_time() - started
    first_copies = {each.volume_offset: each.uuid for each in result}
    assert first_copies == {
        offset: f"00000000-0000-4000-8000-{number:012d}" for number, offset in HEADERS.items()
    }
    assert len(result) == 25  # five of them are both copies of a volume
    assert len(result.dismissed) > 5
    assert result.searched < 100 * MIB
    assert taken < 5
