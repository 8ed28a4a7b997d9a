"""Key material by its looks: sectors that look random, and areas of keyslots without a header.

A keyslot's area holds the split key encrypted: 4000 times the key size in whole sectors, each of
which looks random, from a multiple of 4096 bytes on (lib/luks1/af.c, luks2_json_format.c). Where
zeroes or text lie behind it, its exact length tells it from a compressed file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from luksmeta.errors import StorageError
from luksmeta.extents import Extent, align_down, align_up
from luksmeta.forensics.randomness import looks_random
from luksmeta.formatting import DATA_ALIGNMENT, LUKS2_HEADER_SIZE
from luksmeta.luks1.partition_header import FIRST_AREA, KEYSLOT_COUNT, area_size
from luksmeta.luks2.limits import HDR_SIZES, KEYSLOTS_MAX
from luksmeta.model import SECTOR_SIZE
from luksmeta.storage import Storage

DISTINCT_MIN: Final = 196
"""The fewest distinct byte values of a sector that may be random, for a pass over whole disks.

512 random bytes have 221.5 of 256 values on average with a standard deviation of 4.5: below this
threshold, 5.6 deviations down, falls one in 10^8. Text, code and tables have fewer than 130;
compressed data has as many as random data. This takes a fifth of the time of the tests of
``randomness``, which decide about single sectors.
"""

BLOCK: Final = 4096
CHUNK: Final = 256 << 10
KEY_SIZES: Final = (64, 32, 16, 48, 24, 72, 96, 128)
"""Bytes of volume keys in use, the usual ones first: XTS, CBC, with integrity."""


def may_be_random(sector: bytes) -> bool:
    """Whether 512 bytes have as many values as ciphertext."""
    return len(set(sector)) >= DISTINCT_MIN


def is_random_at(storage: Storage, offset: int) -> bool:
    """Whether the sector at ``offset`` may be ciphertext; False where none can be read."""
    if offset < 0 or offset + SECTOR_SIZE > storage.size:
        return False
    try:
        return looks_random(storage.read_at(offset, SECTOR_SIZE))
    except StorageError:
        return False


def is_start_of_random(storage: Storage, offset: int) -> bool:
    """Whether sectors look random from ``offset`` on, and the one before does not."""
    return is_random_at(storage, offset) and not is_random_at(storage, offset - SECTOR_SIZE)


@dataclass(frozen=True, slots=True)
class LostArea:
    """Where key material of keyslots may lie that no header speaks of.

    ``volume_offset`` is where the volume starts that would have it there; ``is_exact`` is false
    where only the beginning fits.
    """

    extent: Extent
    what: str
    volume_offset: int | None = None
    is_exact: bool = True


def areas_without_header(storage: Storage, extents: Iterable[Extent]) -> Iterator[LostArea]:
    """What may be keyslots' areas among all runs of random blocks.

    cryptsetup fills the whole keyslots area with random bytes before it makes a keyslot: such a run
    has the size of all areas, 16 MiB without two header copies in LUKS2. Others write the areas
    alone, each with something that is not random behind its last sector.
    """
    for run in _random_runs(storage, extents):
        filled = _filled(run)
        if filled is not None:
            yield filled
            continue
        for key_size in KEY_SIZES:
            areas = tuple(_split(storage, run, area_size(key_size)))
            if areas:
                what = f"just the length of a keyslot's area, for a key of {8 * key_size} bits"
                yield from (LostArea(area, what) for area in areas)
                break


def _filled(run: Extent) -> LostArea | None:
    """The run as the whole keyslots area of a volume that was formatted by cryptsetup."""
    for key_size in KEY_SIZES:
        if run.size == KEYSLOT_COUNT * align_up(area_size(key_size), FIRST_AREA):
            what = f"just the length of LUKS1's eight areas, for a key of {8 * key_size} bits"
            return _of_volume(run, what, run.offset - FIRST_AREA)
    for hdr_size in HDR_SIZES:
        if run.size + 2 * hdr_size == LUKS2_HEADER_SIZE:
            what = "just the length of LUKS2's keyslots area"
            return _of_volume(run, what, run.offset - 2 * hdr_size)
    start = run.offset - 2 * HDR_SIZES[0]
    if run.size + 2 * HDR_SIZES[0] > LUKS2_HEADER_SIZE and start % DATA_ALIGNMENT == 0:
        what = "the place of LUKS2's keyslots area, with data behind it"
        return LostArea(
            Extent(run.offset, LUKS2_HEADER_SIZE - 2 * HDR_SIZES[0]), what, start, False
        )
    return None


def _of_volume(run: Extent, what: str, start: int) -> LostArea | None:
    return LostArea(run, what, start) if start >= 0 and start % SECTOR_SIZE == 0 else None


def _split(storage: Storage, run: Extent, size: int) -> Iterator[Extent]:
    """The run as areas of ``size`` bytes; nothing when it is none."""
    step = align_up(size, BLOCK)
    count, rest = divmod(run.size, step)
    if rest or count > KEYSLOTS_MAX:
        return
    areas = [Extent(run.offset + number * step, size) for number in range(count)]
    if all(_ends_like_an_area(storage, area, step) for area in areas):
        yield from areas


def _ends_like_an_area(storage: Storage, area: Extent, step: int) -> bool:
    ends_before_its_block = area.size < step
    return is_random_at(storage, area.end - SECTOR_SIZE) and not (
        ends_before_its_block and is_random_at(storage, area.end)
    )


def _random_runs(storage: Storage, extents: Iterable[Extent]) -> Iterator[Extent]:
    """The runs of 4096-byte blocks whose first sectors look random."""
    start = end = 0
    for offset in _random_blocks(storage, extents):
        if offset != end:
            if end > start:
                yield Extent(start, end - start)
            start = offset
        end = offset + BLOCK
    if end > start:
        yield Extent(start, end - start)


def _random_blocks(storage: Storage, extents: Iterable[Extent]) -> Iterator[int]:
    for extent in extents:
        for offset, chunk in _chunks(storage, extent):
            for at in range(0, len(chunk), BLOCK):
                if may_be_random(chunk[at : at + SECTOR_SIZE]):
                    yield offset + at


def _chunks(storage: Storage, extent: Extent) -> Iterator[tuple[int, bytes]]:
    """The whole blocks of an extent, and where they lie; not those that cannot be read."""
    end = align_down(extent.end, BLOCK)
    for offset in range(align_up(extent.offset, BLOCK), end, CHUNK):
        try:
            chunk = storage.read_at(offset, min(CHUNK, end - offset))
        except StorageError:  # told by the search before
            continue
        yield offset, chunk
