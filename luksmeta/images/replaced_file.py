"""A file that gets its name only when it is complete."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TypeAlias

from luksmeta.data_lock import data_in_use
from luksmeta.errors import UnsupportedError
from luksmeta.file_storage import FileStorage, flush_directory
from luksmeta.system_errors import storage_error

Guard: TypeAlias = Callable[[str], AbstractContextManager[object]]
"""Gets the name of an incomplete file, and knows it until its block is left."""


@contextmanager
def replaced_file(
    path: str | os.PathLike[str], guard: Guard = nullcontext
) -> Iterator[FileStorage]:
    """An empty file of mode 0600 beside ``path``, which gets that name at the block's end.

    Until then, and where the block raises, ``path`` is as it was: not there, or an old file with
    its content. A link stays one. Messages about the file name ``path``. Raises StorageError;
    UnsupportedError where ``path`` is no regular file, since a device cannot be replaced;
    StorageBusyError where somebody works with the old file's data, who would go on in a file
    without a name.
    """
    name = os.fspath(path)
    final = Path(name).resolve()
    if final.exists() and not final.is_file():
        raise UnsupportedError(
            f"{name}: a whole image goes to a file, not to a device or directory"
        )
    try:
        with _not_in_use(final, name), _guarded_name(final, guard) as temporary:
            try:
                yield from _written(temporary, name)
                Path(temporary).replace(final)
                flush_directory(final)
            except BaseException:
                with suppress(OSError):
                    Path(temporary).unlink()
                raise
    except OSError as error:
        raise storage_error(error).about(name) from error


@contextmanager
def _not_in_use(final: Path, name: str) -> Iterator[None]:
    """Nobody else works with the old file's data, if there is one, until the block is left."""
    if not final.exists():
        yield
        return
    with FileStorage(final) as old:
        old.name = name
        with data_in_use(old, writable=True):
            yield


@contextmanager
def _guarded_name(final: Path, guard: Guard) -> Iterator[str]:
    temporary = _new_name(final)
    with guard(temporary):
        yield temporary


def _new_name(final: Path) -> str:
    descriptor, temporary = tempfile.mkstemp(dir=final.parent, prefix=".luksmeta.")
    os.close(descriptor)
    return temporary


def _written(temporary: str, name: str) -> Iterator[FileStorage]:
    with FileStorage(temporary, writable=True) as storage:
        storage.name = name
        yield storage
        storage.flush()
