"""The rules about what hides in a header: bytes that no reader looks at, or not all alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final

from luksmeta.binary import c_text
from luksmeta.errors import AlgorithmError, MetadataError
from luksmeta.extents import Extent
from luksmeta.header_copies import CopyCondition, HeaderCopy
from luksmeta.kdf import hashes
from luksmeta.luks1.partition_header import SIZE as LUKS1_SIZE
from luksmeta.luks2.binary_header import MAGIC, BinaryHeader
from luksmeta.luks2.json_text import compact_text
from luksmeta.luks2.limits import BINARY_HEADER_SIZE, HDR_SIZES
from luksmeta.luks2.validation.shapes import CONFIG, DOCUMENT, OBJECTS, Shape
from luksmeta.model import JsonObject
from luksmeta.rules import Finding
from luksmeta.trust.rule import PolicyRule, Subject
from luksmeta.trust.settings import switch

GAP_READ: Final = 1 << 20
"""How much of a gap between header and data is read; all of it in a deep check."""

_CHUNK: Final = 1 << 20
_SPEC: Final = "LUKS2 specification 1.1.4, section 2"
_DISK: Final = "cryptsetup lib/luks2/luks2_disk_metadata.c"
_TEXTS: Final = ("label", "csum_alg", "uuid", "subsystem")
_OPTIONAL: Final[Mapping[str, frozenset[str]]] = {  # members that no shape demands
    "keyslots": frozenset({"priority"}),
    "segments": frozenset({"flags"}),
    "digests": frozenset({"hash", "iterations", "salt", "digest"}),
}


def _padding(subject: Subject, _: bool) -> Iterator[Finding]:
    if subject.luks2 is None:
        first = min(subject.metadata.keyslots_area.offset, BINARY_HEADER_SIZE)
        yield from _not_zero(subject, Extent(LUKS1_SIZE, first - LUKS1_SIZE), "padding")
        return
    for copy, offset in _whole_copies(subject):
        given = subject.storage.read_at(offset, BINARY_HEADER_SIZE)
        for name, size in _padding_of(given):
            text = f"{copy} copy at {offset:#x}: {size} bytes behind {name} are not all zero"
            yield "padding", text


def _whole_copies(subject: Subject) -> Iterator[tuple[HeaderCopy, int]]:
    """The copies that can be read, and where they lie; another rule speaks of the rest."""
    for copy in subject.header.copies:
        if copy.condition not in (CopyCondition.MISSING, CopyCondition.DAMAGED):
            yield copy.copy, copy.offset


def _padding_of(given: bytes) -> Iterator[tuple[str, int]]:
    """Behind which fields of a binary header is more than zeroes, and how many bytes are there."""
    record = BinaryHeader.from_bytes(given)
    for name in _TEXTS:
        _, _, rest = getattr(record, name).partition(b"\0")
        if rest != bytes(len(rest)):
            yield name, len(rest)
    padding = {"hdr_offset": given[264:448], "csum": given[512:]}
    with suppress(AlgorithmError):
        size = hashes.get(c_text(record.csum_alg)).digest_size
        padding["csum_alg's digest"] = record.csum[size:]
    for name, data in padding.items():
        if data != bytes(len(data)):
            yield name, len(data)


def _compact(subject: Subject, _: bool) -> Iterator[Finding]:
    header = subject.luks2
    if header is None:
        return
    usual = _usual_text(header.document)
    for copy, offset in _whole_copies(subject):
        size = header.loaded.record.hdr_size - BINARY_HEADER_SIZE
        text = subject.storage.read_at(offset + BINARY_HEADER_SIZE, size)
        length = text.find(b"\0")
        if length != len(usual) or not text.startswith(usual):
            yield (
                "json_area",
                f"{copy} copy at {offset:#x}: JSON text of {length} bytes, as cryptsetup writes it "
                f"{len(usual)}: white space, members twice, or another spelling",
            )


def _usual_text(document: JsonObject) -> bytes:
    try:
        return compact_text(document)
    except MetadataError:
        return b""


def _other_copies(subject: Subject, _: bool) -> Iterator[Finding]:
    header = subject.luks2
    if header is None:
        return
    own, end = header.loaded.record.hdr_size, subject.metadata.keyslots_area.end
    magic = MAGIC[HeaderCopy.SECONDARY]
    others = (at for at in HDR_SIZES if at != own and at + BINARY_HEADER_SIZE <= end)
    for offset in others:
        if subject.storage.read_at(offset, len(magic)) == magic:
            yield "copies", f"header: a third copy at {offset:#x}, the second is at {own:#x}"


def _members(subject: Subject, _: bool) -> Iterator[Finding]:
    header = subject.luks2
    if header is None:
        return
    document = header.document
    yield from _unknown(document, DOCUMENT, "", frozenset())
    yield from _unknown(_part(document, "config"), CONFIG, "config", frozenset())
    for section, optional in _OPTIONAL.items():
        for object_id, value in _part(document, section).items():
            if isinstance(value, Mapping):
                path = f"{section}.{object_id}"
                yield from _unknown(value, OBJECTS[section], path, optional)


def _unknown(
    value: JsonObject, shape: Shape, path: str, optional: frozenset[str]
) -> Iterator[Finding]:
    members = shape.members_of(value)
    for name in sorted(value.keys() - members.keys() - optional):
        where = path or "json area"
        yield f"{path}.{name[:40]}".lstrip("."), f"{where}: member {name[:40]!r} is not known"
    for name, member in members.items():
        inner = value.get(name)
        if member.inner is not None and isinstance(inner, Mapping):
            inside = f"{path}.{name}".lstrip(".")
            if inside != "config":  # is looked at by itself
                yield from _unknown(inner, member.inner, inside, frozenset())


def _part(document: JsonObject, name: str) -> JsonObject:
    part = document.get(name)
    return part if isinstance(part, Mapping) else {}


def _gap(subject: Subject, _: bool) -> Iterator[Finding]:
    metadata = subject.metadata
    end = metadata.keyslots_area.end
    stop = min(metadata.data_offset, subject.storage.size)
    size = stop - end if subject.deep else min(stop - end, GAP_READ)
    if size > 0:
        yield from _not_zero(subject, Extent(end, size), "gap")


def _not_zero(subject: Subject, extent: Extent, what: str) -> Iterator[Finding]:
    for at in range(extent.offset, extent.end, _CHUNK):
        data = subject.storage.read_at(at, min(_CHUNK, extent.end - at))
        if data != bytes(len(data)):
            first = at + len(data) - len(data.lstrip(b"\0"))
            yield what, f"{what} at {extent}: not zero from {first:#x} on"
            return


RULES: Final = (
    PolicyRule(
        "header-padding",
        "header.zero_padding",
        switch,
        _padding,
        "Bytes that no reader looks at carry messages.",
        _SPEC,
    ),
    PolicyRule(
        "header-text",
        "header.compact_json",
        switch,
        _compact,
        "Of a member that is there twice, readers believe different ones; white space hides data.",
        "RFC 8259, section 4",
    ),
    PolicyRule(
        "header-third-copy",
        "header.no_third_copy",
        switch,
        _other_copies,
        "A copy at another legal place is believed when the primary is damaged.",
        _DISK,
    ),
    PolicyRule(
        "header-members",
        "header.known_members",
        switch,
        _members,
        "What this program does not know, another one may act upon.",
        "LUKS2 specification 1.1.4, section 3.1",
    ),
    PolicyRule(
        "header-gap",
        "header.zero_gap",
        switch,
        _gap,
        "Space between header and data belongs to nothing, and carries messages.",
        "cryptsetup lib/luks2/luks2_json_format.c LUKS2_wipe_header_areas",
    ),
)
