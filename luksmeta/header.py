"""The header of either version, from the first bytes of a device."""

from __future__ import annotations

from luksmeta.errors import NotLuksError, StorageError, errors_about
from luksmeta.luks1.header import Luks1Header
from luksmeta.luks1.partition_header import MAGIC
from luksmeta.luks2.header import Luks2Header
from luksmeta.model import Header
from luksmeta.storage import Storage


def read_header(storage: Storage) -> Header:
    """The header at the start of ``storage``; nothing is written.

    Raises NotLuksError where there is no trace of one, else what is wrong with it. A LUKS2 header
    is also found by its secondary copy alone.
    """
    with errors_about(storage.name):
        if first_bytes(storage, 8) == MAGIC + b"\0\1":
            return Luks1Header.read(storage)
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
