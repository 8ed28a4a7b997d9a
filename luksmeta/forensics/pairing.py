"""What findings say together: pairs of header copies, backups, and where each lies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from luksmeta.disks.places import Layout
from luksmeta.errors import StorageError
from luksmeta.extents import align_up
from luksmeta.forensics.evidence import MappedEvidence
from luksmeta.forensics.findings import Confidence, Finding, Kind, Role
from luksmeta.forensics.lost_areas import BLOCK, is_random_at
from luksmeta.header_copies import HeaderCopy
from luksmeta.luks2.limits import BINARY_HEADER_SIZE
from luksmeta.model import SECTOR_SIZE
from luksmeta.signatures import find_foreign_signatures
from luksmeta.storage import Storage

_COPIES: Final = (Kind.LUKS2_PRIMARY, Kind.LUKS2_SECONDARY)
_HEADERS: Final = (Kind.LUKS1, *_COPIES, Kind.LUKS2_JSON)
_SAMPLES: Final = 4  # sectors of a volume's data that must look random


def together(storage: Storage, layout: Layout, found: Iterable[Finding]) -> list[Finding]:
    """The findings of one disk with all that the others, and the disk's parts, say about them."""
    disk = _Disk(storage, layout)
    paired = _paired([_placed(finding, layout) for finding in found])
    risen = [_risen(finding, disk) for finding in paired]
    volumes = {
        each.uuid: each
        for each in risen
        if each.uuid and each.confidence is not Confidence.LOW and disk.starts_at(each)
    }
    return [_with_role(disk, each, volumes) for each in risen]


class _Disk:
    """A disk, and where its volumes can start."""

    def __init__(self, storage: Storage, layout: Layout) -> None:
        self.storage = storage
        self.layout = layout
        self._starts = frozenset({0, *(place.start for place in layout.places)})

    def starts_at(self, finding: Finding) -> bool:
        """Whether the finding's volume starts the disk, a partition or a logical volume."""
        return finding.volume_offset in self._starts

    def part_around(self, offset: int) -> tuple[Storage, int]:
        """The disk, or its innermost part, in which an offset of the disk lies, and where there."""
        place = self.layout.place_of(offset)
        inside = None if place is None else place.offset_of(offset)
        if place is None or inside is None:
            return self.storage, offset
        return MappedEvidence(self.storage, place.extents, place.name), inside


def _placed(finding: Finding, layout: Layout) -> Finding:
    place = layout.place_of(finding.offset)
    if place is None:
        return finding
    return replace(
        finding,
        place=f"{finding.disk}#{place.name}",
        partition=place.partition,
        logical_volume=place.logical_volume,
        offset_in_place=place.offset_of(finding.offset),
    )


# --- pairs -------------------------------------------------------------------------------------


def _paired(found: list[Finding]) -> list[Finding]:
    by_offset = {_header_offset(each): each for each in found if each.kind in _HEADERS}
    tables = {align_up(each.extent.end, BLOCK): each for each in found if each.kind is Kind.LUKS1}
    return [
        _with_owner(each, tables) if each.kind is Kind.LUKSMETA else _with_pair(each, by_offset)
        for each in found
    ]


def _header_offset(finding: Finding) -> int:
    """Where the binary header is or was."""
    if finding.kind is Kind.LUKS2_JSON:
        return finding.offset - BINARY_HEADER_SIZE
    return finding.offset


def _with_pair(finding: Finding, by_offset: Mapping[int, Finding]) -> Finding:
    """The finding with the offset of the other copy, and what that says."""
    if finding.kind not in (*_COPIES, Kind.LUKS2_JSON) or finding.hdr_size is None:
        return finding
    copy, offset = finding.copy, _header_offset(finding)
    others = {
        HeaderCopy.PRIMARY: offset + finding.hdr_size,
        HeaderCopy.SECONDARY: offset - finding.hdr_size,
    }
    for own, at in others.items():
        other = by_offset.get(at)
        if copy in (own, None) and other is not None and _fits(other, own, finding):
            return _joined(finding, own, other)
    if finding.kind is Kind.LUKS2_JSON or copy is None or finding.volume_offset is None:
        return finding
    missing = next(each for each in HeaderCopy if each is not copy)
    text = f"no {missing} copy at {others[copy]:#x}"
    return replace(finding, problem=f"{finding.problem}; {text}" if finding.problem else text)


def _fits(other: Finding, own: HeaderCopy, finding: Finding) -> bool:
    """Whether ``other`` can be the other copy: of that kind, and of the same volume."""
    same = other.uuid is None or finding.uuid is None or other.uuid == finding.uuid
    sizes = other.hdr_size in (None, finding.hdr_size)
    return other.kind is not Kind.LUKS1 and other.copy in (None, *_not(own)) and same and sizes


