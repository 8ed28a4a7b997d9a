"""One piece of evidence: everything that a report shows of it, read once, and what was read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from luksmeta.errors import LuksError, StorageError
from luksmeta.extents import Extent
from luksmeta.forensics.containers import open_evidence
from luksmeta.forensics.inspector import Inspection, inspect_storage
from luksmeta.forensics.read_log import ReadLog
from luksmeta.forensics.report.excerpts import Excerpt, excerpts_of
from luksmeta.forensics.report.findings import Finding, findings_of
from luksmeta.forensics.report.reads import KeptReads, Read
from luksmeta.forensics.report.steps import StepMap, step_maps
from luksmeta.forensics.report.verdict import Verdict, kind_of, uuid_of, verdict_of
from luksmeta.locking import locked
from luksmeta.storage import Storage

Progress = Callable[[int, int], None]

_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class HashedPart:
    """A range of the header's file; ``sha256`` is None where it cannot be read."""

    name: str
    extent: Extent
    sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibit:
    """A volume as it was found; ``whole_sha256`` is None where it was not asked for."""

    image: str
    header: str | None
    data_size: int
    inspection: Inspection
    verdict: Verdict
    findings: tuple[Finding, ...]
    parts: tuple[HashedPart, ...]
    excerpts: tuple[Excerpt, ...]
    heat: tuple[StepMap, ...]
    whole_sha256: str | None
    reads: tuple[Read, ...]

    def describe(self) -> dict[str, object]:
        """The findings for programs, and by which hash the file is known."""
        return {
            "image": self.image,
            "header": self.header,
            "size": self.data_size,
            "sha256": self.whole_sha256,
            "format": kind_of(self.inspection),
            "uuid": uuid_of(self.inspection),
            "verdict": self.verdict.describe(),
            "findings": [each.describe() for each in self.findings],
            "parts": [
                {
                    "name": each.name,
                    "offset": each.extent.offset,
                    "size": each.extent.size,
                    "sha256": each.sha256,
                }
                for each in self.parts
            ],
        }


@dataclass(frozen=True, slots=True)
class Failure:
    """A file of which nothing could be read, and why."""

    image: str
    error: LuksError

    def describe(self) -> dict[str, object]:
        """The same for programs."""
        return {"image": self.image, "error": self.error.text}


def examine_evidence(
    image: str | os.PathLike[str],
    header: str | os.PathLike[str] | None = None,
    *,
    hash_image: bool = False,
    read_log: ReadLog | None = None,
    progress: Progress | None = None,
) -> Exhibit:
    """Read a volume for a report; with ``header`` its header lies there.

    ``hash_image`` reads all of ``image`` for its SHA-256, of which ``progress`` hears bytes done
    and to do. Raises StorageError where a file cannot be opened, or not be read for that.
    """
    reads = KeptReads(read_log)
    names = os.fspath(image), None if header is None else os.fspath(header)
    with ExitStack() as stack:
        opened = [stack.enter_context(open_evidence(name, reads).storage) for name in names if name]
        data, storage = opened[0], opened[-1]
        stack.enter_context(locked(storage, exclusive=False))
        exhibit = examine_storage(storage, data, names)
        if hash_image:
            whole = sha256_of(data, Extent(0, data.size), progress)
            exhibit = replace(exhibit, whole_sha256=whole)
    return replace(exhibit, reads=reads.runs())


def examine_storage(
    storage: Storage,
    data: Storage,
    names: tuple[str, str | None],
) -> Exhibit:
    """The same for open storages, whose reads are not kept; ``names`` are of image and header."""
    inspection = inspect_storage(storage, data)
    return Exhibit(
        image=names[0],
        header=names[1],
        data_size=data.size,
        inspection=inspection,
        verdict=verdict_of(inspection),
        findings=findings_of(inspection),
        parts=tuple(_hashed(storage, inspection)),
        excerpts=tuple(excerpts_of(storage, inspection)),
        heat=tuple(step_maps(storage, inspection.regions)),
        whole_sha256=None,
        reads=(),
    )


def sha256_of(storage: Storage, extent: Extent, progress: Progress | None = None) -> str:
    """The SHA-256 of a range, in hex; StorageError."""
    digest = hashlib.sha256()
    for at in range(extent.offset, extent.end, _CHUNK):
        digest.update(storage.read_at(at, min(_CHUNK, extent.end - at)))
        if progress is not None:
            progress(min(at + _CHUNK, extent.end) - extent.offset, extent.size)
    return digest.hexdigest()


def base_name(exhibit: Exhibit) -> str:
    """The name of the file alone."""
    return Path(exhibit.image).name or exhibit.image


def _hashed(storage: Storage, inspection: Inspection) -> Iterator[HashedPart]:
    """Each copy of the header as a whole, then every region of the map."""
    for copy in inspection.copies:
        extent = Extent(copy.offset, min(copy.hdr_size, storage.size - copy.offset))
        yield HashedPart(f"{copy.copy} copy, all of it", extent, copy.sha256)
    for region in inspection.regions:
        extent = Extent(region.place.extent.offset, region.examined)
        try:
            yield HashedPart(region.place.name, extent, sha256_of(storage, extent))
        except StorageError:
            yield HashedPart(region.place.name, extent, None)
