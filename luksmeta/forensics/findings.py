"""What a search finds: a trace of LUKS, where it lies, and how certain it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from luksmeta.extents import Extent
from luksmeta.header_copies import HeaderCopy


class Kind(StrEnum):
    """What was found."""

    LUKS1 = "luks1"
    LUKS2_PRIMARY = "luks2-primary"
    LUKS2_SECONDARY = "luks2-secondary"
    LUKS2_JSON = "luks2-json"
    LUKSMETA = "luksmeta"
    KEYSLOTS_AREA = "keyslots-area"


class Confidence(StrEnum):
    """How certain a finding is.

    ``high``: a checksum proves it, or, in LUKS1, every rule holds. ``medium``: its structure is
    that of LUKS and nothing proves it. ``low``: little more than a magic; not shown unless asked.
    """

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Role(StrEnum):
    """What a header is there for."""

    VOLUME = "volume"
    BACKUP = "backup"
    DETACHED = "detached"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A trace of LUKS on ``disk``; offsets and sizes are in bytes, None is what nobody knows.

    ``volume_offset`` is where the volume starts that the trace belongs to, as the trace itself
    says; ``data_offset`` where its data starts from there. ``pair`` is the offset of the other
    header copy. ``place`` names the partition or logical volume that it lies in, as commands take
    it, ``offset_in_place`` where in there. ``reasons`` say why it has its confidence and role,
    ``problem`` what is wrong with it.
    """

    disk: str
    offset: int
    size: int
    kind: Kind
    confidence: Confidence
    reasons: tuple[str, ...]
    version: int | None = None
    copy: HeaderCopy | None = None
    uuid: str | None = None
    label: str | None = None
    seqid: int | None = None
    hdr_size: int | None = None
    volume_offset: int | None = None
    data_offset: int | None = None
    pair: int | None = None
    role: Role | None = None
    place: str | None = None
    partition: int | None = None
    logical_volume: str | None = None
    offset_in_place: int | None = None
    problem: str | None = None

    @property
    def extent(self) -> Extent:
        """The bytes of the trace."""
        return Extent(self.offset, self.size)

    def describe(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "disk": self.disk,
            "offset": self.offset,
            "size": self.size,
            "kind": str(self.kind),
            "version": self.version,
            "copy": None if self.copy is None else str(self.copy),
            "uuid": self.uuid,
            "label": self.label,
            "seqid": self.seqid,
            "hdr_size": self.hdr_size,
            "confidence": str(self.confidence),
            "role": None if self.role is None else str(self.role),
            "volume_offset": self.volume_offset,
            "data_offset": self.data_offset,
            "pair": self.pair,
            "place": self.place,
            "partition": self.partition,
            "logical_volume": self.logical_volume,
            "offset_in_place": self.offset_in_place,
            "problem": self.problem,
            "reasons": list(self.reasons),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What a search of one disk gave; iterating gives the findings.

    ``dismissed`` are those of low confidence, at most a thousand. ``searched`` are the bytes that
    were read for the search, ``size`` those of the disk: the difference are holes. ``unreadable``
    is what the system would not read. ``notes`` say what else was not looked at, and why.
    """

    disk: str
    size: int
    searched: int
    container: str | None
    partitions: int
    findings: tuple[Finding, ...]
    dismissed: tuple[Finding, ...]
    unreadable: tuple[Extent, ...]
    notes: tuple[str, ...]

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def describe(self) -> dict[str, object]:
        """All but the findings, for programs."""
        return {
            "disk": self.disk,
            "size": self.size,
            "searched": self.searched,
            "container": self.container,
            "partitions": self.partitions,
            "dismissed": len(self.dismissed),
            "unreadable": [{"offset": each.offset, "size": each.size} for each in self.unreadable],
            "notes": list(self.notes),
        }
