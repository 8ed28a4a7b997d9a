"""The LUKS2 binary header's layout and checksum, against the specification and real images."""

from __future__ import annotations

import hashlib
from dataclasses import fields, replace

import pytest

from luksmeta.errors import ChecksumError, HeaderError, NotLuksError, VersionError
from luksmeta.header_copies import HeaderCopy
from luksmeta.luks2 import binary_header
from luksmeta.luks2.binary_header import (
    BINARY_HEADER,
    BinaryHeader,
    check_checksum,
    checksum,
    with_checksum,
)
from luksmeta.luks2.limits import BINARY_HEADER_SIZE, HDR_SIZES
from tests.corpus import Corpus, corpus_images
from tests.layouts import offsets_in_comments, true_offsets

PRIMARY, SECONDARY = HeaderCopy.PRIMARY, HeaderCopy.SECONDARY

# LUKS2 specification 1.1.4, section 2.1.
_SPECIFIED = {
    "magic": 0,
    "version": 6,
    "hdr_size": 8,
    "seqid": 16,
    "label": 24,
    "csum_alg": 72,
    "salt": 104,
    "uuid": 168,
    "subsystem": 208,
    "hdr_offset": 256,
    "csum": 448,
}


def _record(copy: HeaderCopy = PRIMARY, hdr_size: int = 0x4000) -> BinaryHeader:
    return BinaryHeader(
        magic=b"LUKS\xba\xbe" if copy is PRIMARY else b"SKUL\xba\xbe",
        version=2,
        hdr_size=hdr_size,
        seqid=3,
        label=bytes(48),
        csum_alg=b"sha256".ljust(32, b"\0"),
        salt=bytes(range(64)),
        uuid=bytes(40),
        subsystem=bytes(48),
        hdr_offset=0 if copy is PRIMARY else hdr_size,
        csum=bytes(64),
    )


def test_the_layout_has_the_specified_size() -> None:
    assert BINARY_HEADER.sizeof() == BINARY_HEADER_SIZE == 4096


def test_every_field_lies_where_specification_and_comment_say() -> None:
    assert true_offsets(BINARY_HEADER) == _SPECIFIED
    assert offsets_in_comments(binary_header, "BINARY_HEADER") == _SPECIFIED


def test_the_record_has_the_fields_of_the_layout() -> None:
    assert [each.name for each in fields(BinaryHeader)] == list(_SPECIFIED)


@pytest.mark.parametrize(
    "name",
    [each.name for each in corpus_images() if each.version == 2 and each.topic == "made/hash"],
)
def test_a_real_copy_survives_a_round_trip_with_its_checksum(corpus: Corpus, name: str) -> None:
    with corpus(name).open("rb") as image:
        header, json_area = image.read(4096), image.read(0x4000 - 4096)
    record = BinaryHeader.from_bytes(header)
    assert record.to_bytes() == header
    check_checksum(PRIMARY, header, json_area)
    assert with_checksum(record, json_area) == header + json_area


def test_the_checksum_is_over_the_bytes_read_paddings_included() -> None:
    json_area = b"{}".ljust(0x4000 - 4096, b"\0")
    header = bytearray(_record().to_bytes())
    header[300] = header[4095] = 0x5A
    header[448:480] = hashlib.sha256(bytes(header) + json_area).digest()
    check_checksum(PRIMARY, bytes(header), json_area)
    header[300] = 0
    with pytest.raises(ChecksumError) as caught:
        check_checksum(PRIMARY, bytes(header), json_area)
    assert caught.value.offset == 448
    assert caught.value.copy == "primary"
    assert caught.value.computed != caught.value.stored == bytes(header[448:480])


@pytest.mark.parametrize("algorithm", ["sha1", "sha512", "SHA256", "blake2s-256"])
def test_a_checksum_by_another_hash_is_accepted(algorithm: str) -> None:
    record = replace(_record(), csum_alg=algorithm.encode().ljust(32, b"\0"))
    json_area = b"{}".ljust(0x4000 - 4096, b"\0")
    data = with_checksum(record, json_area)
    check_checksum(PRIMARY, data[:4096], json_area)
    assert len(checksum(algorithm, data[:4096], json_area)) >= 20


@pytest.mark.parametrize(
    ("csum_alg", "message"),
    [
        (b"sha257".ljust(32, b"\0"), "checksum algorithm 'sha257' is not known"),
        (b"x" * 32, "no NUL within its 32 bytes"),
        (b"\xff".ljust(32, b"\0"), "0xff is not ASCII"),
    ],
)
def test_a_checksum_that_cannot_be_computed_is_a_damaged_header(
    csum_alg: bytes, message: str
) -> None:
    header = replace(_record(), csum_alg=csum_alg).to_bytes()
    with pytest.raises(HeaderError, match=message) as caught:
        check_checksum(PRIMARY, header, bytes(0x3000))
    assert caught.value.offset == 72


@pytest.mark.parametrize(
    ("copy", "offset", "change", "error", "at"),
    [
        (PRIMARY, 0, {"magic": b"SKUL\xba\xbe"}, NotLuksError, None),
        (PRIMARY, 0, {"version": 3}, VersionError, 6),
        (PRIMARY, 0, {"hdr_offset": 0x4000}, HeaderError, 256),
        (PRIMARY, 0, {"hdr_size": 0x3000}, HeaderError, 8),
        (PRIMARY, 0, {"hdr_size": 0x6000}, HeaderError, 8),
        (PRIMARY, 0, {"hdr_size": 0x800000}, HeaderError, 8),
        (SECONDARY, 0x4000, {"magic": b"LUKS\xba\xbe"}, NotLuksError, None),
        (SECONDARY, 0x4000, {"hdr_size": 0x8000}, HeaderError, 0x4008),
        (SECONDARY, 0x8000, {}, HeaderError, 0x8100),
    ],
)
def test_a_copy_out_of_place_is_refused_at_the_offending_field(
    copy: HeaderCopy,
    offset: int,
    change: dict[str, object],
    error: type[Exception],
    at: int | None,
) -> None:
    with pytest.raises(error) as caught:
        replace(_record(copy), **change).check_place(copy, offset)  # type: ignore[arg-type]  # any
    assert getattr(caught.value, "offset", None) == at


@pytest.mark.parametrize("hdr_size", HDR_SIZES)
def test_every_legal_size_has_its_place(hdr_size: int) -> None:
    _record(PRIMARY, hdr_size).check_place(PRIMARY, 0)
    _record(SECONDARY, hdr_size).check_place(SECONDARY, hdr_size)


def test_a_number_too_large_for_its_field_is_an_error_of_ours() -> None:
    with pytest.raises(HeaderError, match="BinaryHeader"):
        replace(_record(), seqid=1 << 64).to_bytes()


def test_a_json_area_of_another_size_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="hdr_size 16384"):
        with_checksum(_record(), bytes(100))


def test_no_repr_shows_salt_or_checksum() -> None:
    shown = repr(replace(_record(), csum=b"csum" * 16))
    assert "csum=" not in shown.replace("csum_alg=", "")
    assert "salt=" not in shown
