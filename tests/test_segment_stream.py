"""The plaintext stream, against a plain bytearray and against one encryption of the whole."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import luksmeta
from luksmeta import FileStorage, MemoryStorage, StorageError
from luksmeta.secret import SecretBytes
from luksmeta.sector import engine
from luksmeta.segment import SegmentRun
from luksmeta.segment_stream import SegmentStream
from tests.builders import FIRST, VOLUME_KEY, data_offset, document_of, image, opened, with_document
from tests.corpus import stream
from tests.requirement import missing
from tests.storages import FailingStorage

CIPHER = "aes-xts-plain64"
GAP = 512  # bytes between runs on the device, which must never change
KEYS = [stream(f"segment stream/{number}", 32) for number in range(3)]

# Sector size, sectors, iv_tweak of each run; None is a run in the clear.
Layout = tuple[tuple[int | None, int, int], ...]
LAYOUTS: dict[str, Layout] = {
    "512": ((512, 16, 0),),
    "1024": ((1024, 8, 0),),
    "2048 tweaked": ((2048, 5, 1000),),
    "4096": ((4096, 3, 0),),
    "three runs": ((512, 3, 0), (4096, 2, 8), (1024, 4, 0)),
    "encrypted, clear, encrypted": ((4096, 1, 0), (None, 5, 0), (512, 7, 3)),
}


class _Case:
    """A stream over the runs of a layout, and what its device and plaintext must be."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.offsets: list[int] = []
        runs: list[SegmentRun] = []
        offset = GAP
        for number, (sector_size, sectors, iv_tweak) in enumerate(layout):
            size = sectors * (sector_size or 512)
            start = runs[-1].end if runs else 0
            runs.append(
                SegmentRun(start, size, offset, sector_size or 512, iv_tweak, self._cipher(number))
            )
            self.offsets.append(offset)
            offset += size + GAP
        self.plaintext = bytearray(stream("plaintext", runs[-1].end))
        self.storage = MemoryStorage(self.disk(size=offset))
        self.stream = SegmentStream(self.storage, tuple(runs), writable=True)

    def _cipher(self, number: int) -> engine.SectorCipher | None:
        sector_size = self.layout[number][0]
        with SecretBytes(KEYS[number]) as key:
            return engine.create(CIPHER, key, sector_size) if sector_size else None

    def disk(self, size: int | None = None) -> bytes:
        """What must lie on the device: every run encrypted in one piece."""
        disk = bytearray(b"\xee" * (size or self.storage.size))
        start = 0
        for number, (sector_size, sectors, iv_tweak) in enumerate(self.layout):
            length = sectors * (sector_size or 512)
            piece = bytearray(self.plaintext[start : start + length])
            cipher = self._cipher(number)
            if cipher is not None:
                with cipher:
                    cipher.encrypt_into(iv_tweak, bytes(piece), piece)
            disk[self.offsets[number] : self.offsets[number] + length] = piece
            start += length
        return bytes(disk)


@pytest.fixture(name="case", params=LAYOUTS)
def _case(request: pytest.FixtureRequest) -> Iterator[_Case]:
    case = _Case(LAYOUTS[request.param])
    yield case
    case.stream.close()


# Any reads and writes

Step = tuple[str, int, bytes | int]
_LENGTHS = st.integers(0, 300) | st.sampled_from((511, 512, 513, 1024, 4095, 4096, 4097, 9000))
_STEPS = st.lists(
    st.tuples(st.just("read"), st.integers(0, 14000), _LENGTHS)
    | st.tuples(st.just("readinto"), st.integers(0, 14000), _LENGTHS)
    | st.tuples(
        st.just("write"),
        st.integers(0, 14000),
        st.binary(max_size=40) | _LENGTHS.map(lambda size: stream("new", size)),
    ),
    max_size=12,
)


