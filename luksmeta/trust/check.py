"""Checking headers against a policy, from a snapshot that later use works from too."""

from __future__ import annotations

from dataclasses import dataclass

from luksmeta.errors import HeaderError, NotLuksError, PolicyError, Severity
from luksmeta.header import Header, read_header
from luksmeta.locking import locked
from luksmeta.storage import Storage
from luksmeta.target import Target, is_same_file, opened
from luksmeta.trust.header_rules import READABLE
from luksmeta.trust.policy import Policy, Source, finding
from luksmeta.trust.rule import PolicyFinding, Subject
from luksmeta.trust.snapshot import HeaderSnapshot


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found: the policy holds when no finding is an error.

    ``header`` is None where none can be read; ``failure`` says why not.
    """

    name: str
    policy: str
    header: Header | None
    findings: tuple[PolicyFinding, ...]
    failure: NotLuksError | HeaderError | None = None

    @property
    def holds(self) -> bool:
        """Whether the header may be used."""
        return not self.errors

    @property
    def errors(self) -> tuple[PolicyFinding, ...]:
        """What breaks the policy."""
        return tuple(each for each in self.findings if each.severity is Severity.ERROR)

    def require(self) -> None:
        """Raise PolicyError, which has all findings, unless the policy holds."""
        errors = self.errors
        if errors:
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            error = PolicyError(
                f"breaks the policy {self.policy}: {errors[0]}{more}", findings=self.findings
            )
            raise error.about(self.name).advise("check lists them all" if more else None)


def check(
    target: Target, policy: Source = "default", *, header: Target | None = None, deep: bool = False
) -> Report:
    """Check the header of ``target`` against a policy; nothing is written.

    With ``header`` the header lies there, apart from its data. ``deep`` reads also what takes
    long: the whole of a gap between header and data. A header that cannot be read is a finding.
    Raises StorageError, and ValueError for what is no policy.
    """
    loaded = Policy.load(policy)
    is_detached = header is not None and not is_same_file(header, target)
    with opened(target if header is None else header) as storage, locked(storage, exclusive=False):
        return judge(HeaderSnapshot(storage), loaded, is_detached=is_detached, deep=deep)


def judge(
    storage: Storage, policy: Policy, *, is_detached: bool = False, deep: bool = False
) -> Report:
    """What the policy says about the header in a storage; one that cannot be read is a finding."""
    try:
        header = read_header(storage)
    except (NotLuksError, HeaderError) as error:
        broken = finding(READABLE, READABLE.severity, "", error.text)
        return Report(storage.name, policy.name, None, (broken,), error)
    found = policy.broken_by(Subject(storage, header, is_detached=is_detached, deep=deep))
    return Report(storage.name, policy.name, header, tuple(found))


def held(storage: Storage, policy: Policy, *, is_detached: bool) -> HeaderSnapshot:
    """A snapshot whose header was checked, and is in memory for good.

    Raises PolicyError, and what is wrong with a header that cannot be read.
    """
    snapshot = HeaderSnapshot(storage)
    header = read_header(snapshot)
    judge(snapshot, policy, is_detached=is_detached).require()
    snapshot.hold(header.metadata.keyslots_area.end)
    return snapshot
