"""The rules about a header as a whole: its copies, its name, tokens and requirements."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from luksmeta.rules import Finding
from luksmeta.sizes import counted
from luksmeta.trust import hidden_rules
from luksmeta.trust.rule import REENCRYPTION_CVE, PolicyRule, Subject
from luksmeta.trust.settings import Names, Numbers, Range, switch, text
from luksmeta.uuids import is_uuid

_SPEC: Final = "LUKS2 specification 1.1.4, section 2"
_CONFIG: Final = "LUKS2 specification 1.1.4, section 3.5"
_TOKENS: Final = "LUKS2 specification 1.1.4, section 3.6"
_DISK: Final = "cryptsetup lib/luks2/luks2_disk_metadata.c"


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


def _is_uuid(subject: Subject, _: bool) -> Iterator[Finding]:
    if not is_uuid(subject.metadata.uuid):
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
        yield "tokens", f"header: has {counted(number, 'token')}, allowed are {allowed}"


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
    *hidden_rules.RULES,
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
