"""LUKS2 header copies, and JSON areas that have lost theirs."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from luksmeta.binary import c_text
from luksmeta.errors import ChecksumError, HeaderError
from luksmeta.extents import Extent
from luksmeta.forensics.findings import Confidence, Finding, Kind
from luksmeta.forensics.lost_areas import is_start_of_random
from luksmeta.header_copies import HeaderCopy
from luksmeta.luks2.binary_header import MAGIC, VERSION, BinaryHeader, check_checksum
from luksmeta.luks2.header_copy import check_document, metadata_of
from luksmeta.luks2.json_text import parse_json_area
from luksmeta.luks2.limits import BINARY_HEADER_SIZE, HDR_SIZES
from luksmeta.luks2.validation import repair_known_faults
from luksmeta.model import SECTOR_SIZE, Metadata, RawArea
from luksmeta.storage import Storage
from luksmeta.uuids import is_uuid

_JSON_SIZE: Final = re.compile(rb'"json_size"\s*:\s*"([0-9]{1,7})"')
_BLOCKS: Final = (4096, 1024, 2048)  # of file systems
_KINDS: Final = {
    HeaderCopy.PRIMARY: Kind.LUKS2_PRIMARY,
    HeaderCopy.SECONDARY: Kind.LUKS2_SECONDARY,
}


@dataclass(frozen=True, slots=True)
class _Judged:
    """What the checks of a copy or of its JSON area say."""

    confidence: Confidence
    reason: str
    problem: str | None = None
    metadata: Metadata | None = None
    size_here: int | None = None
    """Of a copy that is not in one piece: the bytes that are."""


def examine_binary_header(
    storage: Storage, offset: int, *, magic_is_lost: HeaderCopy | None = None
) -> Finding | None:
    """The header copy at ``offset``; None where there can be none.

    High: its checksum proves it. Medium: the checksum does not match, and the JSON breaks no rule.
    Low: any other; where it lies can raise it later. ``magic_is_lost`` says which copy it must be
    where the magic does not; only the checksum can prove such a one.
    """
    if offset + BINARY_HEADER_SIZE > storage.size:
        return None
    data = storage.read_at(offset, BINARY_HEADER_SIZE)
    if magic_is_lost is not None:
        data = MAGIC[magic_is_lost] + data[len(MAGIC[magic_is_lost]) :]
    record = BinaryHeader.from_bytes(data)
    copy = next(copy for copy, magic in MAGIC.items() if record.magic == magic)
    if record.version != VERSION:
        return None
    judged = _judge_copy(storage, offset, data, record, copy)
    if magic_is_lost is not None:
        if judged.confidence is not Confidence.HIGH:
            return None
        judged = replace(judged, problem="its magic is gone")
    return _copy_finding(storage, offset, record, copy, judged)


def _judge_copy(
    storage: Storage, offset: int, data: bytes, record: BinaryHeader, copy: HeaderCopy
) -> _Judged:
    misplaced = record.violations(copy, _own_offset(copy, record.hdr_size))
    if misplaced:
        return _Judged(Confidence.LOW, "little more than a magic", misplaced[0].text)
    if offset + record.hdr_size > storage.size:
        text = f"cut off: ends at {offset + record.hdr_size:#x}, the disk at {storage.size:#x}"
        in_pieces = _judge_in_pieces(storage, offset, data, record, copy)
        return in_pieces or _Judged(Confidence.LOW, "a binary header", text)
    json_area = storage.read_at(offset + BINARY_HEADER_SIZE, record.hdr_size - BINARY_HEADER_SIZE)
    metadata, broken = _read_json(json_area, record, copy)
    fault = _checksum_fault(copy, data, json_area)
    if fault is None:
        return _Judged(Confidence.HIGH, "the checksum proves it", broken, metadata)
    in_pieces = _judge_in_pieces(storage, offset, data, record, copy)
    if in_pieces is not None:
        return in_pieces
    problem = str(fault).removeprefix(f"{copy} header: ")
    if metadata is not None and isinstance(fault, ChecksumError):
        reason = "its JSON area breaks no rule, though the checksum does not match"
        return _Judged(Confidence.MEDIUM, reason, problem, metadata)
    return _Judged(Confidence.LOW, "a binary header without a sound JSON area", problem)


def _checksum_fault(copy: HeaderCopy, header: bytes, json_area: bytes) -> HeaderError | None:
    try:
        check_checksum(copy, header, json_area)
    except HeaderError as error:
        return error
    return None


def _judge_in_pieces(
    storage: Storage, offset: int, data: bytes, record: BinaryHeader, copy: HeaderCopy
) -> _Judged | None:
    """A copy in a file whose blocks of zeroes lie elsewhere, or nowhere; only by its checksum.

    A sparse copy of a header backup takes blocks for what is not zero alone: the start of the
    binary header and the JSON text, one behind the other.
    """
    header = data[:SECTOR_SIZE].ljust(BINARY_HEADER_SIZE, b"\0")
    for block in _BLOCKS:
        size = min(record.hdr_size, storage.size - offset - block)
        text, end, _ = storage.read_at(offset + block, max(0, size)).partition(b"\0")
        json_area = text.ljust(record.hdr_size - BINARY_HEADER_SIZE, b"\0")
        is_possible = text.startswith(b"{") and end and len(text) < len(json_area)
        if is_possible and _checksum_fault(copy, header, json_area) is None:
            metadata, broken = _read_json(json_area, record, copy)
            reason = "the checksum proves it, with zeroes for what does not follow it here"
            problem = broken or "in a file with holes, or in pieces: its zeroes lie elsewhere"
            return _Judged(Confidence.HIGH, reason, problem, metadata, block + len(text))
    return None


def _read_json(
    json_area: bytes, record: BinaryHeader, copy: HeaderCopy
) -> tuple[Metadata | None, str | None]:
    """What a JSON area means, or what is wrong with it."""
    try:
        document = repair_known_faults(parse_json_area(json_area))
        check_document(document, record.hdr_size, copy)
        return metadata_of(record, document), None
    except HeaderError as error:
        return None, str(error).removeprefix(f"{copy} header: ")


def _copy_finding(
    storage: Storage, offset: int, record: BinaryHeader, copy: HeaderCopy, judged: _Judged
) -> Finding:
    has_size = record.hdr_size in HDR_SIZES
    uuid = c_text(record.uuid)
    start = offset - _own_offset(copy, record.hdr_size)
    is_in_one_piece = has_size and judged.size_here is None
    return Finding(
        disk=storage.name,
        offset=offset,
        size=judged.size_here or (record.hdr_size if has_size else BINARY_HEADER_SIZE),
        kind=_KINDS[copy],
        confidence=judged.confidence,
        reasons=(judged.reason,),
        version=VERSION,
        copy=copy,
        uuid=uuid if is_uuid(uuid) else None,
        label=(c_text(record.label) or None) if judged.metadata else None,
        seqid=record.seqid if has_size else None,
        hdr_size=record.hdr_size if has_size else None,
        volume_offset=start if is_in_one_piece and start >= 0 else None,
        data_offset=judged.metadata.data_offset if judged.metadata else None,
        problem=judged.problem,
    )


# --- a JSON area alone -------------------------------------------------------------------------


def examine_json_area(storage: Storage, offset: int) -> Finding | None:
    """The JSON area at ``offset`` whose binary header has no magic; None where there is none.

    Where all but the magic is there, it is a header copy, and the checksum proves it. Else medium:
    compact text that breaks no rule, zeroes up to the ``json_size`` that it says itself. Low: what
    may be a text about a header, in a file.
    """
    before = offset - BINARY_HEADER_SIZE
    if before >= 0:
        for lost in HeaderCopy:
            found = examine_binary_header(storage, before, magic_is_lost=lost)
            if found is not None:
                return found
    start = storage.read_at(offset, min(HDR_SIZES[0], storage.size - offset))
    hdr_size = _stated_size(storage, offset, start)
    if hdr_size is None:
        return None
    area = storage.read_at(offset, hdr_size - BINARY_HEADER_SIZE)
    record = _record_of(storage, before, hdr_size)
    metadata, broken = _read_json(area, record, HeaderCopy.PRIMARY)
    is_whole = metadata is not None and not start[1:2].isspace()
    reason = "the JSON of a whole area breaks no rule" if is_whole else "JSON with LUKS2's members"
    copy = None if metadata is None else _which_copy(storage, before, hdr_size, metadata)
    return Finding(
        disk=storage.name,
        offset=offset,
        size=hdr_size - BINARY_HEADER_SIZE,
        kind=Kind.LUKS2_JSON,
        confidence=Confidence.MEDIUM if is_whole else Confidence.LOW,
        reasons=(reason,),
        version=VERSION,
        copy=copy,
        uuid=c_text(record.uuid) or None,
        hdr_size=hdr_size,
        volume_offset=None if copy is None else before - _own_offset(copy, hdr_size),
        data_offset=None if metadata is None else metadata.data_offset,
        problem=broken or "no binary header before it",
    )


def _stated_size(storage: Storage, offset: int, start: bytes) -> int | None:
    """The ``hdr_size`` that follows from the text, if the area is all there; legal sizes only.

    The text may be longer than the smallest area, so all of a longer one is looked at.
    """
    for size in HDR_SIZES:
        if offset + size - BINARY_HEADER_SIZE > storage.size:
            return None
        text = start if size == HDR_SIZES[0] else storage.read_at(offset, size - BINARY_HEADER_SIZE)
        match = _JSON_SIZE.search(text)
        if match is not None:
            stated = int(match[1]) + BINARY_HEADER_SIZE
            fits = offset + int(match[1]) <= storage.size
            return stated if stated in HDR_SIZES and fits else None
        if b"\0" in text:
            return None
    return None


def _record_of(storage: Storage, before: int, hdr_size: int) -> BinaryHeader:
    """A binary header for what is not there; its UUID where that is still legible."""
    data = bytes(BINARY_HEADER_SIZE)
    if before >= 0:
        data = storage.read_at(before, BINARY_HEADER_SIZE)
    record = replace(BinaryHeader.from_bytes(data), hdr_size=hdr_size, label=b"\0", subsystem=b"\0")
    return record if is_uuid(c_text(record.uuid)) else replace(record, uuid=b"\0")


def _own_offset(copy: HeaderCopy, hdr_size: int) -> int:
    return 0 if copy is HeaderCopy.PRIMARY else hdr_size


def _which_copy(
    storage: Storage, before: int, hdr_size: int, metadata: Metadata
) -> HeaderCopy | None:
    """The copy with which keyslots' areas begin where the JSON says; None when neither fits."""
    areas: list[Extent] = [
        keyslot.area.extent
        for keyslot in metadata.keyslots.values()
        if isinstance(keyslot.area, RawArea)
    ]
    for copy in HeaderCopy:
        volume_offset = before - _own_offset(copy, hdr_size)
        if volume_offset >= 0 and any(
            is_start_of_random(storage, volume_offset + area.offset) for area in areas
        ):
            return copy
    return None
