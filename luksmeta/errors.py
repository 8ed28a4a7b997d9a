"""The exception tree; each class carries the exit status of the command line.

``ValueError`` and ``TypeError`` stay outside it: they are for a caller's mistakes only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final, Self


class LuksError(Exception):
    """The root of all errors of this package; never raised itself.

    ``storage_name`` is the file that it is about, where that is known: it stands before the text.
    ``hint`` says what to do next on the command line.
    """

    exit_status: ClassVar[int] = 1
    hint: str | None = None
    storage_name: str | None = None

    @property
    def text(self) -> str:
        """What is wrong, without the file's name."""
        return super().__str__()

    def about(self, storage_name: str) -> Self:
        """This error, which is about a file unless it names another one already."""
        if self.storage_name is None:
            self.storage_name = storage_name
        return self

    def advise(self, hint: str | None) -> Self:
        """This error with another hint."""
        self.hint = hint
        return self

    def __str__(self) -> str:
        return self.text if self.storage_name is None else f"{self.storage_name}: {self.text}"


@contextmanager
def errors_about(storage_name: str) -> Iterator[None]:
    """What is raised in here is about this file, unless it names another one."""
    try:
        yield
    except LuksError as error:
        error.about(storage_name)
        raise


class NotLuksError(LuksError):
    """There is no LUKS header where one was looked for."""

    exit_status = 4
    hint = (
        "if the header lies in another file, name it with --header; repair --dry-run looks for "
        "remains"
    )


class Severity(StrEnum):
    """What a broken rule costs: the header is refused, or it is odd and taken all the same."""

    ERROR = "error"
    WARNING = "warning"


RESTORE_HINT: Final = "restore-header can bring back a header backup"


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: where, which rule, what is wrong, and what was found there.

    ``value`` is an excerpt that JSON can say (:func:`luksmeta.rules.excerpt`), None where nothing
    is. A violation of severity ``warning`` never makes a header refused.
    """

    path: str
    rule: str
    text: str
    value: object = None
    severity: Severity = Severity.ERROR

    def describe(self) -> dict[str, object]:
        """The violation for programs."""
        return {
            "path": self.path,
            "rule": self.rule,
            "severity": str(self.severity),
            "value": self.value,
            "text": self.text,
        }

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


class HeaderError(LuksError):
    """A header is there, and it is damaged or makes no sense.

    ``offset`` is in bytes from the start of the header's device; ``copy`` is ``"primary"`` or
    ``"secondary"``. Either is None where it does not apply. ``violations`` are the broken rules,
    where there are such, at most a thousand.
    """

    exit_status = 4

    def __init__(
        self,
        message: str,
        *,
        offset: int | None = None,
        copy: str | None = None,
        violations: Iterable[Violation] = (),
    ) -> None:
        super().__init__(message)
        self.offset = offset
        self.copy = copy
        self.violations = tuple(violations)
        if len(self.violations) > 1:
            self.hint = "repair --dry-run lists them all"


class ChecksumError(HeaderError):
    """The checksum of a header copy is not the one stored in it."""

    hint = RESTORE_HINT

    def __init__(
        self,
        message: str,
        *,
        stored: bytes,
        computed: bytes,
        offset: int | None = None,
        copy: str | None = None,
        violations: Iterable[Violation] = (),
    ) -> None:
        super().__init__(message, offset=offset, copy=copy, violations=violations)
        self.stored = stored
        self.computed = computed


class VersionError(HeaderError):
    """The magic is that of LUKS, the version number is one that nobody has defined."""

    def __init__(
        self,
        message: str,
        *,
        version: int,
        offset: int | None = None,
        copy: str | None = None,
        violations: Iterable[Violation] = (),
    ) -> None:
        super().__init__(message, offset=offset, copy=copy, violations=violations)
        self.version = version
        if not version:  # what convert puts there while areas move
            self.hint = (
                "restore-header brings it back from the file that convert made: "
                "IMAGE.before-convert, or what --backup named"
            )


class MetadataError(HeaderError):
    """The metadata breaks rules of the format: ``violations``."""


class RequirementError(LuksError):
    """The header demands something that this version does not know or cannot do."""


class UnsupportedError(LuksError):
    """The volume's format has no place for what is asked (a label in LUKS1, say)."""


