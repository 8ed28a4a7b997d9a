"""The first bytes of a volume's data under a key, and what they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from luksmeta.errors import AlgorithmError
from luksmeta.extents import align_down
from luksmeta.forensics.recovery.candidates import read_what_can
from luksmeta.forensics.recovery.filesystems import (
    LOOKED_AT,
    WINDOWS,
    Recognition,
    is_noise,
    may_be_named,
    random_steps,
    recognise,
)
from luksmeta.model import SECTOR_SIZE, CryptSegment, Metadata
from luksmeta.secret import SecretBytes
from luksmeta.sector import engine
from luksmeta.sector.cipher_spec import CipherSpec
from luksmeta.sector.engine import SectorCipher
from luksmeta.storage import Storage

_SECTOR_MAX: Final = 4096  # so that each window is whole sectors of any size
_BLOCK: Final = 16


@dataclass(frozen=True, slots=True)
class DataPlace:
    """Where encrypted data begins (bytes), and how it is encrypted."""

    cipher: str
    sector_size: int
    offset: int
    iv_tweak: int = 0

    def __str__(self) -> str:
        return f"{self.cipher}, sectors of {self.sector_size}, data at {self.offset:#x}"


class DataStart:
    """The first bytes of data in a storage, read once and decrypted in any way."""

    def __init__(self, storage: Storage, offset: int) -> None:
        self.offset = offset
        self._windows = [
            (start, read_what_can(storage, offset + start, min(end, room) - start))
            for start, end in WINDOWS
            if (room := align_down(storage.size - offset, _SECTOR_MAX)) > start
        ]

    @cached_property
    def _random(self) -> list[int]:
        return [start + at for start, data in self._windows for at in random_steps(data)]

    @property
    def is_repeated(self) -> bool:
        """Whether there is nothing but one block over and over: no key decrypts that to data."""
        return all(data[:_BLOCK] * (len(data) // _BLOCK) == data for _, data in self._windows)

    def promises(self, cipher: SectorCipher, *, named_only: bool) -> bool:
        """Whether :meth:`under` may find something: a look that costs little, for many places.

        Unless ``named_only``, also for sectors that are not random.
        """
        plaintext = bytearray(LOOKED_AT)
        view = memoryview(plaintext)
        for start, data in self._windows:
            cipher.decrypt_into(start // SECTOR_SIZE, data, view[start : start + len(data)])
        if named_only:
            return may_be_named(plaintext)
        seen = b"".join(view[start : start + len(data)] for start, data in self._windows)
        return may_be_named(plaintext) or not is_noise(seen)

    def under(self, place: DataPlace, key: SecretBytes) -> Recognition | None:
        """What it is under this key; None for noise, or where the cipher does not take the key.

        Under the null cipher every key decrypts to the same: that says nothing of one.
        """
        if not self._random or CipherSpec.parse(place.cipher).is_null:
            return None
        plaintext = bytearray(LOOKED_AT)
        view = memoryview(plaintext)
        try:
            with engine.create(place.cipher, key, place.sector_size) as cipher:
                for start, data in self._windows:
                    out = view[start : start + len(data)]
                    cipher.decrypt_into(place.iv_tweak + start // SECTOR_SIZE, data, out)
        except AlgorithmError:
            return None
        return recognise(bytes(plaintext), self._random)


def recognise_data(storage: Storage, place: DataPlace, key: SecretBytes) -> Recognition | None:
    """What the data at ``place`` are under this key; None for noise."""
    return DataStart(storage, place.offset).under(place, key)


def places_of(metadata: Metadata) -> Iterator[DataPlace]:
    """Where the data of a header begins, by its first segment; none where it is not encrypted."""
    for segment_id in metadata.data_segments[:1]:
        segment = metadata.segments[segment_id]
        if isinstance(segment, CryptSegment):
            yield DataPlace(
                segment.encryption, segment.sector_size, segment.offset, segment.iv_tweak
            )
