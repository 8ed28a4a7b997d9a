"""Write plans: applied in order, described for people, and silent about the bytes."""

from __future__ import annotations

import pytest

from luksmeta.errors import StorageError
from luksmeta.extents import Extent
from luksmeta.secret import BytesLike
from luksmeta.storage import MemoryStorage
from luksmeta.write_plan import Barrier, Fill, Reserve, Resize, Write, WritePlan
from tests.storages import FailingStorage

MIB = 1 << 20
PLAN = WritePlan.of(
    "everything",
    [
        Resize(3 * MIB, "room"),
        Reserve(3 * MIB, "space"),
        Write(5, b"secret bytes", "a write"),
        Barrier(),
        Fill(Extent(100, 2 * MIB + 7), "noise", random=True),
        Fill(Extent(200, 50), "blank", random=False),
        Barrier(),
    ],
)


class _Recorder(MemoryStorage):
    def __init__(self) -> None:
        super().__init__(0)
        self.calls: list[str] = []

    def _write(self, offset: int, data: BytesLike) -> None:
        self.calls.append(f"write {offset} {len(data)}")
        super()._write(offset, data)

    def flush(self) -> None:
        self.calls.append("flush")

    def resize(self, size: int) -> None:
        self.calls.append(f"resize {size}")
        super().resize(size)

    def reserve(self, size: int) -> None:
        self.calls.append(f"reserve {size}")


def test_the_steps_are_applied_in_order_and_large_fills_in_pieces() -> None:
    storage = _Recorder()
    PLAN.apply(storage)
    assert storage.calls == [
        f"resize {3 * MIB}",
        f"reserve {3 * MIB}",
        "write 5 12",
        "flush",
        f"write 100 {MIB}",
        f"write {100 + MIB} {MIB}",
        f"write {100 + 2 * MIB} 7",
        "write 200 50",
        "flush",
    ]


def test_fills_are_random_or_zero_and_stay_within_their_extent() -> None:
    storage = MemoryStorage(0)
    PLAN.apply(storage)
    assert storage.data[5:17] == b"secret bytes"
    assert not any(storage.data[17:100])
    assert not any(storage.data[200:250])
    assert len(set(storage.data[300:2000])) > 200
    assert not any(storage.data[100 + 2 * MIB + 7 :])


def test_progress_counts_every_byte_once_up_to_the_total() -> None:
    seen: list[tuple[int, int]] = []
    PLAN.apply(MemoryStorage(0), lambda done, total: seen.append((done, total)))
    total = 12 + 2 * MIB + 7 + 50
    assert PLAN.bytes_to_write == total
    assert seen[0] == (12, total)
    assert seen[-1] == (total, total)
    assert seen == sorted(seen)


def test_a_plan_is_described_step_by_step() -> None:
    assert PLAN.describe() == [
        {"step": "resize", "length": 3 * MIB, "what": "room"},
        {"step": "reserve", "length": 3 * MIB, "what": "space"},
        {"step": "write", "offset": 5, "length": 12, "what": "a write"},
        {"step": "barrier"},
        {"step": "random", "offset": 100, "length": 2 * MIB + 7, "what": "noise"},
        {"step": "zero", "offset": 200, "length": 50, "what": "blank"},
        {"step": "barrier"},
    ]


def test_a_failing_write_leaves_the_steps_before_it_done_and_stops() -> None:
    storage = FailingStorage(3 * MIB, writes=1)
    with pytest.raises(StorageError):
        PLAN.apply(storage)
    assert storage.data[5:17] == b"secret bytes"
    assert not any(storage.data[100 + MIB :])


def test_no_repr_shows_the_bytes() -> None:
    assert "secret" not in repr(PLAN)
