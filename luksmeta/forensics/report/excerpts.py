"""The bytes that a report shows: headers with the names of their fields, and starts of damage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from construct import Bytes, Struct

from luksmeta.errors import StorageError
from luksmeta.extents import Extent
from luksmeta.forensics.inspector import Inspection
from luksmeta.luks1.partition_header import (
    KEYSLOT,
    KEYSLOT_COUNT,
    PARTITION_HEADER,
    WRITTEN_SIZE,
)
from luksmeta.luks2.binary_header import BINARY_HEADER
from luksmeta.luks2.limits import BINARY_HEADER_SIZE
from luksmeta.storage import Storage

_DAMAGES_SHOWN: Final = 16
_DAMAGE_SIZE: Final = 64
_START_SIZE: Final = 512  # where there is no header to show


@dataclass(frozen=True, slots=True)
class Field:
    """A named range of an excerpt, counted from its start; ``value`` is that of a number."""

    name: str
    extent: Extent
    value: int | None = None


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Bytes of the device; ``data`` is None where they cannot be read."""

    title: str
    extent: Extent
    data: bytes | None
    fields: tuple[Field, ...] = ()


def excerpts_of(storage: Storage, inspection: Inspection) -> Iterator[Excerpt]:
    """Everything worth showing of one header, in order."""
    if inspection.diagnosis.version == 1 or inspection.partition_header:
        yield _excerpt(storage, "LUKS1 partition header", Extent(0, WRITTEN_SIZE), _luks1_fields())
    elif inspection.has_traces:
        for offset, name in _copies(inspection):
            extent = Extent(offset, BINARY_HEADER_SIZE)
            fields = tuple(_fields(BINARY_HEADER))
            yield _excerpt(storage, f"{name} binary header", extent, fields)
    else:
        yield _excerpt(storage, "Start of the device", Extent(0, _START_SIZE), ())
    yield from _damages(storage, inspection)


def damages_left_out(inspection: Inspection) -> int:
    """How many damaged ranges are not shown."""
    return max(sum(len(each.damage) for each in inspection.keyslots.values()) - _DAMAGES_SHOWN, 0)


def _copies(inspection: Inspection) -> Iterator[tuple[int, str]]:
    """Where copies lie or should: offset and name, in order."""
    stated = {each.copy: each.offset for each in inspection.diagnosis.copies}
    found = {each.copy: each.offset for each in inspection.copies}
    for copy, offset in {**stated, **found}.items():
        if offset is not None:
            yield offset, str(copy)


def _damages(storage: Storage, inspection: Inspection) -> Iterator[Excerpt]:
    runs = [(each.keyslot_id, run) for each in inspection.keyslots.values() for run in each.damage]
    for keyslot_id, run in runs[:_DAMAGES_SHOWN]:
        title = f"Damage of keyslot {keyslot_id} ({run.state}, {run.extent}) begins"
        size = min(run.extent.size, _DAMAGE_SIZE)
        yield _excerpt(storage, title, Extent(run.extent.offset, size), ())


def _excerpt(storage: Storage, title: str, extent: Extent, fields: tuple[Field, ...]) -> Excerpt:
    within = Extent(extent.offset, max(min(extent.end, storage.size) - extent.offset, 0))
    try:
        data = storage.read_at(within.offset, within.size)
    except StorageError:
        return Excerpt(title, within, None)
    return Excerpt(title, within, data, tuple(_with_values(fields, data)))


def _with_values(fields: tuple[Field, ...], data: bytes) -> Iterator[Field]:
    for each in fields:
        value = data[each.extent.offset : each.extent.end]
        if each.value is None:
            yield Field(each.name, each.extent)
        elif len(value) == each.extent.size:
            yield Field(each.name, each.extent, int.from_bytes(value, "big"))


def _luks1_fields() -> tuple[Field, ...]:
    fields = [*_fields(PARTITION_HEADER)]
    table = fields.pop()
    for keyslot_id in range(KEYSLOT_COUNT):
        start = table.extent.offset + keyslot_id * KEYSLOT.sizeof()
        for each in _fields(KEYSLOT):
            extent = Extent(start + each.extent.offset, each.extent.size)
            fields.append(Field(f"keyslot {keyslot_id}: {each.name}", extent, each.value))
    return tuple(fields)


def _fields(layout: Struct) -> Iterator[Field]:
    """The named fields of a layout; a value of 0 marks those that are numbers."""
    at = 0
    for part in layout.subcons:
        size = part.sizeof()
        if part.name:
            is_bytes = isinstance(part.subcon, Bytes)
            yield Field(part.name, Extent(at, size), None if is_bytes else 0)
        at += size
