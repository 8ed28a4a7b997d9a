"""The segments of a volume as runs of plaintext, each with its cipher.

Source: LUKS2 specification 1.1.4, section 3.3; IVs count 512-byte sectors from the start of each
segment, plus its ``iv_tweak`` (drivers/md/dm-crypt.c).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from luksmeta.errors import StorageError, UnsupportedError, VolumeKeyError
from luksmeta.extents import align_down
from luksmeta.model import SECTOR_SIZE, CryptSegment, LinearSegment, Metadata, Segment
from luksmeta.secret import SecretBytes
from luksmeta.sector import engine
from luksmeta.sector.engine import SectorCipher
from luksmeta.storage import Storage


@dataclass(frozen=True, slots=True)
class SegmentRun:
    """A run of plaintext bytes that lie together on the device, under one cipher or in the clear.

    ``start`` is its place in the plaintext, ``offset`` its place on the device; all in bytes but
    ``iv_tweak``, which is in 512-byte sectors. ``size`` is a multiple of ``sector_size``.
    """

    start: int
    size: int
    offset: int
    sector_size: int
    iv_tweak: int
    cipher: SectorCipher | None

    @property
    def end(self) -> int:
        """The plaintext offset behind it."""
        return self.start + self.size

    def close(self) -> None:
        """Wipe the cipher's key; harmless when repeated."""
        if self.cipher is not None:
            self.cipher.close()

    def decrypt(self, at: int, sectors: memoryview) -> None:
        """Decrypt whole sectors that lie ``at`` bytes into the run, in place."""
        if self.cipher is not None:
            self.cipher.decrypt_into(self.iv_tweak + at // SECTOR_SIZE, sectors, sectors)

    def encrypt(self, at: int, data: memoryview, out: memoryview) -> None:
        """Encrypt whole sectors that lie ``at`` bytes into the run."""
        if self.cipher is None:
            out[: len(data)] = data
        else:
            self.cipher.encrypt_into(self.iv_tweak + at // SECTOR_SIZE, data, out)


def lay_out(
    metadata: Metadata, keys: Mapping[int, SecretBytes], storage: Storage
) -> tuple[SegmentRun, ...]:
    """The runs that make up the plaintext, in order; ``keys`` are by digest id.

    Raises UnsupportedError for a segment that cannot be read in user space, VolumeKeyError for one
    whose key is not among ``keys``, StorageError when ``storage`` ends before the data does.
    """
    runs: list[SegmentRun] = []
    try:
        for segment_id in metadata.data_segments:
            start = runs[-1].end if runs else 0
            runs.append(_run(metadata, segment_id, start, keys, storage))
    except BaseException:
        for run in runs:
            run.close()
        raise
    return tuple(runs)


def refuse_data_over_header(metadata: Metadata) -> None:
    """A detached header opened as if its data lay in the same file would be overwritten by it.

    Raises UnsupportedError.
    """
    header_end = metadata.keyslots_area.end
    if metadata.data_offset < header_end:
        raise UnsupportedError(
            f"segment {metadata.data_segments[0]}: starts at {metadata.data_offset:#x}, the header "
            f"ends at {header_end:#x}: this is a detached header, its data lies in another file"
        )


def _run(
    metadata: Metadata,
    segment_id: int,
    start: int,
    keys: Mapping[int, SecretBytes],
    storage: Storage,
) -> SegmentRun:
    segment = readable(segment_id, metadata.segments[segment_id])
    sector_size, iv_tweak, key, cipher = SECTOR_SIZE, 0, None, None
    if isinstance(segment, CryptSegment):
        found = metadata.digest_of_segment(segment_id)
        key = keys.get(found[0]) if found else None
        if key is None:
            raise VolumeKeyError(f"segment {segment_id}: its key was not opened")
        sector_size, iv_tweak = segment.sector_size, segment.iv_tweak
        if sector_size not in engine.SECTOR_SIZES:
            raise UnsupportedError(
                f"segment {segment_id}: sector size {sector_size}, dm-crypt knows "
                f"{', '.join(str(size) for size in engine.SECTOR_SIZES)}"
            )
    size = segment_size(segment_id, segment, sector_size, storage)
    if isinstance(segment, CryptSegment) and key is not None:
        cipher = engine.create(segment.encryption, key, sector_size)
    return SegmentRun(start, size, segment.offset, sector_size, iv_tweak, cipher)


def segment_size(segment_id: int, segment: Segment, sector_size: int, storage: Storage) -> int:
    """The bytes of a segment; StorageError where the device ends before it does."""
    if storage.size < segment.offset:
        raise StorageError(
            f"segment {segment_id}: starts at {segment.offset:#x}, {storage.name} ends at "
            f"{storage.size:#x}"
        )
    if isinstance(segment.size, int):
        end = segment.offset + segment.size
        if storage.size < end:
            raise StorageError(
                f"segment {segment_id}: ends at {end:#x}, {storage.name} at {storage.size:#x}"
            )
        return segment.size
    return align_down(storage.size - segment.offset, sector_size)


def readable(segment_id: int, segment: Segment) -> CryptSegment | LinearSegment:
    """The segment, if its plaintext can be had in user space."""
    if not isinstance(segment, CryptSegment | LinearSegment):
        raise UnsupportedError(f"segment {segment_id}: of type {segment.type}, not crypt or linear")
    if isinstance(segment, CryptSegment) and segment.integrity:
        raise UnsupportedError(
            f"segment {segment_id}: authenticated by {segment.integrity}, and data with integrity "
            "tags cannot be read here"
        )
    if "in-reencryption" in segment.flags:
        raise UnsupportedError(
            f"segment {segment_id}: its reencryption was interrupted and must be recovered first"
        )
    return segment
