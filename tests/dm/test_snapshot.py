"""Snapshots and their origin: against a model, at every moment of a crash, full and invalid."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luksmeta import MemoryStorage, StorageError
from luksmeta.dm.devices import Devices
from luksmeta.dm.exception_store import ExceptionStore, StoreError, StoreFullError
from luksmeta.dm.mapped_device import MappedDevice
from luksmeta.dm.table import TableError
from luksmeta.extents import Extent
from luksmeta.secret import BytesLike
from luksmeta.write_plan import Barrier, Write, WritePlan
from tests.corpus import stream
from tests.disk_states import states
from tests.dm import kernel_made
from tests.storages import FailingStorage, UntouchedStorage

_SECTORS = 60  # of the origin: no whole number of chunks
_ORIGIN = stream("snapshot/origin", _SECTORS * 512)
_MAGIC = 0x70416E53


class Pair:
    """A snapshot and its origin on the same devices."""

    def __init__(
        self, origin: MemoryStorage, cow: MemoryStorage, chunk: int = 1, kind: str = "P"
    ) -> None:
        self.origin_disk, self.cow = origin, cow
        devices = Devices({"o": origin, "c": cow})
        self.snapshot = MappedDevice(f"0 {_SECTORS} snapshot o c {kind} {chunk}", devices)
        self.origin = MappedDevice(f"0 {_SECTORS} snapshot-origin o", devices)

    def shown(self) -> bytes:
        return self.snapshot.read_at(0, self.snapshot.size)

    def opened_again(self) -> Pair:
        """The same after everything is closed."""
        return Pair(MemoryStorage(self.origin_disk.data), MemoryStorage(self.cow.data))


def pair(cow_sectors: int = 200, chunk: int = 1, kind: str = "P") -> Pair:
    return Pair(MemoryStorage(_ORIGIN), MemoryStorage(cow_sectors * 512), chunk, kind)


_WRITES = st.lists(
    st.tuples(st.booleans(), st.integers(0, len(_ORIGIN) - 1), st.binary(min_size=1, max_size=3000))
)


@settings(max_examples=40, deadline=None)
@given(writes=_WRITES, chunk=st.sampled_from([1, 2, 8]))
def test_a_snapshot_is_a_copy_that_lives_on_its_own(
    writes: list[tuple[bool, int, bytes]], chunk: int
) -> None:
    made = pair(400, chunk)
    copy, original = bytearray(_ORIGIN), bytearray(_ORIGIN)
    for to_snapshot, at, data in writes:
        model, table = (copy, made.snapshot) if to_snapshot else (original, made.origin)
        data = data[: len(_ORIGIN) - at]
        model[at : at + len(data)] = data
        table.write_at(at, data)
        assert made.shown() == copy
    assert made.origin.read_at(0, len(_ORIGIN)) == original
    assert made.opened_again().shown() == copy


def test_reading_writes_nothing() -> None:
    cow = UntouchedStorage(100 * 512)
    assert Pair(MemoryStorage(_ORIGIN), cow).shown() == _ORIGIN


def test_the_header_and_the_first_exception_lie_where_the_kernel_has_them() -> None:
    made = pair(chunk=2)
    made.snapshot.write_at(5 * 1024, b"x")
    data = bytes(made.cow.data)
    assert struct.unpack_from("<IIII", data) == (_MAGIC, 1, 1, 2)
    assert struct.unpack_from("<QQQQ", data, 1024) == (5, 2, 0, 0)
    assert data[2048:3072] == b"x" + _ORIGIN[5 * 1024 + 1 : 6 * 1024]


class Recorder(MemoryStorage):
    """Keeps what is written, with the barriers, as a plan."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.steps: list[Write | Barrier] = []

    def _write(self, offset: int, data: BytesLike) -> None:
        self.steps.append(Write(offset, bytes(data), "header or area"))
        super()._write(offset, data)

    def flush(self) -> None:
        self.steps.append(Barrier())


