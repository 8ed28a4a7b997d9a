"""Cheap volumes for tests: the least KDF costs, the smallest areas, made once and copied."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import luksmeta
from luksmeta import MemoryStorage, Pbkdf2, Volume
from luksmeta.binary import c_bytes
from luksmeta.format_options import Version
from luksmeta.header_copies import HeaderCopy
from luksmeta.luks2.binary_header import MAGIC, BinaryHeader, with_checksum
from luksmeta.luks2.json_text import dump_json, parse_json_area
from luksmeta.luks2.limits import BINARY_HEADER_SIZE
from luksmeta.model import JsonObject
from tests.corpus import stream

FIRST, SECOND, THIRD = b"first passphrase", b"second passphrase", b"third passphrase"
KDF = Pbkdf2(hash="sha256", iterations=1000)
VOLUME_KEY = stream("builders/volume key", 32)
DATA_SIZE = 64 << 10
KEYSLOTS_THAT_FIT = 4
"""How many areas the LUKS2 volumes of these tests have room for."""

_DATA_OFFSET: dict[Version, int] = {
    "luks1": 2 * (16 << 10) + 8 * (128 << 10),  # so that LUKS2 headers would fit
    "luks2": 2 * (16 << 10) + KEYSLOTS_THAT_FIT * (128 << 10),
}
VERSIONS: tuple[Version, ...] = ("luks1", "luks2")


def image(version: Version, passphrases: tuple[bytes, ...] = (FIRST,)) -> bytes:
    """A volume with a keyslot for each passphrase, from id 0 on; its data area is zeroes."""
    return _image(version, passphrases)


@cache
def _image(version: Version, passphrases: tuple[bytes, ...]) -> bytes:
    storage = MemoryStorage(data_offset(version) + DATA_SIZE)
    with luksmeta.format(
        storage,
        passphrases[0],
        type=version,
        volume_key=VOLUME_KEY,
        pbkdf=KDF,
        digest_iterations=1000,
        sector_size=512,
        data_offset=data_offset(version),
        uuid="c0ffee00-0000-4000-8000-000000000001",
    ) as volume:
        add_keyslots(volume, passphrases[1:])
    return bytes(storage.data)


def data_offset(version: Version) -> int:
    """Where the data of these volumes starts, in bytes."""
    return _DATA_OFFSET[version]


def memory(version: Version, *passphrases: bytes) -> MemoryStorage:
    """A fresh copy of :func:`image`."""
    return MemoryStorage(image(version, passphrases or (FIRST,)))


def opened(version: Version, *passphrases: bytes) -> Volume:
    """A fresh volume in memory, opened for writing."""
    return luksmeta.open(memory(version, *passphrases), writable=True)


def file(path: Path, version: Version, *passphrases: bytes) -> Path:
    """The same as a file."""
    path.write_bytes(image(version, passphrases or (FIRST,)))
    return path


def content(volume: Volume) -> bytes:
    """All bytes of the volume's header storage."""
    return volume.header_storage.read_at(0, volume.header_storage.size)


def add_keyslots(volume: Volume, passphrases: tuple[bytes, ...]) -> None:
    """Add a keyslot for each passphrase with the volume key."""
    with volume.unlock(volume_key=VOLUME_KEY) as unlocked:
        for passphrase in passphrases:
            unlocked.add_keyslot(passphrase, pbkdf=KDF)


def key_behind(volume: Volume, passphrase: bytes, keyslot: int | None = None) -> bytes:
    """The volume key that a passphrase opens; PassphraseError."""
    with volume.unlock(passphrase, keyslot=keyslot) as unlocked:
        return bytes(unlocked.volume_key.view())


def with_document(
    base: bytes,
    document: JsonObject,
    *,
    copies: tuple[HeaderCopy, ...] = tuple(HeaderCopy),
    seqid: int | None = None,
) -> bytes:
    """A LUKS2 image whose header copies say ``document``, with right checksums, whatever it is."""
    data = bytearray(base)
    primary = BinaryHeader.from_bytes(base[:BINARY_HEADER_SIZE])
    for which in copies:
        offset = 0 if which is HeaderCopy.PRIMARY else primary.hdr_size
        record = replace(
            primary,
            magic=MAGIC[which],
            hdr_offset=offset,
            seqid=primary.seqid if seqid is None else seqid,
        )
        area = dump_json(document, record.hdr_size - BINARY_HEADER_SIZE)
        data[offset : offset + record.hdr_size] = with_checksum(record, area)
    return bytes(data)


def with_label(base: bytes, label: str) -> bytes:
    """A LUKS2 image with this label, be it one that nothing here would store."""
    data = bytearray(base)
    primary = BinaryHeader.from_bytes(base[:BINARY_HEADER_SIZE])
    for which in HeaderCopy:
        offset = 0 if which is HeaderCopy.PRIMARY else primary.hdr_size
        record = replace(
            primary, magic=MAGIC[which], hdr_offset=offset, label=c_bytes(label, 48, "label")
        )
        area = bytes(base[offset + BINARY_HEADER_SIZE : offset + primary.hdr_size])
        data[offset : offset + primary.hdr_size] = with_checksum(record, area)
    return bytes(data)


def document_of(data: bytes) -> dict[str, Any]:
    """A copy of the JSON document in an image's primary copy, to be changed."""
    hdr_size = BinaryHeader.from_bytes(data[:BINARY_HEADER_SIZE]).hdr_size
    return copy.deepcopy(dict(parse_json_area(data[BINARY_HEADER_SIZE:hdr_size])))
