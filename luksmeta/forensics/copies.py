"""Each copy of a LUKS2 header as it lies there, read as far as it can be, right or wrong.

Unlike :mod:`luksmeta.luks2.header_copy`, which believes a copy or refuses it, this takes a broken
one apart: fields, checksum, JSON text, and of its objects those that make sense.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, cast

from luksmeta.binary import c_text
from luksmeta.diagnosis import Diagnosis
from luksmeta.errors import AlgorithmError, MetadataError, StorageError
from luksmeta.extents import Extent
from luksmeta.header_copies import CopyCondition, HeaderCopy
from luksmeta.luks2.binary_header import MAGIC, BinaryHeader, checksum
from luksmeta.luks2.header_copy import metadata_of
from luksmeta.luks2.json_text import parse_json
from luksmeta.luks2.limits import BINARY_HEADER_SIZE, HDR_SIZES, KEYSLOTS_AREA_MAX
from luksmeta.luks2.validation import repair_known_faults
from luksmeta.luks2.validation.view import Section, View, crowded_sections, number, texts
from luksmeta.model import JsonObject, JsonValue, Metadata
from luksmeta.storage import Storage

_MISSING: Final = CopyCondition.MISSING
_DEFAULT_HEADER_SIZE: Final = 16 << 20  # both copies and the keyslots area, of cryptsetup


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyContent:
    """What one copy holds.

    ``hdr_size`` is what its own field says where that is legal, else what the copy's place, its
    JSON text or the other copy tell. ``json_text`` is the text up to its first zero byte;
    ``document`` what it says, None where ``json_error`` says why it is no JSON object.
    """

    copy: HeaderCopy
    offset: int
    record: BinaryHeader
    hdr_size: int
    computed_csum: bytes | None
    json_text: bytes
    document: JsonObject | None
    json_error: str | None
    sha256: str

    @property
    def has_magic(self) -> bool:
        """Whether the magic is that of this copy."""
        return self.record.magic == MAGIC[self.copy]

    @property
    def has_right_checksum(self) -> bool:
        """Whether the stored checksum is that of these bytes, were the magic right."""
        computed = self.computed_csum
        return computed is not None and self.record.csum[: len(computed)] == computed

    @property
    def json_extent(self) -> Extent:
        """Where the JSON text lies, its zero byte included."""
        start, end = self.offset + BINARY_HEADER_SIZE, self.offset + self.hdr_size
        return Extent(start, min(len(self.json_text) + 1, end - start))

    def metadata(self) -> Metadata | None:
        """What the objects of the document mean, those left out that have a broken member."""
        if self.document is None or any(crowded_sections(self.document)):
            return None
        view = View.of(repair_known_faults(self.document), self.hdr_size)
        if view.keyslots is None and view.segments is None:
            return None
        metadata = metadata_of(self.record, _sound_document(view))
        size = min(metadata.keyslots_area.size, KEYSLOTS_AREA_MAX)
        return replace(metadata, keyslots_area=Extent(2 * self.hdr_size, size))

    def describe(self) -> dict[str, object]:
        """The same for programs; texts as they stand, other bytes as hex."""
        record, computed = self.record, self.computed_csum
        return {
            "magic": record.magic.hex(),
            "version": record.version,
            "hdr_size": record.hdr_size,
            "hdr_offset": record.hdr_offset,
            "seqid": record.seqid,
            "label": c_text(record.label),
            "subsystem": c_text(record.subsystem),
            "uuid": c_text(record.uuid),
            "salt": record.salt.hex(),
            "checksum": {
                "algorithm": c_text(record.csum_alg),
                "stored": record.csum.hex(),
                "computed": None if computed is None else computed.hex(),
                "is_right": self.has_right_checksum,
            },
            "json": {
                "offset": self.offset + BINARY_HEADER_SIZE,
                "area_size": self.hdr_size - BINARY_HEADER_SIZE,
                "text_size": len(self.json_text),
                "error": self.json_error,
            },
            "sha256": self.sha256,
        }


def read_copies(storage: Storage, diagnosis: Diagnosis) -> tuple[CopyContent, ...]:
    """The copies of which there is anything: magic, checksum, or a JSON text in its place.

    Nothing is raised for what they hold; a copy that cannot be read is left out.
    """
    traces = {each.copy for each in diagnosis.copies if each.condition is not _MISSING}
    found: list[CopyContent] = []
    for copy, offset in _places(diagnosis):
        hint = found[0].hdr_size if found else None
        content = _read(storage, copy, offset, hint)
        if content is None or any(each.copy is copy for each in found):
            continue
        if copy in traces or content.has_magic or content.document is not None:
            found.append(content)
    return tuple(sorted(found, key=lambda each: each.offset))


def _places(diagnosis: Diagnosis) -> Iterator[tuple[HeaderCopy, int]]:
    """Where each copy may lie; the secondary first, because its place tells the size of both."""
    known = [each.offset for each in diagnosis.copies if each.copy is HeaderCopy.SECONDARY]
    for offset in filter(None, known) if any(known) else HDR_SIZES:
        yield HeaderCopy.SECONDARY, offset
    yield HeaderCopy.PRIMARY, 0


def _read(storage: Storage, copy: HeaderCopy, offset: int, hint: int | None) -> CopyContent | None:
    try:
        header = storage.read_at(offset, BINARY_HEADER_SIZE)
    except StorageError:
        return None
    area = _read_area(storage, offset)
    record = BinaryHeader.from_bytes(header)
    text = area.partition(b"\0")[0]
    document, error = _parse(text)
    hdr_size = _hdr_size(copy, offset, record, document, hint)
    area = area[: hdr_size - BINARY_HEADER_SIZE]
    return CopyContent(
        copy=copy,
        offset=offset,
        record=record,
        hdr_size=hdr_size,
        computed_csum=_checksum(record, MAGIC[copy] + header[len(MAGIC[copy]) :], area),
        json_text=text[: len(area)],
        document=document,
        json_error=error,
        sha256=hashlib.sha256(header + area).hexdigest(),
    )


def _read_area(storage: Storage, offset: int) -> bytes:
    """What can be read of the largest JSON area that a copy at ``offset`` could have."""
    for size in reversed(HDR_SIZES):
        end = min(offset + size, storage.size)
        try:
            return storage.read_at(
                offset + BINARY_HEADER_SIZE, max(end - offset - BINARY_HEADER_SIZE, 0)
            )
        except StorageError:
            continue
    return b""


def _parse(text: bytes) -> tuple[JsonObject | None, str | None]:
    try:
        return parse_json(text), None
    except MetadataError as error:
        return None, str(error)


def _hdr_size(
    copy: HeaderCopy,
    offset: int,
    record: BinaryHeader,
    document: JsonObject | None,
    hint: int | None,
) -> int:
    """The first legal size of those that anything tells; the smallest where nothing does."""
    stated = (record.hdr_size, _stated_by(document), hint)
    by_place = (offset,) if copy is HeaderCopy.SECONDARY else ()
    return next((size for size in (*by_place, *stated) if size in HDR_SIZES), HDR_SIZES[0])


def _stated_by(document: JsonObject | None) -> int | None:
    config = (document or {}).get("config")
    size = config.get("json_size") if isinstance(config, Mapping) else None
    is_number = isinstance(size, str) and size.isascii() and size.isdecimal() and len(size) < 10
    return int(size) + BINARY_HEADER_SIZE if is_number and isinstance(size, str) else None


def _checksum(record: BinaryHeader, header: bytes, area: bytes) -> bytes | None:
    try:
        return checksum(c_text(record.csum_alg), header, area)
    except AlgorithmError:
        return None


# --- the objects that make sense -----------------------------------------------------------------


def _sound_document(view: View) -> JsonObject:
    """A document of the sound objects, in which no reference leads to another."""
    keyslots, segments = _sound(view.keyslots), _sound(view.segments)
    known: Mapping[str, Mapping[str, JsonValue]] = {"keyslots": keyslots, "segments": segments}
    return {
        **known,
        "tokens": _with_known(_sound(view.tokens), known),
        "digests": _with_known(_sound(view.digests), known),
        "config": view.config or _likely_config(view, segments),
    }


def _sound(section: Section | None) -> dict[str, JsonValue]:
    return {str(each): value for each, value in (section.sound if section else {}).items()}


def _with_known(
    objects: Mapping[str, JsonValue], known: Mapping[str, Mapping[str, JsonValue]]
) -> dict[str, JsonValue]:
    result: dict[str, JsonValue] = {}
    for name, value in objects.items():
        members = dict(cast("JsonObject", value))
        for section, ids in known.items():
            if section in members:
                members[section] = [each for each in texts(members, section) if each in ids]
        result[name] = members
    return result


def _likely_config(view: View, segments: Mapping[str, JsonValue]) -> JsonObject:
    """The keyslots area up to the data, or what cryptsetup makes."""
    offsets = [number(cast("JsonObject", each), "offset") for each in segments.values()]
    end = min((each for each in offsets if each > 2 * view.hdr_size), default=_DEFAULT_HEADER_SIZE)
    size = min(max(end - 2 * view.hdr_size, 0), KEYSLOTS_AREA_MAX)
    return {"json_size": str(view.json_size), "keyslots_size": str(size)}
