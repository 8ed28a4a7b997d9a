"""The rules about keyslots: their areas, their digests, and the one of a reencryption."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, cast

from luksmeta.extents import Extent
from luksmeta.luks2.validation.config import (
    announced_reencryptions,
    is_reencrypting,
    keyslots_area,
)
from luksmeta.luks2.validation.view import View, number, texts
from luksmeta.model import JsonObject
from luksmeta.rules import Finding, Rule


def _areas(view: View) -> dict[int, Extent]:
    sound = view.keyslots.sound if view.keyslots else {}
    return {keyslot_id: _area(keyslot) for keyslot_id, keyslot in sound.items()}


def _area(keyslot: JsonObject) -> Extent:
    area = cast("JsonObject", keyslot["area"])
    return Extent(number(area, "offset"), number(area, "size"))


def _behind_headers(view: View) -> Iterator[Finding]:
    for keyslot_id, area in _areas(view).items():
        if area.offset < 2 * view.hdr_size:
            yield (
                f"keyslots.{keyslot_id}.area.offset",
                f"keyslot {keyslot_id}: area begins at {area.offset:#x},"
                f" keyslots area begins at {2 * view.hdr_size:#x}",
            )


def _inside_keyslots_area(view: View) -> Iterator[Finding]:
    room = keyslots_area(view)
    for keyslot_id, area in _areas(view).items():
        if room and area.end > room.end:
            yield (
                f"keyslots.{keyslot_id}.area.size",
                f"keyslot {keyslot_id}: area ends at {area.end:#x},"
                f" keyslots area ends at {room.end:#x}",
            )


def _apart(view: View) -> Iterator[Finding]:
    in_order = sorted(_areas(view).items(), key=lambda item: item[1])
    furthest = in_order[0] if in_order else None
    for keyslot_id, area in in_order[1:]:
        other_id, other = cast("tuple[int, Extent]", furthest)
        if area.overlaps(other):
            text = f"keyslot {keyslot_id}: area {area} overlaps {other} of keyslot {other_id}"
            yield f"keyslots.{keyslot_id}.area", text
        if area.end > other.end:
            furthest = keyslot_id, area


def _one_digest(view: View) -> Iterator[Finding]:
    if view.keyslots is None or view.digests is None or not view.digests.whole:
        return
    digests = view.digests.sound.values()
    uses = Counter(name for digest in digests for name in set(texts(digest, "keyslots")))
    for keyslot_id, keyslot in view.keyslots.sound.items():
        count = uses[str(keyslot_id)]
        if keyslot["type"] == "luks2" and count != 1:
            text = f"keyslot {keyslot_id}: is in {count} digests, must be in 1"
            yield f"keyslots.{keyslot_id}", text


def _reencrypt_keyslots(view: View) -> list[str]:
    """The names of all keyslots of a reencryption, sound or not."""
    if view.keyslots is None:
        return []
    keyslots = cast("Mapping[str, object]", view.document["keyslots"])
    return [
        name
        for name, keyslot in keyslots.items()
        if isinstance(keyslot, Mapping) and keyslot.get("type") == "reencrypt"
    ]


def _reencrypt_keyslot_there(view: View) -> Iterator[Finding]:
    if is_reencrypting(view) and view.keyslots is not None and not _reencrypt_keyslots(view):
        yield "keyslots", "json area: a reencryption is in progress, no keyslot is a reencrypt"


def _reencrypt_requirement_there(view: View) -> Iterator[Finding]:
    if view.config is None or announced_reencryptions(view):
        return
    for name in _reencrypt_keyslots(view):
        text = f"keyslot {name[:40]}: is a reencrypt, no requirement announces a reencryption"
        yield f"keyslots.{name}", text


def _one_reencrypt_keyslot(view: View) -> Iterator[Finding]:
    names = _reencrypt_keyslots(view)
    if len(names) > 1:
        yield "keyslots", f"json area: {len(names)} keyslots are a reencrypt, 1 may"


_AREAS: Final = "lib/luks2/luks2_json_metadata.c hdr_validate_areas"
_KEYSLOTS: Final = "lib/luks2/luks2_keyslot.c LUKS2_keyslots_validate"

RULES: Final[tuple[Rule[View], ...]] = (
    Rule(
        "area-begin",
        "A keyslot's area begins behind both header copies.",
        _AREAS,
        _behind_headers,
    ),
    Rule(
        "area-end",
        "A keyslot's area ends within the keyslots area.",
        _AREAS,
        _inside_keyslots_area,
    ),
    Rule("area-overlap", "No two keyslots' areas share a byte.", _AREAS, _apart),
    Rule(
        "keyslot-digest",
        "A keyslot of type luks2 is in exactly one digest.",
        _KEYSLOTS,
        _one_digest,
    ),
    Rule(
        "reencrypt-keyslot-missing",
        "A reencryption in progress has a keyslot that says how.",
        _KEYSLOTS,
        _reencrypt_keyslot_there,
    ),
    Rule(
        "reencrypt-requirement-missing",
        "A keyslot of a reencryption has a requirement that announces it.",
        _KEYSLOTS,
        _reencrypt_requirement_there,
    ),
    Rule(
        "reencrypt-keyslot-once",
        "At most one keyslot is that of a reencryption.",
        _KEYSLOTS,
        _one_reencrypt_keyslot,
    ),
)
