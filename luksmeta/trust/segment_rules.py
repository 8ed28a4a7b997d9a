"""The rules about segments: which bytes are decrypted, where, and how."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from luksmeta.model import CryptSegment, Dynamic, Segment
from luksmeta.rules import Finding
from luksmeta.sizes import counted
from luksmeta.trust.rule import NULL_CIPHER_CVES, REENCRYPTION_CVE, PolicyRule, Subject
from luksmeta.trust.settings import Names, Numbers, Range, one_of, switch

_SPEC: Final = "LUKS2 specification 1.1.4, section 3.3"
BEGINS: Final = ("header-end", "behind-header")


def is_null(encryption: str) -> bool:
    """Whether a cipher specification, in whatever spelling, encrypts nothing."""
    name = encryption.lower()
    return "cipher_null" in name or name.startswith("null")


def _crypt(subject: Subject) -> Iterator[tuple[int, CryptSegment]]:
    for segment_id, segment in subject.metadata.segments.items():
        if isinstance(segment, CryptSegment):
            yield segment_id, segment


def _count(subject: Subject, allowed: Range) -> Iterator[Finding]:
    number = len(subject.metadata.segments)
    if number not in allowed:
        yield "segments", f"header: has {counted(number, 'segment')}, allowed are {allowed}"


def _type(subject: Subject, allowed: Names) -> Iterator[Finding]:
    for segment_id, segment in subject.metadata.segments.items():
        if segment.type not in allowed:
            text = f"segment {segment_id}: type is {segment.type[:40]!r}, allowed are {allowed}"
            yield f"segments.{segment_id}.type", text


def _not_null(subject: Subject, _: None) -> Iterator[Finding]:
    for segment_id, segment in _crypt(subject):
        if is_null(segment.encryption):
            text = f"segment {segment_id}: {segment.encryption[:40]!r} encrypts nothing"
            yield f"segments.{segment_id}.encryption", text


def _cipher(subject: Subject, allowed: Names) -> Iterator[Finding]:
    for segment_id, segment in _crypt(subject):
        if segment.encryption not in allowed:
            cipher = segment.encryption[:60]
            text = f"segment {segment_id}: cipher is {cipher!r}, allowed are {allowed}"
            yield f"segments.{segment_id}.encryption", text


def _key_bits(subject: Subject, allowed: Numbers) -> Iterator[Finding]:
    for segment_id, _ in _crypt(subject):
        size = subject.metadata.key_size_of_segment(segment_id)
        if size is not None and size * 8 not in allowed:
            text = f"segment {segment_id}: key has {size * 8} bits, allowed are {allowed}"
            yield f"segments.{segment_id}", text


def _sector_size(subject: Subject, allowed: Numbers) -> Iterator[Finding]:
    for segment_id, segment in _crypt(subject):
        if segment.sector_size not in allowed:
            size = segment.sector_size
            text = (
                f"segment {segment_id}: sectors of {counted(size, 'byte')}, allowed are {allowed}"
            )
            yield f"segments.{segment_id}.sector_size", text


def _iv_tweak(subject: Subject, allowed: Numbers) -> Iterator[Finding]:
    for segment_id, segment in _crypt(subject):
        if segment.iv_tweak not in allowed:
            text = f"segment {segment_id}: iv_tweak is {segment.iv_tweak}, allowed are {allowed}"
            yield f"segments.{segment_id}.iv_tweak", text


def _integrity(subject: Subject, allowed: Names) -> Iterator[Finding]:
    for segment_id, segment in _crypt(subject):
        if segment.integrity is not None and segment.integrity not in allowed:
            kind = segment.integrity[:40]
            text = f"segment {segment_id}: integrity is {kind!r}, allowed are {allowed}"
            yield f"segments.{segment_id}.integrity", text


def _flags(subject: Subject, allowed: Names) -> Iterator[Finding]:
    for segment_id, segment in subject.metadata.segments.items():
        for flag in segment.flags:
            if flag not in allowed:
                text = f"segment {segment_id}: has flag {flag[:40]!r}, allowed are {allowed}"
                yield f"segments.{segment_id}.flags", text


def _begin(subject: Subject, word: str) -> Iterator[Finding]:
    first = subject.metadata.data_segments[0]
    offset, end = subject.metadata.data_offset, subject.metadata.keyslots_area.end
    if offset == 0 and subject.is_apart:
        return
    if offset < end:
        text = f"segment {first}: begins at {offset:#x}, the header ends at {end:#x}"
        yield f"segments.{first}.offset", text
    elif word == "header-end" and subject.metadata.version == 2 and offset > end:
        text = f"segment {first}: begins at {offset:#x}, not where the header ends, {end:#x}"
        yield f"segments.{first}.offset", text


def _size(subject: Subject, word: str) -> Iterator[Finding]:
    segments = subject.metadata.data_segments
    segment = subject.metadata.segments[segments[-1]]
    if word == "dynamic" and not _is_dynamic(segment):
        text = f"segment {segments[-1]}: ends after {segment.size} bytes, not with its device"
        yield f"segments.{segments[-1]}.size", text


def _is_dynamic(segment: Segment) -> bool:
    return isinstance(segment.size, Dynamic)


def _digests(subject: Subject, allowed: Range) -> Iterator[Finding]:
    digests = subject.metadata.digests.values()
    for segment_id, _ in _crypt(subject):
        number = sum(segment_id in digest.segments for digest in digests)
        if number not in allowed:
            text = f"segment {segment_id}: is in {counted(number, 'digest')}, allowed are {allowed}"
            yield f"segments.{segment_id}", text


RULES: Final = (
    PolicyRule(
        "segment-null-cipher",
        None,
        switch,
        _not_null,
        "With a null cipher everything that is written lies on the disk in the clear.",
        NULL_CIPHER_CVES,
    ),
    PolicyRule(
        "segment-count",
        "segments.count",
        Range.parse,
        _count,
        "A further segment shows other bytes, perhaps unencrypted ones, as part of the volume.",
        REENCRYPTION_CVE,
    ),
    PolicyRule(
        "segment-type",
        "segments.types",
        Names.parse,
        _type,
        "A segment of type linear is read and written in the clear.",
        REENCRYPTION_CVE,
    ),
    PolicyRule(
        "segment-cipher",
        "segments.ciphers",
        Names.parse,
        _cipher,
        "A weaker mode shows patterns of the data, or lets it be altered at will.",
        "NIST SP 800-38E, NIST SP 800-38A",
    ),
    PolicyRule(
        "segment-key-size",
        "segments.key_bits",
        Numbers.parse,
        _key_bits,
        "A short key can be found by trying.",
        "NIST SP 800-131A",
    ),
    PolicyRule(
        "segment-sector-size",
        "segments.sector_sizes",
        Numbers.parse,
        _sector_size,
        "With another sector size than the one it was written with the data is noise.",
        _SPEC,
    ),
    PolicyRule(
        "segment-iv-tweak",
        "segments.iv_tweaks",
        Numbers.parse,
        _iv_tweak,
        "Shifted IVs turn the data into noise, or repeat those of another segment.",
        _SPEC,
    ),
    PolicyRule(
        "segment-integrity",
        "segments.integrity",
        Names.parse,
        _integrity,
        "An integrity section that nobody asked for changes how sectors are laid out.",
        _SPEC,
    ),
    PolicyRule(
        "segment-flags",
        "segments.flags",
        Names.parse,
        _flags,
        "Flags of a reencryption make unlocking tools go on with it.",
        REENCRYPTION_CVE,
    ),
    PolicyRule(
        "segment-begin",
        "segments.begin",
        one_of(*BEGINS),
        _begin,
        "A segment that was moved shows other bytes as the volume, or lies over the header.",
        _SPEC,
    ),
    PolicyRule(
        "segment-size",
        "segments.size",
        one_of("dynamic"),
        _size,
        "A segment that ends early hides the rest of the volume.",
        _SPEC,
    ),
    PolicyRule(
        "segment-digest",
        "segments.digests",
        Range.parse,
        _digests,
        "With two digests two different keys pass for the right one.",
        "LUKS2 specification 1.1.4, section 3.4",
    ),
)
