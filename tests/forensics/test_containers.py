"""Disks inside container files, made by QEMU and libewf."""

from __future__ import annotations

import io
import json
import uuid
from pathlib import Path
from typing import NoReturn

import pytest

import luksmeta
from luksmeta import LuksError, MissingExtraError, StorageError, UnsupportedError
from luksmeta.disks.parts import split_name
from luksmeta.forensics.containers import open_evidence
from luksmeta.forensics.read_log import ReadLog
from tests.forensics import disks
from tests.forensics.disks import MIB
from tests.interop.peers.process import Tool

QEMU = Tool("qemu-img", "qemu-utils")
EWF = Tool("ewfacquire", "ewf-tools")
FOUND = [(3 * MIB, "luks2-primary", "high"), (3 * MIB + (16 << 10), "luks2-secondary", "high")]
OPTIONS: dict[str, tuple[str, ...]] = {
    "qcow2": (),
    "qcow2 compressed": ("-c",),
    "vmdk": (),
    "vmdk monolithicFlat": ("-o", "subformat=monolithicFlat"),
    "vmdk streamOptimized": ("-o", "subformat=streamOptimized"),
    "vmdk twoGbMaxExtentSparse": ("-o", "subformat=twoGbMaxExtentSparse"),
    "vdi": (),
    "vdi static": ("-o", "static=on"),
    "vhdx": (),
    "vpc": ("-o", "force_size=on"),
}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    pieces = [(3 * MIB, disks.volume()), (MIB + 77, b"behind others in some formats" * 9)]
    return disks.write(tmp_path / "disk.raw", 8 * MIB, pieces)


def converted(raw: Path, kind: str) -> Path:
    path = raw.with_name(f"disk.{kind.replace(' ', '-')}")
    arguments: list[str | Path] = ["-f", "raw", "-O", kind.split()[0], *OPTIONS[kind]]
    QEMU.run("convert", *arguments, raw, path)
    return path


def acquired(raw: Path, *options: str) -> Path:
    target = str(raw.with_suffix(""))
    arguments = ("-u", "-q", "-t", target, "-c", "fast", *options)
    EWF.run(*arguments, raw)
    return raw.with_suffix(".E01")


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_disk_in_a_container_is_searched(raw: Path, kind: str) -> None:
    path = converted(raw, kind)
    result = luksmeta.scan(path)
    assert disks.found(result) == FOUND
    assert result.container == {"vpc": "vhd"}.get(kind, kind.split()[0])
    opened = open_evidence(str(path)).storage
    with opened:
        assert not opened.writable
        for size in (4096, 200 * 512, MIB + 512, 8 * MIB):
            parts = [
                opened.read_at(offset, min(size, 8 * MIB - offset))
                for offset in range(0, 8 * MIB, size)
            ]
            assert b"".join(parts) == raw.read_bytes(), size


def test_a_disk_in_an_e01_image_of_several_files(raw: Path) -> None:
    with raw.open("r+b") as file:
        file.seek(4 * MIB)
        file.write(disks.noise("filler", 4 * MIB))
    path = acquired(raw, "-S", str(MIB))
    assert path.with_suffix(".E02").exists()
    result = luksmeta.scan(path)
    assert disks.found(result) == FOUND
    assert result.container == "E01"


def test_a_qcow2_image_with_its_backing_file_beside_it(raw: Path) -> None:
    QEMU.run("create", "-f", "qcow2", "-F", "raw", "-b", raw.name, raw.with_name("over.qcow2"))
    assert disks.found(luksmeta.scan(raw.with_name("over.qcow2"))) == FOUND


