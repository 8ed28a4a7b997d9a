"""Each target in user space: which bytes it shows, where writes go, what it refuses."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luksmeta import LuksError, MemoryStorage, SecretBytes, StorageError, open_plain
from luksmeta.dm.devices import Devices
from luksmeta.dm.mapped_device import MappedDevice, open_table
from luksmeta.dm.table import TableError
from luksmeta.secret import BytesLike
from luksmeta.target import Target
from tests.corpus import stream
from tests.storages import FailingStorage, UnreadableStorage

_A, _B = stream("targets/a", 64 << 10), stream("targets/b", 64 << 10)
_KEY = stream("targets/key", 64)


def mapped(table: str, **devices: MemoryStorage | bytes) -> MappedDevice:
    """A table on devices that are called as their arguments are."""
    storages = {
        name: MemoryStorage(each) if isinstance(each, bytes) else each
        for name, each in devices.items()
    }
    return MappedDevice(table, Devices(storages))


def sectors(data: BytesLike, start: int, count: int) -> bytes:
    return bytes(data[start * 512 : (start + count) * 512])


def test_linear_targets_are_one_device() -> None:
    a, b = MemoryStorage(_A), MemoryStorage(_B)
    table = mapped("0 10 linear a 5\n10 20 linear b 0\n", a=a, b=b)
    assert table.size == 30 * 512
    assert table.read_at(0, table.size) == sectors(_A, 5, 10) + sectors(_B, 0, 20)
    table.write_at(10 * 512 - 3, b"across")
    assert sectors(a.data, 14, 1).endswith(b"acr")
    assert b.data.startswith(b"oss")
    buffer = memoryview(bytearray(6))
    table.read_into(10 * 512 - 3, buffer)
    assert bytes(buffer) == b"across"


def test_stripes_take_turns() -> None:
    a, b = MemoryStorage(_A), MemoryStorage(_B)
    table = mapped("0 12 striped 2 3 a 1 b 4", a=a, b=b)
    expected = [sectors(_A, 1, 3), sectors(_B, 4, 3), sectors(_A, 4, 3), sectors(_B, 7, 3)]
    assert table.read_at(0, table.size) == b"".join(expected)
    table.write_at(3 * 512 - 1, b"xy")
    assert (a.data[4 * 512 - 1], b.data[4 * 512]) == (ord("x"), ord("y"))


def test_zero_forgets_and_error_fails() -> None:
    table = mapped("0 2 zero\n2 2 error whatever\n4 1 linear a 0", a=_A)
    table.write_at(0, b"gone")
    assert table.read_at(0, 1024) == bytes(1024)
    with pytest.raises(StorageError, match="error target"):
        table.read_at(1024, 1)
    with pytest.raises(StorageError, match="error target"):
        table.write_at(1500, b"x")
    assert table.read_at(2048, 512) == _A[:512]


def test_a_mirror_is_read_from_its_first_leg_and_written_to_all() -> None:
    a, b = MemoryStorage(_A), MemoryStorage(_B)
    table = mapped("0 8 mirror core 1 1024 2 a 1 b 2 1 handle_errors", a=a, b=b)
    assert table.read_at(0, table.size) == sectors(_A, 1, 8)
    table.write_at(5, b"both")
    assert a.data[517:521] == b.data[1029:1033] == b"both"


def test_another_leg_stands_in_where_the_legs_are_equal() -> None:
    bad, worse = (UnreadableStorage(_A, range(512, 1024)) for _ in range(2))
    equal = mapped("0 8 mirror core 2 1024 nosync 3 a 0 c 0 b 0", a=bad, b=_A, c=worse)
    assert equal.read_at(0, equal.size) == _A[:4096]
    unknown = mapped("0 8 mirror core 1 1024 2 a 0 b 0", a=bad, b=_A)
    with pytest.raises(StorageError, match="short read") as error:
        unknown.read_at(0, unknown.size)
    assert "nosync" in str(error.value.hint)
    all_bad = mapped("0 8 mirror core 2 1024 nosync 2 a 0 c 0", a=bad, c=worse)
    with pytest.raises(StorageError, match="short read"):
        all_bad.read_at(0, all_bad.size)


def test_a_leg_that_fails_does_not_keep_the_others_from_a_write() -> None:
    failing, good = FailingStorage(4096, writes=0), MemoryStorage(4096)
    table = mapped("0 8 mirror core 2 64 nosync 2 a 0 b 0", a=failing, b=good)
    with pytest.raises(StorageError, match="no space"):
        table.write_at(0, b"kept")
    assert good.data.startswith(b"kept")


@pytest.mark.parametrize(
    ("options", "sector_size", "large"),
    [("", 512, False), (" 1 sector_size:4096", 4096, False),
     (" 3 iv_large_sectors allow_discards sector_size:2048", 2048, True)],
)  # fmt: skip
def test_crypt_is_what_a_plain_volume_is(options: str, sector_size: int, large: bool) -> None:
    a = MemoryStorage(_A)
    text = f"0 64 crypt aes-xts-plain64 {_KEY.hex()} 16 a 8{options}"
    with (
        mapped(text, a=a) as table,
        open_plain(
            MemoryStorage(_A),
            key=SecretBytes(_KEY),
            cipher="aes-xts-plain64",
            offset=8,
            skip=16,
            size=64,
            sector_size=sector_size,
            iv_large_sectors=large,
        ) as volume,
        volume.open(writable=True) as plain,
    ):
        assert table.read_at(0, table.size) == plain.read_at(0, table.size)
        table.write_at(700, b"hello")
        plain.write_at(700, b"hello")
        storage = volume.data_storage
        assert isinstance(storage, MemoryStorage)
        assert a.data == storage.data
        table.flush()


def test_a_table_lies_on_another() -> None:
    a, b = MemoryStorage(_A), MemoryStorage(_B)
    lower = "0 24 linear a 3\n24 40 linear b 0\n"
    upper = f"0 64 crypt aes-cbc-essiv:sha256 {_KEY[:32].hex()} 0 low 0"
    devices = Devices({"a": a, "b": b, "low": lambda known: MappedDevice(lower, known)})
    with devices, MappedDevice(upper, devices) as table:
        table.write_at(23 * 512, stream("across", 1024))
        assert table.read_at(23 * 512, 1024) == stream("across", 1024)
    assert a.data[26 * 512 : 27 * 512] != _A[26 * 512 : 27 * 512]
    assert b.data[:512] != _B[:512]
    assert a.data[27 * 512 :] == _A[27 * 512 :]
    assert b.data[512:] == _B[512:]


def test_a_table_gives_a_stream_as_a_volume_does() -> None:
    with (
        open_table("0 3 linear a 1", {"a": MemoryStorage(_A)}) as volume,
        volume.open(writable=True) as data,
    ):
        data.write(b"stream")
        data.seek(3)
        assert data.read(3) == b"eam"
        assert data.size == 3 * 512
    locked = open_table("0 3 linear a 1", {"a": MemoryStorage(_A, writable=False)})
    with locked, pytest.raises(StorageError, match="read-only"):
        locked.open(writable=True)


_CRYPT = f"0 64 crypt aes-xts-plain64 {_KEY.hex()}"
_REFUSED = [
    ("0 8 thin a 0", "line 1: thin: no target of ours; there are linear, striped"),
    ("0 8 linear", "the device is missing, there are 0 arguments"),
    ("0 8 linear a", "the offset is missing, there are 1 arguments"),
    ("0 8 linear a x", "the offset 'x' is no number"),
    ("0 8 linear a ٣", "is no number"),
    ("0 8 linear a 0 1", "1 arguments too many, from '1'"),
    ("0 8 linear c 0", "device c is not given, known: a, b, tiny"),
    ("0 8 linear a 121", "line 1: linear: ends at sector 129 of a, which has 128"),
    ("0 8 zero a", "1 arguments too many"),
    ("0 8 striped 0 8 a 0", "the number of stripes 0"),
    ("0 8 striped 2 0 a 0 b 0", "the chunk size 0"),
    ("0 9 striped 2 1 a 0 b 0", "9 sectors are no multiple of 2, the stripes"),
    ("0 8 striped 2 3 a 0 b 0", "a stripe's 4 sectors are no multiple of 3, the chunk size"),
    ("0 8 striped 2 4 a 0", "a stripe's device is missing"),
    ("0 8 striped 99999999999 4 a 0", "the number of stripes 99999999999"),
    ("0 8 mirror disk 2 b 64 2 a 0 b 0", "log 'disk'; only core"),
    ("0 8 mirror core 0 2 a 0 b 0", "region size is missing"),
    ("0 8 mirror core 1 3 2 a 0 b 0", "region size '3': a power of two"),
    ("0 8 mirror core 2 64 what 2 a 0 b 0", "log argument 'what'"),
    ("0 8 mirror core 1 64 2 a 0 b 0 1 what", "feature 'what'"),
    ("0 8 mirror core 1 64 2 a 0 b 0 1", "one of 1 features is missing"),
    (f"{_CRYPT} 0 a", "the offset is missing"),
    (
        f"{_CRYPT} 0 a 0 1 integrity:28:aead",
        "argument 7, an optional parameter: data with integrity tags",
    ),
    (f"{_CRYPT} 0 a 0 1 what", "argument 7, an optional parameter, is not known"),
    (f"{_CRYPT} 0 a 0 1 sector_size:513", "a sector size that is none of 512, 1024"),
    (f"{_CRYPT} 3 a 0 1 sector_size:4096", "argument 3, the IV offset, is no multiple of 8"),
    (f"{_CRYPT} 0 a 3 1 sector_size:4096", "argument 5, the offset, is no multiple of 8"),
    ("0 63 crypt aes-xts-plain64 00 0 a 0 1 sector_size:1024", "length 63 is no multiple of 2"),
    ("0 8 crypt aes-xts-plain64 0 0 a 0", "argument 2, the key, is no hex"),
    ("0 8 crypt aes-xts-plain64 zz 0 a 0", "argument 2, the key, is no hex"),
    (
        "0 8 crypt aes-xts-plain64 00 0 a 0",
        "line 1: crypt: argument 1: this cipher is not available here with a key of 1 byte",
    ),
    (
        "0 8 crypt nonsense-xts-plain64 00 0 a 0",
        "line 1: crypt: argument 1: this cipher is not available here with a key of 1 byte",
    ),
    (
        "0 8 crypt aes-xts-plain64 :64:logon:cryptsetup:u-d0 0 a 0",
        "argument 2: the key is in a kernel's keyring",
    ),
    ("0 8 snapshot a b N 8", "exception store 'N'; only P and PO last"),
    ("0 8 snapshot a b P 8 1 what", "feature 'what'"),
    ("0 8 snapshot a b P 99999999", "the chunk size 99999999"),
    ("0 8 snapshot a a P 8", "origin and COW device are both a"),
    ("0 129 snapshot a b P 8", "ends at sector 129 of a, which has 128"),
    ("0 12 zero\n12 8 snapshot a b P 8", "starts at sector 12, no multiple of 8, the chunk size"),
    ("0 129 snapshot-origin a", "ends at sector 129 of a, which has 128"),
    ("0 8 snapshot a b P 3", "chunks of 3 sectors"),
    ("0 8 snapshot a tiny P 8", "4096 bytes, two chunks of 8 sectors are needed"),
]


@pytest.mark.parametrize(("table", "message"), _REFUSED, ids=[each[1] for each in _REFUSED])
def test_what_the_kernel_would_not_take_is_refused(table: str, message: str) -> None:
    with pytest.raises((TableError, StorageError)) as refusal:
        mapped(table, a=_A, b=bytes(len(_B)), tiny=bytes(4096))
    assert message in str(refusal.value)
    assert _KEY.hex() not in str(refusal.value)


_SECRET = "5ec2e7" * 10 + "5ec2"
_LINES_WITH_A_KEY = [
    f"aes-xts plain64 {_SECRET} 0 a 0",
    f"aes-xts plain64 {'1' * 20} 0 a 0",
    f"{_SECRET} aes-xts-plain64 0 a 0",
    f"{_SECRET} {_SECRET} 0 a 0",
    f"aes-xts-plain64 x{_SECRET} 0 a 0",
    f"aes-xts-plain64 :64:{_SECRET}:x 0 a 0",
    f"aes-xts-plain64 {_SECRET} {_SECRET} a 0",
    f"aes-xts-plain64 {_SECRET} 0 {_SECRET} 0",
    f"aes-xts-plain64 {_SECRET} 0 a {_SECRET}",
    f"aes-xts-plain64 {_SECRET} 0 a 0 {_SECRET}",
    f"aes-xts-plain64 {_SECRET} 0 a 0 1 {_SECRET}",
    f"aes-xts-plain64 {_SECRET} 0 a 0 1 integrity{_SECRET}",
    f"aes-xts-plain64 {_SECRET} 0 a 0 0 {_SECRET}",
    f"aes-xts-{_SECRET} {_SECRET} 0 a 0",
    f"aes-cbc-essiv:{_SECRET} {_SECRET} 0 a 0",
]


@pytest.mark.parametrize("arguments", _LINES_WITH_A_KEY)
def test_no_word_of_a_crypt_line_is_in_an_error(arguments: str) -> None:
    with pytest.raises(TableError) as refusal:
        mapped(f"0 100 crypt {arguments}", a=_A)
    for shown in (str(refusal.value), repr(refusal.value.__cause__), str(refusal.value.hint)):
        assert "5ec2" not in shown
        assert "1111" not in shown
    assert "argument" in str(refusal.value)


_VOCABULARY = st.sampled_from(
    ["a", "b", "core", "nosync", "P", "PO", "aes-xts-plain64", "capi:xts(aes)-plain64", "-",
     "aes:64-cbc-lmk", "cipher_null-ecb", _KEY.hex(), "00" * 32, "sector_size:4096", "x", "\\",
     "iv_large_sectors", "allow_discards", ":32:logon:x", "0", "1", "2", "4", "8", "16", "64",
     "9" * 19, "9" * 20, "-1", "٣", "1e3"]
)  # fmt: skip
_ANY_LINE = st.tuples(
    st.sampled_from([0, 0, 8, 64]),
    st.sampled_from([1, 8, 16, 64, 1 << 40]),
    st.sampled_from(
        ["linear", "striped", "crypt", "mirror", "zero", "error", "snapshot", "snapshot-origin"]
    ),
    st.lists(_VOCABULARY, max_size=10),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(_ANY_LINE, min_size=1, max_size=3))
def test_whatever_a_table_says_it_runs_or_is_refused(
    lines: list[tuple[int, int, str, list[str]]],
) -> None:
    text = "".join(f"{a} {b} {c} {' '.join(words)}\n" for a, b, c, words in lines)
    with suppress(LuksError), mapped(text, a=_A, b=bytes(len(_B))) as table:
        table.write_at(0, table.read_at(0, min(table.size, 5000)))


def test_a_device_cannot_lie_upon_itself() -> None:
    loop = {"a": lambda known: MappedDevice("0 8 linear b 0", known),
            "b": lambda known: MappedDevice("0 8 linear a 0", known)}  # fmt: skip
    with pytest.raises(TableError, match="device a lies upon itself: a on b"):
        MappedDevice("0 8 linear a 0", Devices(loop))


_LOW = "0 8 linear a 4\n8 8 striped 2 2 a 60 b 20\n"


def _stacked(*, writable: bool) -> Devices:
    """Two disks, and a table on them."""
    a, b = (MemoryStorage(each, writable=writable) for each in (_A, _B))
    return Devices({"a": a, "b": b, "low": lambda known: MappedDevice(_LOW, known)})


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("0 8 mirror core 1 64 2 a 0 a 7", 1),
        ("0 8 striped 2 4 a 0 a 0", 1),
        ("0 8 striped 2 2 a 0 a 3", 1),
        ("0 8 linear a 0\n8 8 linear a 7", 2),
        ("0 8 linear low 4\n8 3 linear a 5\n11 1 linear a 11", 3),
        ("0 2 linear low 8\n2 2 linear low 10\n4 1 linear a 61", 3),
        ("0 8 crypt cipher_null-ecb - 0 low 8\n8 1 linear b 23", 2),
    ],
)
def test_what_would_be_written_at_two_places_is_refused(table: str, line: int) -> None:
    with pytest.raises(TableError, match=f"line {line}: .*writes already"):
        MappedDevice(table, _stacked(writable=True))
    assert MappedDevice(table, _stacked(writable=False)).size


def test_a_table_of_many_lines_is_opened_and_closed_at_once() -> None:
    """What each line uses is looked at beside all others, and not beside each."""
    count = 1 << 15
    table = "".join(f"{n} 1 linear a {count - 1 - n}\n" for n in range(count))
    start = time.process_time()
    mapped(table, a=MemoryStorage(count * 512)).close()
    assert time.process_time() - start < 6


def test_two_names_of_one_file_are_one_device(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(_A)
    (tmp_path / "link").symlink_to("a")
    files: dict[str, Target] = {"a": tmp_path / "a", "l": tmp_path / "link"}
    with pytest.raises(TableError, match="writes already"):
        open_table("0 8 mirror core 1 64 2 a 0 l 0", files, writable=True)
    open_table("0 8 mirror core 1 64 2 a 0 l 8", files, writable=True).close()


def test_a_device_that_is_read_only_makes_the_table_so() -> None:
    table = mapped("0 8 zero\n8 8 linear a 0", a=MemoryStorage(_A, writable=False))
    with pytest.raises(StorageError, match="read-only"):
        table.write_at(0, b"x")
