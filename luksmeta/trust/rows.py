"""What a check of many headers says about each: a row, for JSON lines, tables and SARIF."""

from __future__ import annotations

from dataclasses import dataclass, replace

from luksmeta.errors import LuksError, NotLuksError, Severity
from luksmeta.trust.check import Report
from luksmeta.trust.rule import PolicyFinding


@dataclass(frozen=True, slots=True)
class Row:
    """One image. ``error`` says why there is no header to be read; then nothing holds.

    ``status`` is the exit status that goes with the error.

    ``format`` is ``luks1`` or ``luks2``; it and the next two are None without a header.
    """

    image: str
    policy: str
    format: str | None = None
    uuid: str | None = None
    label: str | None = None
    findings: tuple[PolicyFinding, ...] = ()
    error: str | None = None
    status: int = 0

    @classmethod
    def of(cls, report: Report, image: str) -> Row:
        """The row of a report."""
        row = cls(image, report.policy, findings=report.findings)
        if isinstance(report.failure, NotLuksError):
            return row.failed(report.failure)
        if report.header is None:
            return row
        metadata = report.header.metadata
        return replace(
            row, format=f"luks{metadata.version}", uuid=metadata.uuid, label=metadata.label
        )

    def failed(self, error: LuksError) -> Row:
        """The same with an error, which need not name the image again."""
        return replace(self, error=error.text, status=error.exit_status)

    @property
    def holds(self) -> bool:
        """Whether the header was read and keeps the policy."""
        return self.error is None and not self.errors

    @property
    def errors(self) -> int:
        """How many findings break the policy."""
        return sum(each.severity is Severity.ERROR for each in self.findings)

    def describe(self) -> dict[str, object]:
        """The row for JSON."""
        return {
            "image": self.image,
            "policy": self.policy,
            "holds": self.holds,
            "format": self.format,
            "uuid": self.uuid,
            "label": self.label,
            "findings": [each.describe() for each in self.findings],
            "error": self.error,
        }
