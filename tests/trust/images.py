"""A volume as cryptsetup 2.8 makes it by default, and how whoever can write to its disk changes it.

The layout is the default one, 16 MiB of header and keyslots; the KDF is the cheapest that
cryptsetup's benchmark ever chooses.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cache
from typing import Any, Final, TypeAlias

import luksmeta
from luksmeta import Argon2id, MemoryStorage
from luksmeta.header_copies import HeaderCopy
from luksmeta.luks2.json_text import compact_text, parse_json_area
from tests import builders

PASSPHRASE: Final = builders.FIRST
Document: TypeAlias = dict[str, Any]
Edit: TypeAlias = Callable[[bytearray], None]
"""Changes one whole header copy: 4096 bytes of binary header, and the JSON area."""

UUID: Final = "5ea1ed00-0000-4000-8000-000000000002"
KDF: Final = Argon2id(time=4, memory=64 << 10, cpus=4)
VOLUME_KEY: Final = bytes(range(64))
DATA_OFFSET: Final = 16 << 20
DATA_SIZE: Final = 1 << 20
BINARY_SIZE: Final = 4096
_CSUM: Final = slice(448, 512)


@cache
def good_image() -> bytes:
    """The volume that every attack begins with; ``PASSPHRASE`` opens it."""
    storage = MemoryStorage(DATA_OFFSET + DATA_SIZE)
    luksmeta.format(
        storage,
        PASSPHRASE,
        volume_key=VOLUME_KEY,
        pbkdf=KDF,
        digest_iterations=100_000,
        uuid=UUID,
    )
    return bytes(storage.data)


def hdr_size(image: bytes) -> int:
    """The size of one header copy, in bytes."""
    return int.from_bytes(image[8:16], "big")


def document_of(image: bytes) -> Document:
    """A copy of what the primary copy's JSON area says."""
    area = image[BINARY_SIZE : hdr_size(image)]
    document: Document = json.loads(compact_text(parse_json_area(area)))
    return document


def with_document(
    image: bytes, document: Document, *, copies: tuple[HeaderCopy, ...] = tuple(HeaderCopy)
) -> bytes:
    """The image whose copies say ``document``, each with its own salt and seqid."""
    return with_text(image, compact_text(document), copies=copies)


def with_text(
    image: bytes, text: bytes, *, copies: tuple[HeaderCopy, ...] = tuple(HeaderCopy)
) -> bytes:
    """The image whose copies have this JSON text."""

    def put(copy: bytearray) -> None:
        copy[BINARY_SIZE:] = text.ljust(len(copy) - BINARY_SIZE, b"\0")

    return with_copies(image, put, copies=copies)


def with_copies(
    image: bytes,
    edit: Edit,
    *,
    copies: tuple[HeaderCopy, ...] = tuple(HeaderCopy),
    algorithm: str = "sha256",
) -> bytes:
    """The image whose copies are edited, with right checksums."""
    data, size = bytearray(image), hdr_size(image)
    for copy in copies:
        at = 0 if copy is HeaderCopy.PRIMARY else size
        part = data[at : at + size]
        edit(part)
        data[at : at + size] = signed(part, algorithm)
    return bytes(data)


def signed(copy: bytes | bytearray, algorithm: str = "sha256") -> bytes:
    """A header copy with its checksum filled in."""
    blank = bytearray(copy)
    blank[_CSUM] = bytes(64)
    blank[_CSUM] = hashlib.new(algorithm, blank).digest().ljust(64, b"\0")
    return bytes(blank)


def copy_of(image: bytes, copy: HeaderCopy) -> bytes:
    """The bytes of a whole copy."""
    size = hdr_size(image)
    return image[:size] if copy is HeaderCopy.PRIMARY else image[size : 2 * size]


def overwritten(image: bytes, offset: int, data: bytes) -> bytes:
    """The image with ``data`` at ``offset``."""
    return image[:offset] + data + image[offset + len(data) :]
