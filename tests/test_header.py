"""Headers of either version from hostile bytes: truncated, random, and random under a checksum."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import luksmeta
from luksmeta import Limits, LuksError, MemoryStorage, NotLuksError, VersionError
from luksmeta.format_options import Version
from luksmeta.luks2.binary_header import checksum
from tests.builders import (
    FIRST,
    VERSIONS,
    VOLUME_KEY,
    data_offset,
    document_of,
    image,
    with_document,
)
from tests.storages import UntouchedStorage

# Whatever the bytes ask for: no case may take long.
CHEAP = Limits(iterations=2000, time=4, memory=1024, cpus=4)
HDR_SIZE = 0x4000
_COPIES = (0, HDR_SIZE)


def _use(data: bytes | bytearray) -> bytes | None:
    """Open, unlock and read; the volume key, or None when a typed error says what is wrong."""
    try:
        with (
            luksmeta.open(UntouchedStorage(data)) as volume,
            volume.unlock(FIRST, limits=CHEAP) as unlocked,
        ):
            key = bytes(unlocked.volume_key.view())
            with unlocked.open() as stream:
                stream.read(5000)
            return key
    except LuksError:
        return None


# Truncation


def _interesting_lengths(version: Version) -> Iterator[int]:
    borders = [0, 6, 8, 512, 592, 1024, 4096, 8192, HDR_SIZE, HDR_SIZE + 4096, 2 * HDR_SIZE]
    size = len(image(version))
    borders += [data_offset(version), data_offset(version) - 3072, size]
    for border in borders:
        yield from (each for each in range(border - 2, border + 3) if 0 <= each < size)
    yield from range(0, 8192, 64)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_truncated_volume_is_refused_by_a_typed_error(version: Version) -> None:
    for length in _interesting_lengths(version):
        key = _use(image(version)[:length])
        assert key == (None if length < data_offset(version) else VOLUME_KEY), length


@pytest.mark.parametrize("version", VERSIONS)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_a_volume_truncated_anywhere_is_refused_by_a_typed_error(
    version: Version, data: st.DataObject
) -> None:
    length = data.draw(st.integers(0, data_offset(version) - 1))
    assert _use(image(version)[:length]) is None


@pytest.mark.parametrize("size", [0, 1, 7, 8, 512, 4095, 4096, 100_000])
def test_bytes_without_any_magic_are_no_luks(size: int) -> None:
    for filler in (b"\0", b"\xff", b"LUKS"):
        with pytest.raises(NotLuksError, match="memory: not a LUKS volume"):
            luksmeta.open(MemoryStorage(filler * size))


def test_a_version_that_nobody_has_defined_is_named() -> None:
    with pytest.raises(VersionError, match="LUKS version 3, known are 1 and 2") as caught:
        luksmeta.open(MemoryStorage(b"LUKS\xba\xbe\0\3" + bytes(8192)))
    assert caught.value.version == 3


# Random bytes

_PATCH = st.tuples(st.integers(0, HDR_SIZE - 1), st.binary(min_size=1, max_size=64))


def _patched(data: bytearray, patches: list[tuple[int, bytes]], start: int, end: int) -> None:
    for offset, patch in patches:
        at = start + offset % (end - start)
        fitting = patch[: end - at]
        data[at : at + len(fitting)] = fitting


def _with_right_checksum(data: bytearray, start: int) -> None:
    header = bytes(data[start : start + 4096])
    csum = checksum("sha256", header, bytes(data[start + 4096 : start + HDR_SIZE]))
    data[start + 448 : start + 480] = csum


@settings(max_examples=250, deadline=None, derandomize=True)
@given(st.lists(_PATCH, min_size=1, max_size=6), st.booleans())
def test_random_bytes_in_a_luks1_header_are_survived(
    patches: list[tuple[int, bytes]], whole: bool
) -> None:
    data = bytearray(image("luks1"))
    _patched(data, patches, 0 if whole else 8, 592)
    assert _use(data) in (None, VOLUME_KEY)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(_PATCH, min_size=1, max_size=4), st.lists(_PATCH, min_size=1, max_size=4))
def test_random_bytes_in_both_luks2_copies_are_survived(
    first: list[tuple[int, bytes]], second: list[tuple[int, bytes]]
) -> None:
    data = bytearray(image("luks2"))
    for start, patches in zip(_COPIES, (first, second), strict=True):
        _patched(data, patches, start, start + HDR_SIZE)
    assert _use(data) in (None, VOLUME_KEY)


def _text_end() -> int:
    return image("luks2").index(b"\0", 4096)


_TEXT = st.sampled_from([b"{", b"}", b"[", b"]", b'"', b",", b"0", b"-", b"9" * 9, b"1e9", b"null"])


@settings(max_examples=250, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(
            st.integers(0, HDR_SIZE), _TEXT | st.binary(min_size=1, max_size=8) | st.just(b"\0")
        ),
        min_size=1,
        max_size=3,
    )
)
def test_random_bytes_in_the_json_under_a_right_checksum_are_survived(
    patches: list[tuple[int, bytes]],
) -> None:
    data = bytearray(image("luks2"))
    for start in _COPIES:
        _patched(data, patches, start + 4096, start + _text_end())
        _with_right_checksum(data, start)
    assert _use(data) in (None, VOLUME_KEY)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(_PATCH, min_size=1, max_size=3))
def test_random_bytes_in_the_binary_header_under_a_right_checksum_are_survived(
    patches: list[tuple[int, bytes]],
) -> None:
    data = bytearray(image("luks2"))
    for start in _COPIES:
        _patched(data, patches, start + 8, start + 448)
        _with_right_checksum(data, start)
    assert _use(data) in (None, VOLUME_KEY)


_VALUES: st.SearchStrategy[object] = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 65), 1 << 65)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "0", "dynamic", "sha1", "aes-xts-plain64", "null", "raw", "luks2", "1"])
    | st.just([])
    | st.just({})
)


def _places(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield (*path, name)
            yield from _places(inner, (*path, name))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_any_value_anywhere_in_the_document_is_survived(data: st.DataObject) -> None:
    document = document_of(image("luks2"))
    for _ in range(data.draw(st.integers(1, 2))):
        *parents, name = data.draw(st.sampled_from(list(_places(document))))
        target = document
        for parent in parents:
            target = target[parent]
        target[name] = data.draw(_VALUES)
    assert _use(with_document(image("luks2"), document)) in (None, VOLUME_KEY)