def _moments(steps: list[Write | Barrier]) -> Iterator[list[Write]]:
    """What may be on the disk: all before a barrier, and of the writes behind it any one left out.

    Besides each prefix, which :func:`states` has, torn as well.
    """
    done: list[Write] = []
    pending: list[Write] = []
    for step in steps:
        if isinstance(step, Write):
            pending.append(step)
            for left_out in range(len(pending)):
                yield [*done, *pending[:left_out], *pending[left_out + 1 :]]
        else:
            done, pending = [*done, *pending], []


@pytest.mark.parametrize("known", [0, 30, 31, 32])
def test_a_crash_leaves_each_chunk_as_it_was_or_as_it_was_to_be(known: int) -> None:
    """Also where an area of 32 exceptions gets full, and where stale bytes lie behind it."""
    cow = Recorder(200 * 512)
    cow.data[1024:] = stream("snapshot/stale", 198 * 512)
    made = Pair(MemoryStorage(_ORIGIN), cow)
    for sector in range(known):
        made.snapshot.write_at(sector * 512, bytes(512))
    before, cow_before, written = made.shown(), bytes(cow.data), stream("snapshot/new", 4 * 512)
    cow.steps.clear()
    made.snapshot.write_at(40 * 512 + 100, written)
    after = made.shown()
    plan = WritePlan.of("crash", cow.steps)
    disks = [disk for _, disk in states(cow_before, [plan])]
    for writes in _moments(cow.steps):
        storage = MemoryStorage(cow_before)
        WritePlan.of("some", writes).apply(storage)
        disks.append(bytes(storage.data))
    assert len(disks) > 10
    for disk in disks:
        shown = Pair(MemoryStorage(_ORIGIN), MemoryStorage(disk)).shown()
        for chunk in range(_SECTORS):
            part = slice(chunk * 512, chunk * 512 + 512)
            assert shown[part] in (before[part], after[part]), chunk


def test_an_origin_changes_only_when_its_snapshot_has_the_old_bytes() -> None:
    cow = FailingStorage(200 * 512, writes=4)
    made = Pair(MemoryStorage(_ORIGIN), cow)
    with pytest.raises(StorageError, match="no space"):
        made.origin.write_at(0, bytes(4096))
    assert made.origin_disk.data == _ORIGIN
    for use in (lambda: made.shown(), lambda: made.origin.write_at(0, b"x")):
        with pytest.raises(StorageError, match="no space"):
            use()
    assert made.opened_again().shown() == _ORIGIN


@pytest.mark.parametrize("kind", ["P", "PO"])
def test_a_write_that_does_not_fit_changes_nothing(kind: str) -> None:
    made = pair(10, kind=kind)
    made.snapshot.write_at(0, bytes(8 * 512))  # header, area, 8 chunks
    with pytest.raises(StoreFullError, match="1 chunk cannot fit, 0 of 512 bytes can"):
        made.snapshot.write_at(8 * 512, b"x")
    assert made.shown() == bytes(8 * 512) + _ORIGIN[8 * 512 :]
    made.snapshot.write_at(7, b"known chunks can still change")
    assert made.opened_again().shown() == made.shown()


def test_an_origin_goes_on_without_a_snapshot_that_is_full() -> None:
    made = pair(10)
    made.origin.write_at(0, bytes(9 * 512))
    assert made.origin_disk.data[: 9 * 512] == bytes(9 * 512)
    for each in (made, made.opened_again()):
        with pytest.raises(StoreError, match="marked invalid"):
            each.shown()
        with pytest.raises(StoreError, match="marked invalid"):
            each.snapshot.write_at(0, b"x")
        each.origin.write_at(20 * 512, b"goes on")


