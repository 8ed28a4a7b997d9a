"""Attacks on header copies as bytes; see :mod:`tests.trust.attacks`."""

from __future__ import annotations

import uuid as uuids
from dataclasses import dataclass
from typing import Final

import luksmeta
from luksmeta import MemoryStorage, Pbkdf2
from luksmeta.header_copies import HeaderCopy
from luksmeta.luks2.json_text import compact_text
from tests.trust.attack import on_image
from tests.trust.document_attacks import with_foreign_keyslot
from tests.trust.images import (
    BINARY_SIZE,
    DATA_OFFSET,
    PASSPHRASE,
    VOLUME_KEY,
    Document,
    copy_of,
    document_of,
    hdr_size,
    overwritten,
    signed,
    with_copies,
    with_document,
    with_text,
)

_SECONDARY: Final = (HeaderCopy.SECONDARY,)
_HIDDEN: Final = b"hidden in the header"
_SEQID: Final = slice(16, 24)
_LABEL: Final = slice(24, 72)
_UUID: Final = slice(168, 208)
_SUBSYSTEM: Final = slice(208, 256)


@dataclass(frozen=True)
class _Field:
    """Puts a value into a field of the binary header."""

    place: slice
    value: bytes

    def __call__(self, copy: bytearray) -> None:
        width = self.place.stop - self.place.start
        copy[self.place] = self.value.ljust(width, b"\0")


def _seqid(image: bytes) -> int:
    return int.from_bytes(image[_SEQID], "big")


def _with_seqid(image: bytes, seqid: int, copies: tuple[HeaderCopy, ...]) -> bytes:
    return with_copies(image, _Field(_SEQID, seqid.to_bytes(8, "big")), copies=copies)


# --- two copies ----------------------------------------------------------------------------------


@on_image(silent=True)
def primary_wiped(image: bytes) -> bytes:
    return overwritten(image, 0, bytes(hdr_size(image)))


@on_image(silent=True)
def secondary_wiped(image: bytes) -> bytes:
    return overwritten(image, hdr_size(image), bytes(hdr_size(image)))


@on_image(silent=True)
def secondary_damaged(image: bytes) -> bytes:
    return overwritten(image, hdr_size(image) + BINARY_SIZE + 10, b"?")


@on_image(silent=False)
def both_wiped(image: bytes) -> bytes:
    return overwritten(image, 0, bytes(2 * hdr_size(image)))


@on_image(silent=False)
def copies_swapped(image: bytes) -> bytes:
    primary, secondary = (copy_of(image, which) for which in HeaderCopy)
    return overwritten(image, 0, secondary + primary)


@on_image(silent=True)
def secondary_says_otherwise(image: bytes) -> bytes:
    """At the same seqid the primary is believed, until it is damaged."""
    document = document_of(image)
    document["segments"]["0"]["encryption"] = "cipher_null-ecb"
    return with_document(image, document, copies=_SECONDARY)


@on_image(silent=True)
def secondary_newer_and_otherwise(image: bytes) -> bytes:
    return _with_seqid(secondary_says_otherwise(image), _seqid(image) + 1, _SECONDARY)


def _before_revocation(image: bytes) -> Document:
    document = document_of(image)
    document["digests"]["0"]["keyslots"].append(with_foreign_keyslot(document))
    return document


@on_image(silent=True)
def secondary_rolled_back(image: bytes) -> bytes:
    """An older header with a keyslot that was revoked since then."""
    older = with_document(image, _before_revocation(image), copies=_SECONDARY)
    return _with_seqid(older, _seqid(image) - 1, _SECONDARY)


@on_image(silent=True)
def header_rolled_back(image: bytes) -> bytes:
    """Both copies as they were before a keyslot was revoked."""
    older = with_document(image, _before_revocation(image))
    return _with_seqid(older, _seqid(image) - 1, tuple(HeaderCopy))


@on_image(silent=True, by_policy=False)
def header_rolled_back_to_before_a_label(image: bytes) -> bytes:
    """An older state that is as good as the newer one by itself."""
    older = with_copies(image, _Field(_LABEL, b"before"))
    return _with_seqid(older, _seqid(image) - 1, tuple(HeaderCopy))


@on_image(silent=True)
def third_copy_hidden(image: bytes) -> bytes:
    """Where a reader looks for a secondary when the primary is damaged."""
    copy = bytearray(copy_of(image, HeaderCopy.SECONDARY).ljust(4 << 20, b"\0"))
    copy[8:16] = copy[256:264] = (4 << 20).to_bytes(8, "big")
    return overwritten(image, 4 << 20, signed(copy))


