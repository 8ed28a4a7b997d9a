"""Hypothesis strategies for headers that mean harm: good ones with some fields spoiled."""

from __future__ import annotations

import struct
from typing import Any, Final

from hypothesis import strategies as st

from luksmeta.luks1.partition_header import KEYSLOT, PARTITION_HEADER
from luksmeta.luks2.binary_header import BINARY_HEADER
from luksmeta.luks2.json_text import compact_text
from tests.defects import documents
from tests.fuzz import hostile, seeds, targets

_BASES: Final = (
    documents.plain,
    documents.reencrypting,
    documents.opal,
    documents.two_segments,
)
_EDGES: Final = (0, 1, 511, 512, 513, 4000, 4096, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
_WORDS: Final = (
    *(b"aes", b"xts-plain64", b"cbc-essiv:sha256", b"ecb", b"cipher_null", b"sha1", b"sha256"),
    *(
        b"",
        b"\xff",
        b"a" * 32,
        b"LUKS\xba\xbe",
        b"SKUL\xba\xbe",
        b"\0\1",
        b"\0\2",
        b"\0\xac\x71\xf3",
    ),
)


def json_texts() -> st.SearchStrategy[bytes]:
    """Texts of JSON areas: spoiled documents, and whatever else the grammar gives."""
    return st.one_of(spoiled_documents(), spoiled_documents(), _made_up().map(hostile.spell))


@st.composite
def spoiled_documents(draw: st.DrawFn) -> bytes:
    """A good document, changed at a few places."""
    tree = hostile.parse(compact_text(draw(st.sampled_from(_BASES))()))
    return hostile.spell(hostile.changed(tree, draw(st.randoms()), draw(st.integers(0, 4))))


@st.composite
def luks1_headers(draw: st.DrawFn) -> bytes:
    """A good partition header with a few fields of it, or of its table, spoiled."""
    header = bytearray(seeds.seeds("luks1")[0])
    places = [*_fields(PARTITION_HEADER, 0)]
    for number in range(8):
        places += _fields(KEYSLOT, 208 + 48 * number)
    for start, size in draw(st.lists(st.sampled_from(places), max_size=4)):
        header[start : start + size] = draw(_field(size))
    disk_size = draw(st.one_of(st.none(), st.integers(0, 1 << 12), st.integers(0, (1 << 32) - 1)))
    return bytes(header) + (b"" if disk_size is None else struct.pack(">I", disk_size))


@st.composite
def luks2_inputs(draw: st.DrawFn) -> bytes:
    """Both binary headers of a good volume with a few fields spoiled, and any JSON text."""
    data = bytearray(draw(st.sampled_from(seeds.seeds("luks2")[:4])))
    data[0] = draw(st.integers(0, 15))
    places = [
        place for start in (1, 1 + targets.RECORD_SIZE) for place in _fields(BINARY_HEADER, start)
    ]
    for start, size in draw(st.lists(st.sampled_from(places), max_size=3)):
        data[start : start + size] = draw(_field(size))
    text = draw(st.one_of(st.none(), json_texts()))
    return bytes(data) if text is None else bytes(data[: 1 + 2 * targets.RECORD_SIZE]) + text


@st.composite
def keyslot_inputs(draw: st.DrawFn) -> bytes:
    """A keyslot, spoiled or not, and what lies in its area."""
    seed = draw(st.sampled_from(seeds.seeds("keyslot")))
    tree = hostile.parse(seed.partition(b"\0")[0])
    changed = hostile.changed(tree, draw(st.randoms()), draw(st.integers(0, 3)))
    return hostile.spell(changed) + b"\0" + draw(st.binary(max_size=600))


def _made_up() -> st.SearchStrategy[Any]:
    leaves = st.one_of(
        st.sampled_from(hostile.TEXTS),
        st.sampled_from(hostile.NUMBERS).map(hostile.Literal),
        st.integers().map(lambda number: hostile.Literal(str(number))),
        st.text(st.characters(codec=None), max_size=20),
        st.sampled_from((None, True, False)),
        st.sampled_from((31, 32, 3000)).map(hostile.nested),
    )
    names = st.one_of(st.sampled_from(hostile.NAMES), st.text(max_size=5))
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.lists(st.tuples(names, inner), max_size=6).map(hostile.Members),
        ),
        max_leaves=20,
    )


def _fields(layout: Any, start: int) -> list[tuple[int, int]]:  # noqa: ANN401  # construct has no types
    """Where the fields of a layout lie, from ``start`` on, and their sizes."""
    places, at = [], start
    for each in layout.subcons:
        size = each.sizeof()
        if each.name:
            places.append((at, size))
        at += size
    return places


def _field(size: int) -> st.SearchStrategy[bytes]:
    """Bytes of a field: numbers at the edges, words of the formats, anything."""
    numbers = st.sampled_from([edge for edge in _EDGES if edge < 1 << (8 * size)])
    return st.one_of(
        numbers.map(lambda number: number.to_bytes(size, "big")),
        st.sampled_from(_WORDS).map(lambda word: word[:size].ljust(size, b"\0")),
        st.binary(min_size=size, max_size=size),
    )
