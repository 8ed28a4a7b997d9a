"""What is right and wrong with a header: every copy, every broken rule, and which copy serves.

For readers that must not fail where a header does: dumps, repair, reports. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Final

from luksmeta.errors import HeaderError, LuksError, NotLuksError, Severity, StorageError, Violation
from luksmeta.header import Header, first_bytes, read_header
from luksmeta.header_copies import CopyCondition, CopyState, HeaderCopy, why_served
from luksmeta.locking import locked
from luksmeta.luks1 import partition_header as luks1
from luksmeta.luks1.validation import validate, warnings
from luksmeta.luks2.both_copies import try_copy
from luksmeta.luks2.header import Luks2Header
from luksmeta.luks2.header_copy import violations_of
from luksmeta.luks2.limits import HDR_SIZES
from luksmeta.model import Dynamic
from luksmeta.signatures import Signature, find_foreign_signatures
from luksmeta.storage import Storage
from luksmeta.target import Target, open_storage


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyDiagnosis:
    """One copy of a header.

    ``offset`` is None for a copy of which there is no trace, ``seqid`` for one that is not whole.
    ``magic_is_lost``: all of it is right but its magic. ``error`` is what makes it unusable.
    """

    copy: HeaderCopy
    offset: int | None
    condition: CopyCondition
    seqid: int | None = None
    magic_is_lost: bool = False
    error: LuksError | None = None
    violations: tuple[Violation, ...] = ()

    @property
    def state(self) -> CopyState:
        """The same as headers have it; of a copy without a trace the offset says nothing."""
        return CopyState(
            copy=self.copy,
            offset=self.offset or 0,
            seqid=self.seqid,
            condition=self.condition,
            problem=None if self.error is None else self.error.text,
        )

    def describe(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "copy": str(self.copy),
            "offset": self.offset,
            "state": str(self.condition),
            "seqid": self.seqid,
            "magic_is_lost": self.magic_is_lost,
            "error": None if self.error is None else self.error.text,
            "violations": [describe_violation(each) for each in self.violations],
        }


_LUKS1_VERSION: Final = b"\0\1"
_NO_SECONDARY: Final = CopyDiagnosis(
    copy=HeaderCopy.SECONDARY,
    offset=None,
    condition=CopyCondition.MISSING,
    error=NotLuksError("secondary header: no magic at any legal offset"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """A header's state.

    ``header`` is what every reader gets, and None where ``error`` is what it gets instead.
    ``reason`` says in a sentence why ``served_by`` serves, or what is the matter.
    """

    name: str
    version: int | None
    header: Header | None
    error: LuksError | None
    copies: tuple[CopyDiagnosis, ...]
    violations: tuple[Violation, ...]
    """What no copy can be blamed for: what does not fit the devices."""
    foreign_signatures: tuple[Signature, ...]

    @property
    def served_by(self) -> HeaderCopy | None:
        """The copy that is believed; None when none is."""
        return None if self.header is None else self.header.served_by

    @property
    def reason(self) -> str:
        """Why that copy serves, or why none does."""
        if self.header is None:
            lost = (each.error for each in self.copies if each.magic_is_lost)
            fault = next(lost, self.error)
            return f"no copy serves: {fault.text if fault else 'there is none'}"
        serving = self.header.served_by
        states = (each.state for each in self.copies)
        return f"the {serving} copy serves: {why_served(states, serving)}"

    @property
    def is_sound(self) -> bool:
        """Whether all copies are good and no rule is broken that would make one refused."""
        good = all(each.condition is CopyCondition.GOOD for each in self.copies)
        return self.header is not None and good

    def all_violations(self) -> Iterator[tuple[HeaderCopy | None, Violation]]:
        """Every violation with its copy, errors and warnings."""
        for copy in self.copies:
            yield from ((copy.copy, each) for each in copy.violations)
        yield from ((None, each) for each in self.violations)

    def describe_violations(self) -> list[dict[str, object]]:
        """The same for programs."""
        return [
            {**describe_violation(each), "copy": None if copy is None else str(copy)}
            for copy, each in self.all_violations()
        ]

    def distinct_violations(self) -> dict[Violation, tuple[HeaderCopy, ...]]:
        """Each violation once, with the copies that have it, if any can be blamed for it."""
        found: dict[Violation, tuple[HeaderCopy, ...]] = {}
        for copy, each in self.all_violations():
            same = replace(each, value=None)
            found[same] = (*found.get(same, ()), *(() if copy is None else (copy,)))
        return found

    def describe(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "format": None if self.version is None else f"luks{self.version}",
            "served_by": None if self.served_by is None else str(self.served_by),
            "reason": self.reason,
            "copies": [each.describe() for each in self.copies],
            "violations": [describe_violation(each) for each in self.violations],
            "foreign_signatures": [
                {"name": each.name, "offset": each.offset} for each in self.foreign_signatures
            ],
        }


def describe_violation(violation: Violation) -> dict[str, object]:
    """A violation for programs."""
    return {
        "path": violation.path,
        "rule": violation.rule,
        "severity": str(violation.severity),
        "value": violation.value,
        "text": violation.text,
    }


def diagnose(target: Target, header: Target | None = None) -> Diagnosis:
    """The state of the header of ``target``; with ``header`` it lies there.

    Raises StorageError where a file cannot be opened or read at all; whatever else is wrong is in
    the answer.
    """
    with ExitStack() as stack:
        data = stack.enter_context(_opened(target))
        storage = data if header is None else stack.enter_context(_opened(header))
        with locked(storage, exclusive=False):
            return diagnose_storage(storage, data)


def diagnose_storage(storage: Storage, data: Storage | None = None) -> Diagnosis:
    """The same for open storages, which the caller has locked; ``data`` holds the segments."""
    start = first_bytes(storage, luks1.SIZE)
    header, error = _read(storage)
    version: int | None = 1
    copies: tuple[CopyDiagnosis, ...]
    if start[:8] == luks1.MAGIC + _LUKS1_VERSION:
        copies = (_luks1_copy(start, error, magic_is_lost=False),)
    else:
        version, copies = 2, _luks2_copies(storage, header)
    if all(each.condition is CopyCondition.MISSING for each in copies):
        without_magic = _luks1_without_magic(start)
        version = 1 if without_magic else None
        copies = without_magic or copies
    return Diagnosis(
        name=storage.name,
        version=version,
        header=header,
        error=error,
        copies=copies,
        violations=() if data is None else tuple(_misfits(header, data)),
        foreign_signatures=_foreign_signatures(storage),
    )


@contextmanager
def _opened(target: Target) -> Iterator[Storage]:
    """The storage of a target; only what is opened here is closed here."""
    if isinstance(target, Storage):
        yield target
        return
    with open_storage(target) as storage:
        yield storage


def _read(storage: Storage) -> tuple[Header | None, LuksError | None]:
    try:
        return read_header(storage), None
    except (HeaderError, NotLuksError, StorageError) as error:
        return None, error


def _foreign_signatures(storage: Storage) -> tuple[Signature, ...]:
    try:
        return find_foreign_signatures(storage)
    except StorageError:  # where nothing can be read, no signature is
        return ()


def _misfits(header: Header | None, data: Storage) -> Iterator[Violation]:
    segments = {} if header is None else header.metadata.segments
    for segment_id, segment in segments.items():
        size = 0 if isinstance(segment.size, Dynamic) else segment.size
        end = segment.offset + size
        if end > data.size:
            verb = "ends" if size else "begins"
            text = f"segment {segment_id}: {verb} at {end:#x}, {data.name} ends at {data.size:#x}"
            path = f"segments.{segment_id}"
            yield Violation(path, "segment-device", text, data.size, Severity.WARNING)


# --- LUKS1 ---------------------------------------------------------------------------------------


def _luks1_copy(start: bytes, error: LuksError | None, *, magic_is_lost: bool) -> CopyDiagnosis:
    record = luks1.PartitionHeader.from_bytes(start) if len(start) == luks1.SIZE else None
    violations = () if record is None else (*validate(record), *warnings(record))
    return CopyDiagnosis(
        copy=HeaderCopy.PRIMARY,
        offset=0,
        condition=CopyCondition.GOOD if error is None else CopyCondition.DAMAGED,
        magic_is_lost=magic_is_lost,
        error=error,
        violations=violations,
    )


def _luks1_without_magic(start: bytes) -> tuple[CopyDiagnosis, ...]:
    """A LUKS1 header of which the magic alone is gone: the rest of it breaks no rule.

    There is no checksum, but eight entries with their states and stripes do not come by chance.
    """
    if len(start) < luks1.SIZE or start[6:8] != _LUKS1_VERSION:
        return ()
    if validate(luks1.PartitionHeader.from_bytes(start)):
        return ()
    error = HeaderError("partition header: its magic is gone, all else is in order", offset=0)
    return (_luks1_copy(start, error, magic_is_lost=True),)


# --- LUKS2 ---------------------------------------------------------------------------------------


def _luks2_copies(storage: Storage, header: Header | None) -> tuple[CopyDiagnosis, ...]:
    primary = _luks2_copy(storage, HeaderCopy.PRIMARY, 0)
    if isinstance(header, Luks2Header):
        offset: int | None = header.loaded.record.hdr_size
        conditions = {state.copy: state.condition for state in header.copies}
    else:
        offset, conditions = _offset_of_secondary(storage), {}
    secondary = _NO_SECONDARY
    if offset is not None:
        secondary = _luks2_copy(storage, HeaderCopy.SECONDARY, offset)
    return tuple(
        replace(each, condition=conditions.get(each.copy, each.condition))
        if each.condition is CopyCondition.GOOD
        else each
        for each in (primary, secondary)
    )


def _luks2_copy(storage: Storage, copy: HeaderCopy, offset: int) -> CopyDiagnosis:
    loaded = try_copy(storage, copy, offset)
    magic_is_lost = False
    if isinstance(loaded, NotLuksError):
        found = CopyDiagnosis(
            copy=copy, offset=offset, condition=CopyCondition.MISSING, error=loaded
        )
        loaded = try_copy(storage, copy, offset, magic_is_lost=True)
        if isinstance(loaded, LuksError):
            return found
        magic_is_lost = True
    violations = _violations(storage, copy, offset, magic_is_lost)
    if isinstance(loaded, LuksError):
        return CopyDiagnosis(
            copy=copy,
            offset=offset,
            condition=CopyCondition.DAMAGED,
            error=loaded,
            violations=violations,
        )
    lost = HeaderError(f"{copy} header: its magic is gone, the checksum proves the rest of it")
    return CopyDiagnosis(
        copy=copy,
        offset=offset,
        condition=CopyCondition.DAMAGED if magic_is_lost else CopyCondition.GOOD,
        seqid=loaded.record.seqid,
        magic_is_lost=magic_is_lost,
        error=lost if magic_is_lost else None,
        violations=violations,
    )


def _violations(
    storage: Storage, copy: HeaderCopy, offset: int, magic_is_lost: bool
) -> tuple[Violation, ...]:
    try:
        return violations_of(storage, copy, offset, magic_is_lost=magic_is_lost)
    except (HeaderError, StorageError):  # told by the copy's own error
        return ()


def _offset_of_secondary(storage: Storage) -> int | None:
    """Where a secondary lies that no primary leads to: by its magic, or by its checksum alone."""
    secondary = HeaderCopy.SECONDARY
    for magic_is_lost in (False, True):
        for offset in HDR_SIZES:
            found = try_copy(storage, secondary, offset, magic_is_lost=magic_is_lost)
            is_trace = not isinstance(found, NotLuksError | StorageError)
            if not isinstance(found, LuksError) or (is_trace and not magic_is_lost):
                return offset
    return None
