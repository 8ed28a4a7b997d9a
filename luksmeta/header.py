"""A header of either version: what it offers, and how it is read from a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from luksmeta.errors import NotLuksError, StorageError, errors_about
from luksmeta.extents import Extent
from luksmeta.header_copies import CopyState, HeaderCopy
from luksmeta.luks1.partition_header import MAGIC
from luksmeta.model import Metadata, OddKeyslot
from luksmeta.storage import Storage
from luksmeta.write_plan import Step


class Header(Protocol):
    """A header of either version, as volumes and key management use it."""

    @property
    def metadata(self) -> Metadata:
        """What the header says."""
        ...

    @property
    def copies(self) -> tuple[CopyState, ...]:
        """The copies on the device; LUKS1 has only a primary one."""
        ...

    @property
    def served_by(self) -> HeaderCopy:
        """The copy that is believed."""
        ...

    @property
    def keyslot_ids(self) -> range:
        """The ids that a keyslot can have."""
        ...

    @property
    def token_ids(self) -> range:
        """The ids that a new token can have; none in LUKS1."""
        ...

    @property
    def backup_size(self) -> int:
        """How many bytes from the device's start hold the header and all keyslot areas."""
        ...

    @property
    def taken_keyslots(self) -> frozenset[int]:
        """The ids that a new keyslot cannot have, because something is there."""
        ...

    @property
    def odd_keyslots(self) -> Mapping[int, OddKeyslot]:
        """Keyslots of LUKS1 that are neither in use nor free: a key may still be in there."""
        ...

    def place_area(self, keyslot_id: int, key_size: int) -> Extent:
        """Where the area of a new keyslot for a key of ``key_size`` bytes goes.

        Raises KeyslotsAreaFullError when there is no room.
        """
        ...

    def updated(self, metadata: Metadata) -> Header:
        """The successor of this header that says ``metadata``; MetadataError when it may not."""
        ...

    def steps(self) -> tuple[Step, ...]:
        """The writes that put this header on a device, barriers included."""
        ...

    def is_current(self, storage: Storage) -> bool:
        """Whether the device still holds this header, and not one that another process wrote."""
        ...


def read_header(storage: Storage) -> Header:
    """The header at the start of ``storage``; nothing is written.

    Raises NotLuksError where there is no trace of one, else what is wrong with it. A LUKS2 header
    is also found by its secondary copy alone.
    """
    with errors_about(storage.name):  # each version is imported where there is one: 4 and 8 ms
        if first_bytes(storage, 8) == MAGIC + b"\0\1":
            from luksmeta.luks1.header import Luks1Header

            return Luks1Header.read(storage)
        from luksmeta.luks2.header import Luks2Header

        try:
            return Luks2Header.read(storage)
        except NotLuksError:
            raise NotLuksError("not a LUKS volume") from None


def first_bytes(storage: Storage, size: int) -> bytes:
    """The first ``size`` bytes, fewer where there are no more; none where they cannot be read.

    A header's secondary copy may be good all the same.
    """
    try:
        return storage.read_at(0, min(size, storage.size))
    except StorageError:
        return b""
