"""A new encrypted image out of plaintext: format, encrypt, read back, and only then the name."""

from __future__ import annotations

import hashlib
import hmac
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final, Unpack

from luksmeta import formatting
from luksmeta.copying import copy_in, copy_out
from luksmeta.errors import VerificationError
from luksmeta.extents import Extent, align_up
from luksmeta.file_storage import FileStorage
from luksmeta.format_options import FormatOptions
from luksmeta.header import read_header
from luksmeta.images.raw_image import Plaintext
from luksmeta.images.replaced_file import Guard, replaced_file
from luksmeta.model import SECTOR_SIZE, Metadata
from luksmeta.new_volume import FormatKeywords
from luksmeta.new_volume import format as format_volume
from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.sector import engine
from luksmeta.sizes import counted
from luksmeta.storage import MemoryStorage, Storage
from luksmeta.unlocked_volume import UnlockedVolume
from luksmeta.volume import Volume
from luksmeta.write_plan import Progress, Reserve, WritePlan

_LARGEST_SECTOR: Final = max(engine.SECTOR_SIZES)  # bytes; what is behind the data in it is zeroes


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptedImage:
    """What came of :func:`encrypt_image`; all sizes are in bytes.

    ``data`` is where the encrypted data lies in the file, ``sha256`` that of the plaintext (None
    after a dry run), and ``written`` every plan that was, or would be, applied before the data.
    """

    metadata: Metadata
    size: int
    data: Extent
    sha256: str | None
    verified: bool
    written: tuple[WritePlan, ...]


def encrypt_image(
    target: str | os.PathLike[str],
    passphrase: BytesLike | SecretBytes,
    source: Plaintext,
    *,
    size: int | None = None,
    volume_key: BytesLike | SecretBytes | None = None,
    verify: bool = True,
    dry_run: bool = False,
    progress: Progress | None = None,
    guard: Guard = nullcontext,
    **options: Unpack[FormatKeywords],
) -> EncryptedImage:
    """Write a new LUKS volume that holds ``source`` to the file ``target``, in place of what it is.

    ``source`` is a :class:`RawImage` or the stream of an open volume; it is only read. All of it is
    encrypted, its holes as well: a hole left in the volume would show noise where there were
    zeroes. Encryption sectors are as large as ``source`` allows. ``size`` (bytes, of the whole
    file) leaves room behind the data. With ``verify`` the header and the data are read again from
    the disk, decrypted and compared with the source's SHA-256. The file has its name only when all
    of that is done: see :func:`~luksmeta.images.replaced_file.replaced_file`, also for ``guard``.

    Raises ValueError for a size that is too small and for options that make no sense,
    VerificationError, UnsupportedError, AlgorithmError, StorageError.
    """
    total = image_size(source.size, size, volume_key, **options)
    options["sector_size"] = _sector_size(
        total - data_offset(volume_key, **options), source, FormatOptions(**options)
    )
    with _new_image(target, guard, dry_run=dry_run) as storage:
        volume = format_volume(
            storage, passphrase, size=total, volume_key=volume_key, dry_run=dry_run, **options
        )
        data = Extent(volume.metadata.data_offset, source.size)
        digest = None
        if dry_run:
            volume.close()
        else:
            _reserve(volume, total)
            with volume.unlock(passphrase) as unlocked:
                digest = _copied(storage, unlocked, source, progress, verify=verify)
    return EncryptedImage(
        metadata=volume.metadata,
        size=total,
        data=data,
        sha256=digest,
        verified=verify and not dry_run,
        written=tuple(volume.written),
    )


def _new_image(
    target: str | os.PathLike[str], guard: Guard, *, dry_run: bool
) -> AbstractContextManager[FileStorage | MemoryStorage]:
    """Where the image is written: a file that has its name in the end, or memory."""
    if dry_run:
        return nullcontext(MemoryStorage(name=os.fspath(target)))
    return replaced_file(target, guard)


