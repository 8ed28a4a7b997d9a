"""What is right and wrong with each copy of a header, also where no reader would take it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from luksmeta.errors import HeaderError, LuksError, NotLuksError, StorageError, Violation
from luksmeta.header import Header
from luksmeta.header_copies import CopyCondition, CopyState, HeaderCopy
from luksmeta.luks1 import partition_header as luks1
from luksmeta.luks1.validation import validate, warnings
from luksmeta.luks2.both_copies import try_copy
from luksmeta.luks2.header import Luks2Header
from luksmeta.luks2.header_copy import violations_of
from luksmeta.luks2.limits import HDR_SIZES
from luksmeta.storage import Storage

LUKS1_VERSION: Final = b"\0\1"


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
            "violations": [each.describe() for each in self.violations],
        }


_NO_SECONDARY: Final = CopyDiagnosis(
    copy=HeaderCopy.SECONDARY,
    offset=None,
    condition=CopyCondition.MISSING,
    error=NotLuksError("secondary header: no magic at any legal offset"),
)


def luks1_copy(start: bytes, error: LuksError | None, *, magic_is_lost: bool) -> CopyDiagnosis:
    """The only copy of a LUKS1 header; ``error`` is what its reader gets."""
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


def luks1_without_magic(start: bytes) -> tuple[CopyDiagnosis, ...]:
    """A LUKS1 header of which the magic alone is gone: the rest of it breaks no rule.

    There is no checksum, but eight entries with their states and stripes do not come by chance.
    """
    if len(start) < luks1.SIZE or start[6:8] != LUKS1_VERSION:
        return ()
    if validate(luks1.PartitionHeader.from_bytes(start)):
        return ()
    error = HeaderError("partition header: its magic is gone, all else is in order", offset=0)
    return (luks1_copy(start, error, magic_is_lost=True),)


def luks2_copies(storage: Storage, header: Header | None) -> tuple[CopyDiagnosis, ...]:
    """Both copies of a LUKS2 header; ``header`` is what its readers get."""
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
