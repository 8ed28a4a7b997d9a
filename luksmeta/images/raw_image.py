"""Plaintext that lies in a file or on a device as it is, with the interface of a volume's."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

from luksmeta.closing import Closing
from luksmeta.data_lock import data_in_use
from luksmeta.errors import StorageBusyError
from luksmeta.file_storage import FileStorage
from luksmeta.locking import locked
from luksmeta.model import SECTOR_SIZE
from luksmeta.storage import Storage
from luksmeta.target import Target, open_storage

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class Plaintext(Protocol):
    """What an encrypted image is made of: a :class:`RawImage`, or the stream of an open volume."""

    @property
    def size(self) -> int:
        """The number of bytes."""

    @property
    def sector_size(self) -> int:
        """The bytes of the largest sectors that a kernel may show this with.

        It mounts no file system whose blocks are smaller, and finds no partition in other units.
        """

    def read_into_at(self, offset: int, buffer: WriteableBuffer) -> None:
        """Fill all of ``buffer`` from ``offset`` on."""


class RawImage(Closing):
    """An image without encryption, opened read-only and locked against programs that respect that.

    ``sector_size`` is 512 where nothing is known of the blocks in it. Raises StorageError;
    StorageBusyError where the content may change at any moment: for a device that is mounted, and
    for a file whose data is in use for writing. A file that changes all the same fails the read.
    """

    def __init__(self, target: Target, *, sector_size: int = SECTOR_SIZE) -> None:
        self.sector_size = sector_size
        self.storage = _opened(target)
        self._stack = ExitStack()
        self._stack.callback(self.storage.close)
        with ExitStack() as undone:
            undone.callback(self._stack.close)
            self._stack.enter_context(data_in_use(self.storage, writable=False))
            self._stack.enter_context(locked(self.storage, exclusive=False))
            undone.pop_all()
        self._size = self.storage.size
        self._changed_at = self._last_change()

    @property
    def size(self) -> int:
        """The number of bytes when it was opened."""
        return self._size

    def read_into_at(self, offset: int, buffer: WriteableBuffer) -> None:
        """Fill all of ``buffer`` from ``offset`` on; StorageError where there is less.

        StorageBusyError where the file was written since it was opened: half of it would be old,
        half new.
        """
        self.storage.read_into(offset, memoryview(buffer).cast("B"))
        if self._last_change() != self._changed_at:
            raise (
                StorageBusyError("was written while it was read")
                .about(self.storage.name)
                .advise("try again when nothing writes it any more")
            )

    def _last_change(self) -> int | None:
        """In nanoseconds; None where nobody keeps it, as for devices."""
        if not isinstance(self.storage, FileStorage) or not self.storage.is_regular:
            return None
        return os.fstat(self.storage.fileno()).st_mtime_ns

    def close(self) -> None:
        """Unlock and close the file; harmless when repeated."""
        self._stack.close()


def _opened(target: Target) -> Storage:
    if isinstance(target, Storage) or hasattr(target, "read"):
        return open_storage(target)
    return FileStorage(target, exclusive=True)
