"""A header as it could have been: what a recovery chooses from, and how sure it is of each.

A candidate is a plan of writes over a view of the evidence, which itself is never written to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from luksmeta.errors import HeaderError, NotLuksError, StorageError
from luksmeta.extents import Extent
from luksmeta.forensics.evidence import Evidence
from luksmeta.forensics.regions import material_extent
from luksmeta.header import Header, read_header
from luksmeta.model import Keyslot, Metadata
from luksmeta.overlay import OverlayStorage
from luksmeta.storage import Storage
from luksmeta.write_plan import Resize, Step, WritePlan

_STEP: Final = 512  # bytes; what a bad sector costs
_CHUNK: Final = 1 << 20


class Confidence(StrEnum):
    """How sure a candidate is before any key was tried."""

    CERTAIN = "certain"
    """A checksum over all of it is right."""
    LIKELY = "likely"
    """All that matters was found in its own place; no checksum is left."""
    POSSIBLE = "possible"
    """Some of it was found elsewhere, may be older, or was supposed."""


_ORDER: Final = {each: number for number, each in enumerate(Confidence)}


@dataclass(frozen=True, slots=True)
class Source:
    """Bytes of a file that a candidate was made of."""

    file: str
    extent: Extent
    what: str
    sha256: str

    @classmethod
    def of(cls, storage: Storage, extent: Extent, what: str) -> Source:
        """These bytes of a storage, as far as it goes; unreadable ones count as zeroes."""
        end = max(extent.offset, min(extent.end, storage.size))
        there = Extent(extent.offset, end - extent.offset)
        return cls(storage.name, there, what, sha256_of(storage, there))

    def describe(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "file": self.file,
            "offset": self.extent.offset,
            "size": self.extent.size,
            "what": self.what,
            "sha256": self.sha256,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One header that could be the volume's.

    ``view`` shows the volume as it lies there, from its first byte on; ``plan`` makes the header
    good in it. ``base`` is where the volume begins in the image. ``lost`` says what of it could not
    be brought back.
    """

    way: str
    confidence: Confidence
    reasons: tuple[str, ...]
    sources: tuple[Source, ...]
    lost: tuple[str, ...] = ()
    view: Storage
    plan: WritePlan
    header: Header
    material: Mapping[int, str]
    """The SHA-256 of each keyslot's key material, as the plan leaves it."""
    base: int = 0
    data_is_supposed: bool = False
    """Whether where or how the data lies is a guess, to be checked by what it decrypts to."""

    @property
    def metadata(self) -> Metadata:
        """What the header says."""
        return self.header.metadata

    @property
    def rank(self) -> tuple[int, int]:
        """The surest first, then the one that lost least."""
        return _ORDER[self.confidence], len(self.lost)

    def restored(self) -> OverlayStorage:
        """The volume with its header made good; the caller discards the overlay."""
        overlay = OverlayStorage(self.view)
        self.plan.apply(overlay)
        return overlay

    def describe(self) -> dict[str, object]:
        """The same for programs."""
        metadata = self.metadata
        return {
            "way": self.way,
            "confidence": str(self.confidence),
            "reasons": list(self.reasons),
            "format": f"luks{metadata.version}",
            "uuid": metadata.uuid,
            "keyslots": sorted(metadata.keyslots),
            "base": self.base,
            "sources": [each.describe() for each in self.sources],
            "lost": list(self.lost),
            "plan": self.plan.describe(),
        }


