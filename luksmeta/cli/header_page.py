"""A header as a page for people: what ``dump`` prints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice
from typing import Final

from luksmeta.cli.output import one_line, problem_of
from luksmeta.cli.page import Lines, hex_lines, in_a_line, section
from luksmeta.diagnosis import Diagnosis
from luksmeta.header import Header
from luksmeta.header_copies import CopyState, why_served
from luksmeta.kdf.pbkdf import Argon2i, Argon2id, Pbkdf2
from luksmeta.luks2.header import Luks2Header
from luksmeta.model import (
    SECTOR_SIZE,
    AnyKeyslot,
    CryptSegment,
    Digest,
    Dynamic,
    ForeignKdf,
    ForeignKeyslot,
    Keyslot,
    KeyslotPriority,
    Metadata,
    Pbkdf2Digest,
    Segment,
    Token,
)
from luksmeta.sizes import counted, format_size
from luksmeta.tokens.notes import Note, note_of
from luksmeta.trust.terms import SEAL_TYPE

_WARNINGS_MAX: Final = 20
_PRIORITIES: Final = {
    KeyslotPriority.IGNORE: "ignore: tried only when named",
    KeyslotPriority.NORMAL: "normal",
    KeyslotPriority.HIGH: "high: tried first",
}


def render(header: Header, diagnosis: Diagnosis, name: str, device_size: int) -> str:
    """The page; ``device_size`` is that of the data's device, in bytes."""
    metadata = header.metadata
    sections = [(f"LUKS{metadata.version} volume  {name}", _summary(header))]
    for segment_id, segment in metadata.segments.items():
        title = f"Segment {segment_id}  {segment.type}"
        sections.append((title, _segment(metadata, segment_id, segment, device_size)))
    for keyslot_id, keyslot in sorted(metadata.keyslots.items()):
        title = f"Keyslot {keyslot_id}  {_keyslot_title(metadata, keyslot_id, keyslot)}"
        sections.append((title, _keyslot(metadata, keyslot_id, keyslot)))
    for keyslot_id, odd in header.odd_keyslots.items():
        area = f"{odd.area} ({format_size(odd.area.size)})"
        sections.append((f"Keyslot {keyslot_id}  {odd}", iter([("Area", area)])))
    for digest_id, digest in sorted(metadata.digests.items()):
        sections.append((f"Digest {digest_id}  {digest.type}", _digest(digest)))
    for token_id, token in sorted(metadata.tokens.items()):
        sections.append((f"Token {token_id}  {token.type}", _token(token)))
    warnings = list(_warnings(diagnosis))
    if warnings:
        sections.append(("Warnings", iter(warnings)))
    return "\n\n".join(section(title, lines) for title, lines in sections)


def _summary(header: Header) -> Lines:
    metadata = header.metadata
    yield "UUID", metadata.uuid or "(none)"
    if isinstance(header, Luks2Header):
        yield "Label", metadata.label or "(none)"
        yield "Subsystem", metadata.subsystem or "(none)"
        yield "Epoch", f"{header.seqid} (seqid: the number of header writes)"
        yield "Checksum", header.checksum_algorithm
        yield (
            "Header copies",
            "\n".join(_copy(copy, header.loaded.record.hdr_size) for copy in header.copies),
        )
        if any(copy.problem for copy in header.copies):
            reason = why_served(header.copies, header.served_by)
            yield "Served by", f"the {header.served_by} copy: {reason}"
    yield "Keyslots area", _keyslots_area(header)
    yield "Free keyslots", _ranges(set(header.keyslot_ids) - header.taken_keyslots) or "(none)"
    if isinstance(header, Luks2Header):
        yield "Flags", ", ".join(metadata.config.flags) or "(none)"
        yield "Requirements", ", ".join(metadata.config.requirements) or "(none)"


def _copy(copy: CopyState, size: int) -> str:
    state = problem_of(copy) or "good"
    return f"{copy.copy} at {copy.offset:#x}, {format_size(size)}: {state}"


def _keyslots_area(header: Header) -> str:
    area = header.metadata.keyslots_area
    used = sum(keyslot.area.extent.size for keyslot in header.metadata.keyslots.values())
    return f"{area} ({format_size(area.size)}, {format_size(used)} in use)"


def _ranges(ids: set[int]) -> str:
    """``0, 2-7`` for {0, 2, …, 7}."""
    parts: list[list[int]] = []
    for each in sorted(ids):
        if parts and parts[-1][-1] == each - 1:
            parts[-1][1:] = [each]
        else:
            parts.append([each])
    return ", ".join("-".join(str(end) for end in part) for part in parts)


def _segment(metadata: Metadata, segment_id: int, segment: Segment, device_size: int) -> Lines:
    if isinstance(segment.size, Dynamic):
        room = device_size - segment.offset
        left = format_size(room) if room >= 0 else "which lies before it"
        yield "Data", f"{segment.offset:#x} to the end of the device ({left})"
    else:
        end = segment.offset + segment.size
        yield "Data", f"{segment.offset:#x}..{end:#x} ({format_size(segment.size)})"
    if isinstance(segment, CryptSegment):
        key_size = metadata.key_size_of_segment(segment_id)
        key = f", {8 * key_size}-bit key" if key_size else ""
        yield "Cipher", f"{segment.encryption}{key}"
        yield "Sectors", f"{segment.sector_size} bytes"
        yield "IV offset", f"{segment.iv_tweak} (in sectors of {SECTOR_SIZE} bytes)"
        if segment.integrity:
            yield "Integrity", segment.integrity
    found = metadata.digest_of_segment(segment_id)
    yield "Digest", str(found[0]) if found else "(none)"
    if segment.flags:
        yield "Flags", ", ".join(segment.flags)


