"""Volumes: the façade over headers, keyslots and segments.

A :class:`Volume` is locked and cannot give plaintext; :meth:`Volume.unlock` makes an
:class:`~luksmeta.unlocked_volume.UnlockedVolume`, which can, and which owns the volume key.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import BinaryIO, Final, TypeAlias
from uuid import UUID

from luksmeta import key_management, requirements
from luksmeta.closing import Closing
from luksmeta.errors import KeyslotError, StorageBusyError
from luksmeta.header import read_header
from luksmeta.kdf.pbkdf import Limits
from luksmeta.key_management import HeaderChange
from luksmeta.locking import locked
from luksmeta.model import AnyKeyslot, Header, KeyslotPriority, Metadata
from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.storage import OverlayStorage, Storage, open_storage
from luksmeta.unlocked_volume import UnlockedVolume
from luksmeta.unlocking import open_with_passphrase, open_with_volume_key
from luksmeta.write_plan import Progress, WritePlan

Target: TypeAlias = str | os.PathLike[str] | Storage | BinaryIO
"""A path, a storage, or a seekable binary file object."""

_ATTEMPTS: Final = 10  # at a change while other processes change the same header


class Volume(Closing):
    """A locked volume: its header can be inspected, changed and unlocked.

    ``written`` lists every plan that was applied, in order; ``progress`` is called while one is.
    A context manager: closes its storages, also those that were handed over.
    """

    def __init__(self, header: Header, header_storage: Storage, data_storage: Storage) -> None:
        self.header = header
        self.header_storage = header_storage
        self.data_storage = data_storage
        self.written: list[WritePlan] = []
        self.progress: Progress | None = None

    # --- what it is ---

    @property
    def metadata(self) -> Metadata:
        """What the header says."""
        return self.header.metadata

    @property
    def version(self) -> int:
        """1 or 2."""
        return self.metadata.version

    @property
    def uuid(self) -> str:
        """The UUID, as written in the header."""
        return self.metadata.uuid

    @property
    def label(self) -> str:
        """The label; empty when there is none."""
        return self.metadata.label

    @property
    def keyslots(self) -> Mapping[int, AnyKeyslot]:
        """The keyslots in use, by id, in the order of trying."""
        return self.metadata.keyslots

    @property
    def is_detached(self) -> bool:
        """Whether the header lies in another file than the data."""
        return self.header_storage is not self.data_storage

    # --- unlocking ---

    def unlock(
        self,
        passphrase: BytesLike | SecretBytes | None = None,
        *,
        keyslot: int | None = None,
        volume_key: BytesLike | SecretBytes | None = None,
        limits: Limits | None = None,
    ) -> UnlockedVolume:
        """Unlock with a passphrase, or with the volume key itself.

        Keyslots are tried by priority; ``keyslot`` names the only one to try, also an unbound one.
        Raises PassphraseError (``tried`` says which), VolumeKeyError, RequirementError,
        ResourceLimitError when a KDF costs more than ``limits`` allow, AlgorithmError.
        """
        if (passphrase is None) == (volume_key is None):
            raise TypeError("unlock takes either a passphrase or a volume key")
        requirements.allow_unlocking(self.metadata)
        if volume_key is not None:
            keys = open_with_volume_key(self.metadata, volume_key, limits)
        elif passphrase is not None:
            keys = open_with_passphrase(
                self.metadata, self.header_storage, passphrase, keyslot, limits
            )
        return UnlockedVolume(self, keys)

    # --- changes that need no key ---

    def remove_keyslot(self, keyslot: int, *, allow_last: bool = False) -> None:
        """Remove a keyslot and wipe its area.

        Raises KeyslotNotFoundError, and KeyslotError when nothing would open the volume afterwards,
        unless ``allow_last``.
        """
        requirements.allow_removal(self.metadata)

        def removed(header: Header) -> list[HeaderChange]:
            change = key_management.remove(header, keyslot)
            if header.metadata.bound_keyslots == (keyslot,) and not allow_last:
                raise KeyslotError(
                    f"keyslot {keyslot}: the last one that opens the volume; allow_last is needed"
                )
            return [change]

        self.change(removed)

    def erase(self) -> None:
        """Remove every keyslot that opens the volume; only a header backup brings one back."""
        requirements.allow_removal(self.metadata)
        self.change(key_management.erase)

    def configure(
        self,
        *,
        uuid: str | None = None,
        label: str | None = None,
        subsystem: str | None = None,
        flags: tuple[str, ...] | None = None,
    ) -> None:
        """Set what is not None; ``flags`` replaces all persistent flags.

        Raises UnsupportedError for what LUKS1 has no place for, ValueError for a label too long and
        for a malformed UUID.
        """
        requirements.allow_changes(self.metadata)

        def configured(header: Header) -> list[HeaderChange]:
            metadata = header.metadata
            if uuid is not None:
                metadata = replace(metadata, uuid=str(UUID(uuid)))
            if label is not None:
                metadata = replace(metadata, label=label)
            if subsystem is not None:
                metadata = replace(metadata, subsystem=subsystem)
            if flags is not None:
                metadata = replace(metadata, config=replace(metadata.config, flags=flags))
            return [key_management.reword(header, metadata, "configure the header")]

        self.change(configured)

    def set_priority(self, keyslot: int, priority: KeyslotPriority | str) -> None:
        """Set when a keyslot is tried: ``ignore``, ``normal`` or ``high`` (``prefer``)."""
        requirements.allow_changes(self.metadata)
        wanted = KeyslotPriority.named(priority)

        def prioritised(header: Header) -> list[HeaderChange]:
            value = None if wanted is KeyslotPriority.NORMAL else wanted
            changed = replace(header.metadata.keyslot(keyslot), priority=value)
            keyslots = {**header.metadata.keyslots, keyslot: changed}
            metadata = replace(header.metadata, keyslots=keyslots)
            return [key_management.reword(header, metadata, f"priority of keyslot {keyslot}")]

        self.change(prioritised)

    # --- applying changes ---

    def change(self, compute: Callable[[Header], list[HeaderChange]]) -> None:
        """Apply what ``compute`` makes of the header; again when another process was faster.

        StorageBusyError when others always were, or when they put another volume there.
        """
        for _ in range(_ATTEMPTS):
            changes = compute(self.header)
            with locked(self.header_storage, exclusive=True):
                if self.header.is_current(self.header_storage):
                    self.apply(changes)
                    return
            self._reload()
        raise StorageBusyError(
            f"{self.header_storage.name}: other processes changed the header {_ATTEMPTS} times"
        )

    def apply(self, changes: list[HeaderChange]) -> None:
        """Write ``changes`` in order; after a StorageError the header is the last whole one's."""
        for change in changes:
            change.plan.apply(self.header_storage, self.progress)
            self.header = change.header
            self.written.append(change.plan)

    def _reload(self) -> None:
        with locked(self.header_storage, exclusive=False):
            header = read_header(self.header_storage)
        old, new = self.metadata, header.metadata
        if (old.version, old.uuid, old.segments) != (new.version, new.uuid, new.segments):
            raise StorageBusyError(
                f"{self.header_storage.name}: another process has put another volume there"
            )
        self.header = header

    def close(self) -> None:
        """Close the files; harmless when repeated."""
        self.header_storage.close()
        self.data_storage.close()

    def __repr__(self) -> str:
        return f"<Volume luks{self.version} uuid={self.uuid} {self.data_storage.name}>"


def open(  # luksmeta.open, as in the standard library's own modules
    target: Target, *, header: Target | None = None, writable: bool = False, dry_run: bool = False
) -> Volume:
    """Open a volume; with ``header``, its header lies there and ``target`` holds the data alone.

    Nothing is written, whatever state the header is in. With ``dry_run`` later changes go to memory
    only, and ``Volume.written`` shows them. Raises NotLuksError, HeaderError, StorageError.
    """
    write = writable and not dry_run
    data_storage = open_storage(target, writable=write)
    try:
        header_storage = open_storage(header, writable=write) if header else data_storage
        try:
            with locked(header_storage, exclusive=False):
                parsed = read_header(header_storage)
        except BaseException:
            header_storage.close()
            raise
    except BaseException:
        data_storage.close()
        raise
    if dry_run:
        data_storage, header_storage = overlaid(data_storage, header_storage)
    return Volume(parsed, header_storage, data_storage)


def overlaid(data_storage: Storage, header_storage: Storage) -> tuple[Storage, Storage]:
    """Overlays of both; one overlay where both are the same storage."""
    data = OverlayStorage(data_storage)
    return data, data if header_storage is data_storage else OverlayStorage(header_storage)
