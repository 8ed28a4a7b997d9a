"""E01 images made by libewf: whole, damaged, and with files missing."""

from __future__ import annotations

import random
import shutil
import struct
import zlib
from pathlib import Path

import pytest

import luksmeta
from luksmeta import LuksError, StorageError
from luksmeta.forensics.containers import open_image
from luksmeta.forensics.ewf_segments import MAGIC, segment_suffix
from tests.forensics import disks
from tests.forensics.disks import MIB
from tests.interop.peers.process import Tool

EWF = Tool("ewfacquire", "ewf-tools")
SIZE = 3 * MIB + 512  # the last chunk has one sector
FORMATS = ["ewf", "smart", "ftk", "encase1", "encase2", "encase5", "encase6", "encase7", "linen7"]
DESCRIPTOR = 76  # bytes of a section's head
FLIPS = 40


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return disks.write(tmp_path / "disk.raw", SIZE, [(MIB, disks.noise("ewf", 3 * MIB // 2))])


def acquired(disk: Path, kind: str, compression: str = "none") -> Path:
    """The first file of an image of several."""
    target = disk.with_name("image")
    options = ("-u", "-q", "-f", kind, "-c", compression, "-S", "1048576", "-t", str(target))
    EWF.run(*options, disk)
    return next(path for path in disk.parent.glob("image.*") if path.suffix.endswith("01"))


def content(path: Path) -> bytes:
    with open_image(str(path)).storage as storage:
        return storage.read_at(0, storage.size)


def sections(data: bytes) -> dict[str, int]:
    """Where the data of each section begins; of several of a type the first."""
    found: dict[str, int] = {}
    offset = 13
    while True:
        kind, following = struct.unpack_from("<16sQ", data, offset)
        name = kind.rstrip(b"\0").decode()
        found.setdefault(name, offset + DESCRIPTOR)
        if name in ("next", "done"):
            return found
        offset = following


def with_byte(path: Path, offset: int, change: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= change
    path.write_bytes(data)


@pytest.mark.parametrize("compression", ["none", "empty-block", "best"])
@pytest.mark.parametrize("kind", FORMATS)
def test_the_disk_is_what_libewf_has_read(disk: Path, kind: str, compression: str) -> None:
    path = acquired(disk, kind, compression)
    assert content(path) == disk.read_bytes()
    with open_image(str(path)).storage as storage:
        assert storage.read_at(MIB - 100, 200) == disk.read_bytes()[MIB - 100 : MIB + 100]


@pytest.mark.parametrize("kind", ["encase6", "smart"])
def test_a_flipped_bit_is_an_error_and_never_other_data(disk: Path, kind: str) -> None:
    path = acquired(disk, kind, "empty-block")
    whole, expected = path.read_bytes(), disk.read_bytes()
    chance = random.Random(kind)
    refused = 0
    for _ in range(FLIPS):
        with_byte(path, chance.randrange(len(MAGIC), len(whole)), 1 << chance.randrange(8))
        try:
            assert content(path) == expected  # the case's notes, and mirrors, have bits too
        except LuksError:
            refused += 1
        path.write_bytes(whole)
    assert refused > FLIPS // 2


def test_a_damaged_chunk_is_an_unreadable_place(disk: Path) -> None:
    path = acquired(disk, "encase6")
    with_byte(path, sections(path.read_bytes())["sectors"] + 100)
    result = luksmeta.scan(path)
    assert result.unreadable
    assert result.unreadable[0].offset < 32 << 10
    with (
        open_image(str(path)).storage as storage,
        pytest.raises(StorageError, match=r"chunk 0, 32768 bytes of the disk at 0x0 .*checksum"),
    ):
        storage.read_at(0, 512)


def test_a_damaged_table_is_read_from_its_mirror(disk: Path) -> None:
    path = acquired(disk, "encase6")
    places = sections(path.read_bytes())
    for offset in (places["table"] + 1, places["table"] + 24 + 5):
        with_byte(path, offset)
        assert content(path) == disk.read_bytes()
    for offset in (places["table2"] + 1, places["table2"] + 24 + 5):
        with_byte(path, offset)
    with pytest.raises(StorageError, match=r"table at 0x[0-9a-f]+ of the E01 image: its checksum"):
        content(path)


def test_a_segment_that_is_missing_or_exchanged_is_named(disk: Path) -> None:
    path = acquired(disk, "encase6")
    second, third = path.with_suffix(".E02"), path.with_suffix(".E03")
    with pytest.raises(StorageError, match=r"image\.E03: is segment 3 .*segment 1 belongs here"):
        content(third)
    shutil.move(second, second.with_suffix(".kept"))
    with pytest.raises(StorageError, match=r"image\.E02: no such file"):
        content(path)
    shutil.copy(third, second)
    with pytest.raises(StorageError, match=r"image\.E02: is segment 3 .*segment 2 belongs here"):
        content(path)
    second.write_bytes(bytes(MIB))
    with pytest.raises(StorageError, match=r"image\.E02: is no segment"):
        content(path)
    shutil.move(path, path.with_name("renamed"))
    with pytest.raises(StorageError, match="the name of the next cannot be told"):
        content(path.with_name("renamed"))


@pytest.mark.parametrize(
    ("offset", "form", "value"),
    [
        (4, "<I", 0xFFFFFFFF),  # chunks
        (8, "<I", 0),  # sectors of each
        (8, "<I", 0xFFFFFFFF),
        (12, "<I", 0xFFFFFFFF),  # bytes of a sector
        (16, "<Q", 0),  # sectors of the disk
        (16, "<Q", (1 << 64) - 1),
    ],
)
def test_a_geometry_that_cannot_be_is_refused(
    disk: Path, offset: int, form: str, value: int
) -> None:
    path = acquired(disk, "encase6")
    data = bytearray(path.read_bytes())
    start = sections(bytes(data))["volume"]
    end = start + 1052 - 4
    struct.pack_into(form, data, start + offset, value)
    struct.pack_into("<I", data, end, zlib.adler32(data[start:end]))
    path.write_bytes(data)
    with pytest.raises(StorageError, match="the E01 image states"):
        content(path)


def test_sections_that_lead_backwards_end(disk: Path) -> None:
    path = acquired(disk, "encase6")
    data = bytearray(path.read_bytes())
    struct.pack_into("<Q", data, 13 + 16, 13)
    struct.pack_into("<I", data, 13 + 72, zlib.adler32(data[13 : 13 + 72]))
    path.write_bytes(data)
    with pytest.raises(StorageError, match="sections do not end at 0xd"):
        content(path)


def test_the_names_of_segments() -> None:
    names = {99: ".E99", 100: ".EAA", 125: ".EAZ", 126: ".EBA", 775: ".EZZ", 776: ".FAA"}
    assert {number: segment_suffix(".E01", number) for number in names} == names
    assert segment_suffix(".e01", 100) == ".eaa"
