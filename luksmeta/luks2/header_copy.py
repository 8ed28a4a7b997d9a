"""One copy of a LUKS2 header: the checks that make it whole, and the bytes that it becomes.

Source: LUKS2 specification 1.1.4, section 2; lib/luks2/luks2_disk_metadata.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from luksmeta.binary import c_text
from luksmeta.errors import HeaderError, MetadataError, NotLuksError, Severity, Violation
from luksmeta.header_copies import HeaderCopy
from luksmeta.luks2 import binary_oddities
from luksmeta.luks2.binary_header import (
    CHECKSUM_STATEMENTS,
    MAGIC,
    PLACE_RULES,
    BinaryHeader,
    check_checksum,
    padding_of,
    with_checksum,
)
from luksmeta.luks2.document_reading import to_metadata
from luksmeta.luks2.json_text import STATEMENTS as JSON_STATEMENTS
from luksmeta.luks2.json_text import compact_text, parse_json_area
from luksmeta.luks2.limits import BINARY_HEADER_SIZE, HDR_SIZES
from luksmeta.luks2.validation import repair_known_faults, validate, warnings
from luksmeta.model import JsonObject, Metadata
from luksmeta.rules import Statement, and_more
from luksmeta.storage import Storage


@dataclass(frozen=True, slots=True)
class LoadedCopy:
    """One copy that passed every check.

    ``json_area`` is the whole area as it lies there, ``document`` what its text says; ``metadata``
    means that without known faults. ``padding`` are the bytes of the binary header that belong to
    no field, those behind the checksum in its field included.
    """

    copy: HeaderCopy
    record: BinaryHeader
    json_area: bytes = field(repr=False)
    document: JsonObject = field(repr=False)
    metadata: Metadata
    padding: bytes = field(default=b"", repr=False)

    @property
    def is_compact(self) -> bool:
        """Whether the text is spelled as it would be written: it says nothing twice or aside."""
        return self.json_area.rstrip(b"\0") == compact_text(self.document)

    def says(self, record: BinaryHeader, json_area: bytes) -> bool:
        """Whether another copy of these bytes means the same, to the byte."""
        own = self.record
        return (
            json_area == self.json_area
            and (record.hdr_size, record.uuid) == (own.hdr_size, own.uuid)
            and (record.label, record.subsystem) == (own.label, own.subsystem)
        )

    @property
    def has_known_faults(self) -> bool:
        """Whether the text says what an old cryptsetup should not have written."""
        return self.document != repair_known_faults(self.document)


def copy_offset(copy: HeaderCopy, hdr_size: int) -> int:
    """Where a copy lies, in bytes."""
    return 0 if copy is HeaderCopy.PRIMARY else hdr_size


def copy_bytes(record: BinaryHeader, json_area: bytes, copy: HeaderCopy, salt: bytes) -> bytes:
    """The bytes of a copy that says the same as ``record``, with the salt of its own."""
    placed = replace(
        record,
        magic=MAGIC[copy],
        salt=salt,
        hdr_offset=copy_offset(copy, record.hdr_size),
        csum=b"\0" * 64,
    )
    return with_checksum(placed, json_area)


def load_copy(
    storage: Storage,
    copy: HeaderCopy,
    offset: int,
    *,
    magic_is_lost: bool = False,
    twin: LoadedCopy | None = None,
) -> LoadedCopy:
    """The copy at ``offset``; a LuksError says what is wrong with it.

    With ``magic_is_lost`` it is judged as if its magic were there: the checksum proves it then.
    What says the same as its ``twin``, which was checked, is not taken apart again.
    """
    header = _read_header(storage, copy, offset, magic_is_lost)
    record = BinaryHeader.from_bytes(header)
    record.check_place(copy, offset)
    json_area = _read_json_area(storage, copy, offset, record.hdr_size)
    check_checksum(copy, header, json_area)
    padding = padding_of(record, header)
    if twin is not None and twin.says(record, json_area):
        return LoadedCopy(copy, record, json_area, twin.document, twin.metadata, padding)
    document = parse_json_area(json_area)
    sound = repair_known_faults(document)
    check_document(sound, record.hdr_size, copy)
    return LoadedCopy(copy, record, json_area, document, metadata_of(record, sound), padding)


def violations_of(
    storage: Storage, copy: HeaderCopy, offset: int, *, magic_is_lost: bool = False
) -> tuple[Violation, ...]:
    """Everything that is wrong or odd with a copy, also behind what makes it refused.

    Raises NotLuksError where there is no copy, HeaderError for one that the device does not hold.
    """
    header = _read_header(storage, copy, offset, magic_is_lost)
    return tuple(_everything(storage, copy, offset, header))


def check_document(document: JsonObject, hdr_size: int, copy: HeaderCopy) -> None:
    """Raise MetadataError, which has all violations, for a document that breaks a rule."""
    violations = validate(document, hdr_size)
    if violations:
        raise MetadataError(
            f"{copy} header: {violations[0]}{and_more(violations)}",
            violations=violations,
            copy=copy,
        )


def metadata_of(record: BinaryHeader, document: JsonObject) -> Metadata:
    """What a sound document and the binary header's texts mean."""
    return to_metadata(
        document,
        uuid=c_text(record.uuid),
        label=c_text(record.label),
        subsystem=c_text(record.subsystem),
    )


