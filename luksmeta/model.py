"""One model for LUKS1 and LUKS2: what a header means, apart from how its bytes lie.

All records are immutable; a change makes a new :class:`Metadata`. Offsets and sizes are in bytes.
``as_read`` holds the JSON object that a record was read from, so that members which are not
modelled here survive every rewrite; records that were made, or came from LUKS1, have none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum
from typing import ClassVar, Final, Self, TypeAlias

from luksmeta.errors import KeyslotNotFoundError
from luksmeta.extents import Extent
from luksmeta.kdf.pbkdf import Pbkdf

SECTOR_SIZE: Final = 512
"""The unit of IVs, of keyslot areas, and of all LUKS1 offsets."""

STRIPES: Final = 4000
"""Of the anti-forensic splitter, in both formats; cryptsetup makes and merges no other number."""

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | Mapping[str, JsonValue] | None"
JsonObject: TypeAlias = Mapping[str, JsonValue]


class KeyslotPriority(IntEnum):
    """When a keyslot is tried: never unless named, normally, or first (absent means normal)."""

    IGNORE = 0
    NORMAL = 1
    HIGH = 2

    @classmethod
    def named(cls, name: KeyslotPriority | str) -> KeyslotPriority:
        """The priority of this name, ``prefer`` being cryptsetup's word for high; ValueError."""
        if isinstance(name, KeyslotPriority):
            return name
        if name not in PRIORITY_NAMES:
            raise ValueError(f"priority {name!r} is none of {', '.join(PRIORITY_NAMES)}")
        return PRIORITY_NAMES[name]


PRIORITY_NAMES: Final = {
    "ignore": KeyslotPriority.IGNORE,
    "normal": KeyslotPriority.NORMAL,
    "high": KeyslotPriority.HIGH,
    "prefer": KeyslotPriority.HIGH,
}


class Dynamic(Enum):
    """The size of a segment that reaches to the end of its device."""

    DYNAMIC = "dynamic"


DYNAMIC: Final = Dynamic.DYNAMIC


@dataclass(frozen=True, slots=True, kw_only=True)
class RawArea:
    """Where a keyslot's encrypted split key lies, and how it is encrypted."""

    offset: int
    size: int
    encryption: str
    key_size: int

    @property
    def extent(self) -> Extent:
        """The area as a range."""
        return Extent(self.offset, self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignArea:
    """An area of a type that is only kept, never used."""

    type: str
    offset: int
    size: int

    @property
    def extent(self) -> Extent:
        """The area as a range."""
        return Extent(self.offset, self.size)


@dataclass(frozen=True, slots=True)
class ForeignKdf:
    """A key derivation function of unknown type; its keyslot cannot be unlocked here."""

    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AntiForensic:
    """The anti-forensic splitter's parameters."""

    hash: str
    stripes: int = STRIPES


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyslot:
    """A stored key with everything that is needed to get it back with a passphrase."""

    type: ClassVar[str] = "luks2"

    key_size: int
    kdf: Pbkdf | ForeignKdf
    salt: bytes = field(repr=False)
    af: AntiForensic
    area: RawArea
    priority: KeyslotPriority | None = None
    as_read: JsonObject = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKeyslot:
    """A keyslot of another type (``reencrypt``, say): kept, placed around, never unlocked."""

    type: str
    key_size: int
    area: ForeignArea
    priority: KeyslotPriority | None = None
    as_read: JsonObject = field(default_factory=dict, repr=False, compare=False)


AnyKeyslot: TypeAlias = Keyslot | ForeignKeyslot


@dataclass(frozen=True, slots=True)
class OddKeyslot:
    """A LUKS1 keyslot whose state is none that there is, by one flipped bit perhaps."""

    state: int
    area: Extent

    def __str__(self) -> str:
        return f"state {self.state:#010x}, neither in use nor free"


@dataclass(frozen=True, slots=True, kw_only=True)
class CryptSegment:
    """Encrypted user data; ``iv_tweak`` is in 512-byte sectors.

    ``key_size`` is None in LUKS2, where only keyslots tell it.
    """

    type: ClassVar[str] = "crypt"

    offset: int
    size: int | Dynamic
    iv_tweak: int
    encryption: str
    sector_size: int
    key_size: int | None = None
    integrity: str | None = None
    flags: tuple[str, ...] = ()
    as_read: JsonObject = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearSegment:
    """User data in the clear, as during encryption and decryption in place."""

    type: ClassVar[str] = "linear"

    offset: int
    size: int | Dynamic
    flags: tuple[str, ...] = ()
    as_read: JsonObject = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignSegment:
    """A segment of unknown type: kept, never read."""

    type: str
    offset: int
    size: int | Dynamic
    flags: tuple[str, ...] = ()
    as_read: JsonObject = field(default_factory=dict, repr=False, compare=False)


Segment: TypeAlias = CryptSegment | LinearSegment | ForeignSegment


@dataclass(frozen=True, slots=True, kw_only=True)
class Pbkdf2Digest:
    """Proves a volume key by PBKDF2; names its keyslots and segments."""

    type: ClassVar[str] = "pbkdf2"

    keyslots: tuple[int, ...]
    segments: tuple[int, ...]
    hash: str
    iterations: int
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)
    as_read: JsonObject = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignDigest:
    """A digest of unknown type: kept, proves nothing here."""

    type: str
    keyslots: tuple[int, ...]
    segments: tuple[int, ...]
    as_read: JsonObject = field(default_factory=dict, repr=False, compare=False)


