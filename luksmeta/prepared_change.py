"""A change of a header that is computed and shown first, and then written to that very header.

Where something is lost with it, the bytes that were there are first kept in a new file, header and
keyslot areas as they lie: what :func:`luksmeta.backup.restore` takes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Self

from luksmeta.errors import StorageBusyError, StorageError
from luksmeta.extents import Extent
from luksmeta.file_storage import new_file
from luksmeta.header import Header
from luksmeta.locking import locked
from luksmeta.luks1.partition_header import WRITTEN_SIZE
from luksmeta.storage import Storage
from luksmeta.write_plan import Copy, WritePlan

FILE_MODE: Final = 0o400
_CHUNK: Final = 4096  # bytes


@dataclass(frozen=True, slots=True)
class PreparedChange:
    """Plans for the header that was looked at; its first ``copy_size`` bytes can be kept."""

    plans: tuple[WritePlan, ...]
    copy_size: int
    _header_size: int
    _seen: bytes

    @classmethod
    def of(cls, storage: Storage, plans: Iterable[WritePlan], *headers: Header) -> Self:
        """Plans that were computed from ``storage``, which the caller has locked.

        ``headers`` are those that lie there, or will.
        """
        plans = tuple(plans)
        header_size = max(header_end(each) for each in headers)
        ends = [each.backup_size for each in headers] + [plan.end for plan in plans]
        seen = _fingerprint(storage, header_size)
        return cls(plans, min(max(ends), storage.size), header_size, seen)

    def copy_plan(self, storage: Storage) -> WritePlan:
        """What is written into the file that keeps the present header."""
        return copy_plan(storage, self.copy_size, "header and keyslot areas, as they are")

    @contextmanager
    def begun(
        self, storage: Storage, copy_file: str | os.PathLike[str] | None = None
    ) -> Iterator[None]:
        """In the block the header is locked, the same as before, and kept in the new ``copy_file``.

        Raises StorageBusyError when that file is there, or the header no longer what it was.
        """
        with locked(storage, exclusive=True):
            if _fingerprint(storage, self._header_size) != self._seen:
                raise StorageBusyError("another process has changed the header").about(storage.name)
            if copy_file is not None:
                write_copy(copy_file, self.copy_size, self.copy_plan(storage))
            yield

    def apply(self, storage: Storage, copy_file: str | os.PathLike[str] | None = None) -> None:
        """Write the plans; raises what :meth:`begun` does, and StorageError."""
        with self.begun(storage, copy_file):
            for plan in self.plans:
                plan.apply(storage)


def header_end(header: Header) -> int:
    """How many bytes from the start all copies of a header take."""
    is_luks1 = header.metadata.version == 1
    return WRITTEN_SIZE if is_luks1 else header.metadata.keyslots_area.offset


def copy_plan(source: Storage, size: int, what: str) -> WritePlan:
    """The first ``size`` bytes of ``source``, as far as it goes."""
    copy = Copy(source, Extent(0, min(size, source.size)), what)
    return WritePlan.of("back up the header", [copy])


def write_copy(path: str | os.PathLike[str], size: int, plan: WritePlan) -> None:
    """Carry ``plan`` out on a new file of ``size`` bytes, which only its owner may read.

    Raises StorageBusyError when the file is already there; nothing half-written stays behind.
    """
    with new_file(path, mode=FILE_MODE) as file:
        file.resize(size)
        plan.apply(file)


def _fingerprint(storage: Storage, size: int) -> bytes:
    """Of the first bytes; what cannot be read is the same as long as it cannot."""
    digest = hashlib.sha256()
    for offset in range(0, min(size, storage.size), _CHUNK):
        try:
            digest.update(storage.read_at(offset, min(_CHUNK, storage.size - offset)))
        except StorageError:
            digest.update(b"unreadable")
    return digest.digest()
