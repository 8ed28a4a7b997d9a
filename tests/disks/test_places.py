"""Partitions and logical volumes."""

from __future__ import annotations

import re
import struct
import uuid
import zlib
from pathlib import Path

import pytest

import luksmeta
from luksmeta import MemoryStorage, StorageError
from luksmeta.disks.part_storage import PartStorage
from luksmeta.disks.partition_table import read_partition_table
from luksmeta.disks.places import layout_of, place_named
from luksmeta.extents import Extent
from tests.forensics import disks
from tests.forensics.disks import MIB
from tests.interop.peers.process import Tool

SFDISK = Tool("sfdisk", "fdisk")
SECTOR = 512


def partitioned(path: Path, script: str, size: int = 64 * MIB) -> Path:
    disks.write(path, size, [])
    SFDISK.run("-q", path, stdin=script.encode())
    return path


def listed(path: Path) -> list[tuple[int, Extent]]:
    """What sfdisk says of the same table."""
    lines = SFDISK.run("-q", "-l", "-o", "device,start,sectors", path).decode().splitlines()[1:]
    found = []
    for line in lines:
        name, start, count = line.split()
        number = int(name.removeprefix(str(path)))
        found.append((number, Extent(int(start) * SECTOR, int(count) * SECTOR)))
    return found


def read(path: Path) -> list[tuple[int, Extent]]:
    with luksmeta.FileStorage(path) as storage:
        table = read_partition_table(storage)
    assert table is not None
    return [(each.number, each.extent) for each in table.partitions]


@pytest.mark.parametrize(
    "script",
    [
        "label: gpt\nsize=8M\nsize=4M\n7: size=2M\n",
        "label: dos\nsize=8M\nsize=4M\n4: size=2M\n",
    ],
)
def test_partitions_are_those_of_sfdisk(tmp_path: Path, script: str) -> None:
    path = partitioned(tmp_path / "disk", script)
    assert read(path) == listed(path)
    assert len(read(path)) == 3


def test_logical_partitions_have_linuxs_numbers(tmp_path: Path) -> None:
    script = "label: dos\nsize=8M\nsize=40M, type=5\n5: size=4M\n6: size=5M\n7: size=6M\n"
    path = partitioned(tmp_path / "disk", script)
    extended = [each for each in listed(path) if each[0] != 2]  # it is no place for data
    assert read(path) == extended
    assert [number for number, _ in extended] == [1, 5, 6, 7]


def test_the_backup_gpt_serves_where_the_primary_is_gone(tmp_path: Path) -> None:
    path = partitioned(tmp_path / "disk", "label: gpt\nsize=8M\nsize=4M\n")
    before = read(path)
    with path.open("r+b") as file:
        file.write(bytes(34 * SECTOR))
    assert read(path) == before
    with luksmeta.FileStorage(path) as storage:
        assert any("its backup serves" in note for note in layout_of(storage).notes)


def test_a_gpt_of_4096_byte_sectors() -> None:
    entry = struct.pack(
        "<16s16sQQQ72s", uuid.uuid4().bytes_le, uuid.uuid4().bytes_le, 256, 511, 0, b""
    )
    entries = entry.ljust(128 * 128, b"\0")
    fields = (b"EFI PART", 0x10000, 92, 0, 0, 1, 0, 6, 0, bytes(16), 2, 128, 128)
    form = "<8sIIIIQQQQ16sQIII"
    crc = zlib.crc32(entries)
    header = struct.pack(form, *fields, crc)
    header = header[:16] + struct.pack("<I", zlib.crc32(header)) + header[20:]
    storage = disks.disk(4 * MIB, (4096, header), (8192, entries))
    table = read_partition_table(storage)
    assert table is not None
    assert [each.extent for each in table.partitions] == [Extent(MIB, MIB)]


def test_a_chain_of_logical_partitions_that_turns_back_ends() -> None:
    mbr = bytearray(512)
    mbr[446 + 4], mbr[446 + 8], mbr[446 + 12] = 5, 8, 100
    mbr[510:] = b"\x55\xaa"
    link = bytearray(512)
    link[446 + 4], link[446 + 8], link[446 + 12] = 0x83, 1, 1
    link[462 + 4] = 5  # the next link: this one
    link[510:] = b"\x55\xaa"
    table = read_partition_table(disks.disk(MIB, (0, bytes(mbr)), (8 * 512, bytes(link))))
    assert table is not None
    assert [each.number for each in table.partitions] == [5]


def test_what_reaches_past_the_end_is_cut_and_what_starts_there_left_out() -> None:
    mbr = bytearray(512)
    for entry, start in ((446, 8), (462, 9000)):
        mbr[entry + 4] = 0x83
        mbr[entry + 8 : entry + 12] = start.to_bytes(4, "little")
        mbr[entry + 12 : entry + 16] = (1 << 20).to_bytes(4, "little")
    mbr[510:] = b"\x55\xaa"
    table = read_partition_table(disks.disk(MIB, (0, bytes(mbr))))
    assert table is not None
    assert [each.extent for each in table.partitions] == [Extent(4096, MIB - 4096)]


