"""Objects out of JSON texts that are whole no more.

A keyslot, segment or digest is a text of its own inside the document, and opens or places data
without the others. What cannot be found is said, and stands in as cryptsetup would have made it:
where the data lies, and a digest that no key matches, which a key that decrypts the data replaces.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, cast

from luksmeta.errors import MetadataError
from luksmeta.extents import Extent
from luksmeta.forensics.recovery.json_texts import JsonText, valid_text
from luksmeta.luks2.json_text import compact_text
from luksmeta.luks2.limits import BINARY_HEADER_SIZE, HDR_SIZES
from luksmeta.model import JsonObject, JsonValue

_OBJECT: Final = re.compile(rb'"(?P<name>[0-9]{1,2}|config)"[ ]*:[ ]*(?=\{)')
_OBJECTS_MAX: Final = 512  # hostile bytes may begin as many as they like
_OBJECT_MAX: Final = 64 << 10  # bytes; the largest is a token with a signature
_DATA_OFFSET: Final = 16 << 20
_DECODER: Final = json.JSONDecoder()
_SECTIONS: Final = ("keyslots", "tokens", "segments", "digests")


@dataclass(slots=True)
class Fragments:
    """The objects that are left, by section and id, and where each lies."""

    objects: dict[str, dict[str, JsonObject]] = field(
        default_factory=lambda: {each: {} for each in (*_SECTIONS, "config")}
    )
    extents: list[Extent] = field(default_factory=list)

    def text(self) -> tuple[JsonText, tuple[str, ...], bool] | None:
        """A whole text around them, what of it is lost, and whether the data's place is a guess.

        None where no keyslot is left, or the objects do not go together.
        """
        if not self.objects["keyslots"]:
            return None
        lost: list[str] = []
        config = self._config(lost)
        segments = self._segments(config, lost)
        digests = self._digests(segments, lost)
        tokens = {
            name: _with_known(each, {"keyslots": self.objects["keyslots"]})
            for name, each in self.objects["tokens"].items()
        }
        document: JsonObject = {
            "keyslots": self.objects["keyslots"],
            "tokens": tokens,
            "segments": segments,
            "digests": digests,
            "config": config,
        }
        try:
            found = valid_text(compact_text(document), tuple(self.extents))
        except MetadataError:  # a number that no JSON text can say
            return None
        if found is None:
            return None
        lost.append("every object of the JSON text that lay in its damaged part")
        return found, tuple(lost), not self.objects["segments"]

    def _config(self, lost: list[str]) -> JsonObject:
        for config in self.objects["config"].values():
            return config
        lost.append("flags and requirements; sizes are those that go with the keyslots' places")
        keyslots = self.objects["keyslots"].values()
        first = min(_number(each["area"], "offset") for each in keyslots)
        hdr_size = max((each for each in HDR_SIZES if 2 * each <= first), default=HDR_SIZES[0])
        ends = [_number(each, "offset") for each in self.objects["segments"].values()]
        end = min((each for each in ends if each > 2 * hdr_size), default=_DATA_OFFSET)
        return {
            "json_size": str(hdr_size - BINARY_HEADER_SIZE),
            "keyslots_size": str(end - 2 * hdr_size),
        }

    def _segments(self, config: JsonObject, lost: list[str]) -> dict[str, JsonObject]:
        if self.objects["segments"]:
            return self.objects["segments"]
        lost.append("the segment: cipher, sector size and offset of the data are the usual ones")
        keyslot = next(iter(self.objects["keyslots"].values()))
        area = cast("JsonObject", keyslot["area"])
        end = 2 * (_number(config, "json_size") + BINARY_HEADER_SIZE)
        return {
            "0": {
                "type": "crypt",
                "offset": str(end + _number(config, "keyslots_size")),
                "size": "dynamic",
                "iv_tweak": "0",
                "encryption": area["encryption"],
                "sector_size": 512,
            }
        }

    def _digests(
        self, segments: Mapping[str, JsonObject], lost: list[str]
    ) -> dict[str, JsonObject]:
        known: dict[str, Mapping[str, object]] = {
            "keyslots": self.objects["keyslots"],
            "segments": segments,
        }
        digests = {n: _with_known(each, known) for n, each in self.objects["digests"].items()}
        if not digests:
            lost.append("the digest: only the data can prove a key")
            digests["0"] = _unknown_digest(self.objects["keyslots"], segments)
        elif not self.objects["segments"]:
            first = next(iter(digests))
            digests[first] = {**digests[first], "segments": list(segments)}
        return digests


def fragments_in(data: bytes) -> Iterator[Fragments]:
    """What is left in each place of a JSON area, and in all of them together."""
    every = Fragments()
    for start in (BINARY_HEADER_SIZE, *(size + BINARY_HEADER_SIZE for size in HDR_SIZES)):
        found = Fragments()
        for fragments in (found, every):
            _collect(data, start, fragments)
        yield found
    yield every


def _collect(data: bytes, start: int, into: Fragments) -> None:
    area = data[start : start + HDR_SIZES[0] - BINARY_HEADER_SIZE]
    end = 0
    for match in itertools.islice(_OBJECT.finditer(area), _OBJECTS_MAX):
        if match.start() < end:
            continue
        found = _object_at(area, match.end())
        section = None if found is None else _section_of(match["name"], found[0])
        if found is None or section is None:
            continue
        end = match.end() + found[1]
        name = match["name"].decode()
        if name not in into.objects[section]:
            into.objects[section][name] = found[0]
            into.extents.append(Extent(start + match.start(), end - match.start()))


def _object_at(area: bytes, start: int) -> tuple[JsonObject, int] | None:
    text = area[start : start + _OBJECT_MAX].decode("utf-8", "surrogateescape")
    try:
        value, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    size = len(text[:end].encode("utf-8", "surrogateescape"))
    return (value, size) if isinstance(value, dict) else None


def _section_of(name: bytes, value: JsonObject) -> str | None:
    """The section whose objects look so; None for what is none of them."""
    if name == b"config":
        return "config" if "json_size" in value else None
    members = set(value)
    if {"type", "key_size", "area", "kdf", "af"} <= members:
        area = value["area"]
        is_whole = isinstance(area, dict) and isinstance(area.get("encryption"), str)
        return "keyslots" if is_whole else None
    if {"type", "offset", "size"} <= members:
        return "segments"
    if {"type", "digest", "salt", "segments"} <= members:
        return "digests"
    return "tokens" if {"type", "keyslots"} <= members else None


def _with_known(value: JsonObject, known: Mapping[str, Mapping[str, object]]) -> JsonObject:
    """The object without references to what is not there."""
    kept: dict[str, JsonValue] = dict(value)
    for section, ids in known.items():
        references = value.get(section)
        if isinstance(references, list):
            kept[section] = [each for each in references if isinstance(each, str) and each in ids]
    return kept


def _unknown_digest(
    keyslots: Mapping[str, JsonObject], segments: Mapping[str, JsonObject]
) -> JsonObject:
    """A digest that no key has, and that shows it: zeroes."""
    nothing = base64.b64encode(bytes(32)).decode()
    return {
        "type": "pbkdf2",
        "keyslots": list(keyslots),
        "segments": list(segments),
        "hash": "sha256",
        "iterations": 1000,
        "salt": nothing,
        "digest": nothing,
    }


def _number(value: JsonValue, name: str) -> int:
    """A number of an object; 0 where that is none."""
    text = value.get(name) if isinstance(value, dict) else None
    return int(text) if isinstance(text, str) and re.fullmatch("[0-9]{1,18}", text) else 0
