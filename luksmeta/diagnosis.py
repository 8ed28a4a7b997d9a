"""What is right and wrong with a header: every copy, every broken rule, and which copy serves.

For readers that must not fail where a header does: dumps, repair, reports. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

from luksmeta.copy_diagnosis import (
    LUKS1_VERSION,
    CopyDiagnosis,
    luks1_copy,
    luks1_without_magic,
    luks2_copies,
)
from luksmeta.errors import HeaderError, LuksError, NotLuksError, Severity, StorageError, Violation
from luksmeta.header import Header, first_bytes, read_header
from luksmeta.header_copies import CopyCondition, HeaderCopy, why_served
from luksmeta.locking import locked
from luksmeta.luks1 import partition_header as luks1
from luksmeta.model import Dynamic
from luksmeta.signatures import Signature, find_foreign_signatures
from luksmeta.storage import Storage
from luksmeta.target import Target, opened


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
            {**each.describe(), "copy": None if copy is None else str(copy)}
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
            "violations": [each.describe() for each in self.violations],
            "foreign_signatures": [
                {"name": each.name, "offset": each.offset} for each in self.foreign_signatures
            ],
        }


def diagnose(target: Target, header: Target | None = None) -> Diagnosis:
    """The state of the header of ``target``; with ``header`` it lies there.

    Raises StorageError where a file cannot be opened or read at all; whatever else is wrong is in
    the answer.
    """
    with ExitStack() as stack:
        data = stack.enter_context(opened(target))
        storage = data if header is None else stack.enter_context(opened(header))
        with locked(storage, exclusive=False):
            return diagnose_storage(storage, data)


def diagnose_storage(storage: Storage, data: Storage | None = None) -> Diagnosis:
    """The same for open storages, which the caller has locked; ``data`` holds the segments."""
    start = first_bytes(storage, luks1.SIZE)
    header, error = _read(storage)
    version: int | None = 1
    copies: tuple[CopyDiagnosis, ...]
    if start[:8] == luks1.MAGIC + LUKS1_VERSION:
        copies = (luks1_copy(start, error, magic_is_lost=False),)
    else:
        version, copies = 2, luks2_copies(storage, header)
    if all(each.condition is CopyCondition.MISSING for each in copies):
        without_magic = luks1_without_magic(start)
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
