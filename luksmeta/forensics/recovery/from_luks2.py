"""LUKS2 headers out of what is left: where to look, and the copies that a checksum proves.

Source: LUKS2 specification 1.1.4, section 2; lib/luks2/luks2_disk_metadata.c.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Final

from luksmeta.extents import Extent
from luksmeta.forensics.randomness import STEP
from luksmeta.forensics.recovery import from_json
from luksmeta.forensics.recovery.candidates import (
    Candidate,
    Confidence,
    ShiftedView,
    Source,
    candidate_of,
    first_bytes_of,
    made,
)
from luksmeta.forensics.recovery.json_texts import JsonText, merged_texts, texts_in
from luksmeta.header_copies import HeaderCopy
from luksmeta.luks2.binary_header import (
    MAGIC,
    BinaryHeader,
)
from luksmeta.luks2.both_copies import try_copy
from luksmeta.luks2.header_copy import LoadedCopy
from luksmeta.luks2.limits import BINARY_HEADER_SIZE, HDR_SIZES
from luksmeta.storage import Storage

SEARCHED: Final = 2 * HDR_SIZES[-1]
"""How many bytes from the start are searched: both copies of the largest size."""

_PLACES_MAX: Final = 256  # hostile bytes may look like a header as often as they like


def candidates(
    storage: Storage, *, secondary_at: int | None = None, uuid: str | None = None
) -> Iterator[Candidate]:
    """Every header that the bytes could mean; ``secondary_at`` is one more place to look."""
    data = first_bytes_of(storage, SEARCHED)
    places = [
        *islice(_likely_places(data), _PLACES_MAX),
        *(() if secondary_at is None else (secondary_at,)),
    ]
    yield from _by_checksum(storage, places)
    texts = [*texts_in(data), *merged_texts(data)]
    if secondary_at is not None:
        view = ShiftedView(storage, secondary_at)
        texts += (
            _moved(text, secondary_at) for text in texts_in(first_bytes_of(view, HDR_SIZES[-1]))
        )
    for text in texts:
        yield from from_json.by_text(storage, text, uuid)
    if not any(text.offset - BINARY_HEADER_SIZE in (0, *HDR_SIZES) for text in texts):
        yield from from_json.by_fragments(storage, data, uuid)


def _moved(text: JsonText, by: int) -> JsonText:
    return replace(
        text, extents=tuple(Extent(each.offset + by, each.size) for each in text.extents)
    )


# --- copies that their checksum proves -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Proved:
    """A copy whose checksum is right, were its magic; ``place`` is where it lies in the image."""

    place: int
    base: int
    loaded: LoadedCopy
    has_magic: bool


def _likely_places(data: bytes) -> Iterator[int]:
    """Where a binary header could begin: version and size of one, whatever its magic."""
    for place in range(0, len(data) - BINARY_HEADER_SIZE + 1, STEP):
        if data[place + 6 : place + 8] == b"\0\2":
            size = int.from_bytes(data[place + 8 : place + 16], "big")
            if size in HDR_SIZES:
                yield place


def _by_checksum(storage: Storage, places: Iterable[int]) -> Iterator[Candidate]:
    by_base: dict[int, list[_Proved]] = {}
    for place in dict.fromkeys(places):
        found = _proved_at(storage, place)
        if found is not None:
            by_base.setdefault(found.base, []).append(found)
    for base, copies in by_base.items():
        yield from made(partial(_of_copies, storage, base, copies))


def _proved_at(storage: Storage, place: int) -> _Proved | None:
    header = first_bytes_of(ShiftedView(storage, place), BINARY_HEADER_SIZE)
    if len(header) < BINARY_HEADER_SIZE:
        return None
    record = BinaryHeader.from_bytes(header)
    if record.hdr_offset not in (0, *HDR_SIZES):
        return None
    copy = HeaderCopy.SECONDARY if record.hdr_offset else HeaderCopy.PRIMARY
    base = place - record.hdr_offset
    view = ShiftedView(storage, base)
    loaded = try_copy(view, copy, record.hdr_offset, magic_is_lost=True)
    if not isinstance(loaded, LoadedCopy):
        return None
    return _Proved(place, base, loaded, record.magic == MAGIC[copy])


def _of_copies(storage: Storage, base: int, copies: list[_Proved]) -> Candidate:
    chosen = max(copies, key=lambda each: (each.loaded.record.seqid, -each.place))
    current = [each for each in copies if _same(each.loaded, chosen.loaded)]
    is_sound = len(current) == len(HeaderCopy) and all(each.has_magic for each in current)
    way, reasons = _story(base, chosen, current, is_sound=is_sound)
    salts = {each.loaded.copy: each.loaded.record.salt for each in current}
    record, area = chosen.loaded.record, chosen.loaded.json_area
    return candidate_of(
        ShiftedView(storage, base),
        () if is_sound else from_json.both_copies(record, area, salts),
        way=way,
        confidence=Confidence.CERTAIN,
        reasons=reasons,
        sources=[
            Source.of(storage, Extent(each.place, record.hdr_size), f"{each.loaded.copy} header")
            for each in current
        ],
        base=base,
        needs=chosen.loaded.metadata.keyslots_area.end,
    )


def _same(one: LoadedCopy, other: LoadedCopy) -> bool:
    return one.record.seqid == other.record.seqid and one.says(other.record, other.json_area)


def _story(
    base: int, chosen: _Proved, current: list[_Proved], *, is_sound: bool
) -> tuple[str, list[str]]:
    reasons = [f"{each.loaded.copy} copy at {each.place:#x}: checksum right" for each in current]
    reasons += [
        f"{each.loaded.copy} copy at {each.place:#x}: its magic alone was gone"
        for each in current
        if not each.has_magic
    ]
    if base:
        reasons.append(f"that copy says where it lies: the volume begins at {base:#x} of the image")
    if is_sound:
        return "sound header", reasons
    if not all(each.has_magic for each in current):
        return "wiped magic", reasons
    return f"{chosen.loaded.copy} copy", reasons
