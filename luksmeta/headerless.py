"""Volumes without a header: what their user knows stands in for it.

A :class:`Placement` says which sectors of a device are data and how they are counted, as a
device-mapper ``crypt`` line does (drivers/md/dm-crypt.c); a :class:`HeaderlessVolume` is that, a
cipher and a key. There is nothing to prove a key by: a wrong one gives noise for plaintext.
"""

from __future__ import annotations

from dataclasses import dataclass

from luksmeta.closing import Closing
from luksmeta.errors import StorageError, UnsupportedError
from luksmeta.extents import align_down
from luksmeta.model import SECTOR_SIZE
from luksmeta.secret import SecretBytes
from luksmeta.sector import engine
from luksmeta.segment import SegmentRun
from luksmeta.segment_stream import SegmentStream
from luksmeta.sizes import counted
from luksmeta.storage import Storage
from luksmeta.target import Target, open_storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where the data lies, and which sector number its first sector has for the IVs.

    ``offset`` (from the device's start), ``skip`` (the first sector's number) and ``size`` (None:
    to the device's end) are in sectors of 512 bytes, ``sector_size`` is in bytes. Raises ValueError
    for numbers that no crypt target takes.
    """

    offset: int = 0
    skip: int = 0
    size: int | None = None
    sector_size: int = SECTOR_SIZE
    iv_large_sectors: bool = False

    def __post_init__(self) -> None:
        if self.sector_size not in engine.SECTOR_SIZES:
            raise ValueError(f"sector size {self.sector_size} is none of {engine.SECTOR_SIZES}")
        for name, least in (("offset", 0), ("skip", 0), ("size", 1)):
            number = getattr(self, name)
            if number is not None and not least <= number < 1 << 63:
                raise ValueError(f"{name}: {counted(number, 'sector')}")
        step = self.sector_size // SECTOR_SIZE
        if self.size is not None and self.size % step:
            raise ValueError(f"size: {self.size} is no multiple of {step}, the sectors in a unit")
        if self.iv_large_sectors and self.skip % step:
            raise ValueError(f"skip: {self.skip} is no multiple of {step}, the sectors in a unit")

    def run_size(self, storage: Storage) -> int:
        """The bytes of data on this device.

        Raises StorageError where the device ends before the data does, UnsupportedError where what
        it holds is no whole number of encryption sectors (lib/setup.c refuses that as well).
        """
        start = self.offset * SECTOR_SIZE
        room = storage.size - start
        size = align_down(max(room, 0), SECTOR_SIZE) if self.size is None else self.size * 512
        if room < max(size, 1):
            what = f"at {start + size:#x}" if self.size else f"starts at {start:#x}"
            raise StorageError(f"ends at {storage.size:#x}, the data {what}").about(storage.name)
        if size % self.sector_size:
            raise UnsupportedError(
                f"{size} bytes from {start:#x} on are no multiple of the sector size, "
                f"{self.sector_size}"
            ).about(storage.name)
        return size


class HeaderlessVolume(Closing):
    """An open volume without a header: gives the plaintext as a stream.

    ``cipher`` is in dm-crypt's notation. Takes over ``storage`` and ``key``: it is a context
    manager that closes the one and wipes the other. Raises AlgorithmError for a cipher that is not
    available here or a key that does not fit it, and what :meth:`Placement.run_size` raises.
    """

    def __init__(
        self, storage: Storage, cipher: str, key: SecretBytes, placement: Placement
    ) -> None:
        self.data_storage = storage
        self.cipher = cipher
        self.placement = placement
        self._key = key
        self._lay_out(storage).close()  # what cannot be opened is refused now

    @property
    def volume_key(self) -> SecretBytes:
        """The key of the cipher, valid until this object is closed."""
        return self._key

    def open(self, *, writable: bool = False, storage: Storage | None = None) -> SegmentStream:
        """The plaintext as a raw stream. Closing it wipes its cipher's key.

        ``storage`` stands in for the volume's own data, an overlay of it, say. Raises StorageError
        when the data's device is read-only.
        """
        storage = storage or self.data_storage
        if writable and not storage.writable:
            raise StorageError("opened read-only").about(storage.name)
        return self._lay_out(storage, writable=writable)

    def _lay_out(self, storage: Storage, *, writable: bool = False) -> SegmentStream:
        place = self.placement
        size = place.run_size(storage)
        cipher = engine.create(
            self.cipher, self._key, place.sector_size, large_iv=place.iv_large_sectors
        )
        run = SegmentRun(
            start=0,
            size=size,
            offset=place.offset * SECTOR_SIZE,
            sector_size=place.sector_size,
            iv_tweak=place.skip,
            cipher=cipher,
        )
        return SegmentStream(storage, (run,), writable=writable)

    def close(self) -> None:
        """Wipe the key and close the device; harmless when repeated."""
        self._key.wipe()
        self.data_storage.close()

    def __repr__(self) -> str:
        return f"<HeaderlessVolume {self.cipher} {self.data_storage.name}>"


def open_headerless(
    target: Target, cipher: str, key: SecretBytes, placement: Placement, *, writable: bool
) -> HeaderlessVolume:
    """The volume on ``target``; where it does not open, the key is wiped and the device closed."""
    try:
        storage = open_storage(target, writable=writable)
        try:
            return HeaderlessVolume(storage, cipher, key, placement)
        except BaseException:
            storage.close()
            raise
    except BaseException:
        key.wipe()
        raise