@pytest.mark.parametrize("cow_sectors", [*range(2, 6), 33, 34, 35, 36, 37, 66, 67, 68, 69])
def test_a_full_store_is_one_that_can_be_opened(cow_sectors: int) -> None:
    made = pair(cow_sectors)
    written = 0
    with suppress(StoreFullError):
        for sector in range(_SECTORS):
            made.snapshot.write_at(sector * 512, bytes(512))
            written += 1
    areas, rest = divmod(cow_sectors - 1, 33)  # an area, and 32 chunks for it
    room = areas * 32 + max(rest - 1, 0) - (rest == 0)
    assert written == min(room, _SECTORS)
    assert made.opened_again().shown() == bytes(written * 512) + _ORIGIN[written * 512 :]


def test_a_closed_snapshot_is_no_longer_kept_up() -> None:
    made = pair()
    made.snapshot.close()
    made.origin.write_at(0, b"x")
    assert made.cow.data == bytes(len(made.cow.data))


_COW_IS_ALONE = "a COW device is one target's alone"


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("0 8 snapshot o c P 1\n8 8 snapshot o c P 1\n", 2),
        ("0 8 snapshot o c P 1\n8 8 snapshot c d P 1\n", 2),
        ("0 8 snapshot c d P 1\n8 8 snapshot o c P 1\n", 2),
        ("0 8 snapshot o c P 1\n8 8 linear c 60\n", 2),
        ("0 8 linear c 60\n8 8 snapshot o c P 1\n", 2),
        ("0 8 snapshot o low P 1\n8 1 linear c 49\n", 2),
        ("0 8 snapshot o low P 1\n8 1 linear low 0\n", 2),
        ("0 8 snapshot c low P 1\n", 1),
    ],
)
def test_a_cow_device_is_one_target_s_alone(table: str, line: int) -> None:
    """Also through another table: ``low`` is a part of ``c``."""

    def devices(*, writable: bool) -> Devices:
        disks = {name: MemoryStorage(100 * 512, writable=writable) for name in "ocd"}
        low = "0 50 linear c 0\n"
        return Devices({**disks, "low": lambda known: MappedDevice(low, known)})

    with pytest.raises(TableError, match=f"line {line}: .*{_COW_IS_ALONE}"):
        MappedDevice(table, devices(writable=True))
    assert MappedDevice(table, devices(writable=False)).read_at(0, 512) == bytes(512)


def test_a_cow_device_may_be_a_part_of_a_disk() -> None:
    """The rest of the disk is free for others, the origin too; closed, the part is as well."""
    disk = MemoryStorage(_ORIGIN + bytes(200 * 512))
    low = f"0 100 linear d {_SECTORS}\n"
    devices = Devices({"d": disk, "low": lambda known: MappedDevice(low, known)})
    table = f"0 {_SECTORS} snapshot d low P 1\n{_SECTORS} 100 linear d {_SECTORS + 100}\n"
    for _ in range(2):
        with MappedDevice(table, devices) as made:
            made.write_at(0, bytes(len(_ORIGIN)))
            made.write_at(len(_ORIGIN), b"x" * 51200)
            assert made.read_at(0, made.size) == bytes(len(_ORIGIN)) + b"x" * 51200
    assert disk.data.startswith(_ORIGIN)


