"""The form of a policy's rules: what they see of a header, and what they say about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from luksmeta.errors import Severity
from luksmeta.header import Header
from luksmeta.luks2.header import Luks2Header
from luksmeta.model import Metadata
from luksmeta.rules import Finding
from luksmeta.storage import Storage
from luksmeta.trust.settings import Parse

NULL_CIPHER_CVES: Final = (
    "https://nvd.nist.gov/vuln/detail/CVE-2025-59054, "
    "https://nvd.nist.gov/vuln/detail/CVE-2025-58356"
)
REENCRYPTION_CVE: Final = "https://nvd.nist.gov/vuln/detail/CVE-2021-4122"


@dataclass(frozen=True, slots=True)
class Subject:
    """A header under check, and the storage that it was read from.

    ``is_detached``: the storage holds the header alone, the data lies elsewhere. ``deep``: also
    what takes long to read is looked at.
    """

    storage: Storage
    header: Header
    is_detached: bool = False
    deep: bool = False
    metadata: Metadata = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "metadata", self.header.metadata)

    @property
    def is_apart(self) -> bool:
        """Whether the data lies elsewhere: nothing lies behind the header, in a header file."""
        return self.is_detached or self.storage.size <= self.header.backup_size

    @property
    def luks2(self) -> Luks2Header | None:
        """The header, where it is one of LUKS2."""
        return self.header if isinstance(self.header, Luks2Header) else None


Check: TypeAlias = Callable[[Subject, Any], Iterator[Finding]]
"""Finds where a subject breaks a rule, given what the policy sets for it."""


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """A rule that a policy may set: with what, why it matters, and who says so.

    ``key`` is its place in a policy file (``keyslots.count``); a rule without one always holds.
    """

    name: str
    key: str | None
    parse: Parse
    check: Check
    why: str
    reference: str
    severity: Severity = Severity.ERROR


@dataclass(frozen=True, slots=True)
class PolicyFinding:
    """One place of a header that breaks a rule of a policy."""

    rule: str
    severity: Severity
    path: str
    text: str
    why: str
    reference: str

    def describe(self) -> dict[str, str]:
        """The finding for JSON."""
        return {
            "rule": self.rule,
            "severity": str(self.severity),
            "path": self.path,
            "text": self.text,
            "why": self.why,
            "reference": self.reference,
        }

    def __str__(self) -> str:
        return f"{self.text} [{self.rule}]"
