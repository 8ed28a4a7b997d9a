"""What is odd about a LUKS2 binary header, and taken all the same: each is a warning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from luksmeta.binary import c_text
from luksmeta.errors import Severity
from luksmeta.luks2.binary_header import CHECKSUM_ALGORITHM, BinaryHeader
from luksmeta.rules import Finding, Rule, excerpt
from luksmeta.uuids import is_uuid


@dataclass(frozen=True, slots=True)
class RawHeader:
    """A binary header as it lies there: its fields, and the bytes that they were read from."""

    record: BinaryHeader
    data: bytes

    def value_at(self, path: str) -> object:
        """What a field holds, as JSON can say it; None where there is no such field."""
        value = getattr(self.record, path, None)
        return excerpt(c_text(value)) if isinstance(value, bytes) else value


def _padding(raw: RawHeader) -> Iterator[Finding]:
    same, given = raw.record.to_bytes(), raw.data
    strange = [at for at in range(len(given)) if given[at] != same[at]]
    if strange:
        yield (
            "padding",
            f"bytes of padding that are not zero: {len(strange)}, from {strange[0]:#x} on",
        )


def _terminated(raw: RawHeader) -> Iterator[Finding]:
    for name in ("label", "uuid", "subsystem"):
        data = getattr(raw.record, name)
        if b"\0" not in data:
            yield (
                name,
                f"{name} has no NUL within its {len(data)} bytes, and is cut before the last",
            )


def _is_uuid(raw: RawHeader) -> Iterator[Finding]:
    uuid = c_text(raw.record.uuid)
    if not is_uuid(uuid):
        yield "uuid", f"uuid {uuid[:40]!r} is none"


def _usual_checksum(raw: RawHeader) -> Iterator[Finding]:
    algorithm = c_text(raw.record.csum_alg)
    if algorithm != CHECKSUM_ALGORITHM:
        yield "csum_alg", f"checksum algorithm is {algorithm[:40]!r}, {CHECKSUM_ALGORITHM} is usual"


_SPECIFICATION: Final = "specification 2.1"
RULES: Final[tuple[Rule[RawHeader], ...]] = tuple(
    Rule(name, states, _SPECIFICATION, check, severity=Severity.WARNING)
    for name, states, check in (
        ("binary-padding", "The padding is zero.", _padding),
        ("binary-terminated", "Label, UUID and subsystem end with a NUL.", _terminated),
        ("binary-uuid", "The UUID is one.", _is_uuid),
        ("binary-csum-alg-usual", "The checksum is SHA-256.", _usual_checksum),
    )
)
