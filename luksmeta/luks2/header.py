"""A LUKS2 header: what its believed copy says, its successors, and the writes of both copies.

Source: LUKS2 specification 1.1.4, sections 2 and 5; lib/luks2/luks2_disk_metadata.c.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from luksmeta.binary import c_bytes, c_string
from luksmeta.errors import HeaderError, KeyslotsAreaFullError, MetadataError, NotLuksError
from luksmeta.extents import Extent, align_up, first_fit
from luksmeta.header_copies import CopyState, HeaderCopy
from luksmeta.luks2.binary_header import CHECKSUM_ALGORITHM, MAGIC, SALT_SIZE, VERSION, BinaryHeader
from luksmeta.luks2.both_copies import BothCopies
from luksmeta.luks2.document_writing import to_document
from luksmeta.luks2.header_copy import (
    LoadedCopy,
    check_document,
    copy_bytes,
    copy_offset,
    metadata_of,
)
from luksmeta.luks2.json_text import dump_json, parse_json_area
from luksmeta.luks2.limits import AREA_ALIGNMENT, BINARY_HEADER_SIZE, KEYSLOTS_MAX, TOKENS_MAX
from luksmeta.model import STRIPES, JsonObject, Metadata, OddKeyslot
from luksmeta.random_bytes import random_bytes
from luksmeta.storage import Storage
from luksmeta.write_plan import Barrier, Fill, Step, Write


@dataclass(frozen=True, slots=True)
class Luks2Header:
    """The believed copy of a header, and the state of both.

    ``write_order`` is the one in which both are written: the last is whole until the first is.
    ``left_over`` is what the old copies leave, the secondary above all, when their size changes.
    """

    loaded: LoadedCopy
    copies: tuple[CopyState, ...]
    salts: dict[HeaderCopy, bytes] = field(repr=False)
    write_order: tuple[HeaderCopy, ...] = tuple(HeaderCopy)
    left_over: Extent | None = None

    @classmethod
    def read(cls, storage: Storage) -> Self:
        """The header at the start of ``storage``; nothing is written, whatever state it is in.

        Raises what :meth:`BothCopies.believed` does, and HeaderError where the device ends before
        the keyslots area does.
        """
        copies = BothCopies.read(storage)
        believed = copies.believed()
        _check_fits(storage, believed)
        salts = {each.copy: each.record.salt for each in copies.whole}
        return cls(believed, copies.states(), salts)

    @classmethod
    def create(cls, metadata: Metadata) -> Self:
        """A new header that says ``metadata``; its first write has seqid 2, as in cryptsetup.

        Raises MetadataError when ``metadata`` breaks a rule of the format.
        """
        record = BinaryHeader(
            magic=MAGIC[HeaderCopy.PRIMARY],
            version=VERSION,
            hdr_size=metadata.keyslots_area.offset // 2,
            seqid=1,
            label=b"",
            csum_alg=c_bytes(CHECKSUM_ALGORITHM, 32, "csum_alg"),
            salt=b"",
            uuid=b"",
            subsystem=b"",
            hdr_offset=0,
            csum=b"",
        )
        empty = LoadedCopy(HeaderCopy.PRIMARY, record, b"", {}, metadata)
        return cls(empty, (), {}).updated(metadata)

    @property
    def metadata(self) -> Metadata:
        """What the header says."""
        return self.loaded.metadata

    @property
    def document(self) -> JsonObject:
        """The JSON document as it stands."""
        return self.loaded.document

    @property
    def served_by(self) -> HeaderCopy:
        """The copy that is believed."""
        return self.loaded.copy

    @property
    def seqid(self) -> int:
        """The counter that grows with every write ("epoch")."""
        return self.loaded.record.seqid

    @property
    def checksum_algorithm(self) -> str:
        """The hash that proves each copy."""
        return c_string(self.loaded.record.csum_alg, "csum_alg")

    @property
    def keyslot_ids(self) -> range:
        """0 to 31."""
        return range(KEYSLOTS_MAX)

    @property
    def taken_keyslots(self) -> frozenset[int]:
        """Those that are there."""
        return frozenset(self.metadata.keyslots)

    @property
    def odd_keyslots(self) -> Mapping[int, OddKeyslot]:
        """None: a keyslot is there or not."""
        return {}

    @property
    def token_ids(self) -> range:
        """0 to 31."""
        return range(TOKENS_MAX)

    @property
    def backup_size(self) -> int:
        """Both copies and the keyslots area, in bytes."""
        return self.metadata.keyslots_area.end

    def place_area(self, keyslot_id: int, key_size: int) -> Extent:
        """The first gap of the keyslots area that takes the split key, in whole 4096 bytes."""
        size = align_up(key_size * STRIPES, AREA_ALIGNMENT)
        taken = [keyslot.area.extent for keyslot in self.metadata.keyslots.values()]
        place = first_gap(size, self.metadata.keyslots_area, taken)
        if place is None:
            raise KeyslotsAreaFullError(
                f"keyslot {keyslot_id}: no gap of {size} bytes in the keyslots area "
                f"{self.metadata.keyslots_area}"
            )
        return place

    def updated(self, metadata: Metadata) -> Self:
        """The header that says ``metadata``, its seqid one higher.

        Where its keyslots area begins says how large the copies are. Raises
        JsonAreaFullError when its JSON text does not fit; MetadataError when it breaks a rule, or
        could not be read again: a token may be nested as deep as its maker likes.
        """
        old = self.loaded.record
        record = replace(
            old,
            hdr_size=metadata.keyslots_area.offset // 2,
            seqid=old.seqid + 1,
            label=c_bytes(metadata.label, 48, "label"),
            uuid=c_bytes(metadata.uuid, 40, "uuid"),
            subsystem=c_bytes(metadata.subsystem, 48, "subsystem"),
        )
        return replace(
            self._saying(metadata, record),
            copies=_good_copies(record),
            write_order=_write_order(self.copies, old.hdr_size, record.hdr_size),
            left_over=_left_over(old.hdr_size, record.hdr_size),
        )

    def restated(self, metadata: Metadata) -> Self:
        """This header, not written yet, saying ``metadata`` instead: seqid and sizes stay.

        Raises what :meth:`updated` does.
        """
        return self._saying(metadata, self.loaded.record)

    def _saying(self, metadata: Metadata, record: BinaryHeader) -> Self:
        document = to_document(metadata)
        json_area = dump_json(document, record.hdr_size - BINARY_HEADER_SIZE)
        check_document(document, record.hdr_size, HeaderCopy.PRIMARY)
        salts = {copy: self.salts.get(copy) or random_bytes(SALT_SIZE) for copy in HeaderCopy}
        data = copy_bytes(record, json_area, HeaderCopy.PRIMARY, salts[HeaderCopy.PRIMARY])
        written = metadata_of(record, document)
        if written != metadata or parse_json_area(json_area) != document:
            raise MetadataError("header: it would not read back as what was to be written")
        loaded = LoadedCopy(
            HeaderCopy.PRIMARY,
            BinaryHeader.from_bytes(data[:BINARY_HEADER_SIZE]),
            json_area,
            document,
            written,
        )
        return replace(self, loaded=loaded, salts=salts)

    def restored(self) -> Self:
        """The same header with both copies good: what was not is written anew, nothing else.

        The believed copy's JSON area and seqid, and a salt of its own (lib/luks2/
        luks2_disk_metadata.c hdr_write_disk recovers so).
        """
        unsound = tuple(state.copy for state in self.copies if state.problem)
        fresh = {copy: random_bytes(SALT_SIZE) for copy in unsound}
        return replace(
            self,
            copies=_good_copies(self.loaded.record),
            salts={**self.salts, **fresh},
            write_order=unsound,
        )

    def steps(self) -> tuple[Step, ...]:
        """Each copy to be written, and a barrier: at every moment one of both is whole.

        When the copies' size changes, the old secondary goes in between: left behind, it could be
        found in place of the new one.
        """
        record, json_area = self.loaded.record, self.loaded.json_area
        steps: list[Step] = []
        for copy in self.write_order:
            if steps and self.left_over is not None:
                steps += (Fill(self.left_over, "old copy wiped", random=True), Barrier())
            data = copy_bytes(record, json_area, copy, self.salts[copy])
            offset = copy_offset(copy, record.hdr_size)
            steps += (Write(offset, data, f"{copy} header, seqid {record.seqid}"), Barrier())
        return tuple(steps)

    def is_current(self, storage: Storage) -> bool:
        """Whether the device's believed copy is this one, to the checksum, and both are as sound.

        A copy that was damaged since then must be known to be, so that it is written first.
        """
        try:
            there = Luks2Header.read(storage)
        except (HeaderError, NotLuksError):
            return False
        return there.loaded.record == self.loaded.record and there.copies == self.copies


def first_gap(size: int, within: Extent, taken: Iterable[Extent]) -> Extent | None:
    """The first place in ``within`` for an area of ``size`` bytes among those that are ``taken``.

    An area of another's making may end anywhere; behind one that starts unaligned, an assertion
    ends cryptsetup (lib/luks2/luks2_json_format.c LUKS2_find_area_max_gap).
    """
    whole = [
        Extent(area.offset, align_up(area.end, AREA_ALIGNMENT) - area.offset) for area in taken
    ]
    return first_fit(size, within, whole)


def _write_order(
    states: tuple[CopyState, ...], old_size: int, new_size: int
) -> tuple[HeaderCopy, ...]:
    """The primary first, unless it is the only copy to fall back on.

    Larger copies: the new primary will lie over both old copies, the new secondary over neither.
    """
    if new_size > old_size:
        return (HeaderCopy.SECONDARY, HeaderCopy.PRIMARY)
    unsound = {state.copy for state in states if state.problem}
    return tuple(sorted(HeaderCopy, key=lambda copy: copy not in unsound))


def _left_over(old_size: int, new_size: int) -> Extent | None:
    """Of larger copies the primary lies over the rest; behind smaller ones keyslots will lie."""
    if old_size == new_size:
        return None
    start = min(old_size, 2 * new_size)
    return Extent(start, 2 * old_size - start)


def _good_copies(record: BinaryHeader) -> tuple[CopyState, ...]:
    return tuple(
        CopyState(copy=copy, offset=copy_offset(copy, record.hdr_size), seqid=record.seqid)
        for copy in HeaderCopy
    )


def _check_fits(storage: Storage, chosen: LoadedCopy) -> None:
    end = chosen.metadata.keyslots_area.end
    if end > storage.size:
        raise HeaderError(
            f"{chosen.copy} header: the keyslots area ends at {end:#x}, {storage.name} at "
            f"{storage.size:#x}",
            copy=chosen.copy,
        )
