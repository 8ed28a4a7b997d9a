"""A repair field by field: what was found in each field of a header, and what it will be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import islice
from typing import Final

from luksmeta.binary import c_text
from luksmeta.errors import MetadataError
from luksmeta.header import Header
from luksmeta.luks1.partition_header import SIZE, WRITTEN_SIZE, KeyslotRecord, PartitionHeader
from luksmeta.luks2.binary_header import BinaryHeader
from luksmeta.luks2.header import Luks2Header
from luksmeta.luks2.json_text import parse_json_area
from luksmeta.luks2.limits import BINARY_HEADER_SIZE
from luksmeta.model import JsonValue
from luksmeta.sizes import counted
from luksmeta.storage import Storage
from luksmeta.write_plan import Write, WritePlan

_TEXTS: Final = frozenset(
    {"label", "uuid", "subsystem", "csum_alg", "cipher_name", "cipher_mode", "hash_spec"}
)
_FRESH: Final = {"salt": "fresh random bytes", "csum": "computed anew"}
_JSON_FIELDS_MAX: Final = 100  # a hostile document could differ in a hundred thousand


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field: of which object, what was found, what it will be; None stands for nothing."""

    where: str
    field: str
    found: object
    will_be: object

    def describe(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "object": self.where,
            "field": self.field,
            "found": self.found,
            "will_be": self.will_be,
        }


def changed_fields(
    before: Storage, after: Storage, header: Header, plans: Iterable[WritePlan]
) -> Iterator[FieldChange]:
    """Every field that ``plans`` change, of ``header`` as ``after`` has it."""
    written = {step.offset for plan in plans for step in plan.steps if isinstance(step, Write)}
    if not isinstance(header, Luks2Header):
        if written:
            yield from _luks1_fields(before, after)
        return
    size = header.loaded.record.hdr_size
    for state in header.copies:
        if state.offset in written:
            name = f"{state.copy} header"
            old, new = (each.read_at(state.offset, size) for each in (before, after))
            yield from _binary_fields(name, old[:BINARY_HEADER_SIZE], new[:BINARY_HEADER_SIZE])
            yield from _json_fields(name, old[BINARY_HEADER_SIZE:], new[BINARY_HEADER_SIZE:])


def _luks1_fields(before: Storage, after: Storage) -> Iterator[FieldChange]:
    old, new = (PartitionHeader.from_bytes(each.read_at(0, SIZE)) for each in (before, after))
    yield from _record_fields("partition header", old, new, but=("keyslots",))
    entries = zip(old.keyslot_records(), new.keyslot_records(), strict=True)
    for keyslot_id, (old_entry, new_entry) in enumerate(entries):
        yield from _record_fields(f"keyslot {keyslot_id}", old_entry, new_entry)
    behind = (each.read_at(SIZE, WRITTEN_SIZE - SIZE) for each in (before, after))
    yield from _padding("partition header", *behind)


def _binary_fields(name: str, before: bytes, after: bytes) -> Iterator[FieldChange]:
    old, new = BinaryHeader.from_bytes(before), BinaryHeader.from_bytes(after)
    yield from _record_fields(name, old, new)
    yield from _padding(name, _without(before, old), _without(after, new))


def _without(data: bytes, record: BinaryHeader) -> bytes:
    """The bytes that belong to no field; zeroes in place of the others."""
    known = record.to_bytes()
    return bytes(byte if byte != same else 0 for byte, same in zip(data, known, strict=True))


def _record_fields(
    name: str,
    old: PartitionHeader | KeyslotRecord | BinaryHeader,
    new: PartitionHeader | KeyslotRecord | BinaryHeader,
    but: tuple[str, ...] = (),
) -> Iterator[FieldChange]:
    for each in fields(old):
        found, will_be = getattr(old, each.name), getattr(new, each.name)
        if found == will_be or each.name in but:
            continue
        shown = _shown(each.name, found), _shown(each.name, will_be)
        if shown[0] == shown[1]:  # texts that differ behind their NUL
            shown = found.hex(), will_be.hex()
        if isinstance(new, BinaryHeader):
            yield FieldChange(name, each.name, shown[0], _FRESH.get(each.name, shown[1]))
        else:
            yield FieldChange(name, each.name.replace("_", "-"), *shown)


def _shown(field: str, value: int | bytes) -> object:
    if isinstance(value, int):
        return f"{value:#010x}" if field == "active" else value
    return c_text(value) if field in _TEXTS else value.hex()


def _padding(name: str, before: bytes, after: bytes) -> Iterator[FieldChange]:
    if before != after:
        count = len(before) - before.count(0)
        yield FieldChange(name, "padding", f"bytes that are not zero: {count}", "zeroes")


def _json_fields(name: str, before: bytes, after: bytes) -> Iterator[FieldChange]:
    if before == after:
        return
    new = parse_json_area(after)
    try:
        old = parse_json_area(before)
    except MetadataError as error:
        text = f"the {counted(len(after.rstrip(bytes(1))), 'byte')} of the good text"
        yield FieldChange(name, "json_area", error.text, text)
        return
    found = list(islice(_members(name, "", old, new), _JSON_FIELDS_MAX + 1))
    yield from found[:_JSON_FIELDS_MAX]
    if len(found) > _JSON_FIELDS_MAX:
        yield FieldChange(name, "json_area", "more members that differ", "those of the good text")
    if not found:
        yield FieldChange(name, "json_area", "the same, spelled otherwise", "the good text")


def _members(name: str, path: str, old: JsonValue, new: JsonValue) -> Iterator[FieldChange]:
    """The innermost members that differ."""
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        if old != new:
            yield FieldChange(name, path, old, new)
        return
    for member in dict.fromkeys((*old, *new)):
        inner = f"{path}.{member[:40]}" if path else member[:40]
        if member in old and member in new:
            yield from _members(name, inner, old[member], new[member])
        else:
            yield FieldChange(name, inner, old.get(member), new.get(member))