@on_image(silent=True)
def downgraded_to_luks1(image: bytes) -> bytes:
    """As the volume was before it was converted."""
    storage = MemoryStorage(image)
    luksmeta.format(
        storage,
        PASSPHRASE,
        type="luks1",
        volume_key=VOLUME_KEY,
        pbkdf=Pbkdf2(hash="sha256", iterations=1000),
        digest_iterations=1000,
        data_offset=DATA_OFFSET,
    )
    return bytes(storage.data)


# --- the binary header ---------------------------------------------------------------------------


@on_image(silent=True)
def data_in_padding(image: bytes) -> bytes:
    return with_copies(image, _Field(slice(1024, 1024 + len(_HIDDEN)), _HIDDEN))


@on_image(silent=True)
def data_behind_label(image: bytes) -> bytes:
    return with_copies(image, _Field(_LABEL, b"\0" + _HIDDEN))


@on_image(silent=True)
def data_behind_checksum(image: bytes) -> bytes:
    def put(copy: bytearray) -> None:
        copy[512 - len(_HIDDEN) : 512] = _HIDDEN

    edited = with_copies(image, put)
    size, at = hdr_size(image), 512 - len(_HIDDEN)
    return overwritten(overwritten(edited, at, _HIDDEN), size + at, _HIDDEN)


@on_image(silent=True)
def checksum_by_another_hash(image: bytes) -> bytes:
    return with_copies(image, _Field(slice(72, 104), b"sha1"), algorithm="sha1")


@on_image(silent=False)
def checksum_wrong(image: bytes) -> bytes:
    damaged = overwritten(image, 448, bytes(32))
    return overwritten(damaged, hdr_size(image) + 448, bytes(32))


@on_image(silent=True)
def uuid_made_no_uuid(image: bytes) -> bytes:
    return with_copies(image, _Field(_UUID, b"../../etc/passwd"))


@on_image(silent=True, by_policy=False)
def uuid_replaced(image: bytes) -> bytes:
    another = str(uuids.UUID(int=7)).encode()
    return with_copies(image, _Field(_UUID, another))


@on_image(silent=True, by_policy=False)
def label_replaced(image: bytes) -> bytes:
    return with_copies(image, _Field(_LABEL, b"another"))


@on_image(silent=True, by_policy=False)
def subsystem_replaced(image: bytes) -> bytes:
    return with_copies(image, _Field(_SUBSYSTEM, b"another"))


# --- the JSON text -------------------------------------------------------------------------------


@on_image(silent=False)
def data_behind_json_text(image: bytes) -> bytes:
    text = compact_text(document_of(image))
    return with_text(image, text + b"\0" * 16 + _HIDDEN)


@on_image(silent=True)
def data_in_white_space(image: bytes) -> bytes:
    """Spaces and tabs are bits."""
    return with_text(image, compact_text(document_of(image)).replace(b",", b" ,\t "))


@on_image(silent=True)
def data_in_white_space_of_secondary(image: bytes) -> bytes:
    """Both copies mean the same."""
    text = compact_text(document_of(image)).replace(b",", b" ,\t ")
    return with_text(image, text, copies=_SECONDARY)


@on_image(silent=True)
def member_twice(image: bytes) -> bytes:
    """Which one counts depends on who reads."""
    document = document_of(image)
    evil = {**document["segments"]["0"], "encryption": "cipher_null-ecb"}
    segments = b'{"segments":' + compact_text({"0": evil}) + b","
    return with_text(image, segments + compact_text(document)[1:])


@on_image(silent=False)
def json_text_cut_short(image: bytes) -> bytes:
    return with_text(image, compact_text(document_of(image))[:-10])


# --- space that belongs to nothing ---------------------------------------------------------------


@on_image(silent=True)
def data_between_header_and_data(image: bytes) -> bytes:
    document = document_of(image)
    area = int(document["config"]["keyslots_size"]) - 4096
    document["config"]["keyslots_size"] = str(area)
    end = 2 * hdr_size(image) + area
    return overwritten(with_document(image, document), end, _HIDDEN.ljust(4096, b"\0"))


@on_image(silent=True, by_policy=False)
def data_in_free_part_of_keyslots_area(image: bytes) -> bytes:
    """The formats leave random bytes there: nothing tells an encrypted message from them."""
    return overwritten(image, 12 << 20, bytes(range(256)) * 16)
