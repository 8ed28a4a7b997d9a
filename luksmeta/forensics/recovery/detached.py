"""A candidate as files: a detached header that fits the image, or a repaired copy of it all."""

from __future__ import annotations

import os
from typing import Final

from luksmeta.errors import HeaderError, UnsupportedError
from luksmeta.extents import Extent
from luksmeta.file_storage import new_file
from luksmeta.forensics.evidence import data_extents
from luksmeta.forensics.recovery.candidates import Candidate, read_what_can
from luksmeta.forensics.recovery.placing import moved
from luksmeta.header import Header, read_header
from luksmeta.storage import Storage
from luksmeta.write_plan import Progress, WritePlan

_CHUNK: Final = 1 << 20
_MODE: Final = 0o600


def detached_header(candidate: Candidate) -> Header:
    """The header with its segments where they lie in the image, not in the volume."""
    return moved(candidate.header, candidate.base) if candidate.base else candidate.header


def write_detached(
    candidate: Candidate, path: str | os.PathLike[str], *, is_apart: bool = False
) -> int:
    """Header and keyslot areas in a new file of mode 0600, read back; its size in bytes.

    With ``is_apart`` the header was detached before: its data is not in the same image.
    """
    header = candidate.header if is_apart else detached_header(candidate)
    overlay = candidate.restored()
    try:
        if header is not candidate.header:
            WritePlan.of("move the data", header.steps()).apply(overlay)
        with new_file(path, mode=_MODE) as file:
            file.resize(header.backup_size)
            _copy(overlay, Extent(0, min(header.backup_size, overlay.size)), file)
            if read_header(file).metadata != header.metadata:
                raise HeaderError("does not read back as it was written").about(file.name)
    finally:
        overlay.discard()
    return header.backup_size


def write_repaired(
    candidate: Candidate, path: str | os.PathLike[str], progress: Progress | None = None
) -> int:
    """The whole volume with its header made good in a new file; holes stay holes."""
    view, metadata = candidate.view, candidate.metadata
    if 0 < metadata.data_offset < metadata.keyslots_area.end or candidate.plan.end > view.size:
        raise UnsupportedError("this header does not fit before its data: it is a detached one")
    with new_file(path, mode=_MODE) as file:
        file.resize(view.size)
        extents = list(data_extents(view))
        done, total = 0, sum(each.size for each in extents)
        for extent in extents:
            for offset in range(extent.offset, extent.end, _CHUNK):
                size = min(_CHUNK, extent.end - offset)
                _copy(view, Extent(offset, size), file)
                done += size
                if progress is not None:
                    progress(done, total)
        candidate.plan.apply(file)
        file.resize(max(view.size, metadata.keyslots_area.end))
        return file.size


def _copy(source: Storage, extent: Extent, target: Storage) -> None:
    """The bytes, where they are not zeroes: the target is new, and reads as zeroes there."""
    for offset in range(extent.offset, extent.end, _CHUNK):
        size = min(_CHUNK, extent.end - offset)
        data = read_what_can(source, offset, size)
        if data.count(0) != size:
            target.write_at(offset, data)
