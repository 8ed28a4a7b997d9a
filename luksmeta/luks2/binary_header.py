"""The LUKS2 binary header (LUKS2 specification 1.1.4, section 2.1)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, Self

from construct import Bytes, Int16ub, Int64ub, Padding, Struct

from luksmeta.binary import build_fields, c_string, parse_fields
from luksmeta.errors import (
    AlgorithmError,
    ChecksumError,
    HeaderError,
    NotLuksError,
    VersionError,
)
from luksmeta.kdf import hashes
from luksmeta.luks2.limits import BINARY_HEADER_SIZE, HDR_SIZES
from luksmeta.model import HeaderCopy

MAGIC: Final = {HeaderCopy.PRIMARY: b"LUKS\xba\xbe", HeaderCopy.SECONDARY: b"SKUL\xba\xbe"}
VERSION: Final = 2
CHECKSUM_ALGORITHM: Final = "sha256"
SALT_SIZE: Final = 64
_CSUM_OFFSET: Final = 448
_CSUM_SIZE: Final = 64

BINARY_HEADER = Struct(
    "magic" / Bytes(6),  #         0  b"LUKS\xba\xbe" primary, b"SKUL\xba\xbe" secondary
    "version" / Int16ub,  #        6
    "hdr_size" / Int64ub,  #       8  this header plus its JSON area, in bytes
    "seqid" / Int64ub,  #         16  grows with every update
    "label" / Bytes(48),  #       24
    "csum_alg" / Bytes(32),  #    72
    "salt" / Bytes(64),  #       104  differs between the two copies
    "uuid" / Bytes(40),  #       168
    "subsystem" / Bytes(48),  #  208
    "hdr_offset" / Int64ub,  #   256  where this copy lies on the device
    Padding(184),  #             264
    "csum" / Bytes(64),  #       448  over header and JSON area, this field zeroed
    Padding(7 * 512),  #         512
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BinaryHeader:
    """The first 4096 bytes of one copy of a LUKS2 header."""

    magic: bytes
    version: int
    hdr_size: int
    seqid: int
    label: bytes
    csum_alg: bytes
    salt: bytes = field(repr=False)
    uuid: bytes
    subsystem: bytes
    hdr_offset: int
    csum: bytes = field(repr=False)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The record of ``BINARY_HEADER_SIZE`` bytes, nothing checked but their number."""
        return cls(**parse_fields(BINARY_HEADER, data, "binary header"))

    def to_bytes(self) -> bytes:
        """The ``BINARY_HEADER_SIZE`` bytes of this record."""
        return build_fields(BINARY_HEADER, self)

    def check_place(self, copy: HeaderCopy, offset: int) -> None:
        """Whether this can be the copy that lies at ``offset``: all that precedes the checksum.

        Raises NotLuksError, VersionError or HeaderError. Source: lib/luks2/luks2_disk_metadata.c
        hdr_disk_sanity_check_pre.
        """
        if self.magic != MAGIC[copy]:
            raise NotLuksError(f"{copy} header: no magic at {offset:#x}")
        if self.version != VERSION:
            raise VersionError(
                f"{copy} header: LUKS version {self.version}, known are 1 and 2",
                version=self.version,
                offset=offset + 6,
                copy=copy,
            )
        if self.hdr_offset != offset:
            raise HeaderError(
                f"{copy} header: lies at {offset:#x}, its hdr_offset is {self.hdr_offset:#x}",
                offset=offset + 256,
                copy=copy,
            )
        if self.hdr_size not in HDR_SIZES:
            raise HeaderError(
                f"{copy} header: hdr_size {self.hdr_size:#x}, legal are the powers of two from "
                f"{HDR_SIZES[0]:#x} to {HDR_SIZES[-1]:#x}",
                offset=offset + 8,
                copy=copy,
            )
        if copy is HeaderCopy.SECONDARY and self.hdr_size != offset:
            raise HeaderError(
                f"{copy} header: lies at {offset:#x}, its hdr_size is {self.hdr_size:#x}",
                offset=offset + 8,
                copy=copy,
            )


def checksum(algorithm: str, header: bytes, json_area: bytes) -> bytes:
    """The checksum of a copy: over the bytes as they lie on disk, the csum field zeroed.

    Raises AlgorithmError for a hash that is not available here.
    """
    blanked = header[:_CSUM_OFFSET] + bytes(_CSUM_SIZE) + header[_CSUM_OFFSET + _CSUM_SIZE :]
    return hashes.get(algorithm).digest(blanked + json_area)


def check_checksum(copy: HeaderCopy, header: bytes, json_area: bytes) -> None:
    """Raise ChecksumError unless the stored checksum is that of these bytes."""
    record = BinaryHeader.from_bytes(header)
    algorithm = c_string(record.csum_alg, "csum_alg", offset=record.hdr_offset + 72)
    try:
        computed = checksum(algorithm, header, json_area)
    except AlgorithmError as error:
        raise HeaderError(
            f"{copy} header: checksum algorithm {algorithm!r} is not known here",
            offset=record.hdr_offset + 72,
            copy=copy,
        ) from error
    stored = record.csum[: len(computed)]
    if stored != computed:
        raise ChecksumError(
            f"{copy} header: checksum is {computed.hex()[:16]}…, stored is {stored.hex()[:16]}…",
            stored=stored,
            computed=computed,
            offset=record.hdr_offset + _CSUM_OFFSET,
            copy=copy,
        )


def with_checksum(record: BinaryHeader, json_area: bytes) -> bytes:
    """The bytes of a whole copy, header and JSON area, its checksum filled in."""
    if len(json_area) != record.hdr_size - BINARY_HEADER_SIZE:
        raise ValueError(f"JSON area of {len(json_area)} bytes for hdr_size {record.hdr_size}")
    algorithm = c_string(record.csum_alg, "csum_alg")
    computed = checksum(algorithm, record.to_bytes(), json_area)
    return replace(record, csum=computed.ljust(_CSUM_SIZE, b"\0")).to_bytes() + json_area
