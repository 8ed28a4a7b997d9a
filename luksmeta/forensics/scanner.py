"""``scan``: everything of LUKS that is left on a disk, with where and how certain."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Final

from luksmeta.disks.places import layout_of
from luksmeta.extents import Extent
from luksmeta.forensics.candidates import Looks
from luksmeta.forensics.containers import OpenedImage, open_evidence
from luksmeta.forensics.evidence import data_extents
from luksmeta.forensics.findings import Confidence, Finding, Kind, Scan
from luksmeta.forensics.lost_areas import areas_without_header
from luksmeta.forensics.pairing import together
from luksmeta.forensics.read_log import ReadLog
from luksmeta.forensics.sweep import Progress, Sweep
from luksmeta.storage import Storage
from luksmeta.target import Target, open_storage

_FINDINGS_MAX: Final = 100_000
_DISMISSED_MAX: Final = 1000


def scan(
    target: Target,
    *,
    unaligned: bool = False,
    deep: bool = False,
    raw: bool = False,
    progress: Progress | None = None,
    read_log: ReadLog | None = None,
) -> Scan:
    """Search a disk for LUKS headers, their backups and their remains; nothing is written.

    ``target`` is a path, opened read-only, also of a container file (qcow2, vmdk, vdi, vhdx, E01:
    with the ``forensics`` extra) and with ``#part=2`` or ``#lv=group/name`` behind it; or an open
    storage or file object. ``raw`` takes a container's own bytes. Structures are looked for at
    multiples of 512 bytes, with ``unaligned`` at every byte. ``deep`` looks for keyslot areas
    without a header besides. ``progress`` is called with the bytes done and to do; ``read_log``
    gets every read of a path's files. Raises StorageError where it cannot be opened, and
    MissingExtraError.
    """
    with ExitStack() as stack:
        opened = _opened(target, read_log, raw, stack)
        return _scan(opened, unaligned=unaligned, deep=deep, progress=progress)


def _opened(target: Target, read_log: ReadLog | None, raw: bool, stack: ExitStack) -> OpenedImage:
    if isinstance(target, str | os.PathLike):
        opened = open_evidence(os.fspath(target), read_log, raw=raw)
        stack.enter_context(opened.storage)
        return opened
    return OpenedImage(open_storage(target), None)


def _scan(opened: OpenedImage, *, unaligned: bool, deep: bool, progress: Progress | None) -> Scan:
    storage = opened.storage
    layout = layout_of(storage)
    extents = list(data_extents(storage))
    sweep = Sweep(storage, extents, unaligned=unaligned, progress=progress)
    looks = Looks(storage)
    found = _looked_at(sweep, looks)
    findings = together(storage, layout, found)
    if deep:
        findings += together(storage, layout, _areas(storage, extents, findings))
    believed = [each for each in findings if each.confidence is not Confidence.LOW]
    dismissed = [each for each in findings if each.confidence is Confidence.LOW]
    return Scan(
        disk=storage.name,
        size=storage.size,
        searched=sweep.done,
        container=opened.container,
        partitions=sum(place.logical_volume is None for place in layout.places),
        findings=tuple(sorted(believed, key=lambda each: each.offset)),
        dismissed=tuple(dismissed[:_DISMISSED_MAX]),
        unreadable=tuple(sweep.unreadable),
        notes=(*layout.notes, *_limits(looks, found)),
    )


def _looked_at(sweep: Sweep, looks: Looks) -> list[Finding]:
    """What the hits are; doubtful ones only up to a number, so that no disk takes all memory."""
    found: list[Finding] = []
    doubtful = 0
    for hit in sweep.hits():
        finding = looks.at(hit, sweep.done)
        if finding is None or len(found) >= _FINDINGS_MAX:
            continue
        doubtful += finding.confidence is Confidence.LOW
        if finding.confidence is not Confidence.LOW or doubtful <= _DISMISSED_MAX:
            found.append(finding)
    return found


def _limits(looks: Looks, found: list[Finding]) -> Iterator[str]:
    if looks.refused:
        yield (
            f"{looks.refused} candidates were not looked at: the disk is full of what claims to be "
            "headers"
        )
    if len(found) >= _FINDINGS_MAX:
        yield f"more than {_FINDINGS_MAX} findings: the rest is left out"


def _areas(
    storage: Storage, extents: Iterable[Extent], findings: list[Finding]
) -> Iterator[Finding]:
    """Keyslot areas that no header found speaks of."""
    spoken_for = [
        Extent(each.volume_offset, each.data_offset or each.size)
        for each in findings
        if each.volume_offset is not None and each.confidence is not Confidence.LOW
    ]
    for area in areas_without_header(storage, extents):
        if not any(known.overlaps(area.extent) for known in spoken_for):
            yield Finding(
                disk=storage.name,
                offset=area.extent.offset,
                size=area.extent.size,
                kind=Kind.KEYSLOTS_AREA,
                confidence=Confidence.MEDIUM if area.is_exact else Confidence.LOW,
                reasons=(f"random bytes of {area.what}; no header speaks of them",),
                volume_offset=area.volume_offset,
            )
