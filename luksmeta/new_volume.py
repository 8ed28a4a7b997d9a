"""``luksmeta.format``: a new volume in a file, a device, or what else a storage is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypedDict, Unpack

from luksmeta import formatting
from luksmeta.errors import LuksError, StorageError
from luksmeta.formatting import FormatOptions, Version
from luksmeta.kdf.pbkdf import Pbkdf
from luksmeta.locking import locked
from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.sizes import parse_size
from luksmeta.storage import (
    FileStorage,
    MemoryStorage,
    OverlayStorage,
    Storage,
    open_storage,
)
from luksmeta.volume import Target, Volume
from luksmeta.write_plan import Progress


class FormatKeywords(TypedDict, total=False):
    """The fields of :class:`~luksmeta.formatting.FormatOptions`, as keywords."""

    type: Version
    cipher: str
    key_size: int | None
    hash: str
    pbkdf: Pbkdf | None
    digest_iterations: int | None
    sector_size: int | None
    uuid: str | None
    label: str
    subsystem: str
    data_offset: int | None
    metadata_size: int | None
    keyslots_size: int | None
    keyslot: int
    keyslot_cipher: str | None
    keyslot_key_size: int | None


def format(  # noqa: A001  # luksmeta.format, the verb of luksFormat
    target: Target,
    passphrase: BytesLike | SecretBytes,
    *,
    size: int | str | None = None,
    header: Target | None = None,
    volume_key: BytesLike | SecretBytes | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
    **options: Unpack[FormatKeywords],
) -> Volume:
    """Write a new LUKS volume over ``target``, without asking, and give it back opened for writing.

    ``size`` (bytes, or text like ``"64M"``) first creates the file or extends it, sparse. With
    ``header`` the header goes there and ``target`` is left for the data. The keyslot's key is
    derived before the first byte is written; when writing fails, a file that was created is removed
    and one that was extended is cut back.

    Raises ValueError and UnsupportedError for options that make no sense, AlgorithmError,
    StorageError.
    """
    chosen = FormatOptions(**options)
    wanted = parse_size(size) if isinstance(size, str) else size
    with ExitStack() as stack:
        key = None if volume_key is None else stack.enter_context(SecretBytes(volume_key))
        data_storage = stack.enter_context(
            _undone_on_error(target, size=wanted, create=wanted is not None, dry_run=dry_run)
        )
        header_storage = data_storage
        if header is not None:
            header_storage = stack.enter_context(
                _undone_on_error(header, size=None, create=True, dry_run=dry_run)
            )
        changes = formatting.create(passphrase, key, header_storage, data_storage, chosen)
        volume = Volume(changes[0].header, header_storage, data_storage)
        volume.progress = progress
        with locked(header_storage, exclusive=True):
            volume.apply(changes)
    return volume


@contextmanager
def _undone_on_error(
    target: Target, *, size: int | None, create: bool, dry_run: bool
) -> Iterator[Storage]:
    """The storage for a new volume; what was created or extended for it goes when it fails."""
    created = isinstance(target, str | os.PathLike) and not Path(target).exists()
    if created and not create:
        raise StorageError(f"{os.fspath(target)}: no such file; a size creates it")  # type: ignore[arg-type]  # a path, since it was created
    storage = _storage(target, created=created, dry_run=dry_run)
    before = storage.size
    try:
        if size is not None:
            _extend(storage, size)
        yield storage
    except BaseException:
        with suppress(LuksError):
            if storage.writable and storage.size > before:
                storage.resize(before)
        storage.close()
        if created and not dry_run:
            Path(storage.name).unlink()
        raise


def _storage(target: Target, *, created: bool, dry_run: bool) -> Storage:
    if not isinstance(target, str | os.PathLike):
        storage = open_storage(target)
        return OverlayStorage(storage) if dry_run else storage
    if not created:
        if dry_run:
            return OverlayStorage(FileStorage(target))
        return FileStorage(target, writable=True, exclusive=True)
    if dry_run:
        return OverlayStorage(MemoryStorage(name=os.fspath(target)))
    return FileStorage.create(target)


def _extend(storage: Storage, size: int) -> None:
    if storage.size > size:
        raise ValueError(f"{storage.name}: has {storage.size} bytes, more than the size {size}")
    storage.resize(size)