def _not(copy: HeaderCopy) -> tuple[HeaderCopy, ...]:
    return tuple(each for each in HeaderCopy if each is not copy)


def _joined(finding: Finding, own: HeaderCopy, other: Finding) -> Finding:
    confidence, reasons = finding.confidence, finding.reasons
    if other.confidence is not Confidence.LOW:
        reasons = (*reasons, f"its other copy lies at {_header_offset(other):#x}")
        if confidence is Confidence.LOW:
            confidence = Confidence.MEDIUM
    if None not in (finding.seqid, other.seqid) and finding.seqid != other.seqid:
        reasons = (*reasons, f"seqid {finding.seqid}, that of the other copy is {other.seqid}")
    start = _header_offset(finding)
    if own is HeaderCopy.SECONDARY:
        start -= finding.hdr_size or 0
    return replace(
        finding,
        confidence=confidence,
        reasons=reasons,
        copy=own,
        uuid=finding.uuid or other.uuid,
        pair=other.offset,
        volume_offset=start,
        data_offset=other.data_offset if finding.data_offset is None else finding.data_offset,
    )


def _with_owner(finding: Finding, tables: Mapping[int, Finding]) -> Finding:
    """luksmeta's table with the LUKS1 header that it follows."""
    owner = tables.get(finding.offset)
    if owner is None:
        return replace(finding, problem=finding.problem or "no LUKS1 header before it")
    return replace(finding, uuid=owner.uuid, pair=owner.offset, volume_offset=owner.offset)


# --- places and roles --------------------------------------------------------------------------


def _risen(finding: Finding, disk: _Disk) -> Finding:
    """A doubtful header copy believed after all: it has a header's fields, and starts a volume.

    A magic alone does not count: any program can have put that where a volume would start.
    """
    is_doubtful = finding.confidence is Confidence.LOW and finding.kind in _COPIES
    if not is_doubtful or finding.uuid is None or not disk.starts_at(finding):
        return finding
    reason = "it lies where a disk, partition or logical volume has it"
    return replace(finding, confidence=Confidence.MEDIUM, reasons=(*finding.reasons, reason))


def _with_role(disk: _Disk, finding: Finding, volumes: Mapping[str, Finding]) -> Finding:
    if finding.kind not in _HEADERS or finding.confidence is Confidence.LOW:
        return finding
    role, reason = _role(disk, finding, volumes)
    return replace(finding, role=role, reasons=(*finding.reasons, reason))


def _role(disk: _Disk, finding: Finding, volumes: Mapping[str, Finding]) -> tuple[Role, str]:
    """What the header is there for, and what tells it; the first that fits."""
    start, data_offset = finding.volume_offset, finding.data_offset
    if data_offset == 0:
        return Role.DETACHED, "detached header: its data lies on another device"
    twin = volumes.get(finding.uuid or "")
    part, inside = disk.part_around(finding.offset if start is None else start)
    if start is not None and data_offset is not None:
        if inside + data_offset >= part.size:
            return Role.BACKUP, f"header backup: it ends before its data, at {data_offset:#x}"
        if (
            not disk.starts_at(finding)
            and twin is None
            and _is_ciphertext(part, inside + data_offset)
        ):
            return Role.VOLUME, f"volume: ciphertext {data_offset:#x} bytes on, at its data"
    if disk.starts_at(finding):
        return Role.VOLUME, "volume: it starts a disk, partition or logical volume"
    if twin is not None:
        return Role.BACKUP, f"header backup: {_whose(finding, twin)}"
    system = _file_system_of(part)
    if system is not None:
        return Role.BACKUP, f"header backup: in files ({system}), and no ciphertext behind it"
    return Role.UNKNOWN, "a header backup or an empty volume: no ciphertext behind it"


def _is_ciphertext(part: Storage, offset: int) -> bool:
    sectors = range(offset, offset + _SAMPLES * SECTOR_SIZE, SECTOR_SIZE)
    return all(is_random_at(part, sector) for sector in sectors)


def _file_system_of(part: Storage) -> str | None:
    try:
        found = find_foreign_signatures(part)
    except StorageError:
        return None
    return next((each.name for each in found if "file system" in each.name), None)


def _whose(finding: Finding, twin: Finding) -> str:
    text = f"the volume of this UUID starts at {twin.volume_offset:#x}"
    if None in (finding.seqid, twin.seqid) or finding.seqid == twin.seqid:
        return text
    return f"{text}, seqid {finding.seqid} here and {twin.seqid} there"