def image_size(
    source_size: int,
    size: int | None = None,
    volume_key: BytesLike | SecretBytes | None = None,
    **options: Unpack[FormatKeywords],
) -> int:
    """The bytes of the whole image that holds ``source_size`` of data; ValueError where that fails.

    ``size`` is what is asked for, or None for the least that will do.
    """
    if not source_size:
        raise ValueError("there is no data to encrypt: the source is empty")
    chosen = FormatOptions(**options)
    least = data_offset(volume_key, **options) + align_up(
        source_size, chosen.sector_size or SECTOR_SIZE
    )
    if size is not None and size < least:
        raise ValueError(
            f"size {size}: with {counted(source_size, 'byte')} of data it takes {least}"
        )
    return least if size is None else size


def data_offset(
    volume_key: BytesLike | SecretBytes | None = None, **options: Unpack[FormatKeywords]
) -> int:
    """Where the data of such a volume starts, in bytes; ValueError for sizes that do not fit."""
    return formatting.data_offset(
        FormatOptions(**options), None if volume_key is None else len(volume_key)
    )


def _sector_size(data_size: int, source: Plaintext, options: FormatOptions) -> int:
    """What was asked for, or what the source allows and divides the data."""
    if options.sector_size is not None:
        return options.sector_size
    fits = options.type == "luks2" and data_size % source.sector_size == 0
    return source.sector_size if fits else SECTOR_SIZE


def _reserve(volume: Volume, total: int) -> None:
    """A full disk is noticed now, and not after an hour."""
    plan = WritePlan.of("make room", (Reserve(total, "space for all of the image"),))
    plan.apply(volume.data_storage)
    volume.written.append(plan)


def _copied(
    storage: Storage,
    unlocked: UnlockedVolume,
    source: Plaintext,
    progress: Progress | None,
    *,
    verify: bool,
) -> str:
    """The SHA-256 of what was encrypted, and, if asked for, is there again on the disk."""
    phases = _Phases(progress, source.size, 2 if verify else 1)
    reader = _HashingReader(source)
    with unlocked.open(writable=True) as stream:
        padded = min(align_up(source.size, _LARGEST_SECTOR), stream.size)
        copy_in(stream, 0, padded, reader.read, phases.advance)
        stream.flush()
    if verify:
        phases.next()
        found = _digest_on_disk(storage, unlocked.volume_key, source.size, phases.advance)
        if not hmac.compare_digest(found, reader.digest.digest()):
            raise VerificationError(
                f"reads back with SHA-256 {found.hex()}, of the source it is "
                f"{reader.digest.hexdigest()}"
            ).about(storage.name)
    return reader.digest.hexdigest()


class _HashingReader:
    """Reads a source from start to end, one chunk at a time, and hashes it on the way."""

    def __init__(self, source: Plaintext) -> None:
        self._source = source
        self._position = 0
        self.digest = hashlib.sha256()

    def read(self, chunk: memoryview) -> int:
        """Fill the chunk with what comes next, and with zeroes behind the end."""
        data = chunk[: max(0, self._source.size - self._position)]
        self._source.read_into_at(self._position, data)
        self.digest.update(data)
        chunk[len(data) :] = bytes(len(chunk) - len(data))
        self._position += len(chunk)
        return len(chunk)


class _Phases:
    """One progress for several passes over the same number of bytes."""

    def __init__(self, progress: Progress | None, size: int, count: int) -> None:
        self._progress = progress or (lambda done, total: None)
        self._size, self._total, self._before = size, size * count, 0

    def advance(self, done: int, _size: int) -> None:
        """So many bytes of this pass are done, perhaps with the rest of the last sector."""
        self._progress(self._before + min(done, self._size), self._total)

    def next(self) -> None:
        """The next pass."""
        self._before += self._size


def _digest_on_disk(
    storage: Storage, volume_key: SecretBytes, size: int, advance: Progress
) -> bytes:
    """The SHA-256 of the plaintext, by the header and the data as they lie on the disk."""
    _drop_from_cache(storage)
    digest = hashlib.sha256()
    volume = Volume(read_header(storage), storage, storage)
    with volume.unlock(volume_key=volume_key) as unlocked, unlocked.open() as stream:
        copy_out(stream, 0, size, digest.update, advance)
    return digest.digest()


def _drop_from_cache(storage: Storage) -> None:
    """Have a flushed file read from the disk again, where the system can be told so."""
    if isinstance(storage, FileStorage) and hasattr(os, "posix_fadvise"):
        os.posix_fadvise(storage.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
