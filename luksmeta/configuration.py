"""Settings of a header that need no key: names, priorities, flags, and the sizes of its areas."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from uuid import UUID

from luksmeta import resizing
from luksmeta.header import Header
from luksmeta.header_change import HeaderChange, reword
from luksmeta.luks2.limits import KNOWN_FLAGS
from luksmeta.model import AnyKeyslot, KeyslotPriority, Metadata
from luksmeta.storage import Storage
from luksmeta.texts import check_text
from luksmeta.tokens.notes import Note, with_note


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is to be set; None leaves a setting as it is.

    ``flags`` replaces all persistent flags, each counts once; ``priorities`` says of keyslots when
    each is tried; ``notes`` whose each is; ``metadata_size`` (of one header copy) and
    ``keyslots_size`` are in bytes.
    """

    uuid: str | None = None
    label: str | None = None
    subsystem: str | None = None
    flags: tuple[str, ...] | None = None
    priorities: Mapping[int, KeyslotPriority | str] | None = None
    notes: Mapping[int, Note] | None = None
    metadata_size: int | None = None
    keyslots_size: int | None = None

    def changes(self, header: Header, storage: Storage) -> list[HeaderChange]:
        """The changes that set all of it: one write of the header, then those of the sizes.

        ``storage`` is the header's. Raises UnsupportedError for what LUKS1 has no place for,
        KeyslotNotFoundError, ValueError, and what :func:`luksmeta.resizing.resize` does.
        """
        changes = []
        if self._rewords:
            metadata = self._reworded(header.metadata)
            for keyslot_id, note in (self.notes or {}).items():
                metadata = with_note(metadata, keyslot_id, note, header.token_ids)
            changes.append(reword(header, metadata, "configure the header"))
            header = changes[0].header
        if self.metadata_size is not None or self.keyslots_size is not None:
            changes += resizing.resize(header, storage, self.metadata_size, self.keyslots_size)
        return changes

    @property
    def _rewords(self) -> bool:
        settings = (self.uuid, self.label, self.subsystem, self.flags, self.priorities, self.notes)
        return any(each is not None for each in settings)

    def _reworded(self, metadata: Metadata) -> Metadata:
        if self.uuid is not None:
            metadata = replace(metadata, uuid=str(UUID(self.uuid)))
        if self.label is not None:
            check_text("label", self.label)
            metadata = replace(metadata, label=self.label)
        if self.subsystem is not None:
            check_text("subsystem", self.subsystem)
            metadata = replace(metadata, subsystem=self.subsystem)
        if self.flags is not None:
            flags = _known_flags(self.flags, metadata.config.flags)
            metadata = replace(metadata, config=replace(metadata.config, flags=flags))
        return replace(metadata, keyslots=_with_priorities(metadata, self.priorities or {}))


def _known_flags(flags: Iterable[str], present: Collection[str]) -> tuple[str, ...]:
    """Each flag once; ValueError for one that is neither known nor there already."""
    for flag in flags:
        if flag not in KNOWN_FLAGS and flag not in present:
            raise ValueError(f"persistent flag {flag!r} is none of {', '.join(KNOWN_FLAGS)}")
    return tuple(dict.fromkeys(flags))


def _with_priorities(
    metadata: Metadata, priorities: Mapping[int, KeyslotPriority | str]
) -> Mapping[int, AnyKeyslot]:
    keyslots = dict(metadata.keyslots)
    for keyslot_id, name in priorities.items():
        named = KeyslotPriority.named(name)
        # Normal is what an absent priority means; cryptsetup removes the member then.
        priority = None if named is KeyslotPriority.NORMAL else named
        keyslots[keyslot_id] = replace(metadata.keyslot(keyslot_id), priority=priority)
    return keyslots
