"""Disks with LUKS on them, and with what only looks like it."""

from __future__ import annotations

import base64
import lzma
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from luksmeta import MemoryStorage, Scan, scan
from luksmeta.forensics.findings import Finding
from luksmeta.header_copies import HeaderCopy
from luksmeta.luks2.binary_header import MAGIC, BinaryHeader, with_checksum
from tests import builders
from tests.corpus import stream

PRIMARY, SECONDARY = MAGIC[HeaderCopy.PRIMARY], MAGIC[HeaderCopy.SECONDARY]
HDR_SIZE = 16 << 10
MIB = 1 << 20
DATA = builders.data_offset("luks2")
LUKS1_DATA = builders.data_offset("luks1")


def noise(label: str, size: int) -> bytes:
    """Random bytes, the same in every run."""
    return stream(f"forensics/{label}", size)


def volume(uuid: str | None = None) -> bytes:
    """A LUKS2 volume with ciphertext in its data area; ``uuid`` in place of the usual one."""
    image = builders.image("luks2")
    if uuid is not None:
        image = with_uuid(image, uuid)
    return image[:DATA] + noise("data", builders.DATA_SIZE)


def with_uuid(image: bytes, uuid: str) -> bytes:
    """Another volume of the same content."""
    data = bytearray(image)
    for at in (0, HDR_SIZE):
        record = BinaryHeader.from_bytes(image[at : at + 4096])
        named = replace(record, uuid=uuid.encode().ljust(40, b"\0"))
        data[at : at + HDR_SIZE] = with_checksum(named, image[at + 4096 : at + HDR_SIZE])
    return bytes(data)


def luks1() -> bytes:
    """A LUKS1 volume with ciphertext in its data area."""
    return builders.image("luks1")[:LUKS1_DATA] + noise("data", builders.DATA_SIZE)


def damaged(image: bytes, *places: tuple[int, bytes]) -> bytes:
    """The image with these bytes at these offsets."""
    data = bytearray(image)
    for offset, new in places:
        data[offset : offset + len(new)] = new
    return bytes(data)


def disk(size: int, *pieces: tuple[int, bytes]) -> MemoryStorage:
    """A disk in memory with these pieces at these offsets, zeroes elsewhere."""
    return MemoryStorage(damaged(bytes(size), *pieces), name="disk")


def write(path: Path, size: int, pieces: Iterable[tuple[int, bytes]]) -> Path:
    """The same as a sparse file."""
    with path.open("wb") as file:
        file.truncate(size)
        for offset, data in pieces:
            file.seek(offset)
            file.write(data)
    return path


def searched(*pieces: tuple[int, bytes], size: int = 4 * MIB, unaligned: bool = False) -> Scan:
    """What is found on a disk of these pieces."""
    return scan(disk(size, *pieces), unaligned=unaligned)


def found(result: Iterable[Finding]) -> list[tuple[int, str, str]]:
    """Offset, kind and confidence of findings."""
    return [(each.offset, str(each.kind), str(each.confidence)) for each in result]


def physical_volume() -> bytes:
    """The first MiB of a physical volume of LVM2 2.03.16, the rest of its 64 MiB being zeroes.

    Group vg0 of 1 MiB extents, made by pvcreate and vgcreate, its logical volumes by vgcfgrestore:
    ``first`` has the extents 0 to 3, 6 and 7, ``root`` 4 and 5, ``spread`` two stripes, 8 and 10.
    """
    packed = (Path(__file__).parent / "lvm2-pv.txt").read_text()  # xz, in base64
    return lzma.decompress(base64.b64decode(packed))