def test_an_image_does_not_lead_to_other_folders(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    over = tmp_path / "sub" / "over.qcow2"
    QEMU.run("create", "-f", "qcow2", "-F", "raw", "-b", "../disk.raw", over)
    with pytest.raises(StorageError, match="only the image's own folder"):
        luksmeta.scan(over)
    flat = tmp_path / "flat.vmdk"
    flat.write_text('# Disk DescriptorFile\nRW 8 FLAT "../disk.raw" 0\n')
    with pytest.raises(StorageError, match=r"only the image's own folder|cannot"):
        luksmeta.scan(flat)


@pytest.mark.parametrize("kind", ["vmdk", "vhdx"])
def test_an_image_that_needs_its_parent_is_refused(raw: Path, kind: str) -> None:
    base = converted(raw, kind)
    over = base.with_name(f"over.{kind}")
    if kind == "vmdk":
        QEMU.run("create", "-f", kind, "-F", kind, "-b", base.name, over)
    else:  # QEMU makes none: the flag "has parent" of the file parameters
        data = base.read_bytes()
        guid = uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b").bytes_le
        table = data.index(b"metadata")
        entry = data.index(guid, table)
        item = int.from_bytes(data[entry + 16 : entry + 20], "little")
        # Its locator, a8d35f2d-b30b-454d-abf7-d3d84834ab0c, is missing then.
        over.write_bytes(disks.damaged(data, (table + item + 4, b"\2")))
    with pytest.raises(LuksError, match=r"parent|a8d35f2d"):
        luksmeta.scan(over)


def test_raw_takes_the_containers_own_bytes(raw: Path) -> None:
    path = converted(raw, "vdi")
    result = luksmeta.scan(path, raw=True)
    assert result.container is None
    assert [str(each.kind) for each in result] == ["luks2-primary", "luks2-secondary"]
    assert result.findings[0].offset != 3 * MIB


def test_a_partition_in_a_container(tmp_path: Path) -> None:
    raw = disks.write(tmp_path / "disk.raw", 16 * MIB, [])
    Tool("sfdisk", "fdisk").run("-q", raw, stdin=b"label: gpt\nsize=2M\nsize=8M\n")
    with raw.open("r+b") as file:
        file.seek(3 * MIB)
        file.write(disks.volume())
    path = converted(raw, "qcow2")
    assert [each.place for each in luksmeta.scan(path)] == [f"{path}#part=2"] * 2
    assert [each.offset for each in luksmeta.scan(f"{path}#part=2")] == [0, 16 << 10]


def test_the_log_tells_what_was_read_of_the_container(raw: Path) -> None:
    path = converted(raw, "qcow2")
    stream = io.StringIO()
    luksmeta.scan(path, read_log=ReadLog(stream))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {line["file"] for line in lines[1:]} == {str(path)}
    assert all(line["offset"] + line["size"] <= path.stat().st_size for line in lines[2:])


MAGICS = {
    "qcow2": b"QFI\xfb",
    "vmdk": b"KDMV",
    "vmdk descriptor": b"# Disk DescriptorFile",
    "vdi": bytes(64) + bytes.fromhex("7f10dabe"),
    "vhdx": b"vhdxfile",
    "vhd": b"conectix",
    "E01": b"EVF\x09\x0d\x0a\xff\x00",
}


@pytest.mark.parametrize("kind", MAGICS)
@pytest.mark.parametrize("filling", [b"\0", b"\xff", b"\1"])
def test_a_broken_container_is_one_error(kind: str, filling: bytes, tmp_path: Path) -> None:
    path = tmp_path / "image.E01"
    path.write_bytes(MAGICS[kind] + filling * 65536)
    with pytest.raises(LuksError):
        luksmeta.scan(path)


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (20, "0000003f"),  # bits of a cluster's size
        (24, "8000000000000000"),  # size of the disk
        (36, "ffffffff"),  # entries of the first table
        (40, "4000000000000000"),  # its offset
    ],
)
def test_hostile_sizes_of_a_qcow2_image_are_one_error(raw: Path, offset: int, value: str) -> None:
    path = converted(raw, "qcow2")
    path.write_bytes(disks.damaged(path.read_bytes(), (offset, bytes.fromhex(value))))
    with pytest.raises(LuksError) as raised:
        luksmeta.scan(path)
    assert raised.value.storage_name == str(path)
    assert str(raised.value).count(str(path)) == 1


def test_clusters_of_a_qcow2_image_that_lie_nowhere_are_told(raw: Path) -> None:
    path = converted(raw, "qcow2")
    path.write_bytes(disks.damaged(path.read_bytes(), (40, bytes(8))))  # its table is the header
    result = luksmeta.scan(path)
    assert disks.found(result) == []
    assert [(each.offset, each.end) for each in result.unreadable] == [(0, 8 * MIB)]


@pytest.mark.parametrize("size", [4, 100, 1000])
def test_an_image_without_its_tables_is_one_error(raw: Path, size: int) -> None:
    path = converted(raw, "qcow2")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(LuksError, match="qcow2 image: ") as raised:
        luksmeta.scan(path)
    assert raised.value.storage_name == str(path)


@pytest.mark.parametrize("kind", ["qcow2", "vdi", "vhdx", "vmdk"])
def test_what_a_truncated_image_has_lost_is_told(raw: Path, kind: str) -> None:
    with raw.open("r+b") as file:
        file.seek(4 * MIB)
        file.write(disks.noise("data", 4 * MIB))
    path = converted(raw, kind)
    path.write_bytes(path.read_bytes()[: -2 * MIB])
    result = luksmeta.scan(path)
    assert disks.found(result) == FOUND
    assert result.unreadable


def test_a_missing_library_is_named(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = converted(raw, "qcow2")

    def without(name: str) -> NoReturn:
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", without)
    with pytest.raises(
        MissingExtraError, match=r"dissect\.hypervisor.*luksmeta\[forensics\]"
    ) as raised:
        luksmeta.scan(path)
    assert raised.value.hint == "pip install 'luksmeta[forensics]'"
    assert disks.found(luksmeta.scan(raw)) == FOUND  # raw needs none


def test_an_ex01_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image.Ex01"
    path.write_bytes(b"EVF2\x0d\x0a\x81\x00" + bytes(100))
    with pytest.raises(UnsupportedError, match="Ex01"):
        luksmeta.scan(path)


def test_names_of_parts(tmp_path: Path) -> None:
    assert split_name("a.raw#part=2") == ("a.raw", "part=2")
    assert split_name("a#b#part=2,lv=vg/root") == ("a#b", "part=2,lv=vg/root")
    assert split_name("a.raw#lv=vg/root") == ("a.raw", "lv=vg/root")
    assert split_name("a.raw#2") == ("a.raw#2", "")
    there = tmp_path / "a#part=2"
    there.touch()
    assert split_name(str(there)) == (str(there), "")
