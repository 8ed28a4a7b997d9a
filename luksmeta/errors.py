"""The exception tree; each class carries the exit status of the command line.

``ValueError`` and ``TypeError`` stay outside it: they are for a caller's mistakes only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class LuksError(Exception):
    """The root of all errors of this package; never raised itself."""

    exit_status: ClassVar[int] = 1


class NotLuksError(LuksError):
    """There is no LUKS header where one was looked for."""

    exit_status = 4


class Severity(StrEnum):
    """What a broken rule costs: the header is refused, or it is odd and taken all the same."""

    ERROR = "error"
    WARNING = "warning"


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


class ChecksumError(HeaderError):
    """The checksum of a header copy is not the one stored in it."""

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


class MetadataError(HeaderError):
    """The metadata breaks rules of the format: ``violations``."""


class RequirementError(LuksError):
    """The header demands something that this version does not know or cannot do."""


class UnsupportedError(LuksError):
    """The volume's format has no place for what is asked (a label in LUKS1, say)."""


class AlgorithmError(LuksError):
    """A cipher, hash or KDF that is not available here: ``kind`` and ``name``."""

    def __init__(self, message: str, *, kind: str, name: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.name = name


class ResourceLimitError(LuksError):
    """A KDF asks for more than the limit: ``asked`` and ``limit``, in the unit of the message."""

    exit_status = 3

    def __init__(self, message: str, *, asked: int, limit: int) -> None:
        super().__init__(message)
        self.asked = asked
        self.limit = limit

    def of(self, subject: str) -> ResourceLimitError:
        """The same, said of ``subject``: the keyslot or digest whose KDF it is."""
        return ResourceLimitError(f"{subject}: {self}", asked=self.asked, limit=self.limit)


class KeyslotError(LuksError):
    """A request about a keyslot that makes no sense for this volume."""


class PassphraseError(KeyslotError):
    """No tried keyslot opened; ``tried`` holds their ids in the order of trying."""

    exit_status = 2

    def __init__(self, message: str, *, tried: Iterable[int] = ()) -> None:
        super().__init__(message)
        self.tried = tuple(tried)


class KeyslotNotFoundError(KeyslotError):
    """No keyslot has this id."""


class KeyslotsAreaFullError(KeyslotError):
    """There is no free keyslot id, or no room for another keyslot's area."""


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


class StorageError(LuksError):
    """The device or file could not be read or written as asked."""

    exit_status = 4


class StoragePermissionError(StorageError):
    """The system does not let this user read or write the file."""

    exit_status = 2


class StorageBusyError(StorageError):
    """Another process holds the device's lock, or the target is already there."""

    exit_status = 5
