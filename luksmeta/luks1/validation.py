"""Every rule that cryptsetup 2.8 holds a LUKS1 partition header to, as a table, and oddities.

Paths are the field names of the specification: ``keyslots.3.key-material-offset``. Source:
lib/luks1/keymanage.c LUKS_check_keyslots, _check_and_convert_hdr.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Final, Self

from luksmeta.binary import c_text, field_offsets
from luksmeta.errors import AlgorithmError, MetadataError, Severity, Violation
from luksmeta.extents import Extent
from luksmeta.kdf import hashes
from luksmeta.kdf.pbkdf import MIN_ITERATIONS
from luksmeta.luks1.partition_header import (
    ACTIVE,
    INACTIVE,
    KEY_SIZE_MAX,
    KEYSLOT,
    PARTITION_HEADER,
    WRITTEN_SIZE,
    KeyslotRecord,
    PartitionHeader,
    area_offset,
    area_size,
)
from luksmeta.model import SECTOR_SIZE, STRIPES
from luksmeta.rules import Finding, Rule, and_more, excerpt
from luksmeta.sizes import counted
from luksmeta.uuids import is_uuid

_TEXTS: Final = ("cipher-name", "cipher-mode", "hash-spec", "uuid")
_FIELDS: Final = field_offsets(PARTITION_HEADER)
_ENTRY_FIELDS: Final = field_offsets(KEYSLOT)


@dataclass(frozen=True, slots=True)
class Table:
    """A partition header as the rules see it."""

    record: PartitionHeader
    entries: tuple[KeyslotRecord, ...]
    areas: tuple[Extent, ...]
    """Of every entry, in use or not; empty when no key has the size that is stated."""

    @classmethod
    def of(cls, record: PartitionHeader) -> Self:
        """The header with its table taken apart."""
        entries = record.keyslot_records()
        size = record.key_bytes
        possible = entries if 0 < size <= KEY_SIZE_MAX else ()
        areas = tuple(
            Extent(each.key_material_offset * SECTOR_SIZE, area_size(size)) for each in possible
        )
        return cls(record, entries, areas)

    def value_at(self, path: str) -> object:
        """The value of a field, as JSON can say it."""
        if path.startswith("keyslots."):
            _, keyslot_id, name = path.split(".")
            value = getattr(self.entries[int(keyslot_id)], name.replace("-", "_"))
        else:
            value = getattr(self.record, path.replace("-", "_"))
        return excerpt(c_text(value)) if isinstance(value, bytes) else value


def check(record: PartitionHeader) -> None:
    """Raise MetadataError, which has all violations, for a header that breaks a rule."""
    violations = validate(record)
    if violations:
        first = violations[0]
        raise MetadataError(
            f"{first.text}{and_more(violations)}",
            offset=offset_of(first.path),
            violations=violations,
        )


def validate(record: PartitionHeader) -> tuple[Violation, ...]:
    """Every rule that the header breaks; empty for one that is accepted."""
    return _broken(record, Severity.ERROR)


def warnings(record: PartitionHeader) -> tuple[Violation, ...]:
    """What is odd about the header, and taken all the same."""
    return _broken(record, Severity.WARNING)


def offset_of(path: str) -> int:
    """Where the field of a path lies, in bytes."""
    if not path.startswith("keyslots."):
        return _FIELDS[path.replace("-", "_")]
    _, keyslot_id, name = path.split(".")
    entry = _FIELDS["keyslots"] + int(keyslot_id) * int(KEYSLOT.sizeof())
    return entry + _ENTRY_FIELDS[name.replace("-", "_")]


def _broken(record: PartitionHeader, severity: Severity) -> tuple[Violation, ...]:
    table = Table.of(record)
    return tuple(
        violation
        for rule in RULES
        if rule.severity is severity
        for violation in rule.violations(table, table.value_at)
    )


def _key_size(table: Table) -> Iterator[Finding]:
    size = table.record.key_bytes
    if not 0 < size <= KEY_SIZE_MAX:
        text = (
            f"partition header: a key of {counted(size, 'byte')}, 1 to {KEY_SIZE_MAX} are possible"
        )
        yield "key-bytes", text


def _hash_size(table: Table) -> Iterator[Finding]:
    name, needed = c_text(table.record.hash_spec), len(table.record.mk_digest)
    size = _size_of_hash(name)
    if size is not None and size < needed:
        yield (
            "hash-spec",
            f"partition header: hash {name} has {size} bytes, the volume key's digest {needed}",
        )


def _size_of_hash(name: str) -> int | None:
    try:
        return hashes.get(name).digest_size
    except AlgorithmError:
        return None


def _stripes(table: Table) -> Iterator[Finding]:
    for keyslot_id, entry in enumerate(table.entries):
        if entry.stripes != STRIPES:
            text = (
                f"keyslot {keyslot_id}: {counted(entry.stripes, 'stripe')}, there are "
                f"always {STRIPES}"
            )
            yield f"keyslots.{keyslot_id}.stripes", text


def _area_begin(table: Table) -> Iterator[Finding]:
    for keyslot_id, area in enumerate(table.areas):
        if area.offset < WRITTEN_SIZE:
            yield (
                f"keyslots.{keyslot_id}.key-material-offset",
                f"keyslot {keyslot_id}: area starts at {area.offset:#x}, the header ends at "
                f"{WRITTEN_SIZE:#x}",
            )


def _area_end(table: Table) -> Iterator[Finding]:
    data = table.record.payload_offset * SECTOR_SIZE
    for keyslot_id, area in enumerate(table.areas):
        if data and area.end > data:  # 0: the data lies on another device
            yield (
                f"keyslots.{keyslot_id}.key-material-offset",
                f"keyslot {keyslot_id}: area ends at {area.end:#x}, the data starts at {data:#x}",
            )


def _apart(table: Table) -> Iterator[Finding]:
    areas = table.areas
    in_order = sorted(range(len(areas)), key=lambda keyslot_id: areas[keyslot_id])
    for first, second in pairwise(in_order):
        if areas[first].overlaps(areas[second]):
            yield (
                f"keyslots.{second}.key-material-offset",
                f"keyslot {second}: area {areas[second]} overlaps that of keyslot {first}, "
                f"{areas[first]}",
            )


# --- odd, and taken ------------------------------------------------------------------------------


def _text_of(record: PartitionHeader, path: str) -> bytes:
    data: bytes = getattr(record, path.replace("-", "_"))
    return data


def _terminated(table: Table) -> Iterator[Finding]:
    for path in _TEXTS:
        data = _text_of(table.record, path)
        if b"\0" not in data:
            text = f"partition header: {path}: no NUL within its {len(data)} bytes, it is cut"
            yield path, text


def _ascii(table: Table) -> Iterator[Finding]:
    for path in _TEXTS:
        if not c_text(_text_of(table.record, path)).isascii():
            yield path, f"partition header: {path} is not ASCII"


def _hash_known(table: Table) -> Iterator[Finding]:
    name = c_text(table.record.hash_spec)
    if _size_of_hash(name) is None:
        yield "hash-spec", f"partition header: hash {name!r} is not known here"


def _hash_in_lower_case(table: Table) -> Iterator[Finding]:
    name = c_text(table.record.hash_spec)
    if name != name.lower():
        yield "hash-spec", f"partition header: hash {name!r} is in capitals; repair lowers them"


def _ecb_alone(table: Table) -> Iterator[Finding]:
    mode = c_text(table.record.cipher_mode)
    if mode.startswith("ecb-"):
        yield "cipher-mode", f"partition header: mode {mode!r}, ecb takes no IV; repair drops it"


def _is_uuid(table: Table) -> Iterator[Finding]:
    uuid = c_text(table.record.uuid)
    if not is_uuid(uuid):
        yield "uuid", f"partition header: UUID {uuid!r} is none"


def _encrypted(table: Table) -> Iterator[Finding]:
    name = c_text(table.record.cipher_name)
    if name == "cipher_null":
        yield "cipher-name", "partition header: cipher_null does not encrypt"


def _digest_cost(table: Table) -> Iterator[Finding]:
    iterations = table.record.mk_digest_iter
    if iterations < MIN_ITERATIONS:
        text = (
            f"partition header: {counted(iterations, 'iteration')} of the digest, "
            f"{MIN_ITERATIONS} is least"
        )
        yield "mk-digest-iter", text


def _state(table: Table) -> Iterator[Finding]:
    for keyslot_id, entry in enumerate(table.entries):
        if entry.active not in (ACTIVE, INACTIVE):
            yield (
                f"keyslots.{keyslot_id}.active",
                f"keyslot {keyslot_id}: state {entry.active:#010x} is neither active "
                f"({ACTIVE:#010x}) nor inactive ({INACTIVE:#010x})",
            )


def _keyslot_cost(table: Table) -> Iterator[Finding]:
    for keyslot_id, entry in enumerate(table.entries):
        if entry.is_active and entry.iterations < MIN_ITERATIONS:
            text = (
                f"keyslot {keyslot_id}: {counted(entry.iterations, 'iteration')}, "
                f"{MIN_ITERATIONS} is least"
            )
            yield f"keyslots.{keyslot_id}.iterations", text


def _empty_when_unused(table: Table) -> Iterator[Finding]:
    for keyslot_id, entry in enumerate(table.entries):
        if entry.active == INACTIVE and (entry.iterations or any(entry.salt)):
            text = f"keyslot {keyslot_id}: not in use, but iterations or salt are set"
            yield f"keyslots.{keyslot_id}.iterations", text


def _usual_place(table: Table) -> Iterator[Finding]:
    for keyslot_id, area in enumerate(table.areas):
        usual = area_offset(keyslot_id, table.record.key_bytes)
        if area.offset != usual:
            text = f"keyslot {keyslot_id}: area starts at {area.offset:#x}, usual is {usual:#x}"
            yield f"keyslots.{keyslot_id}.key-material-offset", text


_HEADER: Final = "lib/luks1/keymanage.c _check_and_convert_hdr"
_KEYSLOTS: Final = "lib/luks1/keymanage.c LUKS_check_keyslots"
_REPAIR: Final = "lib/luks1/keymanage.c _keyslot_repair"
_FIGURE: Final = "LUKS1 specification 1.2.3, figures 1 and 2"
_odd: Final[Callable[..., Rule[Table]]] = partial(Rule, severity=Severity.WARNING)

RULES: Final[tuple[Rule[Table], ...]] = (
    Rule("key-bytes", "The key has 1 to 512 bytes.", "KEY_SIZE_MAX", _key_size),
    Rule("hash-size", "The hash is as long as the volume key's digest.", _HEADER, _hash_size),
    Rule("keyslot-stripes", "Every entry has 4000 stripes.", _KEYSLOTS, _stripes),
    Rule("area-begin", "Every area starts behind the header.", _KEYSLOTS, _area_begin),
    Rule("area-end", "Every area ends before the data.", _KEYSLOTS, _area_end),
    Rule("area-overlap", "No two areas share a byte.", _KEYSLOTS, _apart),
    _odd("text-terminated", "Every text ends with a NUL.", _FIGURE, _terminated),
    _odd("text-ascii", "Every text is ASCII.", _FIGURE, _ascii),
    _odd("hash-known", "The hash is known here.", _HEADER, _hash_known),
    _odd("hash-lower-case", "The hash is in lower case.", _REPAIR, _hash_in_lower_case),
    _odd("cipher-mode-ecb", "Mode ecb names no IV.", _REPAIR, _ecb_alone),
    _odd("uuid-form", "The UUID is one.", _FIGURE, _is_uuid),
    _odd("cipher-null", "The data is encrypted.", _HEADER, _encrypted),
    _odd("digest-cost", "The digest has 1000 iterations or more.", _FIGURE, _digest_cost),
    _odd("keyslot-state", "An entry is active or inactive.", _FIGURE, _state),
    _odd("keyslot-cost", "A keyslot has 1000 iterations or more.", _FIGURE, _keyslot_cost),
    _odd(
        "keyslot-empty", "An unused entry has neither salt nor cost.", _FIGURE, _empty_when_unused
    ),
    _odd("area-place", "Every area lies where new headers have it.", _REPAIR, _usual_place),
)
"""All rules: those that refuse a header, in the order of checking, and those that do not."""
