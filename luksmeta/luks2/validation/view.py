"""What the rules see of a document: the objects whose members are sound, already sorted out.

A rule about sound objects needs no check of its own for a missing or odd member, and an object
with a broken member is not accused a second time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final, Self, cast

from luksmeta.errors import Violation
from luksmeta.luks2.limits import (
    BINARY_HEADER_SIZE,
    OBJECT_ID_MAX,
    OBJECTS_MAX,
    VIOLATIONS_MAX,
)
from luksmeta.luks2.validation.shapes import CONFIG, DOCUMENT, OBJECTS, Place, faults
from luksmeta.model import JsonObject
from luksmeta.rules import Statement, excerpt

_ID: Final = re.compile(r"0|[1-9][0-9]{0,9}")


@dataclass(frozen=True, slots=True)
class Section:
    """The numbered objects of one section."""

    present: frozenset[str]
    """The names of all objects, whatever is wrong with them."""
    sound: Mapping[int, JsonObject]
    """Those with no broken member, by id, in the order of the JSON area."""

    @property
    def whole(self) -> bool:
        """Whether every object is sound."""
        return len(self.present) == len(self.sound)


@dataclass(frozen=True, slots=True)
class View:
    """A document as the rules see it; None for a section that is missing or broken."""

    document: JsonObject
    hdr_size: int  # bytes, as the binary header has it
    keyslots: Section | None
    tokens: Section | None
    segments: Section | None
    digests: Section | None
    config: JsonObject | None
    shape_violations: tuple[Violation, ...]

    @classmethod
    def of(cls, document: JsonObject, hdr_size: int) -> Self:
        """Look at every member of every object once; at most VIOLATIONS_MAX faults are kept."""
        found = list(faults(document, DOCUMENT, Place("", "json area:")))
        sections = {name: _section(document, name, found) for name in OBJECTS}
        config = document.get("config")
        broken = any(each.path.split(".")[0] == "config" for each in found)
        return cls(
            document=document,
            hdr_size=hdr_size,
            config=None if broken else cast("JsonObject", config),
            shape_violations=tuple(found),
            **sections,
        )

    @property
    def json_size(self) -> int:
        """The size of the JSON area in bytes, by the binary header."""
        return self.hdr_size - BINARY_HEADER_SIZE

    @property
    def requirements(self) -> tuple[str, ...]:
        """The mandatory requirements; none when the config section is broken."""
        requirements = cast("JsonObject", (self.config or {}).get("requirements", {}))
        return texts(requirements, "mandatory")


def number(value: JsonObject, name: str) -> int:
    """A numeric member of a sound object, in either notation."""
    return int(cast("str | int", value[name]))


def texts(value: JsonObject, name: str) -> tuple[str, ...]:
    """A member that is an array of strings; empty when it is absent."""
    return tuple(cast("list[str]", value.get(name, [])))


def crowded_sections(document: JsonObject) -> Iterator[Violation]:
    """A violation for every section with more objects than anybody makes, at no cost."""
    for name, shape in OBJECTS.items():
        objects = document.get(name)
        if isinstance(objects, Mapping) and len(objects) > OBJECTS_MAX:
            fault = f"json area: {name} section has {len(objects)} objects, {OBJECTS_MAX} may be"
            yield Violation(name, f"{shape.name}-count", fault, excerpt(objects))


def value_at(document: JsonObject, path: str) -> object:
    """What lies at a path that a rule names; None where nothing does."""
    value: object = document
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def object_rules() -> Iterator[Statement]:
    """The rules that hold for every numbered object as such."""
    source = "lib/luks2/luks2_json_metadata.c"
    for section, shape in OBJECTS.items():
        count = f"The {section} section has at most {OBJECTS_MAX} objects."
        yield Statement(f"{shape.name}-count", count, "luksmeta/luks2/limits.py OBJECTS_MAX")
        states = f"The id of a {shape.name} is a decimal number within 0..{OBJECT_ID_MAX}."
        yield Statement(f"{shape.name}-id", states, source)
        yield Statement(f"{shape.name}-object", f"A {shape.name} is an object.", source)


def shape_rules() -> Iterator[Statement]:
    """All rules about members."""
    for shape in (DOCUMENT, CONFIG, *OBJECTS.values()):
        yield from shape.rules()
    yield from object_rules()


def _section(document: JsonObject, name: str, found: list[Violation]) -> Section | None:
    objects = document.get(name)
    if not isinstance(objects, Mapping):
        return None
    sound = {}
    for key, value in objects.items():
        violations = tuple(islice(_object_faults(name, key, value), VIOLATIONS_MAX))
        found.extend(violations[: VIOLATIONS_MAX - len(found)])
        if not violations:
            sound[int(key)] = cast("JsonObject", value)
    return Section(frozenset(objects), sound)


def _object_faults(section: str, key: str, value: object) -> Iterator[Violation]:
    shape = OBJECTS[section]
    path, subject = f"{section}.{key[:40]}", f"{shape.name} {key[:40]}:"
    if not _ID.fullmatch(key) or int(key) > OBJECT_ID_MAX:
        fault = f"{subject} id is no decimal number within 0..{OBJECT_ID_MAX}"
        yield Violation(path, f"{shape.name}-id", fault, excerpt(value))
    elif not isinstance(value, Mapping):
        fault = f"{subject} is no object"
        yield Violation(path, f"{shape.name}-object", fault, excerpt(value))
    else:
        yield from faults(value, shape, Place(path, subject))
