"""Which bytes are not what they should be: all that an inspection can name of damage, in one list.

Nothing is said of bytes that nothing determines: gaps, slack behind key material, places that no
keyslot uses, and data that is zero, since that may never have been written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from luksmeta.binary import field_offsets
from luksmeta.errors import HeaderError, StorageError
from luksmeta.extents import Extent
from luksmeta.forensics.copies import CopyContent
from luksmeta.forensics.expected_copies import (
    ExpectedCopy,
    RawCopy,
    differing,
    expected_copies,
)
from luksmeta.forensics.material import KeyslotCondition
from luksmeta.forensics.randomness import Run, StepState
from luksmeta.header import first_bytes
from luksmeta.header_copies import HeaderCopy
from luksmeta.luks1 import partition_header as luks1
from luksmeta.luks1.repair import repaired
from luksmeta.luks1.validation import offset_of, validate
from luksmeta.luks2.limits import BINARY_HEADER_SIZE
from luksmeta.model import CryptSegment, Metadata, Segment
from luksmeta.storage import Storage

_ZERO_IS_WRONG: Final = (
    *("cipher_name", "cipher_mode", "hash_spec", "key_bytes"),
    *("mk_digest", "mk_digest_salt", "mk_digest_iter", "uuid"),
)
_STATES: Final = (luks1.ACTIVE, luks1.INACTIVE)
_DATA_LOOKED_FOR: Final = 1 << 20  # bytes behind the last area of a header that claims no data
_NO_CIPHERTEXT: Final = (StepState.PATTERN, StepState.OTHER, StepState.UNREADABLE)


class Certainty(StrEnum):
    """How sure it is that these bytes are damaged."""

    PROVED = "proved"
    """A checksum is right with other bytes in their place, or nothing lies there at all."""
    LIKELY = "likely"
    """By what the format and the other copy say, or by what ciphertext looks like."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A range of bytes that are not what they should be; ``place`` says of what."""

    place: str
    extent: Extent
    certainty: Certainty

    def describe(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "place": self.place,
            "offset": self.extent.offset,
            "size": self.extent.size,
            "certainty": str(self.certainty),
        }


def damage_of(
    storage: Storage,
    metadata: Metadata | None,
    copies: Iterable[CopyContent],
    record: luks1.PartitionHeader | None,
    keyslots: Mapping[int, KeyslotCondition],
    data_runs: Mapping[int, Iterable[Run]],
) -> tuple[Damage, ...]:
    """All damage that can be named, in the order of the device."""
    found = [*_of_copies(storage, tuple(copies)), *_of_material(keyslots)]
    found += [*_of_partition_header(storage, record)] if record else []
    if metadata is not None:
        found += _behind_keyslots(storage, metadata, data_runs)
    return tuple(sorted(found, key=lambda each: (each.extent.offset, each.extent.size)))


# --- LUKS2 headers -------------------------------------------------------------------------------


def _of_copies(storage: Storage, copies: tuple[CopyContent, ...]) -> Iterator[Damage]:
    """Of both places where a copy belongs, when there are traces of one."""
    if not copies:
        return
    size = next((each.offset for each in copies if each.offset), copies[0].hdr_size)
    places = {HeaderCopy.PRIMARY: 0, HeaderCopy.SECONDARY: size}
    raws = [RawCopy.read(storage, copy, offset, size) for copy, offset in places.items()]
    for expected in expected_copies(raws):
        certainty = Certainty.PROVED if expected.is_proved else Certainty.LIKELY
        for extent in (*expected.damage(), *_missing_text(expected)):
            behind = extent.offset - expected.raw.offset >= BINARY_HEADER_SIZE
            part = "JSON area" if behind else "binary header"
            yield Damage(f"{expected.raw.copy} {part}", extent, certainty)


def _missing_text(expected: ExpectedCopy) -> Iterator[Extent]:
    """Where a JSON text should begin and none does, and no other copy says which."""
    if expected.area == expected.raw.area and not expected.area.startswith(b"{"):
        yield Extent(expected.raw.offset + BINARY_HEADER_SIZE, 1)


# --- LUKS1 headers -------------------------------------------------------------------------------


def _of_partition_header(storage: Storage, record: luks1.PartitionHeader) -> Iterator[Damage]:
    for extent in _luks1_extents(storage, record):
        yield Damage("partition header", extent, Certainty.LIKELY)


def _luks1_extents(storage: Storage, record: luks1.PartitionHeader) -> Iterator[Extent]:
    """Fields that no LUKS1 header has so, and bytes behind them that are always zero."""
    fields = field_offsets(luks1.PARTITION_HEADER)
    sizes = {each.name: each.sizeof() for each in luks1.PARTITION_HEADER.subcons}
    actual = record.to_bytes()
    places = {Extent(fields[name], sizes[name]) for name in _ZERO_IS_WRONG}
    yield from (each for each in places if not any(actual[each.offset : each.end]))
    has_size = 0 < record.key_bytes <= luks1.KEY_SIZE_MAX
    if not record.payload_offset and has_size and has_data_behind(storage, record.key_bytes):
        yield Extent(fields["payload_offset"], 4)
    for keyslot_id, entry in enumerate(record.keyslot_records()):
        if entry.active not in _STATES:
            yield Extent(offset_of(f"keyslots.{keyslot_id}.active"), 4)
    mended = _mended(record)
    yield from differing(actual, mended.to_bytes(), 0)
    yield from {Extent(offset_of(each.path), 4) for each in validate(mended)}
    behind = first_bytes(storage, luks1.WRITTEN_SIZE)[luks1.SIZE :]
    yield from differing(behind, bytes(len(behind)), luks1.SIZE)


def has_data_behind(storage: Storage, key_size: int) -> bool:
    """Whether something lies behind the areas, so that this is no detached header."""
    end = luks1.area_offset(luks1.KEYSLOT_COUNT, key_size)
    try:
        return any(storage.read_at(end, max(min(_DATA_LOOKED_FOR, storage.size - end), 0)))
    except StorageError:
        return False


def _mended(record: luks1.PartitionHeader) -> luks1.PartitionHeader:
    """As repair leaves it, or with the right magic and version at least."""
    right = replace(record, magic=luks1.MAGIC, version=luks1.VERSION)
    try:
        return repaired(right)
    except HeaderError:
        return right


# --- the rest ------------------------------------------------------------------------------------


def _of_material(keyslots: Mapping[int, KeyslotCondition]) -> Iterator[Damage]:
    for keyslot_id, condition in keyslots.items():
        for run in condition.damage:
            yield Damage(f"key material of keyslot {keyslot_id}", run.extent, Certainty.LIKELY)


def _behind_keyslots(
    storage: Storage, metadata: Metadata, data_runs: Mapping[int, Iterable[Run]]
) -> Iterator[Damage]:
    """What is no ciphertext where data begins, and what the device has no room for."""
    end = metadata.keyslots_area.end
    for segment_id, runs in data_runs.items():
        segment = metadata.segments[segment_id]
        if segment.offset < end or not _looks_random(segment):
            continue
        for run in runs:
            if run.state in _NO_CIPHERTEXT:
                yield Damage(f"data of segment {segment_id}", run.extent, Certainty.LIKELY)
    if storage.size < end:
        missing = Extent(storage.size, end - storage.size)
        yield Damage("behind the device's end", missing, Certainty.PROVED)


def _looks_random(segment: Segment) -> bool:
    """Whether its ciphertext does, whatever the data: with ECB equal blocks stay equal."""
    return isinstance(segment, CryptSegment) and not any(
        each in segment.encryption for each in ("ecb", "null")
    )