def _do(file: io.RawIOBase | io.BufferedRandom, step: Step, model: bytearray) -> None:
    """One step on the file and on the model; both must answer alike."""
    name, offset, argument = step
    assert file.seek(offset) == file.tell() == offset
    expected = bytes(model[offset:])
    if isinstance(argument, bytes):
        data = argument[: max(0, len(model) - offset)]
        assert not data or file.write(data) == len(data)
        model[offset : offset + len(data)] = data
        expected, argument = data, len(data)
    elif name == "read":
        assert file.read(argument) == expected[:argument]
    else:
        buffer = bytearray(argument)
        assert file.readinto(buffer) == len(expected[:argument])
        assert buffer == expected[:argument].ljust(argument, b"\0")
    if isinstance(argument, int):
        assert file.tell() == offset + min(argument, len(expected))


@pytest.mark.parametrize("name", LAYOUTS)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(steps=_STEPS)
def test_the_raw_stream_behaves_as_plain_bytes_do(name: str, steps: list[Step]) -> None:
    case = _Case(LAYOUTS[name])
    with case.stream as raw:
        for step in steps:
            _do(raw, step, case.plaintext)
        assert raw.seek(0) == 0
        assert raw.read() == case.plaintext
    assert bytes(case.storage.data) == case.disk()


