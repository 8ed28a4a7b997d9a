"""Both copies of a LUKS2 header as they lie there: which is believed, and what each is good for.

Source: LUKS2 specification 1.1.4, sections 2 and 5; lib/luks2/luks2_disk_metadata.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, TypeAlias

from luksmeta.binary import c_text
from luksmeta.errors import HeaderError, LuksError, NotLuksError, StorageError
from luksmeta.header_copies import CopyCondition, CopyState, HeaderCopy
from luksmeta.luks2.header_copy import LoadedCopy, copy_offset, load_copy
from luksmeta.luks2.limits import HDR_SIZES
from luksmeta.storage import Storage

TriedCopy: TypeAlias = LoadedCopy | LuksError
"""A copy that passed every check, or what is wrong with it."""


@dataclass(frozen=True, slots=True)
class BothCopies:
    """What is found in the places of the two copies."""

    primary: TriedCopy
    secondary: TriedCopy

    @classmethod
    def read(cls, storage: Storage) -> Self:
        """Both copies; nothing is written, whatever state they are in.

        When the primary is damaged, the secondary is looked for at all its legal offsets.
        """
        primary = try_copy(storage, HeaderCopy.PRIMARY, 0)
        return cls(primary, _find_secondary(storage, primary))

    @property
    def whole(self) -> tuple[LoadedCopy, ...]:
        """Those that passed every check."""
        return tuple(
            each for each in (self.primary, self.secondary) if isinstance(each, LoadedCopy)
        )

    def believed(self) -> LoadedCopy:
        """The copy with the greater seqid, the primary when they are equal.

        Raises NotLuksError when there is no trace of a copy, else what is wrong with the primary,
        or with the secondary where the primary is gone.
        """
        if not self.whole:
            raise self._most_telling()
        return max(self.whole, key=lambda each: each.record.seqid)

    def states(self) -> tuple[CopyState, ...]:
        """What each is good for; raises what :meth:`believed` does."""
        found = {HeaderCopy.PRIMARY: self.primary, HeaderCopy.SECONDARY: self.secondary}
        believed = self.believed()
        return tuple(_copy_state(copy, tried, believed) for copy, tried in found.items())

    def _most_telling(self) -> LuksError:
        errors = [each for each in (self.primary, self.secondary) if isinstance(each, LuksError)]
        damaged = [error for error in errors if not isinstance(error, NotLuksError)]
        return (damaged or errors)[0]


def try_copy(
    storage: Storage,
    copy: HeaderCopy,
    offset: int,
    *,
    magic_is_lost: bool = False,
    twin: LoadedCopy | None = None,
) -> TriedCopy:
    """The copy at ``offset`` (:func:`load_copy`), or what is wrong with it."""
    try:
        return load_copy(storage, copy, offset, magic_is_lost=magic_is_lost, twin=twin)
    except (HeaderError, NotLuksError, StorageError) as error:
        return error


def _find_secondary(storage: Storage, primary: TriedCopy) -> TriedCopy:
    """The secondary where the primary says it is, else the first one at a legal offset."""
    if isinstance(primary, LoadedCopy):
        offset = primary.record.hdr_size
        return try_copy(storage, HeaderCopy.SECONDARY, offset, twin=primary)
    found: LuksError = NotLuksError("secondary header: no magic at any legal offset")
    for offset in HDR_SIZES:
        tried = try_copy(storage, HeaderCopy.SECONDARY, offset)
        if isinstance(tried, LoadedCopy):
            return tried
        if not isinstance(tried, NotLuksError):
            found = tried
    return found


def _copy_state(copy: HeaderCopy, loaded: TriedCopy, chosen: LoadedCopy) -> CopyState:
    seqid = None if isinstance(loaded, LuksError) else loaded.record.seqid
    condition, problem = _condition(loaded, chosen)
    return CopyState(
        copy=copy,
        offset=copy_offset(copy, chosen.record.hdr_size),
        seqid=seqid,
        condition=condition,
        problem=problem,
    )


def _condition(loaded: TriedCopy, chosen: LoadedCopy) -> tuple[CopyCondition, str | None]:
    if isinstance(loaded, NotLuksError):
        return CopyCondition.MISSING, loaded.text
    if isinstance(loaded, LuksError):
        return CopyCondition.DAMAGED, loaded.text
    seqid, believed = loaded.record.seqid, chosen.record.seqid
    if seqid < believed:
        text = f"obsolete: seqid {seqid}, the other copy has {believed}"
        return CopyCondition.OBSOLETE, text
    if _said_by(loaded) != _said_by(chosen):
        return CopyCondition.DIFFERENT, f"differs from the other copy at the same seqid {believed}"
    return CopyCondition.GOOD, None


def _said_by(copy: LoadedCopy) -> tuple[object, ...]:
    record = copy.record
    return copy.document, *map(c_text, (record.uuid, record.label, record.subsystem))
