"""What a LUKS2 header holds and ``cryptsetup luksDump`` does not show.

luksDump walks over the ids that cryptsetup makes, and of each object over the members that it
knows (lib/luks2/luks2_json_metadata.c LUKS2_hdr_dump); all else is kept and passed over in silence.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from luksmeta.forensics.copies import CopyContent
from luksmeta.luks2.limits import (
    DIGESTS_MAX,
    KEYSLOTS_MAX,
    TOKENS_MAX,
)
from luksmeta.luks2.validation.shapes import CONFIG, DOCUMENT, OBJECTS, Shape
from luksmeta.model import JsonObject
from luksmeta.rules import excerpt

_SHOWN_BELOW: Final = {"keyslots": KEYSLOTS_MAX, "tokens": TOKENS_MAX, "digests": DIGESTS_MAX}
_FURTHER_MEMBERS: Final = {  # that no rule asks for, and cryptsetup knows
    "keyslots": ("priority",),
    "digests": ("hash", "iterations", "salt", "digest"),
    "tokens": ("key_description",),
    "segments": (),
}
_SHOWN_TYPES: Final = {
    "tokens": ("luks2-keyring",),
    "digests": ("pbkdf2",),
    "segments": ("linear",),
}
_MOST: Final = 1000
_DIGITS_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Hidden:
    """A JSON path, why it is not shown, and an excerpt of what lies there."""

    path: str
    why: str
    value: object

    def describe(self) -> dict[str, object]:
        """The same for programs."""
        return {"path": self.path, "why": self.why, "value": self.value}


def hidden_in(content: CopyContent) -> tuple[Hidden, ...]:
    """All that is hidden in the document of a copy, at most a thousand; none where it is none."""
    if content.document is None:
        return ()
    found = (*_repeated(content.json_text), *_in_document(content.document))
    return found[:_MOST]


def _in_document(document: JsonObject) -> Iterator[Hidden]:
    for name, value in document.items():
        if name not in DOCUMENT.members:
            yield Hidden(name[:40], "no section of the format", excerpt(value))
        elif name in OBJECTS and isinstance(value, Mapping):
            for object_id, each in value.items():
                yield from _in_object(name, object_id, each)
        elif name == "config" and isinstance(value, Mapping):
            yield from _in_config(value)


def _in_object(section: str, object_id: str, value: object) -> Iterator[Hidden]:
    path = f"{section}.{object_id[:40]}"
    limit = _SHOWN_BELOW.get(section)
    if not object_id.isdecimal() or (limit and (len(object_id) > 9 or int(object_id) >= limit)):
        yield Hidden(path, f"only ids below {limit} are shown", excerpt(value))
    elif isinstance(value, Mapping):
        shape = OBJECTS[section]
        kind = value.get("type")
        is_shown = shape.knows(value) or kind in _SHOWN_TYPES.get(section, ())
        if not is_shown and section != "tokens":
            yield Hidden(f"{path}.type", "a type that is not known", excerpt(value))
        known = {*shape.members_of(value), *_FURTHER_MEMBERS[section]}
        why = "not known" if is_shown else "of a token of another's, shown by type alone"
        yield from _strange_members(path, value, known, why)
        yield from _in_members(path, value, shape)


def _in_members(path: str, value: JsonObject, shape: Shape) -> Iterator[Hidden]:
    """The objects within an object: area, kdf, af, integrity."""
    for name, member in shape.members_of(value).items():
        inner = value.get(name)
        if member.inner and isinstance(inner, Mapping):
            known = set(member.inner.members_of(inner))
            yield from _strange_members(f"{path}.{name}", inner, known, "not known")


def _in_config(config: JsonObject) -> Iterator[Hidden]:
    yield from _strange_members("config", config, set(CONFIG.members), "not known")
    requirements = config.get("requirements")
    if isinstance(requirements, Mapping):
        yield from _strange_members("config.requirements", requirements, {"mandatory"}, "not known")


def _strange_members(path: str, value: JsonObject, known: set[str], why: str) -> Iterator[Hidden]:
    for name, each in value.items():
        if name not in known:
            yield Hidden(f"{path}.{name[:40]}", why, excerpt(each))


def _number(digits: str) -> int | str:
    return int(digits) if len(digits) < _DIGITS_MAX else digits


def _repeated(text: bytes) -> list[Hidden]:
    """Members that the text has twice in one object: readers see the last one."""
    found: list[Hidden] = []

    def members(pairs: list[tuple[str, object]]) -> dict[str, object]:
        seen: dict[str, object] = {}
        for name, value in pairs:
            if name in seen:
                why = "comes again in the same object, where the last one counts"
                found.append(Hidden(name[:40], why, excerpt(seen[name])))
            seen[name] = value
        return seen

    json.loads(
        text.decode("utf-8", "surrogateescape"),
        object_pairs_hook=members,
        parse_int=_number,  # of more digits than Python converts
        strict=False,
    )
    return found
