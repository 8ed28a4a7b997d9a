"""The entry points of the fuzzer: from some bytes to a device, whose header is then used.

Inputs are small: what a device has at its interesting places, with the rest made up. Checksums are
put right where an input asks for it, so that mutations reach what lies behind them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Final

from luksmeta.errors import LuksError
from luksmeta.header import read_header
from luksmeta.header_copies import HeaderCopy
from luksmeta.luks1.partition_header import SIZE as LUKS1_SIZE
from luksmeta.luks2.binary_header import MAGIC, checksum
from luksmeta.luks2.limits import BINARY_HEADER_SIZE, HDR_SIZES
from luksmeta.storage import Storage
from tests.fuzz import hostile, operations
from tests.fuzz.disk import SparseDisk
from tests.fuzz.operations import ON_ANYTHING, OPERATIONS, Operation

RECORD_SIZE: Final = 512  # bytes of a LUKS2 binary header that mean something
DISK_SIZE: Final = 1 << 34

FIX_PRIMARY, FIX_SECONDARY, FIX_OFFSETS, SMALL_DISK = 1, 2, 4, 8
"""What the first byte of a ``luks2`` input asks for."""

_CSUM: Final = slice(448, 512)


@dataclass(frozen=True)
class Target:
    """A named kind of input: how it becomes a device, and how one is made out of another."""

    name: str
    disk: Callable[[bytes], Storage]
    operations: tuple[Operation, ...] = OPERATIONS
    mutate: Callable[[bytes, Random], bytes] | None = None
    longest: int = 1 << 14  # bytes

    def run(self, data: bytes) -> bool:
        """One execution: one of the operations; whether the header was a good one, if asked for."""
        storage, doings = self.disk(data), [*ON_ANYTHING, *self.operations]
        chosen = zlib.crc32(data) % len(doings)
        if chosen < len(ON_ANYTHING):
            with suppress(LuksError):
                ON_ANYTHING[chosen](storage)
            return False
        return self._used(storage, [self.operations[chosen - len(ON_ANYTHING)]])

    def run_all(self, data: bytes) -> bool:
        """The same with every operation."""
        storage = self.disk(data)
        for operation in ON_ANYTHING:
            with suppress(LuksError):
                operation(storage)
        return self._used(storage, self.operations)

    def _used(self, storage: Storage, wanted: Sequence[Operation]) -> bool:
        """Whether there is a header; if so, the operations are done on it."""
        try:
            header = read_header(storage)
        except LuksError:
            return False
        for operation in wanted:
            with suppress(LuksError):
                operation(header, storage)
        return True


# --- from bytes to devices -----------------------------------------------------------------------


def luks1_disk(data: bytes) -> SparseDisk:
    """A partition header, perhaps with the size of the device, in sectors, behind it."""
    size = DISK_SIZE
    if len(data) >= LUKS1_SIZE + 4:
        size = 512 * int.from_bytes(data[LUKS1_SIZE : LUKS1_SIZE + 4], "big")
    return SparseDisk(size, [(0, data[: min(LUKS1_SIZE, size)])])


def luks2_disk(data: bytes) -> SparseDisk:
    """A byte that says what to put right, two binary headers, and the text of both JSON areas."""
    wishes, rest = data[0] if data else 0, data[1:]
    records = [rest[n * RECORD_SIZE :][:RECORD_SIZE].ljust(RECORD_SIZE, b"\0") for n in range(2)]
    text = rest[2 * RECORD_SIZE :]
    hdr_size = _hdr_size(records[0])
    pieces = []
    for record, wish, offset in zip(
        records, (FIX_PRIMARY, FIX_SECONDARY), (0, hdr_size), strict=True
    ):
        if wishes & FIX_OFFSETS:
            record = record[:256] + struct.pack(">Q", offset) + record[264:]
        size = _hdr_size(record)
        area = text[: size - BINARY_HEADER_SIZE].ljust(size - BINARY_HEADER_SIZE, b"\0")
        if wishes & wish:
            record = _with_right_checksum(record, area)
        pieces.append((offset, record.ljust(BINARY_HEADER_SIZE, b"\0") + area))
    return SparseDisk(3 * hdr_size if wishes & SMALL_DISK else DISK_SIZE, pieces)


def json_disk(text: bytes) -> SparseDisk:
    """Both copies of a header with this text, all else about them in order."""
    sizes = (size for size in HDR_SIZES if size - BINARY_HEADER_SIZE > len(text))
    hdr_size = next(sizes, HDR_SIZES[-1])
    text = text[: hdr_size - BINARY_HEADER_SIZE]
    area = text.ljust(hdr_size - BINARY_HEADER_SIZE, b"\0")
    return SparseDisk(DISK_SIZE, [(n * hdr_size, _copy(n, hdr_size, area)) for n in range(2)])


def keyslot_disk(data: bytes) -> SparseDisk:
    """The text of a keyslot 0, a zero byte, and what lies in its area."""
    text, _, material = data.partition(b"\0")
    storage = json_disk(DOCUMENT_AROUND.replace(b'"KEYSLOT"', text))
    material = (material or b"\0") * (1 + KEYSLOT_AREA_SIZE // max(1, len(material)))
    pieces = [(KEYSLOT_AREA_OFFSET, material[:KEYSLOT_AREA_SIZE])]
    return SparseDisk(storage.size, [*storage._pieces, *pieces])


KEYSLOT_AREA_OFFSET: Final = 2 * HDR_SIZES[0]
KEYSLOT_AREA_SIZE: Final = 32 << 10
SALT: Final = b"z6vz4xK7cjan92rDA5JF8O6Jk2HouV0O8DMB6GlztVk="
DOCUMENT_AROUND: Final = (
    b'{"keyslots":{"0":"KEYSLOT"},"tokens":{},"segments":{"0":{"type":"crypt","offset":"16777216",'
    b'"size":"dynamic","iv_tweak":"0","encryption":"aes-xts-plain64","sector_size":512}},'
    b'"digests":{"0":{"type":"pbkdf2","keyslots":["0"],"segments":["0"],"hash":"sha256",'
    b'"iterations":1000,"salt":"' + SALT + b'","digest":"' + SALT + b'"}},'
    b'"config":{"json_size":"12288","keyslots_size":"16744448"}}'
)


def _copy(number: int, hdr_size: int, area: bytes) -> bytes:
    magic = MAGIC[tuple(HeaderCopy)[number]]
    record = struct.pack(
        ">6sHQQ48s32s64s40s48sQ248x",
        *(magic, 2, hdr_size, 3, b"", b"sha256", bytes(64)),
        *(b"c0ffee00-0000-4000-8000-000000000001", b"", number * hdr_size),
    )
    return _with_right_checksum(record, area).ljust(BINARY_HEADER_SIZE, b"\0") + area


def _hdr_size(record: bytes) -> int:
    """What the record says where that is legal and small; else the least."""
    size = int.from_bytes(record[8:16], "big")
    return size if size in HDR_SIZES[:3] else HDR_SIZES[0]


def _with_right_checksum(record: bytes, area: bytes) -> bytes:
    """In the algorithm that the record names, where that can be had."""
    blank = record[: _CSUM.start].ljust(BINARY_HEADER_SIZE, b"\0")
    name = record[72:104].partition(b"\0")[0].decode("ascii", "replace")
    try:
        computed = checksum(name, blank, area)
    except LuksError:
        return record
    return record[: _CSUM.start] + computed.ljust(64, b"\0")


# --- mutations -----------------------------------------------------------------------------------


def mutate_json(data: bytes, random: Random) -> bytes:
    """A JSON text changed as a tree; ValueError or RecursionError for what is none."""
    tree = hostile.changed(hostile.parse(data), random, random.choice((1, 1, 1, 2, 5)))
    return hostile.spell(tree)


def mutate_keyslot(data: bytes, random: Random) -> bytes:
    """The same, of what lies before the material."""
    text, zero, material = data.partition(b"\0")
    return mutate_json(text, random) + zero + material


def mutate_luks2(data: bytes, random: Random) -> bytes:
    """The same, of what lies behind the binary headers."""
    start = 1 + 2 * RECORD_SIZE
    return data[:start] + mutate_json(data[start:].rstrip(b"\0"), random)


TARGETS: Final = {
    target.name: target
    for target in (
        Target("luks1", luks1_disk, longest=LUKS1_SIZE + 4),
        Target("luks2", luks2_disk, mutate=mutate_luks2),
        Target("json", json_disk, mutate=mutate_json),
        Target(
            "keyslot",
            keyslot_disk,
            operations=(operations.unlocking, operations.changing, operations.adding),
            mutate=mutate_keyslot,
        ),
    )
}