def statements() -> tuple[Statement, ...]:
    """Every rule about the bytes of a copy; those about the document are of the validation."""
    return (*PLACE_RULES, *CHECKSUM_STATEMENTS, *JSON_STATEMENTS, *binary_oddities.RULES)


def _read_header(storage: Storage, copy: HeaderCopy, offset: int, magic_is_lost: bool) -> bytes:
    if storage.size < offset + BINARY_HEADER_SIZE:
        raise NotLuksError(f"{copy} header: the device ends at {storage.size:#x}, before it")
    header = storage.read_at(offset, BINARY_HEADER_SIZE)
    magic = MAGIC[copy]
    if magic_is_lost:
        header = magic + header[len(magic) :]
    if not header.startswith(magic):
        raise NotLuksError(f"{copy} header: no magic at {offset:#x}")
    return header


def _read_json_area(storage: Storage, copy: HeaderCopy, offset: int, hdr_size: int) -> bytes:
    if storage.size < offset + hdr_size:
        raise HeaderError(
            f"{copy} header: ends at {offset + hdr_size:#x}, the device at {storage.size:#x}",
            offset=offset,
            copy=copy,
        )
    return storage.read_at(offset + BINARY_HEADER_SIZE, hdr_size - BINARY_HEADER_SIZE)


def _everything(
    storage: Storage, copy: HeaderCopy, offset: int, header: bytes
) -> Iterator[Violation]:
    record = BinaryHeader.from_bytes(header)
    placed = record.violations(copy, offset)
    yield from placed
    if record.hdr_size not in HDR_SIZES or any(each.path == "version" for each in placed):
        return
    json_area = _read_json_area(storage, copy, offset, record.hdr_size)
    try:
        check_checksum(copy, header, json_area)
    except HeaderError as error:
        yield from error.violations
    yield from _about_document(json_area, record.hdr_size)
    raw = binary_oddities.RawHeader(record, header)
    for rule in binary_oddities.RULES:
        yield from rule.violations(raw, raw.value_at)


def _about_document(json_area: bytes, hdr_size: int) -> Iterator[Violation]:
    try:
        document = parse_json_area(json_area)
    except MetadataError as error:
        yield from error.violations
        return
    sound = repair_known_faults(document)
    if sound != document:
        dropped = (each for each in validate(document, hdr_size) if each.rule == "kdf-members")
        yield from (replace(each, severity=Severity.WARNING) for each in dropped)
    yield from validate(sound, hdr_size)
    yield from warnings(sound, hdr_size)
