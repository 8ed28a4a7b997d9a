"""A header on its device, changed while other processes may change it too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from luksmeta import requirements
from luksmeta.closing import Closing
from luksmeta.errors import (
    HeaderError,
    MetadataError,
    StorageBusyError,
    UnsupportedError,
    errors_about,
)
from luksmeta.header import Header, read_header
from luksmeta.header_change import HeaderChange
from luksmeta.locking import locked
from luksmeta.model import Metadata
from luksmeta.signatures import find_foreign_signatures
from luksmeta.storage import Storage
from luksmeta.trust.terms import Sealer
from luksmeta.write_plan import Progress, WritePlan

_ATTEMPTS: Final = 3  # at a change without the lock, while others change the same header


class StoredHeader(Closing):
    """A header and the storage that it lies in.

    ``written`` lists every plan that was applied, in order; ``progress`` is called while one is.
    ``warn`` is called with a sentence when a change leaves a seal behind that no longer holds;
    ``sealers``, one for each unlocked volume that is open, renew it.
    """

    def __init__(self, header: Header, header_storage: Storage) -> None:
        self.header = header
        self.header_storage = header_storage
        self.written: list[WritePlan] = []
        self.progress: Progress | None = None
        self.warn: Callable[[str], None] | None = None
        self.sealers: list[Sealer] = []

    @property
    def metadata(self) -> Metadata:
        """What the header says."""
        return self.header.metadata

    def change(
        self,
        compute: Callable[[Header], list[HeaderChange]],
        allow: Callable[[Metadata], None] = requirements.allow_changes,
        *,
        keeps_seal: bool = True,
    ) -> None:
        """Apply what ``compute`` makes of the header; again when another process was faster.

        It is computed without the lock, since a key derivation takes long; when others were faster
        each time, at last with it. A seal that held is renewed in the same writes while an unlocked
        volume is open, else ``warn`` is called; with ``keeps_seal`` false ``compute`` sees to it.

        ``allow`` raises RequirementError for a header that must not be changed. Raises HeaderError
        when a header copy is damaged and something else lies there, which writing would destroy;
        JsonAreaFullError and UnsupportedError for what the header has no place for;
        StorageBusyError when another process keeps the lock too long, or has put another volume
        there.
        """
        with errors_about(self.header_storage.name):
            for _ in range(_ATTEMPTS):
                if self._changed_in_time(compute, allow, keeps_seal):
                    return
            with locked(self.header_storage, exclusive=True):
                self._reload()
                changes = self._computed(compute, allow)
                self.apply(self._sealed(changes) if keeps_seal else changes)

    def _changed_in_time(
        self,
        compute: Callable[[Header], list[HeaderChange]],
        allow: Callable[[Metadata], None],
        keeps_seal: bool,
    ) -> bool:
        """Compute without the lock, and apply that unless another process was faster."""
        changes = self._computed(compute, allow)
        with locked(self.header_storage, exclusive=True):
            if self.header.is_current(self.header_storage):
                self.apply(self._sealed(changes) if keeps_seal else changes)
                return True
            self._reload()
            return False

    def _computed(
        self,
        compute: Callable[[Header], list[HeaderChange]],
        allow: Callable[[Metadata], None],
    ) -> list[HeaderChange]:
        """The changes; the present header is not to blame for one that could not be read back."""
        self.require_changeable(allow)
        try:
            return compute(self.header)
        except MetadataError as error:
            raise UnsupportedError(f"the header cannot say that: {error.text}") from error

    def require_changeable(
        self, allow: Callable[[Metadata], None] = requirements.allow_changes
    ) -> None:
        """Raise what :meth:`change` would, as far as it is known before the change is.

        A damaged copy may be somebody's partition table or file system: not written over, as
        cryptsetup asks first (lib/luks2/luks2_disk_metadata.c, ambiguous signatures).
        """
        allow(self.metadata)
        if not any(copy.problem for copy in self.header.copies):
            return
        foreign = find_foreign_signatures(self.header_storage)
        if foreign:
            raise HeaderError(
                f"{', '.join(map(str, foreign))} lies over a header copy and would be destroyed; "
                "nothing was changed"
            ).about(self.header_storage.name)

    def apply(self, changes: list[HeaderChange]) -> None:
        """Write ``changes`` in order; after a StorageError the header is the last whole one's."""
        for change in changes:
            change.plan.apply(self.header_storage, self.progress)
            self.header = change.header
            self.written.append(change.plan)

    def _sealed(self, changes: list[HeaderChange]) -> list[HeaderChange]:
        from luksmeta.trust import sealing  # with the headers of both versions: 8 ms

        return sealing.kept(
            self.header, self.header_storage, changes, sealers=self.sealers, warn=self.warn
        )

    def _reload(self) -> None:
        header = read_header(self.header_storage)
        if _identity(header.metadata) != _identity(self.metadata):
            raise StorageBusyError("another process has put another volume there").advise(None)
        self.header = header


def _identity(metadata: Metadata) -> tuple[object, ...]:
    """What stays through every change of keyslots and settings: the data, and its key's digest."""
    digests = {
        digest_id: replace(digest, keyslots=())
        for digest_id, digest in metadata.digests.items()
        if digest.segments
    }
    return metadata.version, metadata.segments, digests
