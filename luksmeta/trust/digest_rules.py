"""The rules about digests: what proves the volume key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from luksmeta.model import Pbkdf2Digest
from luksmeta.rules import Finding
from luksmeta.sizes import counted
from luksmeta.trust.rule import PolicyRule, Subject
from luksmeta.trust.settings import Names, Range

_SPEC: Final = "LUKS2 specification 1.1.4, section 3.4"


def _count(subject: Subject, allowed: Range) -> Iterator[Finding]:
    number = len(subject.metadata.digests)
    if number not in allowed:
        yield "digests", f"header: has {counted(number, 'digest')}, allowed are {allowed}"


def _type(subject: Subject, allowed: Names) -> Iterator[Finding]:
    for digest_id, digest in subject.metadata.digests.items():
        if digest.type not in allowed:
            text = f"digest {digest_id}: type is {digest.type[:40]!r}, allowed are {allowed}"
            yield f"digests.{digest_id}.type", text
        elif digest.type == Pbkdf2Digest.type and not isinstance(digest, Pbkdf2Digest):
            text = (
                f"digest {digest_id}: its hash, salt or digest is malformed, so it proves nothing"
            )
            yield f"digests.{digest_id}", text


def _proofs(subject: Subject) -> Iterator[tuple[int, Pbkdf2Digest]]:
    for digest_id, digest in subject.metadata.digests.items():
        if isinstance(digest, Pbkdf2Digest):
            yield digest_id, digest


def _hash(subject: Subject, allowed: Names) -> Iterator[Finding]:
    for digest_id, digest in _proofs(subject):
        if digest.hash not in allowed:
            text = f"digest {digest_id}: hash is {digest.hash[:40]!r}, allowed are {allowed}"
            yield f"digests.{digest_id}.hash", text


def _iterations(subject: Subject, allowed: Range) -> Iterator[Finding]:
    for digest_id, digest in _proofs(subject):
        if digest.iterations not in allowed:
            asked = str(digest.iterations)[:40]
            text = f"digest {digest_id}: {counted(asked, 'iteration')}, allowed are {allowed}"
            yield f"digests.{digest_id}.iterations", text


RULES: Final = (
    PolicyRule(
        "digest-count",
        "digests.count",
        Range.parse,
        _count,
        "A further digest proves a further key.",
        _SPEC,
    ),
    PolicyRule(
        "digest-type",
        "digests.types",
        Names.parse,
        _type,
        "What does not prove the volume key lets any key pass.",
        _SPEC,
    ),
    PolicyRule(
        "digest-hash",
        "digests.hashes",
        Names.parse,
        _hash,
        "A digest by a broken hash proves little.",
        "NIST SP 800-131A",
    ),
    PolicyRule(
        "digest-iterations",
        "digests.iterations",
        Range.parse,
        _iterations,
        "Too many iterations keep a machine from starting; fewer than 1000 nobody makes.",
        "cryptsetup lib/luks2/luks2_digest_pbkdf2.c",
    ),
)
