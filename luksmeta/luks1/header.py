"""A LUKS1 header: what it says, its successors, and its write.

Source: LUKS1 specification 1.2.3; lib/luks1/keymanage.c.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from luksmeta.binary import c_bytes, c_string
from luksmeta.errors import HeaderError, NotLuksError, UnsupportedError, VersionError
from luksmeta.extents import Extent, align_up
from luksmeta.header_copies import CopyState, HeaderCopy
from luksmeta.luks1.metadata import (
    keyslot_record,
    only_digest,
    refuse_what_luks1_lacks,
    to_metadata,
)
from luksmeta.luks1.partition_header import (
    ACTIVE,
    INACTIVE,
    KEYSLOT_COUNT,
    MAGIC,
    SIZE,
    VERSION,
    WRITTEN_SIZE,
    KeyslotRecord,
    PartitionHeader,
    area_offset,
    area_size,
)
from luksmeta.luks1.validation import Table, check
from luksmeta.model import SECTOR_SIZE, STRIPES, Metadata, OddKeyslot, Pbkdf2Digest
from luksmeta.sizes import counted
from luksmeta.storage import Storage
from luksmeta.write_plan import Barrier, Step, Write

_PAGE = 4096


@dataclass(frozen=True, slots=True)
class Luks1Header:
    """A partition header together with what it means."""

    record: PartitionHeader
    metadata: Metadata

    @classmethod
    def read(cls, storage: Storage) -> Self:
        """The header at the start of ``storage``.

        Raises NotLuksError, VersionError, or MetadataError, which has all violations, for one
        that cryptsetup refuses too.
        """
        if storage.size < SIZE:
            raise NotLuksError(f"{counted(storage.size, 'byte')}, a LUKS1 header has {SIZE}")
        record = PartitionHeader.from_bytes(storage.read_at(0, SIZE))
        if record.magic != MAGIC:
            raise NotLuksError("no LUKS magic at 0x0")
        if record.version != VERSION:
            raise VersionError(
                f"LUKS version {record.version}, known are 1 and 2",
                version=record.version,
                offset=6,
            )
        header = cls.of(record)
        end = header.metadata.keyslots_area.end
        if storage.size < end:
            raise HeaderError(
                f"the last keyslot area ends at {end:#x}, the device at {storage.size:#x}"
            )
        return header

    @classmethod
    def of(cls, record: PartitionHeader) -> Self:
        """The header of these fields; MetadataError for a record that breaks a rule."""
        check(record)
        return cls(record, to_metadata(record))

    @classmethod
    def as_it_is(cls, record: PartitionHeader) -> Self | None:
        """The header of these fields, whatever rule they break, to be looked at and never used.

        None where no key has the stated size: nothing tells then where the areas lie.
        """
        return cls(record, to_metadata(record)) if Table.of(record).areas else None

    @classmethod
    def create(
        cls,
        *,
        uuid: str,
        cipher: str,
        hash_spec: str,
        payload_offset: int,
        digest: Pbkdf2Digest,
        key_size: int,
    ) -> Self:
        """A new header without any keyslot; ``payload_offset`` in bytes, ``key_size`` in bytes."""
        cipher_name, _, cipher_mode = cipher.partition("-")
        empty = [
            KeyslotRecord(
                active=INACTIVE,
                iterations=0,
                salt=bytes(32),
                key_material_offset=area_offset(keyslot_id, key_size) // SECTOR_SIZE,
                stripes=STRIPES,
            )
            for keyslot_id in range(KEYSLOT_COUNT)
        ]
        record = PartitionHeader(
            magic=MAGIC,
            version=VERSION,
            cipher_name=c_bytes(cipher_name, 32, "cipher name"),
            cipher_mode=c_bytes(cipher_mode, 32, "cipher mode"),
            hash_spec=c_bytes(hash_spec, 32, "hash"),
            payload_offset=payload_offset // SECTOR_SIZE,
            key_bytes=key_size,
            mk_digest=digest.digest,
            mk_digest_salt=digest.salt,
            mk_digest_iter=digest.iterations,
            uuid=c_bytes(uuid, 40, "uuid"),
            keyslots=b"",
        ).with_keyslot_records(tuple(empty))
        return cls.of(record)

    @property
    def copies(self) -> tuple[CopyState, ...]:
        """LUKS1 has one copy, at the start."""
        return (CopyState(copy=HeaderCopy.PRIMARY, offset=0),)

    @property
    def served_by(self) -> HeaderCopy:
        """The only copy."""
        return HeaderCopy.PRIMARY

    @property
    def keyslot_ids(self) -> range:
        """0 to 7."""
        return range(KEYSLOT_COUNT)

    @property
    def taken_keyslots(self) -> frozenset[int]:
        """Those that are in use, and those of which it is not known."""
        return frozenset({*self.metadata.keyslots, *self.odd_keyslots})

    @property
    def odd_keyslots(self) -> Mapping[int, OddKeyslot]:
        """Those whose state is neither active nor inactive."""
        areas = Table.of(self.record).areas
        return {
            number: OddKeyslot(entry.active, areas[number])
            for number, entry in enumerate(self.record.keyslot_records())
            if entry.active not in (ACTIVE, INACTIVE)
        }

    @property
    def token_ids(self) -> range:
        """None."""
        return range(0)

    @property
    def backup_size(self) -> int:
        """Up to the end of the last keyslot's area in whole pages, as in cryptsetup's backups."""
        return align_up(self.metadata.keyslots_area.end, _PAGE)

    def place_area(self, keyslot_id: int, key_size: int) -> Extent:
        """The area that the table assigns to this keyslot."""
        record = self.record.keyslot_records()[keyslot_id]
        return Extent(record.key_material_offset * SECTOR_SIZE, area_size(key_size))

    def updated(self, metadata: Metadata) -> Self:
        """The header with what ``metadata`` has of keyslots, UUID and the volume key's digest.

        Nothing else can change. The digest lies in the first sector, so it is written whole.
        """
        digest = only_digest(metadata)
        header_hash = c_string(self.record.hash_spec, "hash")
        if digest.hash != header_hash:
            raise UnsupportedError(
                f"digest 0: hash {digest.hash}, a LUKS1 header has one for all: {header_hash}"
            )
        refuse_what_luks1_lacks(metadata, header_hash)
        records = tuple(
            keyslot_record(old, metadata.keyslots.get(keyslot_id))
            for keyslot_id, old in enumerate(self.record.keyslot_records())
        )
        record = replace(
            self.record,
            uuid=c_bytes(metadata.uuid, 40, "uuid"),
            mk_digest=digest.digest,
            mk_digest_salt=digest.salt,
            mk_digest_iter=digest.iterations,
        ).with_keyslot_records(records)
        written = to_metadata(record)
        if written.keyslots != metadata.keyslots:
            raise UnsupportedError("header: LUKS1 cannot hold these keyslots as they are")
        return replace(self, record=record, metadata=written)

    @property
    def offsets(self) -> dict[int, int]:
        """Where the areas of all keyslots begin, in use or not, in bytes."""
        records = self.record.keyslot_records()
        return {each: entry.key_material_offset * SECTOR_SIZE for each, entry in enumerate(records)}

    def relocated(self, offsets: Mapping[int, int]) -> Self:
        """The header with the areas of all keyslots, in use or not, at these offsets (bytes).

        HeaderError when two areas would overlap, or one the header or the data.
        """
        records = tuple(
            replace(old, key_material_offset=offsets[keyslot_id] // SECTOR_SIZE)
            for keyslot_id, old in enumerate(self.record.keyslot_records())
        )
        record = self.record.with_keyslot_records(records)
        check(record)
        return replace(self, record=record, metadata=to_metadata(record))

    def steps(self) -> tuple[Step, ...]:
        """One write of two sectors, and the barrier behind it."""
        return (Write(0, self.to_bytes(), "partition header"), Barrier())

    def to_bytes(self) -> bytes:
        """The two sectors of the header, zero padded."""
        return self.record.to_bytes().ljust(WRITTEN_SIZE, b"\0")

    def is_current(self, storage: Storage) -> bool:
        """Whether the device still holds these very bytes: LUKS1 has no counter to compare."""
        return storage.read_at(0, SIZE) == self.record.to_bytes()
