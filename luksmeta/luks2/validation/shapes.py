"""Which members every object has: the tables, and the one walk that checks them.

A rule about a member is named after its object and itself (``keyslot-key-size``). Objects of
unknown type have only the members that all types share (specification 3: they are kept).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias, cast

from luksmeta.errors import Violation
from luksmeta.luks2.validation.kinds import (
    Kind,
    an_object,
    described,
    exactly,
    integer,
    one_of,
    power_sector_size,
    sector_count,
    sector_offset,
    sector_size,
    segment_size,
    size,
    text,
    texts,
    uint32,
    uint64,
)
from luksmeta.model import JsonObject
from luksmeta.rules import Statement, excerpt


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an object; ``inner`` is the shape of the object in it."""

    kind: Kind
    inner: Shape | None = None
    required: bool = True


Members: TypeAlias = Mapping[str, Member]


@dataclass(frozen=True, slots=True)
class Shape:
    """An object: its members, and those that a known ``type`` adds or narrows."""

    name: str
    members: Members
    variants: Mapping[str, Members] = field(default_factory=dict)
    closed: bool = False  # a known type has these members and no others
    source: str = "lib/luks2/luks2_json_metadata.c"

    def members_of(self, value: JsonObject) -> Members:
        """The members that this object must and may have, by its type."""
        variant = self._variant(value)
        return self.members if variant is None else {**self.members, **variant}

    def knows(self, value: JsonObject) -> bool:
        """Whether the object is of a type that adds members."""
        return self._variant(value) is not None

    def _variant(self, value: JsonObject) -> Members | None:
        kind = value.get("type")
        return self.variants.get(kind) if isinstance(kind, str) else None

    def rules(self) -> Iterator[Statement]:
        """Every rule that :func:`faults` may report for this shape; some come repeatedly."""
        for members in (self.members, *self.variants.values()):
            for name, member in members.items():
                states = f"Member {name} of {self.name}: {described(member.kind)}"
                yield Statement(_rule(self, name), states, self.source)
                if member.inner:
                    yield from member.inner.rules()
        if self.closed:
            states = f"A {self.name} of a known type has the members of that type and no others."
            yield Statement(f"{self.name}-members", states, self.source)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an object lies: its JSON path, and how a sentence about a member of it begins."""

    path: str
    subject: str

    def member(self, name: str) -> Place:
        """The object in a member of this object."""
        return Place(f"{self.path}.{name}" if self.path else name, f"{self.subject} {name}")


def faults(value: JsonObject, shape: Shape, place: Place) -> Iterator[Violation]:
    """Every member of ``value`` that is missing or not of its kind, inner objects included."""
    members = shape.members_of(value)
    for name, member in members.items():
        if name in value:
            fault = member.kind(value[name])
        else:
            fault = "is missing" if member.required else None
        if fault:
            inside = place.member(name)
            what = f"{inside.subject} {fault}"
            yield Violation(inside.path, _rule(shape, name), what, excerpt(value.get(name)))
        elif member.inner and name in value:
            inner = cast("JsonObject", value[name])
            yield from faults(inner, member.inner, place.member(name))
    if shape.closed and shape.knows(value):
        yield from _surplus(value, shape, place)


def _surplus(value: JsonObject, shape: Shape, place: Place) -> Iterator[Violation]:
    for name in sorted(value.keys() - shape.members_of(value).keys()):
        kind = value["type"]
        fault = f"{place.subject} has a member {name[:40]!r}, {kind} knows none"
        path = f"{place.path}.{name[:40]}"
        yield Violation(path, f"{shape.name}-members", fault, excerpt(value[name]))


def _rule(shape: Shape, member: str) -> str:
    return f"{shape.name}-{member}".replace("_", "-")


_OPTIONAL_TEXTS: Final = Member(texts, required=False)

# Specification 3.2.5; closed by cryptsetup lib/luks2/luks2_keyslot_luks2.c.
_ARGON2: Final = {
    "salt": Member(text),
    "time": Member(integer),
    "memory": Member(integer),
    "cpus": Member(integer),
}
KDF: Final = Shape(
    "kdf",
    {"type": Member(text)},
    {
        "pbkdf2": {"salt": Member(text), "hash": Member(text), "iterations": Member(integer)},
        "argon2i": _ARGON2,
        "argon2id": _ARGON2,
    },
    closed=True,
    source="lib/luks2/luks2_keyslot_luks2.c",
)

# Specification 3.2.4. Stripes other than 4000 pass: cryptsetup never looks at the number.
_AF: Final = Shape(
    "af", {"type": Member(one_of("luks1")), "stripes": Member(integer), "hash": Member(text)}
)

_AREA: Final = {  # specification 3.2.3
    "type": Member(text),
    "offset": Member(uint64),
    "size": Member(size),
}
_RAW_AREA: Final = {
    "type": Member(one_of("raw")),
    "encryption": Member(text),
    "key_size": Member(integer),
}
_CHECKSUM: Final = {"hash": Member(text), "sector_size": Member(power_sector_size)}
_SHIFT: Final = {"shift_size": Member(sector_count)}

# Specification 3.2.1 and 3.2.2; cryptsetup lib/luks2/luks2_keyslot_reenc.c.
KEYSLOT: Final = Shape(
    "keyslot",
    {
        "type": Member(text),
        "key_size": Member(uint32),
        "area": Member(an_object, Shape("area", _AREA)),
    },
    {
        "luks2": {
            "area": Member(an_object, Shape("area", {**_AREA, **_RAW_AREA})),
            "kdf": Member(an_object, KDF),
            "af": Member(an_object, _AF),
        },
        "reencrypt": {
            "key_size": Member(exactly(1)),
            "mode": Member(one_of("reencrypt", "encrypt", "decrypt")),
            "direction": Member(one_of("forward", "backward")),
            "area": Member(
                an_object,
                Shape(
                    "area",
                    _AREA,
                    {
                        "checksum": _CHECKSUM,
                        "datashift": _SHIFT,
                        "datashift-journal": _SHIFT,
                        "datashift-checksum": {**_CHECKSUM, **_SHIFT},
                    },
                ),
            ),
        },
    },
)

_INTEGRITY: Final = Shape(
    "integrity",
    {"type": Member(text), "journal_encryption": Member(text), "journal_integrity": Member(text)},
)
_OPAL: Final = {  # specification 4.10
    "size": Member(sector_count),
    "opal_segment_number": Member(integer),
    "opal_key_size": Member(integer),
    "opal_segment_size": Member(size),
}
SEGMENT: Final = Shape(  # specification 3.3
    "segment",
    {
        "type": Member(text),
        "offset": Member(sector_offset),
        "size": Member(segment_size),
        "flags": _OPTIONAL_TEXTS,
    },
    {
        "crypt": {
            "iv_tweak": Member(uint64),
            "encryption": Member(text),
            "sector_size": Member(sector_size),
            "integrity": Member(an_object, _INTEGRITY, required=False),
        },
        "hw-opal": _OPAL,
        "hw-opal-crypt": _OPAL,
    },
)

# Specification 3.4. A digest's own parameters are looked at when it is used, not here.
DIGEST: Final = Shape(
    "digest", {"type": Member(text), "keyslots": Member(texts), "segments": Member(texts)}
)

TOKEN: Final = Shape(
    "token", {"type": Member(text), "keyslots": Member(texts)}
)  # specification 3.6

# Specification 3.5 has the requirements as an array; what is on disks is an object around it.
CONFIG: Final = Shape(
    "config",
    {
        "json_size": Member(uint64),
        "keyslots_size": Member(uint64),
        "flags": _OPTIONAL_TEXTS,
        "requirements": Member(
            an_object, Shape("requirements", {"mandatory": _OPTIONAL_TEXTS}), required=False
        ),
    },
)

DOCUMENT: Final = Shape(
    "document",
    {
        "keyslots": Member(an_object),
        "tokens": Member(an_object),
        "segments": Member(an_object),
        "digests": Member(an_object),
        "config": Member(an_object, CONFIG),
    },
)

OBJECTS: Final = {"keyslots": KEYSLOT, "tokens": TOKEN, "segments": SEGMENT, "digests": DIGEST}
"""The shape of the numbered objects in each section."""
