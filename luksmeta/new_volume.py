"""``luksmeta.format``: a new volume in a file, a device, or what else a storage is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypedDict, Unpack

from luksmeta import formatting
from luksmeta.data_lock import data_in_use
from luksmeta.disks.parts import split_name
from luksmeta.errors import LuksError, StorageError
from luksmeta.file_storage import FileStorage
from luksmeta.format_options import FormatOptions, Version
from luksmeta.kdf.pbkdf import Pbkdf
from luksmeta.locking import locked
from luksmeta.overlay import OverlayStorage
from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.sizes import counted, parse_size
from luksmeta.storage import MemoryStorage, Storage
from luksmeta.target import Target, is_same_file, open_storage
from luksmeta.volume import Volume
from luksmeta.write_plan import Progress, Resize, WritePlan


class FormatKeywords(TypedDict, total=False):
    """The fields of :class:`~luksmeta.format_options.FormatOptions`, as keywords."""

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


def format(  # luksmeta.format, the verb of luksFormat
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
    StorageError; StorageBusyError where somebody works with the data that is there.
    """
    chosen = FormatOptions(**options)
    data, apart = _places(target, size, header)
    place = formatting.Place(
        data_size=data.size,
        header_size=None if apart is None else apart.size,
        sector_size=data.sector_size,
    )
    with ExitStack() as stack:
        key = None if volume_key is None else stack.enter_context(SecretBytes(volume_key))
        changes = formatting.create(passphrase, key, place, chosen)
        data_storage = stack.enter_context(data.opened(dry_run=dry_run))
        header_storage = data_storage
        if apart is not None:
            header_storage = stack.enter_context(apart.opened(dry_run=dry_run))
        volume = Volume(changes[0].header, header_storage, data_storage)
        volume.progress = progress
        volume.written += data.plans
        with locked(header_storage, exclusive=True):
            volume.apply(changes)
    return volume


def check_places(
    target: Target, *, size: int | str | None = None, header: Target | None = None
) -> None:
    """Raise what :func:`format` would about the files and the size; nothing is written."""
    _places(target, size, header)


def _places(
    target: Target, size: int | str | None, header: Target | None
) -> tuple[_Place, _Place | None]:
    """Where the data will lie, and where the header, if apart."""
    if header is not None and is_same_file(header, target):
        raise ValueError("a detached header lies in another file than its data")
    wanted = parse_size(size) if isinstance(size, str) else size
    data = _Place(target, wanted, may_create=wanted is not None)
    return data, None if header is None else _Place(header, None, may_create=True)


class _Place:
    """A target of formatting: what is there now, and how it is opened once all is computed.

    ``plans`` are those that were applied to make it as large as it must be.
    """

    def __init__(self, target: Target, size: int | None, *, may_create: bool) -> None:
        self._target = target
        self._is_new = isinstance(target, str | os.PathLike) and not _is_there(target)
        self.size, self.sector_size = 0, 4096
        self.plans: list[WritePlan] = []
        if not self._is_new:
            # Opened for writing already, so that a refusal comes before the key is derived.
            storage = self._open()
            try:
                with data_in_use(storage, writable=True):
                    self.size, self.sector_size = storage.size, storage.sector_size
            finally:
                if storage is not target:
                    storage.close()
        elif not may_create:
            text = "no such file; with a size it is created"
            raise StorageError(text).about(str(target))
        if size is not None:
            if self.size > size:
                raise ValueError(
                    f"size {size}: {target} has {counted(self.size, 'byte')}, which is more"
                )
            self.size = size

    @contextmanager
    def opened(self, *, dry_run: bool) -> Iterator[Storage]:
        """The storage, extended to the wanted size; on an error all of that is undone.

        Nobody else works with its data until the block is left.
        """
        storage = self._open_for(dry_run)
        before = storage.size
        try:
            with data_in_use(storage, writable=True):
                self._make_room(storage)
                yield storage
        except BaseException:
            with suppress(LuksError):
                if storage.size > before:
                    storage.resize(before)
            storage.close()
            if self._is_new and not dry_run:
                Path(storage.name).unlink()
            raise

    def _make_room(self, storage: Storage) -> None:
        if storage.size < self.size:
            room = Resize(self.size, "extended to the size that was asked for")
            self.plans.append(WritePlan.of("make room", (room,)))
            self.plans[-1].apply(storage)

    def _open_for(self, dry_run: bool) -> Storage:
        if not dry_run:
            return self._open()
        if self._is_new:
            return OverlayStorage(MemoryStorage(name=str(self._target)))
        return OverlayStorage(open_storage(self._target))

    def _open(self) -> Storage:
        if not isinstance(self._target, str | os.PathLike):
            return open_storage(self._target)
        if self._is_new:
            return FileStorage.create(self._target)
        return open_storage(self._target, writable=True, exclusive=True)


def _is_there(path: str | os.PathLike[str]) -> bool:
    """Whether there is such a file, or a disk of which this is a part."""
    return Path(path).exists() or bool(split_name(os.fspath(path))[1])
