"""The libraries of the ``[forensics]`` extra, imported when they are needed.

dissect.volume and dissect.hypervisor parse what a hostile disk says, and tell of trouble by
exceptions of every kind, the parser's own and Python's. They get file objects of ours and never a
path: what they read is in the log, and an image cannot make them open another file.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from luksmeta.errors import LuksError, MissingExtraError, StorageError
from luksmeta.storage import Storage

_READ_MAX: Final = 64 << 20  # what is asked for at once beyond this is a damaged or hostile number


def module(name: str, purpose: str) -> Any:  # noqa: ANN401  # these libraries carry no types
    """A module of dissect; MissingExtraError that says what it is needed for."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = ".".join(name.split(".")[:2])
        raise MissingExtraError(
            f"{purpose} takes {package}, of the extra luksmeta[forensics]"
        ).advise("pip install 'luksmeta[forensics]'") from error


@contextmanager
def parsing(name: str, what: str) -> Iterator[None]:
    """StorageError about ``name`` instead of whatever a parser raises."""
    try:
        yield
    except LuksError as error:
        error.about(name)
        raise
    except Exception as error:  # parsers of hostile bytes, see above
        text = str(error) or f"cannot be parsed ({type(error).__name__})"
        raise StorageError(f"{what}: {text}").about(name) from error


class StorageFile(io.RawIOBase):
    """A storage as the file object that dissect reads."""

    def __init__(self, storage: Storage) -> None:
        super().__init__()
        self._storage = storage
        self._position = 0

    def readable(self) -> bool:
        """Yes; and nothing else."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """The position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move the position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._storage.size}
        self._position = max(0, base[whence] + offset)
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes, as many as there are; StorageError for an absurd number."""
        left = max(0, self._storage.size - self._position)
        size = left if size is None or size < 0 else min(size, left)
        if size > _READ_MAX:
            raise StorageError(f"{size} bytes at once, {_READ_MAX} are most").about(
                self._storage.name
            )
        if size == 0:
            return b""
        data = self._storage.read_at(self._position, size)
        self._position += size
        return data