def test_a_boot_sector_of_a_file_system_is_no_table() -> None:
    sector = bytearray(b"\xeb\x3c\x90mkfs.fat" + b"\x13" * 499 + b"\x55\xaa")
    assert read_partition_table(disks.disk(MIB, (0, bytes(sector)))) is None


def test_findings_say_their_partition(tmp_path: Path) -> None:
    path = partitioned(tmp_path / "disk", "label: gpt\nsize=8M\nsize=8M\n")
    volume = disks.volume()
    with path.open("r+b") as file:
        file.seek(9 * MIB)
        file.write(volume)
        file.seek(40 * MIB)
        file.write(volume)
    result = luksmeta.scan(path)
    assert [(each.partition, each.place, each.offset_in_place) for each in result] == [
        (2, f"{path}#part=2", 0),
        (2, f"{path}#part=2", 16 << 10),
        (None, None, None),
        (None, None, None),
    ]
    assert [str(each.role) for each in result] == ["volume", "volume", "backup", "backup"]
    assert [each.offset for each in luksmeta.scan(f"{path}#part=2")] == [0, 16 << 10]
    with pytest.raises(StorageError, match=r"no part=3; there are: part=1, part=2"):
        luksmeta.scan(f"{path}#part=3")


# --- LVM2 --------------------------------------------------------------------------------------


def with_volume_group(volume: bytes) -> bytes:
    """A physical volume whose logical volume ``root`` and ``first`` start with this volume."""
    data = disks.damaged(disks.physical_volume().ljust(64 * MIB, b"\0"))
    root, first = MIB + 4 * MIB, MIB  # pe_start, and extents of a MiB
    return disks.damaged(data, (root, volume), (first, volume))


def test_findings_say_their_logical_volume() -> None:
    result = luksmeta.scan(MemoryStorage(with_volume_group(disks.volume()), name="pv"))
    assert [(each.logical_volume, each.place, each.offset_in_place) for each in result] == [
        ("vg0/first", "pv#lv=vg0/first", 0),
        ("vg0/first", "pv#lv=vg0/first", 16 << 10),
        ("vg0/root", "pv#lv=vg0/root", 0),
        ("vg0/root", "pv#lv=vg0/root", 16 << 10),
    ]
    assert {str(each.role) for each in result} == {"volume"}
    assert any("lv=vg0/spread" in note for note in result.notes)


def test_a_logical_volume_in_a_partition(tmp_path: Path) -> None:
    path = partitioned(tmp_path / "disk", "label: gpt\nsize=4M\nsize=100M\n", 128 * MIB)
    with path.open("r+b") as file:
        file.seek(5 * MIB)
        file.write(with_volume_group(disks.volume()))
    places = {each.place for each in luksmeta.scan(path)}
    assert places == {f"{path}#part=2,lv=vg0/first", f"{path}#part=2,lv=vg0/root"}
    assert len(luksmeta.scan(f"{path}#part=2,lv=vg0/root")) == 2
    with luksmeta.open(f"{path}#part=2,lv=vg0/root", writable=True) as volume:
        volume.configure(label="on a logical volume")
    assert "on a logical volume" in {each.label for each in luksmeta.scan(path)}


def test_a_logical_volume_in_pieces_is_read_in_its_order() -> None:
    """``first`` goes on behind ``root``."""
    data = disks.damaged(with_volume_group(disks.volume()), (7 * MIB, b"the fifth extent"))
    disk = MemoryStorage(data, name="pv")
    part = PartStorage(disk, place_named(disk, "lv=vg0/first").extents, "lv=vg0/first")
    assert part.size == 6 * MIB
    assert part.read_at(4 * MIB - 8, 24) == bytes(8) + b"the fifth extent"


def test_broken_metadata_of_lvm_is_noted() -> None:
    data = disks.physical_volume().ljust(8 * MIB, b"\0").replace(b"extent_count", b"extent_COUNT")
    result = luksmeta.scan(MemoryStorage(data))
    assert any("metadata cannot be read" in note for note in result.notes)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        (rb"extent_size", b"9" * 30),
        (rb"pe_start", b"9" * 30),
        (rb"extent_count", b"9" * 30),
        (rb"extent_count", b"-1"),
        (rb"start_extent", b"-9"),
        (rb"stripe_count", b"9" * 9),
    ],
)
def test_hostile_sizes_of_lvm_are_noted(member: bytes, value: bytes) -> None:
    """The text in the metadata area, of the same length: spaces make room."""
    data = disks.physical_volume().ljust(8 * MIB, b"\0")
    start = data.rindex(b"vg0 {")
    end = data.index(b"\0", start)
    text = re.sub(rb"\t*#[^\n]*", b"", data[start:end])
    text = re.sub(member + rb" = \d+", member + b" = " + value, text)
    assert len(text) <= end - start
    hostile = data[:start] + text.ljust(end - start) + data[end:]
    result = luksmeta.scan(MemoryStorage(disks.damaged(hostile, (7 * MIB, disks.volume()))))
    assert len(result) == 2
    assert result.notes
