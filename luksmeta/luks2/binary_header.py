"""The LUKS2 binary header (LUKS2 specification 1.1.4, section 2.1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final, Self

from construct import Bytes, Int16ub, Int64ub, Padding, Struct

from luksmeta.binary import build_fields, c_string, c_text, field_offsets, parse_fields
from luksmeta.errors import (
    AlgorithmError,
    ChecksumError,
    HeaderError,
    NotLuksError,
    VersionError,
    Violation,
)
from luksmeta.header_copies import HeaderCopy
from luksmeta.kdf import hashes
from luksmeta.luks2.limits import BINARY_HEADER_SIZE, HDR_SIZES
from luksmeta.rules import Finding, Rule, Statement, and_more, excerpt

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
_OFFSETS: Final = field_offsets(BINARY_HEADER)


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

        Raises NotLuksError, VersionError or HeaderError, which has all violations.
        """
        if self.magic != MAGIC[copy]:
            raise NotLuksError(f"{copy} header: no magic at {offset:#x}")
        violations = self.violations(copy, offset)
        if not violations:
            return
        first = violations[0]
        message = f"{copy} header: {first.text}{and_more(violations)}"
        at = offset + _OFFSETS[first.path]
        if self.version != VERSION:
            raise VersionError(
                message, version=self.version, offset=at, copy=copy, violations=violations
            )
        raise HeaderError(message, offset=at, copy=copy, violations=violations)

    def violations(self, copy: HeaderCopy, offset: int) -> tuple[Violation, ...]:
        """Every rule about the fields before the checksum that is broken here.

        Of another version nothing else is known.
        """
        placed = Placed(self, copy, offset)
        found = [
            violation
            for rule in PLACE_RULES
            for violation in rule.violations(placed, lambda path: getattr(self, path))
        ]
        of_version = [each for each in found if each.path == "version"]
        return tuple(of_version or found)


@dataclass(frozen=True, slots=True)
class Placed:
    """A binary header together with the place where it was found."""

    record: BinaryHeader
    copy: HeaderCopy
    offset: int


def _known_version(placed: Placed) -> Iterator[Finding]:
    version = placed.record.version
    if version != VERSION:
        why = "" if version else ", and 0 is left by a conversion that was cut off"
        yield "version", f"LUKS version {version}, known are 1 and 2{why}"


def _own_place(placed: Placed) -> Iterator[Finding]:
    offset, stated = placed.offset, placed.record.hdr_offset
    if stated != offset:
        yield "hdr_offset", f"lies at {offset:#x}, its hdr_offset is {stated:#x}"


def _legal_size(placed: Placed) -> Iterator[Finding]:
    size = placed.record.hdr_size
    if size not in HDR_SIZES:
        yield (
            "hdr_size",
            f"hdr_size {size:#x}, legal are the powers of two from {HDR_SIZES[0]:#x} to "
            f"{HDR_SIZES[-1]:#x}",
        )


def _behind_primary(placed: Placed) -> Iterator[Finding]:
    size, offset = placed.record.hdr_size, placed.offset
    if placed.copy is HeaderCopy.SECONDARY and size in HDR_SIZES and size != offset:
        yield "hdr_size", f"lies at {offset:#x}, its hdr_size is {size:#x}"


_SOURCE: Final = "lib/luks2/luks2_disk_metadata.c hdr_disk_sanity_check_pre"

PLACE_RULES: Final[tuple[Rule[Placed], ...]] = (
    Rule("binary-version", "version is 2.", _SOURCE, _known_version),
    Rule("binary-hdr-offset", "hdr_offset is where the copy lies.", _SOURCE, _own_place),
    Rule("binary-hdr-size", "hdr_size is one of nine legal sizes.", _SOURCE, _legal_size),
    Rule(
        "binary-secondary-place",
        "The secondary copy lies at its own hdr_size.",
        _SOURCE,
        _behind_primary,
    ),
)
"""What precedes the checksum."""

CHECKSUM_STATEMENTS: Final = (
    Statement("binary-csum-alg", "csum_alg names a hash that is known.", _SOURCE),
    Statement("binary-csum", "csum is the checksum of this copy.", _SOURCE),
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
    computed = _computed_checksum(copy, record, header, json_area)
    stored = record.csum[: len(computed)]
    if stored != computed:
        text = f"checksum is {computed.hex()[:16]}…, stored is {stored.hex()[:16]}…"
        raise ChecksumError(
            f"{copy} header: {text}",
            stored=stored,
            computed=computed,
            offset=record.hdr_offset + _CSUM_OFFSET,
            copy=copy,
            violations=(Violation("csum", "binary-csum", text, stored.hex()),),
        )


def _computed_checksum(
    copy: HeaderCopy, record: BinaryHeader, header: bytes, json_area: bytes
) -> bytes:
    """The checksum by the algorithm that the header names; HeaderError when that is none."""
    try:
        algorithm = c_string(record.csum_alg, "csum_alg")
        return checksum(algorithm, header, json_area)
    except (AlgorithmError, HeaderError) as error:
        named = c_text(record.csum_alg)
        text = (
            f"checksum algorithm {named!r} is not known here"
            if isinstance(error, AlgorithmError)
            else str(error)
        )
        raise HeaderError(
            f"{copy} header: {text}",
            offset=record.hdr_offset + _OFFSETS["csum_alg"],
            copy=copy,
            violations=(Violation("csum_alg", "binary-csum-alg", text, excerpt(named)),),
        ) from error


def padding_of(record: BinaryHeader, header: bytes) -> bytes:
    """The bytes of a sound binary header that no field has, those behind the checksum among them.

    In the order in which they lie there.
    """
    checksum_size = hashes.get(c_string(record.csum_alg, "csum_alg")).digest_size
    first = _OFFSETS["hdr_offset"] + 8
    return header[first:_CSUM_OFFSET] + header[_CSUM_OFFSET + checksum_size :]


def with_checksum(record: BinaryHeader, json_area: bytes) -> bytes:
    """The bytes of a whole copy, header and JSON area, its checksum filled in."""
    if len(json_area) != record.hdr_size - BINARY_HEADER_SIZE:
        raise ValueError(f"JSON area of {len(json_area)} bytes for hdr_size {record.hdr_size}")
    algorithm = c_string(record.csum_alg, "csum_alg")
    computed = checksum(algorithm, record.to_bytes(), json_area)
    return replace(record, csum=computed.ljust(_CSUM_SIZE, b"\0")).to_bytes() + json_area
