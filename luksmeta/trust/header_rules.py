"""The rules about a header as a whole: its copies, its bytes, its name, tokens and requirements."""

from __future__ import annotations

import re
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
from luksmeta.trust.rule import REENCRYPTION_CVE, PolicyRule, Subject
from luksmeta.trust.settings import Names, Numbers, Range, switch, text

GAP_READ: Final = 1 << 20
"""How much of a gap between header and data is read; all of it in a deep check."""

_CHUNK: Final = 1 << 20
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SPEC: Final = "LUKS2 specification 1.1.4, section 2"
_CONFIG: Final = "LUKS2 specification 1.1.4, section 3.5"
_TOKENS: Final = "LUKS2 specification 1.1.4, section 3.6"
_DISK: Final = "cryptsetup lib/luks2/luks2_disk_metadata.c"
_TEXTS: Final = ("label", "csum_alg", "uuid", "subsystem")
_OPTIONAL: Final[Mapping[str, frozenset[str]]] = {  # members that no shape demands
    "keyslots": frozenset({"priority"}),
    "segments": frozenset({"flags"}),
    "digests": frozenset({"hash", "iterations", "salt", "digest"}),
}


def _never(_: Subject, __: None) -> Iterator[Finding]:
    """What cannot be read has no header to look at; the check itself says so."""
    return iter(())


def _version(subject: Subject, allowed: Numbers) -> Iterator[Finding]:
    version = subject.metadata.version
    if version not in allowed:
        yield "version", f"header: LUKS version is {version}, allowed are {allowed}"


def _copies(subject: Subject, _: bool) -> Iterator[Finding]:
    for copy in subject.header.copies:
        if copy.problem:
            problem = copy.problem.removeprefix(f"{copy.copy} header: ")
            yield "copies", f"{copy.copy} copy at {copy.offset:#x}: {problem}"


def _checksum(subject: Subject, allowed: Names) -> Iterator[Finding]:
    header = subject.luks2
    if header is not None and header.checksum_algorithm not in allowed:
        name = header.checksum_algorithm[:40]
        yield "csum_alg", f"header: checksum is {name!r}, allowed are {allowed}"


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


def _is_uuid(subject: Subject, _: bool) -> Iterator[Finding]:
    if not _UUID.fullmatch(subject.metadata.uuid):
        yield "uuid", f"header: uuid {subject.metadata.uuid[:40]!r} is none"


def _uuid(subject: Subject, expected: str) -> Iterator[Finding]:
    if subject.metadata.uuid.lower() != expected.lower():
        yield "uuid", f"header: uuid is {subject.metadata.uuid[:40]!r}, must be {expected!r}"


def _label(subject: Subject, expected: str) -> Iterator[Finding]:
    if subject.metadata.label != expected:
        yield "label", f"header: label is {subject.metadata.label[:48]!r}, must be {expected!r}"


def _subsystem(subject: Subject, expected: str) -> Iterator[Finding]:
    found = subject.metadata.subsystem
    if found != expected:
        yield "subsystem", f"header: subsystem is {found[:48]!r}, must be {expected!r}"


def _seqid(subject: Subject, allowed: Range) -> Iterator[Finding]:
    header = subject.luks2
    if header is None:
        yield "seqid", f"header: LUKS1 has no seqid, allowed are {allowed}"
    elif header.seqid not in allowed:
        yield "seqid", f"header: seqid is {header.seqid}, allowed are {allowed}"


def _token_count(subject: Subject, allowed: Range) -> Iterator[Finding]:
    number = len(subject.metadata.tokens)
    if number not in allowed:
        yield "tokens", f"header: has {number} tokens, allowed are {allowed}"


def _token_type(subject: Subject, allowed: Names) -> Iterator[Finding]:
    for token_id, token in subject.metadata.tokens.items():
        if token.type not in allowed:
            name = token.type[:40]
            yield (
                f"tokens.{token_id}.type",
                f"token {token_id}: type is {name!r}, allowed are {allowed}",
            )


def _config_flags(subject: Subject, allowed: Names) -> Iterator[Finding]:
    for flag in subject.metadata.config.flags:
        if flag not in allowed:
            yield "config.flags", f"config: flag {flag[:40]!r} is set, allowed are {allowed}"


def _requirements(subject: Subject, allowed: Names) -> Iterator[Finding]:
    for name in subject.metadata.config.requirements:
        if name not in allowed:
            text = f"config: requirement {name[:40]!r} is set, allowed are {allowed}"
            yield "config.requirements.mandatory", text


READABLE: Final = PolicyRule(
    "header-readable",
    None,
    switch,
    _never,
    "What is no whole LUKS header, or breaks the format's own rules, cannot be trusted.",
    _SPEC,
)

RULES: Final = (
    READABLE,
    PolicyRule(
        "header-version",
        "header.versions",
        Numbers.parse,
        _version,
        "LUKS1 has no checksum, no second copy, and PBKDF2 alone.",
        _SPEC,
    ),
    PolicyRule(
        "header-copies",
        "header.equal_copies",
        switch,
        _copies,
        "Tools believe different copies when the two differ, and fall back on the other.",
        _DISK,
    ),
    PolicyRule(
        "header-checksum",
        "header.checksums",
        Names.parse,
        _checksum,
        "cryptsetup writes SHA-256; another hash is a header that other tools refuse.",
        _SPEC,
    ),
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
    PolicyRule(
        "header-uuid-form",
        "header.valid_uuid",
        switch,
        _is_uuid,
        "The UUID becomes part of file names and of device names.",
        _SPEC,
    ),
    PolicyRule(
        "header-uuid",
        "header.uuid",
        text,
        _uuid,
        "Another volume's header opens with another volume's passphrases.",
        _SPEC,
    ),
    PolicyRule(
        "header-label",
        "header.label",
        text,
        _label,
        "Volumes are found by their label.",
        _SPEC,
    ),
    PolicyRule(
        "header-subsystem",
        "header.subsystem",
        text,
        _subsystem,
        "Volumes are found by their subsystem.",
        _SPEC,
    ),
    PolicyRule(
        "header-seqid",
        "header.seqid",
        Range.parse,
        _seqid,
        "An older header brings back passphrases that were revoked since then.",
        _SPEC,
    ),
    PolicyRule(
        "token-count",
        "tokens.count",
        Range.parse,
        _token_count,
        "A token makes unlocking programs fetch a passphrase from where it says.",
        _TOKENS,
    ),
    PolicyRule(
        "token-type",
        "tokens.types",
        Names.parse,
        _token_type,
        "A token's type says which program acts upon it.",
        _TOKENS,
    ),
    PolicyRule(
        "config-flags",
        "config.flags",
        Names.parse,
        _config_flags,
        "allow-discards shows which sectors are in use; others change how the kernel works.",
        _CONFIG,
    ),
    PolicyRule(
        "config-requirements",
        "config.requirements",
        Names.parse,
        _requirements,
        "A reencryption that nobody began makes unlocking programs decrypt the disk.",
        REENCRYPTION_CVE,
    ),
)