class JsonAreaFullError(UnsupportedError):
    """The JSON area of a LUKS2 header has no room: ``needed`` and ``size`` are in bytes."""

    hint = "config --luks2-metadata-size makes it larger"

    def __init__(self, message: str, *, needed: int, size: int) -> None:
        super().__init__(message)
        self.needed = needed
        self.size = size


class MissingExtraError(LuksError):
    """A library of one of the package's extras is needed and not installed."""


class AlgorithmError(LuksError):
    """A cipher, hash or KDF that is not available here: ``kind`` and ``name``."""

    def __init__(self, message: str, *, kind: str, name: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.name = name


_LIMIT_OPTIONS: Final = {
    "memory": "--max-memory",
    "milliseconds": "--max-time",
    "cpus": "--max-threads",
}


class ResourceLimitError(LuksError):
    """A KDF asks for more than the limit: ``asked`` and ``limit``, in the unit of the message.

    ``cost`` is the limit's name in :class:`luksmeta.Limits`; None for what the machine lacks.
    """

    exit_status = 3

    def __init__(self, message: str, *, asked: int, limit: int, cost: str | None = None) -> None:
        super().__init__(message)
        self.asked = asked
        self.limit = limit
        self.cost = cost
        if cost in _LIMIT_OPTIONS:
            self.hint = f"{_LIMIT_OPTIONS[cost]} raises the limit"

    def of(self, subject: str) -> ResourceLimitError:
        """The same, said of ``subject``: the keyslot or digest whose KDF it is."""
        return ResourceLimitError(
            f"{subject}: {self}", asked=self.asked, limit=self.limit, cost=self.cost
        )


class KeyslotError(LuksError):
    """A request about a keyslot that makes no sense for this volume."""


class PassphraseError(KeyslotError):
    """No tried keyslot opened; ``tried`` holds their ids in the order of trying."""

    exit_status = 2
    hint = "dump shows the keyslots; a key file counts with the newline at its end"

    def __init__(self, message: str, *, tried: Iterable[int] = ()) -> None:
        super().__init__(message)
        self.tried = tuple(tried)


class KeyslotsUntriedError(PassphraseError):
    """No tried keyslot opened, but others ask for more memory or time than they may have."""

    exit_status = 3
    hint = "a higher limit, or a machine with more memory, tries them too"


class KeyslotNotFoundError(KeyslotError):
    """No keyslot has this id."""


class KeyslotsAreaFullError(KeyslotError):
    """There is no free keyslot id, or no room for another keyslot's area."""

    hint = "remove-key or kill-slot makes room"


class TokenError(LuksError):
    """A request about a token that makes no sense for this volume."""


class VolumeKeyError(LuksError):
    """A volume key does not match its digest."""

    exit_status = 2


class PolicyError(LuksError):
    """The header breaks the caller's policy; ``findings`` says how."""

    exit_status = 2

    def __init__(self, message: str, *, findings: Iterable[object] = ()) -> None:
        super().__init__(message)
        self.findings = tuple(findings)


class SealError(PolicyError):
    """The header has no seal that holds; ``findings`` says what has changed since it was sealed."""

    hint = "verify lists all; repair mends a copy; seal --update accepts changes"


class StorageError(LuksError):
    """The device or file could not be read or written as asked."""

    exit_status = 4


class StoragePermissionError(StorageError):
    """The system does not let this user read or write the file."""

    exit_status = 2
    hint = "check the file's owner and mode"


class StorageBusyError(StorageError):
    """Another process holds the device or its lock, or has changed what was looked at."""

    exit_status = 5
    hint = "try again when the other program has finished"


class StorageExistsError(StorageBusyError):
    """A file that was to be made is already there."""

    hint = "nothing is overwritten; choose another name"


class FilesystemToolError(LuksError):
    """A program that makes file systems is missing, or has failed."""

    exit_status = 4


class VerificationError(LuksError):
    """What was written does not read back as what it was made of."""

    exit_status = 4
    hint = "nothing was kept; this machine's disk or memory is at fault, or the source has changed"