def candidate_of(
    view: Storage,
    steps: Iterable[Step],
    *,
    way: str,
    confidence: Confidence,
    reasons: Iterable[str],
    sources: Iterable[Source],
    lost: Iterable[str] = (),
    base: int = 0,
    needs: int = 0,
    data_is_supposed: bool = False,
    material_from: Mapping[int, Storage] | None = None,
) -> Candidate:
    """The candidate that these steps make; LuksError where no reader would take the result.

    ``needs`` is the size that its header must have: a view that ends before gets zeroes.
    ``material_from`` has the storages from which the steps bring the material of keyslots, in the
    same place; that of all others is the view's.
    """
    steps, lost, sources = list(steps), list(lost), list(sources)
    if view.size < needs:
        steps.insert(0, Resize(needs, "room for the header"))
    plan = WritePlan.of(f"recover the header: {way}", steps)
    overlay = OverlayStorage(view)
    try:
        plan.apply(overlay)
        header = read_header(overlay)
        material = {
            keyslot_id: sha256_of(overlay, extent) for keyslot_id, extent in _areas(header.metadata)
        }
    finally:
        overlay.discard()
    brought = material_from or {}
    for keyslot_id, extent in _areas(header.metadata):
        origin = brought.get(keyslot_id, view)
        sources.append(Source.of(origin, extent, f"key material of keyslot {keyslot_id}"))
        if extent.end > origin.size:
            lost.append(f"keyslot {keyslot_id}: {extent} is not all there, {origin.name} ends")
    return Candidate(
        way=way,
        confidence=confidence,
        reasons=tuple(reasons),
        sources=tuple(sources),
        lost=tuple(lost),
        view=view,
        plan=plan,
        header=header,
        material=material,
        base=base,
        data_is_supposed=data_is_supposed,
    )


def changed(
    candidate: Candidate, header: Header, reasons: Iterable[str], lost: Iterable[str] = ()
) -> Candidate:
    """The candidate with another header over the same key material, of which more is known."""
    plan = WritePlan.of(candidate.plan.what, (*candidate.plan.steps, *header.steps()))
    return replace(
        candidate,
        plan=plan,
        header=header,
        reasons=(*candidate.reasons, *reasons),
        lost=(*candidate.lost, *lost),
        data_is_supposed=False,
    )


def made(make: Callable[[], Candidate]) -> Iterator[Candidate]:
    """The candidate, unless no reader would take it."""
    try:
        yield make()
    except (HeaderError, NotLuksError, StorageError):
        return


def ranked(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """The surest first; of those that come to the same, the first."""
    kept: list[Candidate] = []
    for each in sorted(candidates, key=lambda each: each.rank):
        if not any(_identity(each) == _identity(other) for other in kept):
            kept.append(each)
    return tuple(kept)


def _identity(candidate: Candidate) -> tuple[object, ...]:
    """What an owner would notice: not the UUID, where it had to be made up."""
    metadata = replace(candidate.metadata, uuid="", label="", subsystem="")
    return candidate.base, metadata, candidate.material


def _areas(metadata: Metadata) -> Iterator[tuple[int, Extent]]:
    for keyslot_id, keyslot in sorted(metadata.keyslots.items()):
        if isinstance(keyslot, Keyslot):
            yield keyslot_id, material_extent(keyslot)


# --- views ---------------------------------------------------------------------------------------


class ShiftedView(Evidence):
    """The evidence as seen from a volume that begins at ``base`` of it, or before it.

    What lies before the evidence, and what cannot be read of it, is zeroes here.
    """

    def __init__(self, storage: Storage, base: int) -> None:
        super().__init__(storage.name)
        self._storage = storage
        self._base = base

    @property
    def size(self) -> int:
        """Up to the end of the evidence."""
        return max(0, self._storage.size - self._base)

    def _read(self, offset: int, size: int) -> bytes:
        start = offset + self._base
        before = min(size, max(0, -start))
        return bytes(before) + read_what_can(self._storage, start + before, size - before)


def read_what_can(storage: Storage, offset: int, size: int) -> bytes:
    """Bytes of a storage; zeroes for the sectors that cannot be read."""
    if not size:
        return b""
    try:
        return storage.read_at(offset, size)
    except StorageError:
        if size <= _STEP:
            return bytes(size)
    half = max(_STEP, size // 2 // _STEP * _STEP)
    first = read_what_can(storage, offset, half)
    return first + read_what_can(storage, offset + half, size - half)


def first_bytes_of(storage: Storage, size: int) -> bytes:
    """The first ``size`` bytes, as far as there are any; zeroes for what cannot be read."""
    return read_what_can(storage, 0, min(size, storage.size))


def sha256_of(storage: Storage, extent: Extent) -> str:
    """The SHA-256 of bytes, zeroes for those that cannot be read."""
    digest = hashlib.sha256()
    for offset in range(extent.offset, extent.end, _CHUNK):
        digest.update(read_what_can(storage, offset, min(_CHUNK, extent.end - offset)))
    return digest.hexdigest()