Digest: TypeAlias = Pbkdf2Digest | ForeignDigest


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """How to get a passphrase for its keyslots: any JSON besides ``type`` and ``keyslots``."""

    type: str
    keyslots: tuple[int, ...]
    as_read: JsonObject = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Persistent flags (unknown ones are ignored) and mandatory requirements (they are not)."""

    flags: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    as_read: JsonObject = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What a header says; ``keyslots`` are in the order of the JSON area, that of trying."""

    version: int
    uuid: str
    label: str = ""
    subsystem: str = ""
    keyslots_area: Extent
    keyslots: Mapping[int, AnyKeyslot] = field(default_factory=dict)
    tokens: Mapping[int, Token] = field(default_factory=dict)
    segments: Mapping[int, Segment] = field(default_factory=dict)
    digests: Mapping[int, Digest] = field(default_factory=dict)
    config: Config = field(default_factory=Config)
    as_read: JsonObject = field(default_factory=dict, repr=False, compare=False)

    def keyslot(self, keyslot_id: int) -> AnyKeyslot:
        """The keyslot of this id; KeyslotNotFoundError when it is not in use."""
        try:
            return self.keyslots[keyslot_id]
        except KeyError:
            raise KeyslotNotFoundError(f"keyslot {keyslot_id}: not in use") from None

    def digest_of_keyslot(self, keyslot_id: int) -> tuple[int, Digest] | None:
        """The id and the digest that a keyslot belongs to."""
        return _digest_that(self.digests, lambda digest: keyslot_id in digest.keyslots)

    def digest_of_segment(self, segment_id: int) -> tuple[int, Digest] | None:
        """The id and the digest that a segment belongs to."""
        return _digest_that(self.digests, lambda digest: segment_id in digest.segments)

    def is_bound(self, keyslot_id: int) -> bool:
        """Whether the keyslot's key is one that decrypts a segment."""
        found = self.digest_of_keyslot(keyslot_id)
        return found is not None and bool(found[1].segments)

    @property
    def bound_keyslots(self) -> tuple[int, ...]:
        """The keyslots that open the volume, in their order."""
        return tuple(
            keyslot_id
            for keyslot_id, keyslot in self.keyslots.items()
            if isinstance(keyslot, Keyslot) and self.is_bound(keyslot_id)
        )

    def keys_without_keyslot(self, gone: Collection[int]) -> tuple[int, ...]:
        """The digests of segments whose key nothing opens any more without the keyslots ``gone``.

        Each key counts by itself: during a reencryption the data needs the old one and the new.
        """
        bound = self.bound_keyslots
        keyslots = {
            digest_id: [each for each in digest.keyslots if each in bound]
            for digest_id, digest in self.digests.items()
            if digest.segments
        }
        return tuple(each for each, ids in keyslots.items() if ids and set(ids) <= set(gone))

    @property
    def data_segments(self) -> tuple[int, ...]:
        """The ids of the segments that make up the data, in order; not reencryption's backups."""
        return tuple(
            segment_id
            for segment_id, segment in sorted(self.segments.items())
            if not any(flag.startswith("backup-") for flag in segment.flags)
        )

    @property
    def data_offset(self) -> int:
        """Where the first data segment starts; 0 with a detached header."""
        return self.segments[self.data_segments[0]].offset

    @property
    def volume_key_size(self) -> int | None:
        """The size in bytes of the first data segment's key; None when nothing tells it."""
        return self.key_size_of_segment(self.data_segments[0])

    def key_size_of_segment(self, segment_id: int) -> int | None:
        """The size in bytes of a segment's key; None when nothing tells it."""
        found = self.digest_of_segment(segment_id)
        return None if found is None else self.key_size_of_digest(found[0])

    def key_size_of_digest(self, digest_id: int) -> int | None:
        """The size in bytes of the key that a digest proves, as its keyslots or segments tell."""
        digest = self.digests[digest_id]
        segments = (self.segments[segment_id] for segment_id in digest.segments)
        sizes = (
            *(self.keyslots[keyslot_id].key_size for keyslot_id in digest.keyslots),
            *(each.key_size for each in segments if isinstance(each, CryptSegment)),
        )
        return next((size for size in sizes if size is not None), None)

    def with_keyslot(self, keyslot_id: int, keyslot: AnyKeyslot, digest_id: int) -> Self:
        """The same with a keyslot set and assigned to a digest."""
        digest = self.digests[digest_id]
        if keyslot_id not in digest.keyslots:
            digest = replace(digest, keyslots=(*digest.keyslots, keyslot_id))
        return replace(
            self,
            keyslots={**self.keyslots, keyslot_id: keyslot},
            digests={**self.digests, digest_id: digest},
        )

    def without_keyslot(self, keyslot_id: int) -> Self:
        """The same without a keyslot; digests that prove nothing any more go with it."""
        digests = {
            digest_id: replace(digest, keyslots=_without(digest.keyslots, keyslot_id))
            for digest_id, digest in self.digests.items()
        }
        return replace(
            self,
            keyslots={k: v for k, v in self.keyslots.items() if k != keyslot_id},
            digests={k: v for k, v in digests.items() if v.keyslots or v.segments},
            tokens={
                token_id: replace(token, keyslots=_without(token.keyslots, keyslot_id))
                for token_id, token in self.tokens.items()
            },
        )


def _without(ids: Iterable[int], gone: int) -> tuple[int, ...]:
    return tuple(value for value in ids if value != gone)


def _digest_that(
    digests: Mapping[int, Digest], matches: Callable[[Digest], bool]
) -> tuple[int, Digest] | None:
    return next((item for item in digests.items() if matches(item[1])), None)