def _keyslot_title(metadata: Metadata, keyslot_id: int, keyslot: AnyKeyslot) -> str:
    if not isinstance(keyslot, Keyslot):
        return keyslot.type
    found = metadata.digest_of_keyslot(keyslot_id)
    segments = found[1].segments if found else ()
    if not segments:
        return "unbound: opens no segment"
    noun = "segment" if len(segments) == 1 else "segments"
    return f"opens {noun} {', '.join(str(segment_id) for segment_id in segments)}"


def _keyslot(metadata: Metadata, keyslot_id: int, keyslot: AnyKeyslot) -> Lines:
    yield "Key", f"{8 * keyslot.key_size} bits"
    if metadata.version == 2:
        priority = KeyslotPriority.NORMAL if keyslot.priority is None else keyslot.priority
        yield "Priority", _PRIORITIES[priority]
    yield from _note(note_of(metadata, keyslot_id))
    tokens = [i for i, token in sorted(metadata.tokens.items()) if keyslot_id in token.keyslots]
    if tokens:
        yield "Tokens", "\n".join(in_a_line(f"{i} {metadata.tokens[i].type}") for i in tokens)
    found = metadata.digest_of_keyslot(keyslot_id)
    yield "Digest", str(found[0]) if found else "(none)"
    if not isinstance(keyslot, Keyslot):
        yield from _foreign(keyslot)
        return
    yield "KDF", _kdf(keyslot)
    yield "Salt", hex_lines(keyslot.salt)
    yield "Area", f"{keyslot.area.extent} ({format_size(keyslot.area.size)})"
    yield "Area cipher", f"{keyslot.area.encryption}, {8 * keyslot.area.key_size}-bit key"
    yield "Split", f"{counted(keyslot.af.stripes, 'stripe')}, {keyslot.af.hash}"


def _note(note: Note | None) -> Lines:
    """Whose the keyslot is."""
    for name, value in (note.members() if note else {}).items():
        yield {"purpose": "Note"}.get(name, name.capitalize()), value


def _foreign(keyslot: ForeignKeyslot) -> Lines:
    """What a keyslot of another type says, in its own words."""
    yield "Area", f"{keyslot.area.extent} ({format_size(keyslot.area.extent.size)})"
    yield "Area type", keyslot.area.type
    area = keyslot.as_read.get("area")
    if isinstance(area, Mapping):
        yield from _members(area, except_for=("type", "offset", "size"))
    yield from _members(keyslot.as_read, except_for=("type", "key_size", "priority", "area"))


def _members(record: Mapping[str, object], *, except_for: tuple[str, ...]) -> Lines:
    """The members of a JSON object as they stand."""
    for name, value in record.items():
        if name not in except_for:
            yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _kdf(keyslot: Keyslot) -> str:
    match keyslot.kdf:
        case Pbkdf2(hash=hash_name, iterations=iterations):
            return f"pbkdf2-{hash_name}, {counted(iterations, 'iteration')}"
        case Argon2i() | Argon2id() as kdf:
            memory = format_size(kdf.memory << 10)
            lanes = counted(kdf.cpus, "lane")
            return f"{kdf.name}, {counted(kdf.time, 'pass', 'passes')} over {memory} in {lanes}"
        case ForeignKdf(type=name):
            return f"{name} (not known here)"


def _digest(digest: Digest) -> Lines:
    yield "Keyslots", ", ".join(str(keyslot_id) for keyslot_id in digest.keyslots) or "(none)"
    yield "Segments", ", ".join(str(segment_id) for segment_id in digest.segments) or "(none)"
    if isinstance(digest, Pbkdf2Digest):
        yield "KDF", f"pbkdf2-{digest.hash}, {counted(digest.iterations, 'iteration')}"
        yield "Salt", hex_lines(digest.salt)
        yield "Digest", hex_lines(digest.digest)


def _token(token: Token) -> Lines:
    yield "Keyslots", ", ".join(str(keyslot_id) for keyslot_id in token.keyslots) or "(none)"
    unreadable = ("record", "mac") if token.type == SEAL_TYPE else ()
    yield from _members(token.as_read, except_for=("type", "keyslots", *unreadable))


def _warnings(diagnosis: Diagnosis) -> Lines:
    """All that is wrong or odd; a damaged copy itself is among the header copies."""
    found = diagnosis.distinct_violations()
    for violation, copies in islice(found.items(), _WARNINGS_MAX):
        where = f", {copies[0]} copy" if len(copies) == 1 < len(diagnosis.copies) else ""
        yield f"{violation.severity}{where}", one_line(f"{violation} [{violation.rule}]")
    if len(found) > _WARNINGS_MAX:
        yield "", f"and {len(found) - _WARNINGS_MAX} more: repair --dry-run lists them all"
