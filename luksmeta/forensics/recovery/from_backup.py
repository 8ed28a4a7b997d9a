"""A header backup of another size or age, put together with what is left on the device.

A keyslot needs its entry in the header and its key material; either may come from the backup or
from the device. A volume key does not change with passphrases, so that an old backup opens the
volume with the passphrases of its day, unless the volume was reencrypted since then: the digest
tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from luksmeta.extents import Extent
from luksmeta.forensics.randomness import StepState, runs_of
from luksmeta.forensics.recovery import from_luks1, from_luks2
from luksmeta.forensics.recovery.candidates import (
    Candidate,
    Confidence,
    ShiftedView,
    candidate_of,
    made,
    ranked,
)
from luksmeta.forensics.regions import material_extent
from luksmeta.model import AnyKeyslot, Keyslot, Metadata, Pbkdf2Digest
from luksmeta.prepared_change import header_end
from luksmeta.storage import Storage
from luksmeta.write_plan import Step, Write

_TRIED: Final = 4  # possible headers, of the backup and of the image


def candidates(
    storage: Storage, backup: Storage, on_image: Iterable[Candidate]
) -> Iterator[Candidate]:
    """What the backup gives alone and together with the image, and what it gives to the image's."""
    on_image = tuple(on_image)[:_TRIED]
    in_backup = ranked((*from_luks2.candidates(backup), *from_luks1.candidates(backup)))[:_TRIED]
    for each in in_backup:
        pair = _Pair(storage, each, backup)
        for mixture in pair.mixtures():
            yield from made(partial(_from_backup, pair, mixture, on_image))
        for other in on_image:
            yield from made(partial(_with_material, pair, other))


@dataclass(frozen=True, slots=True)
class _Pair:
    """An image and a header in a backup."""

    image: Storage
    header: Candidate
    backup: Storage

    def mixtures(self) -> Iterator[dict[int, Storage]]:
        """Where the material of each keyslot may come from, the best first."""
        keyslots = _material(self.header.metadata)
        every = dict.fromkeys(keyslots, self.backup)
        better = {
            each: origin
            for each, at in keyslots.items()
            if (origin := self._better(at)) is not None
        }
        yield {**every, **better}
        yield every
        yield {}

    def _better(self, extent: Extent) -> Storage | None:
        """The image, where it alone looks whole."""
        if _looks_whole(self.image, extent) and not _looks_whole(self.backup, extent):
            return self.image
        return None


def _from_backup(
    pair: _Pair, mixture: Mapping[int, Storage], on_image: tuple[Candidate, ...]
) -> Candidate:
    header = pair.header
    restored = header.restored()
    try:
        end = header_end(header.header)
        steps: list[Step] = [Write(0, restored.read_at(0, end), "header of the backup")]
        steps += _material_steps(restored, header.metadata, mixture, pair.backup)
    finally:
        restored.discard()
    from_backup = {each: origin for each, origin in mixture.items() if origin is pair.backup}
    agrees = _agreement(header.metadata, on_image)
    return candidate_of(
        ShiftedView(pair.image, 0),
        steps,
        way=f"header backup, key material {_origin(header.metadata, from_backup)}",
        confidence=Confidence.LIKELY if agrees is not False else Confidence.POSSIBLE,
        reasons=(*(f"backup: {each}" for each in header.reasons), _said(agrees)),
        sources=[source for source in header.sources if not source.what.startswith("key material")],
        lost=header.lost if from_backup else (),
        needs=header.metadata.keyslots_area.end,
        material_from=from_backup,
    )


def _with_material(pair: _Pair, other: Candidate) -> Candidate:
    """The header of the image, with material that is damaged there and whole in the backup."""
    brought = {
        keyslot_id: pair.backup
        for keyslot_id, extent in _material(other.metadata).items()
        if _is_same(
            other.metadata.keyslots[keyslot_id], pair.header.metadata.keyslots.get(keyslot_id)
        )
        and not _looks_whole(other.view, extent)
        and _looks_whole(pair.backup, extent)
    }
    steps = [
        *other.plan.steps,
        *_material_steps(pair.backup, other.metadata, brought, pair.backup),
    ]
    return candidate_of(
        other.view,
        steps,
        way=f"{other.way}, key material of keyslots {_ids(brought)} from the backup",
        confidence=other.confidence,
        reasons=(*other.reasons, "the same keyslot with the same salt is in the backup"),
        sources=[s for s in other.sources if not s.what.startswith("key material")],
        base=other.base,
        needs=other.metadata.keyslots_area.end,
        material_from=brought,
    )


def _material(metadata: Metadata) -> dict[int, Extent]:
    return {
        keyslot_id: material_extent(keyslot)
        for keyslot_id, keyslot in metadata.keyslots.items()
        if isinstance(keyslot, Keyslot)
    }


def _material_steps(
    source: Storage, metadata: Metadata, mixture: Mapping[int, Storage], backup: Storage
) -> Iterator[Step]:
    for keyslot_id, extent in _material(metadata).items():
        if mixture.get(keyslot_id) is backup and extent.offset < source.size:
            size = min(extent.size, source.size - extent.offset)
            data = source.read_at(extent.offset, size)
            yield Write(extent.offset, data, f"key material of keyslot {keyslot_id}, backup")


def _looks_whole(storage: Storage, extent: Extent) -> bool:
    if extent.end > storage.size:
        return False
    return all(run.state is StepState.RANDOM for run in runs_of(storage, extent))


def _is_same(one: AnyKeyslot, other: AnyKeyslot | None) -> bool:
    return isinstance(one, Keyslot) and isinstance(other, Keyslot) and one.salt == other.salt


def _agreement(metadata: Metadata, on_image: tuple[Candidate, ...]) -> bool | None:
    """Whether the volume key is that of a header on the image; None where there is none."""
    there = {each for other in on_image for each in _digests(other.metadata)}
    return bool(there & set(_digests(metadata))) if there else None


def _digests(metadata: Metadata) -> Iterator[tuple[bytes, bytes]]:
    for digest in metadata.digests.values():
        if isinstance(digest, Pbkdf2Digest) and digest.segments:
            yield digest.salt, digest.digest


def _said(agrees: bool | None) -> str:
    if agrees is None:
        return "nothing on the image tells whether the volume key is still that of the backup"
    if agrees:
        return "its digest is the one on the image: the volume key is the same"
    return "its digest is another than on the image: reencrypted since then, or another volume"


def _origin(metadata: Metadata, from_backup: Mapping[int, Storage]) -> str:
    every = _material(metadata)
    if len(from_backup) == len(every):
        return "too"
    return f"of keyslots {_ids(from_backup)}" if from_backup else "from the image"


def _ids(keyslots: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(keyslots))) or "none"