def _store(*exceptions: tuple[int, int], header: tuple[int, ...] = (_MAGIC, 1, 1, 1)) -> bytes:
    area = b"".join(struct.pack("<QQ", *each) for each in exceptions)
    return (struct.pack("<IIII", *header).ljust(512, b"\0") + area).ljust(40 * 512, b"\0")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_store(header=(1, 1, 1, 1)), "magic 0x00000001, an exception store has 0x70416e53"),
        (_store(header=(_MAGIC, 1, 2, 1)), "exception store of version 2, 1 is known"),
        (_store(header=(_MAGIC, 1, 1, 3)), "chunks of 3 sectors, powers of two up to 32768"),
        (_store(header=(_MAGIC, 1, 1, 1 << 31)), "chunks of 2147483648 sectors"),
        (_store(header=(_MAGIC, 1, 1, 64)), "20480 bytes, two chunks of 64 sectors"),
        (_store((0, 2), (1, 40)), "area 0, exception 1: chunk 40 of 40 holds no data"),
        (_store((0, 1 << 63)), "exception 0: chunk 9223372036854775808 of 40 holds no data"),
        (_store((0, 1)), "exception 0: chunk 1 of 40 holds no data"),
        (_store((0, 34)), "exception 0: chunk 34 of 40 holds no data"),
        (_store(header=(_MAGIC, 1, 1, 0)), "chunks of 0 sectors"),
        (_store((7, 2), (7, 3)), "area 0, exception 1: chunk 7 of the origin again"),
        (_store((7, 2), (8, 2)), "area 0, exception 1: chunk 2 is another exception's already"),
        (
            _store(*((n, n + 2) for n in range(32)))[: 34 * 512]
            + struct.pack("<QQ", 99, 5).ljust(6 * 512, b"\0"),
            "area 1, exception 0: chunk 5 is another exception's already",
        ),
        (
            _store(*((n, n + 2) for n in range(32)))[: 34 * 512],
            "metadata area 1 is chunk 34, there are 34",
        ),
    ],
)
def test_a_store_that_makes_no_sense_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(StoreError) as refusal:
        ExceptionStore(MemoryStorage(content), 1)
    assert message in str(refusal.value)
    assert refusal.value.exit_status == 4


def _disk(at: int, content: bytes) -> bytes:
    return (bytes(at) + content).ljust(200 * 512, b"\0")


@pytest.mark.parametrize(
    ("disk", "found"),
    [
        (_disk(1024 + 56, bytes.fromhex("53ef")), "ext2/3/4 file system at 0x438"),
        (_disk(4096, b"EFI PART"), "GPT partition table at 0x1000"),
        (_disk(510, b"\x55\xaa"), "boot sector or MBR partition table at 0x1fe"),
        (_disk(7, b"x"), "data at 0x7"),
        (_disk(1023, b"x"), "data at 0x3ff"),
    ],
)
def test_a_disk_with_something_on_it_is_no_new_store(disk: bytes, found: str) -> None:
    cow = MemoryStorage(disk)
    with pytest.raises(StoreError) as refusal:
        Pair(MemoryStorage(_ORIGIN), cow)
    assert str(refusal.value) == f"memory: is no exception store: {found}"
    assert "its first 1024 bytes" in str(refusal.value.hint)
    assert refusal.value.exit_status == 4
    assert cow.data == disk
    assert Pair(MemoryStorage(_ORIGIN), MemoryStorage(_disk(1024, b"x"))).shown() == _ORIGIN


def test_the_chunk_size_of_the_header_counts() -> None:
    made = pair(400, chunk=8)
    made.snapshot.write_at(0, b"x")
    store = ExceptionStore(made.cow, 1)
    assert store.chunk_size == 4096
    assert ExceptionStore(MemoryStorage(1 << 20)).chunk_size == 32 * 512
    assert Extent(store.place(0) or 0, 4096) == Extent(8192, 4096)


def test_a_store_of_the_kernel_is_read_and_gone_on_with() -> None:
    """It has three areas: 32 exceptions go into one."""
    cow = MemoryStorage(kernel_made.store())
    count = kernel_made.SECTORS
    origin = MemoryStorage(kernel_made.disk("original"))
    expected = [kernel_made.sector("original", number) for number in range(count)]
    for number in kernel_made.ORIGIN_WRITES:
        origin.write_at(number * 512, kernel_made.sector("origin", number))
    for number in kernel_made.SNAPSHOT_WRITES:
        expected[number] = kernel_made.sector("snapshot", number)
    devices = Devices({"/dev/vda": origin, "/dev/vdb": cow})
    snapshot = MappedDevice(kernel_made.TABLE, devices)
    assert snapshot.read_at(0, snapshot.size) == b"".join(expected)
    for number in range(count):
        snapshot.write_at(number * 512, kernel_made.sector("ours", number))
    again = MappedDevice(kernel_made.TABLE, Devices({"/dev/vda": origin, "/dev/vdb": cow}))
    assert again.read_at(0, again.size) == kernel_made.disk("ours")
