"""Other sizes for header copies and keyslots area: what moves, and that no crash hurts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

import luksmeta
from luksmeta import (
    KeyslotError,
    KeyslotsAreaFullError,
    MemoryStorage,
    RequirementError,
    StorageError,
    UnsupportedError,
    Volume,
    convert,
)
from luksmeta.extents import Extent
from luksmeta.file_storage import FileStorage
from luksmeta.format_options import Version
from luksmeta.header_copies import HeaderCopy
from luksmeta.luks2.header import Luks2Header
from luksmeta.luks2.limits import HDR_SIZES
from tests.builders import (
    FIRST,
    KDF,
    SECOND,
    THIRD,
    VOLUME_KEY,
    content,
    data_offset,
    document_of,
    image,
    key_behind,
    memory,
    opened,
    with_document,
)
from tests.disk_states import states, writes_without_barrier
from tests.interop.peers import cryptsetup

K = 1 << 10
END = data_offset("luks2")  # of the keyslots area, too
AREA = 128 * K
TWO = (FIRST, SECOND)


def resized(
    storage: MemoryStorage,
    *,
    metadata_size: int | None = None,
    keyslots_size: int | None = None,
    label: str | None = None,
) -> Volume:
    volume = luksmeta.open(storage, writable=True)
    volume.configure(label=label, metadata_size=metadata_size, keyslots_size=keyslots_size)
    return volume


def extents(volume: Volume) -> list[Extent]:
    return [keyslot.area.extent for _, keyslot in sorted(volume.keyslots.items())]


def opens_as_promised(volume: Volume, *passphrases: bytes) -> None:
    """The disk holds the header that the change promised, both copies good, and all keys open."""
    read = luksmeta.open(volume.header_storage)
    assert read.metadata == volume.metadata
    assert all(copy.problem is None for copy in read.header.copies)
    for passphrase in passphrases:
        assert key_behind(read, passphrase) == VOLUME_KEY


def cryptsetup_opens(state: bytes, path: Path, *passphrases: bytes) -> bool:
    path.write_bytes(state)
    return all(cryptsetup.unlocks(path, passphrase) for passphrase in passphrases)


# Sizes that can be had


@pytest.mark.parametrize("size", HDR_SIZES)
def test_header_copies_get_every_legal_size_and_cryptsetup_reads_them(
    size: int, tmp_path: Path
) -> None:
    path = tmp_path / "volume"
    luksmeta.format(
        path, FIRST, size=20 << 20, volume_key=VOLUME_KEY, pbkdf=KDF, digest_iterations=1000
    ).close()
    with luksmeta.open(path, writable=True) as volume:
        volume.configure(metadata_size=size)
        area = volume.metadata.keyslots_area
        assert (area.offset, area.end) == (2 * size, 16 << 20)
        opens_as_promised(volume, FIRST)
        volume.configure(metadata_size=HDR_SIZES[0])
        opens_as_promised(volume, FIRST)
        volume.configure(metadata_size=size)
    assert f"Metadata area: \t{size} [bytes]" in cryptsetup.dump(path)
    before = path.read_bytes()
    assert cryptsetup.unlocked_slot(path, FIRST) == 0
    assert path.read_bytes() == before  # nothing was left for cryptsetup to repair


def test_only_areas_in_the_way_are_moved_and_their_old_places_wiped() -> None:
    storage = memory("luks2", *TWO)
    before = bytes(storage.data)
    with resized(storage, metadata_size=32 * K) as volume:
        assert extents(volume) == [Extent(32 * K + 2 * AREA, AREA), Extent(32 * K + AREA, AREA)]
        assert volume.metadata.keyslots_area == Extent(64 * K, END - 64 * K)
        opens_as_promised(volume, *TWO)
    old = slice(64 * K, 32 * K + AREA)  # what the new header copies leave of the first area
    same = sum(a == b for a, b in zip(storage.data[old], before[old], strict=True))
    assert same < (old.stop - old.start) / 100
    moved = storage.data[32 * K + 2 * AREA : 32 * K + 3 * AREA]
    assert moved == before[32 * K : 32 * K + AREA]


def test_the_data_and_what_lies_behind_stay_as_they_are() -> None:
    storage = memory("luks2", *TWO)
    storage.data[END:] = bytes(range(256)) * ((len(storage.data) - END) // 256)
    before = bytes(storage.data[END:])
    resized(storage, metadata_size=64 * K).configure(keyslots_size=300 * K)
    assert bytes(storage.data[END:]) == before
    assert luksmeta.open(storage).metadata.data_offset == END


def test_the_keyslots_area_shrinks_to_what_its_keyslots_need() -> None:
    storage = memory("luks2", FIRST, SECOND, THIRD)
    with resized(storage) as volume:
        volume.remove_keyslot(0)
        volume.configure(keyslots_size=2 * AREA + 4095)
        assert volume.metadata.keyslots_area == Extent(32 * K, 2 * AREA)  # rounded down
        assert extents(volume) == [Extent(32 * K + AREA, AREA), Extent(32 * K, AREA)]
        opens_as_promised(volume, SECOND, THIRD)
        with volume.unlock(SECOND) as unlocked, pytest.raises(KeyslotsAreaFullError):
            unlocked.add_keyslot(FIRST, pbkdf=KDF)
        volume.configure(keyslots_size=END - 32 * K)
        with volume.unlock(SECOND) as unlocked:
            unlocked.add_keyslot(FIRST, pbkdf=KDF)
        opens_as_promised(volume, FIRST, SECOND, THIRD)


def test_what_the_keyslots_area_loses_is_wiped() -> None:
    storage = memory("luks2", FIRST)
    lost = slice(32 * K + AREA, END)
    storage.data[lost] = bytes(lost.stop - lost.start)  # a key may have lain there once
    resized(storage, keyslots_size=AREA)
    assert storage.data[lost].count(0) < (lost.stop - lost.start) / 100


def test_a_detached_header_file_grows_with_its_keyslots_area(tmp_path: Path) -> None:
    header, data = tmp_path / "header", tmp_path / "data"
    luksmeta.format(
        data,
        FIRST,
        size=1 << 20,
        header=header,
        volume_key=VOLUME_KEY,
        pbkdf=KDF,
        digest_iterations=1000,
        keyslots_size=512 * K,
    ).close()
    content = data.read_bytes()
    with luksmeta.open(data, header=header, writable=True) as volume:
        volume.configure(metadata_size=1 << 20, keyslots_size=3 << 20)
        opens_as_promised(volume, FIRST)
    assert header.stat().st_size == 5 << 20
    assert cryptsetup.unlocked_slot(data, FIRST, header=header) == 0
    assert data.read_bytes() == content


def test_without_space_a_detached_header_file_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(storage: FileStorage, size: int) -> None:
        raise StorageError(f"{storage.name}: no space left on device")

    acts: dict[Version, Callable[[Volume], None]] = {
        "luks1": lambda volume: convert.prepare(volume, "luks2").apply(volume),
        "luks2": lambda volume: volume.configure(keyslots_size=20 << 20),
    }
    for version, act in acts.items():
        header = tmp_path / version
        luksmeta.format(MemoryStorage(1 << 20), FIRST, header=header, type=version, pbkdf=KDF,
                        digest_iterations=1000).close()  # fmt: skip
        before = header.read_bytes()
        with monkeypatch.context() as patched, luksmeta.open(header, writable=True) as volume:
            patched.setattr(FileStorage, "reserve", refuse)
            with pytest.raises(StorageError, match="no space"):
                act(volume)
        assert header.read_bytes() == before


def test_the_largest_area_behind_larger_copies_is_reached_in_legal_steps() -> None:
    header, data = MemoryStorage(), MemoryStorage(1 << 20)
    luksmeta.format(data, FIRST, header=header, volume_key=VOLUME_KEY, pbkdf=KDF,
                    digest_iterations=1000, keyslots_size=AREA).close()  # fmt: skip
    with luksmeta.open(data, header=header, writable=True) as volume:
        volume.configure(metadata_size=1 << 20, keyslots_size=128 << 20)
        assert volume.metadata.keyslots_area == Extent(2 << 20, 128 << 20)
        opens_as_promised(volume, FIRST)


def test_sizes_that_are_there_already_change_nothing() -> None:
    storage = memory("luks2")
    with resized(storage, metadata_size=16 * K, keyslots_size=END - 32 * K) as volume:
        assert volume.written == []


def test_other_settings_come_with_the_sizes() -> None:
    with resized(memory("luks2"), label="wide", metadata_size=32 * K) as volume:
        assert volume.label == "wide"
        opens_as_promised(volume, FIRST)


def test_an_area_of_odd_size_moves_whole() -> None:
    document = document_of(image("luks2", TWO))
    document["keyslots"]["0"]["area"]["size"] = str(AREA - 1000)
    storage = MemoryStorage(with_document(image("luks2", TWO), document))
    with resized(storage, metadata_size=32 * K) as volume:
        assert extents(volume)[0] == Extent(32 * K + 2 * AREA, AREA - 1000)
        opens_as_promised(volume, *TWO)


# Sizes that cannot


@pytest.mark.parametrize(
    ("sizes", "kind", "message"),
    [
        ({"metadata_size": 48 * K}, ValueError, "metadata size 49152, legal are the powers of two"),
        ({"metadata_size": 8 << 20}, ValueError, "metadata size 8388608, legal are"),
        ({"keyslots_size": 4095}, ValueError, "keyslots size 4095, from 4096 to 134217728"),
        ({"keyslots_size": (128 << 20) + 4096}, ValueError, "keyslots size 134221824, from"),
        (
            {"keyslots_size": END - 32 * K + 4096},
            UnsupportedError,
            f"would end at {END + 4096:#x}, the data begins at {END:#x}",
        ),
        (
            {"metadata_size": 32 * K, "keyslots_size": END - 32 * K},
            UnsupportedError,
            f"would end at {END + 32 * K:#x}, the data begins at {END:#x}",
        ),
        (
            {"metadata_size": 1 << 20},
            UnsupportedError,
            f"two header copies end at 0x200000, the keyslots area at {END:#x}",
        ),
        (
            {"keyslots_size": AREA},
            KeyslotsAreaFullError,
            "keyslot 1: no gap of 131072 bytes in what the keyslots area keeps, 0x8000..0x28000",
        ),
        (
            {"metadata_size": 256 * K},
            KeyslotsAreaFullError,
            "keyslot 0: no gap of 131072 bytes in what the keyslots area keeps, 0x80000..0x88000",
        ),
    ],
)
def test_sizes_without_room_are_refused_with_both_numbers_and_nothing_is_written(
    sizes: dict[str, int], kind: type[Exception], message: str
) -> None:
    storage = memory("luks2", *TWO)
    before = bytes(storage.data)
    with luksmeta.open(storage, writable=True) as volume:
        with pytest.raises(kind, match=message):
            volume.configure(label="not written either", **sizes)  # type: ignore[arg-type]
        assert volume.written == []
    assert bytes(storage.data) == before


def test_luks1_has_no_sizes_to_choose() -> None:
    with opened("luks1") as volume, pytest.raises(UnsupportedError, match="LUKS1 has no sizes"):
        volume.configure(keyslots_size=1 << 20)


def test_json_text_that_the_smaller_copies_do_not_hold_is_refused() -> None:
    storage = memory("luks2")
    with resized(storage, metadata_size=32 * K) as volume:
        document = document_of(bytes(storage.data))
        document["tokens"] = {"0": {"type": "acme", "keyslots": [], "text": "x" * 20000}}
        storage.data[:] = with_document(bytes(storage.data), document)
    with (
        luksmeta.open(storage, writable=True) as volume,
        pytest.raises(UnsupportedError, match=r"JSON area: 2[0-9]{4} bytes, 12288 fit"),
    ):
        volume.configure(metadata_size=16 * K)


def test_a_keyslot_of_another_type_is_not_moved() -> None:
    document = document_of(image("luks2"))
    area = {"type": "x", "offset": str(END - 4096), "size": "4096"}
    document["keyslots"]["9"] = {"type": "acme", "key_size": 1, "area": area}
    storage = MemoryStorage(with_document(image("luks2"), document))
    with luksmeta.open(storage, writable=True) as volume:
        with pytest.raises(KeyslotError, match="keyslot 9: of type acme, it is not moved"):
            volume.configure(keyslots_size=END - 32 * K - 4096)
        volume.configure(metadata_size=32 * K)
        opens_as_promised(volume, FIRST)
        assert volume.keyslots[9].area.offset == END - 4096


def test_an_unknown_requirement_forbids_it() -> None:
    document = document_of(image("luks2"))
    document["config"]["requirements"] = {"mandatory": ["future-thing"]}
    storage = MemoryStorage(with_document(image("luks2"), document))
    with (
        luksmeta.open(storage, writable=True) as volume,
        pytest.raises(RequirementError, match="'future-thing'"),
    ):
        volume.configure(metadata_size=32 * K)


# A crash at any moment


def grown(storage: MemoryStorage) -> Volume:
    return resized(storage, metadata_size=32 * K)


def grown_with_smaller_area(storage: MemoryStorage) -> Volume:
    return resized(storage, metadata_size=32 * K, keyslots_size=3 * AREA)


def shrunk(storage: MemoryStorage) -> Volume:
    return resized(storage, metadata_size=16 * K)


def shrunk_area(storage: MemoryStorage) -> Volume:
    return resized(storage, keyslots_size=2 * AREA)


def wide() -> bytes:
    storage = memory("luks2", *TWO)
    resized(storage, metadata_size=64 * K)
    return bytes(storage.data)


def scattered() -> bytes:
    storage = memory("luks2", THIRD, *TWO)
    with luksmeta.open(storage, writable=True) as volume:
        volume.remove_keyslot(0)
    return bytes(storage.data)


ACTS: list[tuple[Callable[[], bytes], Callable[[MemoryStorage], Volume]]] = [
    (lambda: image("luks2", TWO), grown),
    (lambda: image("luks2", TWO), grown_with_smaller_area),
    (wide, shrunk),
    (scattered, shrunk_area),
]
each_act = pytest.mark.parametrize(("start", "do"), ACTS, ids=lambda each: each.__name__)


_KEYS: dict[tuple[str, bytes], list[bytes]] = {}


def keys_of(state: bytes) -> list[bytes]:
    """The volume keys that both passphrases open; equal keyslots are opened once."""
    with luksmeta.open(MemoryStorage(state)) as volume:
        areas = b"".join(state[each.offset : each.end] for each in extents(volume))
        known = (repr(volume.keyslots), areas)
        if known not in _KEYS:
            _KEYS[known] = [key_behind(volume, passphrase) for passphrase in TWO]
        return _KEYS[known]


def crash_states(
    before: bytes, do: Callable[[MemoryStorage], Volume]
) -> Iterator[tuple[str, bytes]]:
    with do(MemoryStorage(before)) as volume:
        assert [left for plan in volume.written for left in writes_without_barrier(plan)] == []
        return states(before, volume.written)


@each_act
@pytest.mark.parametrize("damaged", [None, *HeaderCopy])
def test_at_every_moment_every_passphrase_opens(
    start: Callable[[], bytes],
    do: Callable[[MemoryStorage], Volume],
    damaged: HeaderCopy | None,
) -> None:
    before = bytearray(start())
    if damaged is not None:
        second = Luks2Header.read(MemoryStorage(before)).loaded.record.hdr_size
        before[(0 if damaged is HeaderCopy.PRIMARY else second) + 300] ^= 1
    for name, state in crash_states(bytes(before), do):
        assert keys_of(state) == [VOLUME_KEY] * 2, name


@each_act
def test_at_every_moment_a_second_attempt_finishes(
    start: Callable[[], bytes], do: Callable[[MemoryStorage], Volume]
) -> None:
    wanted = do(MemoryStorage(start())).metadata
    for name, state in crash_states(start(), do):
        if "torn" in name and "torn at 512" not in name:
            continue
        volume = do(MemoryStorage(state))
        assert volume.metadata.keyslots_area == wanted.keyslots_area, name
        opens_as_promised(volume)
        assert keys_of(content(volume)) == [VOLUME_KEY] * 2, name


@each_act
def test_at_every_moment_cryptsetup_opens_every_passphrase(
    start: Callable[[], bytes], do: Callable[[MemoryStorage], Volume], tmp_path: Path
) -> None:
    found = list(crash_states(start(), do))
    done = [(name, state) for name, state in found if "torn" not in name]
    torn = [(name, state) for name, state in found if "torn" in name and "header" in name]
    for name, state in (*done, *islice(torn, 0, None, max(1, len(torn) // 10))):
        assert cryptsetup_opens(state, tmp_path / "volume", *TWO), name


@each_act
def test_no_older_header_is_left_to_be_found(
    start: Callable[[], bytes], do: Callable[[MemoryStorage], Volume]
) -> None:
    volume = do(MemoryStorage(start()))
    data = bytearray(volume.header_storage.read_at(0, volume.header_storage.size))
    data[:4096] = bytes(4096)
    assert Luks2Header.read(MemoryStorage(data)).metadata == volume.metadata
    hdr_size = volume.metadata.keyslots_area.offset // 2
    data[hdr_size : hdr_size + 4096] = bytes(4096)
    with pytest.raises(luksmeta.NotLuksError):
        Luks2Header.read(MemoryStorage(data))


def test_a_dry_run_grows_no_file(tmp_path: Path) -> None:
    header = tmp_path / "header"
    luksmeta.format(MemoryStorage(1 << 20), FIRST, header=header, pbkdf=KDF,
                    digest_iterations=1000, keyslots_size=AREA * 2).close()  # fmt: skip
    before = header.read_bytes()
    with luksmeta.open(header, writable=True, dry_run=True) as volume:
        volume.configure(keyslots_size=1 << 20)
        assert isinstance(volume.header_storage, luksmeta.Storage)
        steps = [step["step"] for plan in volume.written for step in plan.describe()]
    assert steps[:2] == ["reserve", "resize"]
    assert header.read_bytes() == before


def test_a_torn_larger_primary_leaves_the_new_header_and_never_an_older_one() -> None:
    before = image("luks2", TWO)
    wanted = grown(MemoryStorage(before)).metadata
    torn = [
        (name, state)
        for name, state in crash_states(before, grown)
        if name.startswith("resize the header") and "primary" in name
    ]
    assert len(torn) > 60
    for name, state in torn:
        header = Luks2Header.read(MemoryStorage(state))
        # Where only bytes behind the old primary are written yet, that one is still whole.
        is_new = header.metadata.keyslots_area == wanted.keyslots_area
        assert is_new or header.loaded.copy is HeaderCopy.PRIMARY, name
