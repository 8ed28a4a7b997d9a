"""The pass over a disk: no place escapes it, wherever chunks and extents begin and end."""

from __future__ import annotations

import pytest

from luksmeta import MemoryStorage
from luksmeta.extents import Extent
from luksmeta.forensics.sweep import CHUNK, PRIMARY, SECONDARY, Hit, Mark, Sweep
from tests.forensics import disks
from tests.storages import UnreadableStorage

MARKS = {
    Mark.MAGIC: PRIMARY,
    Mark.JSON: b'{"keyslots":{}',
    Mark.LUKSMETA: b"LUKSMETA",
    Mark.KEYSLOT_TABLE: bytes(6) + b"\0\1" + bytes(200) + bytes.fromhex("0000dead"),
}
every_mark = pytest.mark.parametrize("mark", MARKS)


def hits(data: bytes, *extents: Extent, unaligned: bool = False) -> list[Hit]:
    storage = MemoryStorage(data)
    sweep = Sweep(storage, extents or [Extent(0, len(data))], unaligned=unaligned)
    return list(sweep.hits())


@every_mark
@pytest.mark.parametrize("offset", [0, 512, CHUNK - 512, CHUNK, 3 * CHUNK - 512])
@pytest.mark.parametrize("unaligned", [False, True])
def test_every_mark_at_a_sector(mark: Mark, offset: int, unaligned: bool) -> None:
    data = disks.damaged(disks.noise("sweep", 3 * CHUNK), (offset, MARKS[mark]))
    assert hits(data, unaligned=unaligned) == [Hit(offset, mark)]


@every_mark
def test_every_mark_across_the_border_of_chunks(mark: Mark) -> None:
    text = MARKS[mark]
    for offset in range(CHUNK - len(text) - 1, CHUNK + 2, 7):
        data = disks.damaged(bytes(2 * CHUNK), (offset, text))
        assert hits(data, unaligned=True) == [Hit(offset, mark)], offset


def test_extents_need_not_be_whole_sectors() -> None:
    data = disks.damaged(bytes(64 << 10), (512, PRIMARY), (4096, SECONDARY), (8192, PRIMARY))
    found = hits(data, Extent(515, 10), Extent(530, 4000), Extent(8000, 300))
    assert [hit.offset for hit in found] == [512, 4096, 8192]


def test_what_was_read_before_is_not_found_again() -> None:
    """The end of a disk that is no whole chunk: the buffer's rest is of the chunk before."""
    data = disks.damaged(bytes(CHUNK + 512), (512 * 3, PRIMARY), (512 * 5, MARKS[Mark.JSON]))
    assert len(hits(data)) == 2
    assert len(hits(data, unaligned=True)) == 2


def test_a_mark_that_is_cut_off_by_the_end() -> None:
    data = bytes(1024) + PRIMARY[:4]
    assert hits(data) == []
    assert hits(data, unaligned=True) == []


def test_extents_apart_are_not_read_as_one() -> None:
    data = disks.damaged(bytes(64 << 10), (4096 - 3, PRIMARY[:3]), (16384, PRIMARY[3:]))
    assert hits(data, Extent(0, 4096), Extent(16384, 4096), unaligned=True) == []


def test_progress_reaches_the_end() -> None:
    seen: list[tuple[int, int]] = []
    storage = MemoryStorage(5 * CHUNK)
    extents = [Extent(0, CHUNK), Extent(2 * CHUNK, 2 * CHUNK + 512)]
    list(Sweep(storage, extents, progress=lambda *step: seen.append(step)).hits())
    assert seen[-1] == (3 * CHUNK + 512, 3 * CHUNK + 512)


def test_a_large_part_that_cannot_be_read_is_tried_at_the_ends_of_chunks() -> None:
    bad = range(CHUNK + 4096, 5 * CHUNK + 8192)
    data = disks.damaged(bytes(8 * CHUNK), (CHUNK, PRIMARY), (5 * CHUNK + 8192, PRIMARY))
    sweep = Sweep(UnreadableStorage(data, bad), [Extent(0, len(data))])
    assert [hit.offset for hit in sweep.hits()] == [CHUNK, 5 * CHUNK + 8192]
    assert sweep.unreadable == [Extent(bad.start, len(bad))]