@pytest.mark.parametrize("name", LAYOUTS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(steps=_STEPS)
def test_a_buffer_around_the_stream_changes_nothing(name: str, steps: list[Step]) -> None:
    case = _Case(LAYOUTS[name])
    with io.BufferedRandom(case.stream, 1000) as file:
        for step in steps:
            _do(file, step, case.plaintext)
        file.seek(0)
        assert file.read() == case.plaintext
    assert bytes(case.storage.data) == case.disk()


def test_a_buffered_reader_reads_all_in_odd_pieces(case: _Case) -> None:
    with io.BufferedReader(case.stream, 700) as file:
        assert b"".join(iter(lambda: file.read(333), b"")) == case.plaintext


def test_reading_at_an_offset_leaves_the_position(case: _Case) -> None:
    case.stream.seek(7)
    assert case.stream.read_at(100, 1000) == case.plaintext[100:1100]
    assert case.stream.read_at(case.stream.size - 5, 100) == case.plaintext[-5:]
    assert case.stream.read_at(case.stream.size + 5, 100) == b""
    assert case.stream.tell() == 7


def test_what_is_larger_than_a_chunk_is_cut_into_chunks() -> None:
    size = (2 << 20) + 3 * 4096
    storage = MemoryStorage(4096 + size)
    with SecretBytes(KEYS[0]) as key:
        run = SegmentRun(0, size, 4096, 4096, 5, engine.create(CIPHER, key, 4096))
    plaintext = stream("large", size)
    with SegmentStream(storage, (run,), writable=True) as raw:
        raw.write_at(1000, plaintext[: size - 2000])
        assert raw.read_at(1000, size - 2000) == plaintext[: size - 2000]
        raw.write_at(0, plaintext)
        assert raw.readall() == plaintext
    with SecretBytes(KEYS[0]) as key, engine.create(CIPHER, key, 4096) as cipher:
        whole = bytearray(size)
        cipher.encrypt_into(5, plaintext, whole)
    assert storage.data[4096:] == whole


# Ends and errors


@pytest.mark.parametrize("beyond", [1, 512, 1 << 40])
def test_a_write_past_the_end_is_an_os_error_and_changes_nothing(case: _Case, beyond: int) -> None:
    data = bytes(min(beyond, 5000))
    with pytest.raises(OSError, match="reach past the volume's end"):
        case.stream.write_at(case.stream.size - len(data) + beyond, data)
    case.stream.seek(-1, io.SEEK_END)
    with pytest.raises(OSError, match="reach past the volume's end"):
        case.stream.write(b"xx")
    assert case.stream.tell() == case.stream.size - 1
    assert bytes(case.storage.data) == case.disk()


def test_a_buffered_write_past_the_end_is_an_os_error(case: _Case) -> None:
    file = io.BufferedRandom(case.stream)
    file.seek(0, io.SEEK_END)
    file.write(b"x")
    with pytest.raises(OSError, match="reach past the volume's end"):
        file.flush()
    with pytest.raises(OSError, match="reach past the volume's end"):
        file.detach()  # it tries once more, and so does closing it
    assert bytes(case.storage.data) == case.disk()


@pytest.mark.parametrize(
    "mistake",
    [
        lambda raw: raw.seek(-1),
        lambda raw: raw.seek(-1, io.SEEK_CUR),
        lambda raw: raw.seek(-100_000, io.SEEK_END),
        lambda raw: raw.seek(0, 3),
        lambda raw: raw.read_at(-1, 5),
    ],
)
def test_places_before_the_start_do_not_exist(
    case: _Case, mistake: Callable[[SegmentStream], object]
) -> None:
    with pytest.raises(ValueError, match=r"seek|read at"):
        mistake(case.stream)
    assert case.stream.tell() == 0


def test_the_size_cannot_be_changed(case: _Case) -> None:
    with pytest.raises(io.UnsupportedOperation):
        case.stream.truncate(5)


def test_a_stream_for_reading_refuses_to_write() -> None:
    with opened("luks2") as volume, volume.unlock(FIRST) as unlocked, unlocked.open() as raw:
        assert not raw.writable()
        with pytest.raises(io.UnsupportedOperation):
            raw.write(b"x")
        with pytest.raises(io.UnsupportedOperation):
            io.BufferedRandom(raw)


@pytest.mark.parametrize(
    "use",
    [
        lambda raw: raw.read(1),
        lambda raw: raw.read_at(0, 1),
        lambda raw: raw.readinto(bytearray(1)),
        lambda raw: raw.readall(),
        lambda raw: raw.write(b"x"),
        lambda raw: raw.write_at(0, b"x"),
        lambda raw: raw.seek(0),
    ],
)
def test_a_closed_stream_gives_nothing(case: _Case, use: Callable[[SegmentStream], object]) -> None:
    case.stream.close()
    case.stream.close()
    with pytest.raises(ValueError, match="closed"):
        use(case.stream)
    assert bytes(case.storage.data) == case.disk()


def test_closing_the_stream_wipes_its_ciphers_and_leaves_the_storage() -> None:
    with opened("luks2") as volume, volume.unlock(FIRST) as unlocked:
        raw = unlocked.open()
        ciphers = [run.cipher for run in raw._runs]
        raw.close()
        for cipher in ciphers:
            assert cipher is not None
            with pytest.raises(ValueError, match=r"wiped|closed"):
                cipher.decrypt_into(0, bytes(512), bytearray(512))
        with unlocked.open() as again:
            assert len(again.read(512) or b"") == 512


def test_a_failing_device_is_a_storage_error() -> None:
    storage = FailingStorage(image("luks2"), writes=0)
    with (
        luksmeta.open(storage, writable=True) as volume,
        volume.unlock(volume_key=VOLUME_KEY) as unlocked,
        unlocked.open(writable=True) as raw,
        pytest.raises(StorageError),
    ):
        raw.write(bytes(512))


# What a header may claim


@contextmanager
def _unlocked(**segment: object) -> Iterator[luksmeta.UnlockedVolume]:
    document = document_of(image("luks2"))
    document["segments"]["0"].update(segment)
    storage = MemoryStorage(with_document(image("luks2"), document))
    with luksmeta.open(storage) as volume, volume.unlock(FIRST) as unlocked:
        yield unlocked


def test_a_segment_of_fixed_size_ends_there() -> None:
    with _unlocked(size="1024") as unlocked, unlocked.open() as raw:
        assert raw.seek(0, io.SEEK_END) == 1024
        raw.seek(0)
        assert len(raw.readall()) == 1024


def test_a_segment_that_starts_behind_the_device_is_refused_with_both_numbers() -> None:
    offset = data_offset("luks2") + (1 << 30)
    with (
        _unlocked(offset=str(offset)) as unlocked,
        pytest.raises(StorageError, match=f"starts at {offset:#x}, memory ends at 0x98000"),
    ):
        unlocked.open()


def test_an_iv_tweak_near_the_end_of_its_range_wraps_as_in_the_kernel() -> None:
    with _unlocked(iv_tweak=str((1 << 64) - 1)) as unlocked, unlocked.open() as raw:
        found = raw.read(1024)
    disk = image("luks2")[data_offset("luks2") :][:1024]
    with SecretBytes(VOLUME_KEY) as key, engine.create(CIPHER, key) as cipher:
        expected = bytearray(1024)
        cipher.decrypt_into((1 << 64) - 1, disk[:512], memoryview(expected)[:512])
        cipher.decrypt_into(0, disk[512:], memoryview(expected)[512:])
    assert found == expected


@pytest.mark.parametrize(
    "claim",
    [
        {"sector_size": 1536},
        {"type": "acme"},
        {"flags": ["in-reencryption"]},
        {
            "integrity": {
                "type": "hmac(sha256)",
                "journal_encryption": "none",
                "journal_integrity": "none",
            }
        },
    ],
    ids=lambda claim: next(iter(claim)),
)
def test_segments_that_cannot_be_read_here_are_refused(claim: dict[str, object]) -> None:
    with _unlocked(size="6144", **claim) as unlocked, pytest.raises(luksmeta.UnsupportedError):
        unlocked.open()


# --- many threads, holes -------------------------------------------------------------------------


def test_threads_that_write_beside_each_other_lose_nothing(case: _Case) -> None:
    """Each owns every third byte span of seven bytes, so that all of them meet in every sector."""
    size, piece, count = case.stream.size, 7, 3

    def work(number: int) -> None:
        for at in range(number * piece, size - piece, count * piece * 5):
            case.stream.write_at(at, bytes([number]) * piece)
            assert case.stream.read_at(at, piece) == bytes([number]) * piece

    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(count):
        for at in range(number * piece, size - piece, count * piece * 5):
            case.plaintext[at : at + piece] = bytes([number]) * piece
    assert case.storage.data == case.disk()


def test_a_buffer_may_be_encrypted_where_it_lies_or_kept(case: _Case) -> None:
    data = bytearray(stream("in place", case.stream.size))
    case.plaintext[:] = data
    case.stream.write_at(0, data)
    assert data == case.plaintext
    assert case.storage.data == case.disk()
    case.storage.data[:] = bytes(len(case.storage.data))
    case.stream.write_at(0, data, in_place=True)
    assert case.stream.read_at(0, case.stream.size) == case.plaintext


def test_bytes_in_memory_are_allocated_and_cover_what_was_asked(case: _Case) -> None:
    for offset, size in ((0, case.stream.size), (5, 1000), (case.stream.size - 1, 1)):
        at = offset
        for each in case.stream.allocation(offset, size):
            assert each.extent.offset == at
            assert not each.is_hole
            assert not each.is_zero
            at += each.extent.size
        assert at == offset + size


def test_holes_are_zeroes_in_the_clear_alone_and_discards_are_of_whole_sectors(
    tmp_path: Path,
) -> None:
    block = 64 << 10
    with FileStorage.create(tmp_path / "disk") as disk, SecretBytes(KEYS[0]) as key:
        disk.resize(4 * block)
        runs = (
            SegmentRun(0, block, block, 4096, 0, engine.create(CIPHER, key, 4096)),
            SegmentRun(block, block, 3 * block, 512, 0, None),
        )
        with SegmentStream(disk, runs, writable=True) as plain:
            states = [
                (each.extent.offset, each.extent.size, each.is_hole, each.is_zero)
                for each in plain.allocation(0, 2 * block)
            ]
            if not states[0][2]:
                missing("this file system tells of no holes")
            assert states == [(0, block, True, False), (block, block, True, True)]
            data = stream("discard", 2 * block)
            plain.write_at(0, data)
            assert not any(each.is_hole for each in plain.allocation(0, 2 * block))
            plain.discard(1, 4094)
            assert plain.read_at(0, 2 * block) == data
            plain.discard(4095, block)
            found = plain.read_at(0, 2 * block)
    assert found[:4096] == data[:4096]
    assert found[4096:block] != data[4096:block]
    assert found[block : block + 3584] == bytes(3584)
    assert found[block + 4095 :] == data[block + 4095 :]


def test_discards_are_writes() -> None:
    with (
        opened("luks2") as volume,
        volume.unlock(FIRST) as unlocked,
        unlocked.open() as plain,
        pytest.raises(io.UnsupportedOperation),
    ):
        plain.discard(0, 4096)
