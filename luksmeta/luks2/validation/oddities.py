"""What the specification forbids, or nobody makes, and cryptsetup takes all the same.

So do we: each of these is a warning, and no header is refused for it. Only sound objects are
looked at; what is wrong with the others is told by the rules that they break.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final, TypeAlias, cast

from luksmeta.errors import Severity
from luksmeta.kdf.pbkdf import MAX_CPUS, MAX_MEMORY, MIN_ITERATIONS, MIN_MEMORY, MIN_TIME
from luksmeta.luks2.document_reading import from_base64, to_digest
from luksmeta.luks2.limits import (
    AREA_ALIGNMENT,
    DIGESTS_MAX,
    KEY_SALT_SIZE,
    KEYSLOTS_MAX,
    KNOWN_FLAGS,
    KNOWN_REQUIREMENTS,
    SECTOR_SIZES,
    TOKENS_MAX,
)
from luksmeta.luks2.validation.config import is_reencrypting
from luksmeta.luks2.validation.segments import in_order, is_hot
from luksmeta.luks2.validation.shapes import DOCUMENT, KDF, KEYSLOT, SEGMENT
from luksmeta.luks2.validation.view import Section, View, number, texts
from luksmeta.model import STRIPES, ForeignDigest, JsonObject, KeyslotPriority
from luksmeta.rules import Finding, Rule
from luksmeta.sizes import counted

_Check: TypeAlias = Callable[[View], Iterator[Finding]]

_COSTS: Final = {  # what cryptsetup makes: lib/crypto_backend/pbkdf_check.c
    "iterations": (MIN_ITERATIONS, (1 << 32) - 1),
    "time": (MIN_TIME, (1 << 32) - 1),
    "memory": (MIN_MEMORY, MAX_MEMORY),
    "cpus": (1, MAX_CPUS),
}
_ID_LIMITS: Final = {"keyslots": KEYSLOTS_MAX, "tokens": TOKENS_MAX, "digests": DIGESTS_MAX}
_DIGEST_TYPES: Final = ("pbkdf2",)
_SEGMENT_TYPES: Final = ("linear",)  # it has no members of its own, so its shape does not know it


def _sections(view: View) -> dict[str, Section]:
    named = {
        "keyslots": view.keyslots,
        "tokens": view.tokens,
        "segments": view.segments,
        "digests": view.digests,
    }
    return {name: section for name, section in named.items() if section is not None}


def _keyslots(view: View, kind: str) -> Iterator[tuple[int, JsonObject]]:
    for keyslot_id, keyslot in (view.keyslots.sound if view.keyslots else {}).items():
        if keyslot["type"] == kind:
            yield keyslot_id, keyslot


def _inner(value: JsonObject, name: str) -> JsonObject:
    return cast("JsonObject", value[name])


def _unknown_sections(view: View) -> Iterator[Finding]:
    for name in view.document.keys() - DOCUMENT.members.keys():
        yield name[:40], f"json area: section {name[:40]!r} is not known"


def _ids_in_use(view: View) -> Iterator[Finding]:
    for name, section in _sections(view).items():
        limit = _ID_LIMITS.get(name)
        for object_id in section.sound if limit else ():
            if object_id >= cast("int", limit):
                text = f"{name[:-1]} {object_id}: cryptsetup uses the ids below {limit}"
                yield f"{name}.{object_id}", text


def _known_types(view: View) -> Iterator[Finding]:
    for name, section in _sections(view).items():
        for object_id, value in section.sound.items():
            kind = cast("str", value["type"])
            if not _is_known_type(name, value):
                text = f"{name[:-1]} {object_id}: type {kind[:40]!r} is not known"
                yield f"{name}.{object_id}.type", text


def _is_known_type(section: str, value: JsonObject) -> bool:
    match section:
        case "digests":
            return value["type"] in _DIGEST_TYPES
        case "segments":
            return SEGMENT.knows(value) or value["type"] in _SEGMENT_TYPES
        case "keyslots":
            return KEYSLOT.knows(value)
        case _:
            return True  # a token may be of any type


def _known_flags(view: View) -> Iterator[Finding]:
    for name in texts(view.config or {}, "flags"):
        if name not in KNOWN_FLAGS:
            yield "config.flags", f"config: flag {name[:40]!r} is not known"


def _known_requirements(view: View) -> Iterator[Finding]:
    for name in view.requirements:
        if name not in KNOWN_REQUIREMENTS:
            text = f"config: requirement {name[:40]!r} is not known"
            yield "config.requirements.mandatory", text


def _all_stripes(view: View) -> Iterator[Finding]:
    for keyslot_id, keyslot in _keyslots(view, "luks2"):
        stripes = number(_inner(keyslot, "af"), "stripes")
        if stripes != STRIPES:
            stated = str(stripes)[:40]
            text = f"keyslot {keyslot_id}: {stated} stripes are stated, {STRIPES} are used"
            yield f"keyslots.{keyslot_id}.af.stripes", text


def _area_takes_split_key(view: View) -> Iterator[Finding]:
    for keyslot_id, keyslot in _keyslots(view, "luks2"):
        size, needed = number(_inner(keyslot, "area"), "size"), number(keyslot, "key_size")
        needed *= STRIPES
        if size < needed:
            text = (
                f"keyslot {keyslot_id}: area of {counted(size, 'byte')}, its split "
                f"key needs {needed}"
            )
            yield f"keyslots.{keyslot_id}.area.size", text


def _area_aligned(view: View) -> Iterator[Finding]:
    for keyslot_id, keyslot in (view.keyslots.sound if view.keyslots else {}).items():
        offset = number(_inner(keyslot, "area"), "offset")
        if offset % AREA_ALIGNMENT:
            text = f"keyslot {keyslot_id}: area begins at {offset:#x}, no multiple of 0x1000"
            yield f"keyslots.{keyslot_id}.area.offset", text


def _area_encrypted(view: View) -> Iterator[Finding]:
    for keyslot_id, keyslot in _keyslots(view, "luks2"):
        encryption = cast("str", _inner(keyslot, "area")["encryption"])
        if encryption.startswith("cipher_null"):
            text = f"keyslot {keyslot_id}: area is not encrypted ({encryption[:40]})"
            yield f"keyslots.{keyslot_id}.area.encryption", text


def _known_kdf(view: View) -> Iterator[Finding]:
    for keyslot_id, keyslot in _keyslots(view, "luks2"):
        kdf = _inner(keyslot, "kdf")
        if not KDF.knows(kdf):
            text = f"keyslot {keyslot_id}: kdf {str(kdf['type'])[:40]!r} is not known"
            yield f"keyslots.{keyslot_id}.kdf.type", text


def _kdf_salt(view: View) -> Iterator[Finding]:
    for keyslot_id, keyslot in _keyslots(view, "luks2"):
        kdf = _inner(keyslot, "kdf")
        size = len(from_base64(kdf.get("salt")))
        if KDF.knows(kdf) and size != KEY_SALT_SIZE:
            text = (
                f"keyslot {keyslot_id}: salt is base64 of {counted(size, 'byte')}, "
                f"not {KEY_SALT_SIZE}"
            )
            yield f"keyslots.{keyslot_id}.kdf.salt", text


def _kdf_costs(view: View) -> Iterator[Finding]:
    for keyslot_id, keyslot in _keyslots(view, "luks2"):
        kdf = _inner(keyslot, "kdf")
        for name, (least, most) in _COSTS.items():
            if KDF.knows(kdf) and name in kdf and not least <= number(kdf, name) <= most:
                cost = str(number(kdf, name))[:40]
                text = f"keyslot {keyslot_id}: {name} is {cost}, usual are {least} to {most}"
                yield f"keyslots.{keyslot_id}.kdf.{name}", text


def _known_priority(view: View) -> Iterator[Finding]:
    known = (None, *(int(each) for each in KeyslotPriority))
    for keyslot_id, keyslot in (view.keyslots.sound if view.keyslots else {}).items():
        priority = keyslot.get("priority")
        if isinstance(priority, bool | float) or priority not in known:
            text = f"keyslot {keyslot_id}: priority is none of 0, 1, 2; it counts as 0"
            yield f"keyslots.{keyslot_id}.priority", text


def _digest_proves(view: View) -> Iterator[Finding]:
    for digest_id, digest in (view.digests.sound if view.digests else {}).items():
        read = to_digest({**digest, "keyslots": [], "segments": []})
        if read.type in _DIGEST_TYPES and isinstance(read, ForeignDigest):
            text = f"digest {digest_id}: its hash, iterations, salt or digest is not usable"
            yield f"digests.{digest_id}", text


def _named_once(view: View) -> Iterator[Finding]:
    for digest_id, digest in (view.digests.sound if view.digests else {}).items():
        for member in ("keyslots", "segments"):
            names = texts(digest, member)
            if len(set(names)) < len(names):
                text = f"digest {digest_id}: {member} has {len(names) - len(set(names))} twice"
                yield f"digests.{digest_id}.{member}", text


def _usable_sectors(view: View) -> Iterator[Finding]:
    for segment_id, segment in (view.segments.sound if view.segments else {}).items():
        if segment["type"] == "crypt" and segment["sector_size"] not in SECTOR_SIZES:
            text = f"segment {segment_id}: no kernel has sectors of {segment['sector_size']} bytes"
            yield f"segments.{segment_id}.sector_size", text


def _no_gap(view: View) -> Iterator[Finding]:
    for (_, before), (segment_id, segment) in pairwise(in_order(view)):
        if before["size"] == "dynamic":
            continue
        end, offset = number(before, "offset") + number(before, "size"), number(segment, "offset")
        if offset > end:
            text = f"segment {segment_id}: begins at {offset:#x}, the one before ends at {end:#x}"
            yield f"segments.{segment_id}.offset", text


def _hot_only_in_reencryption(view: View) -> Iterator[Finding]:
    for segment_id, segment in in_order(view):
        if is_hot(segment) and not is_reencrypting(view):
            text = f"segment {segment_id}: is in reencryption, no requirement announces one"
            yield f"segments.{segment_id}.flags", text


def _reencryption_proved(view: View) -> Iterator[Finding]:
    if view.digests is None or not view.digests.whole:
        return
    named = {name for each in view.digests.sound.values() for name in texts(each, "keyslots")}
    for keyslot_id, _ in _keyslots(view, "reencrypt"):
        if str(keyslot_id) not in named:
            text = f"keyslot {keyslot_id}: no digest proves the reencryption; repair makes one"
            yield f"keyslots.{keyslot_id}", text


def _reencryption_versioned(view: View) -> Iterator[Finding]:
    if "online-reencrypt" in view.requirements:
        text = "config: the reencryption's requirement has no version; repair gives it one"
        yield "config.requirements.mandatory", text


def _rule(name: str, states: str, check: _Check, source: str) -> Rule[View]:
    return Rule(name, states, source, check, severity=Severity.WARNING)


RULES: Final[tuple[Rule[View], ...]] = (
    _rule(
        "section-known",
        "The document has the five sections and no others.",
        _unknown_sections,
        "specification 3.1",
    ),
    _rule(
        "id-usable",
        "Keyslots and tokens have ids below 32, digests below 8.",
        _ids_in_use,
        "lib/luks2/luks2.h",
    ),
    _rule(
        "type-known",
        "Keyslots, segments and digests are of a known type.",
        _known_types,
        "specification 3.2 to 3.4",
    ),
    _rule(
        "flag-known",
        "Persistent flags are known ones.",
        _known_flags,
        "specification 3.5.1",
    ),
    _rule(
        "requirement-known",
        "Mandatory requirements are known ones; others leave the volume to be inspected only.",
        _known_requirements,
        "specification 3.5.2",
    ),
    _rule(
        "af-stripes-4000",
        "The splitter has 4000 stripes.",
        _all_stripes,
        "specification 3.2.4",
    ),
    _rule(
        "area-holds-key",
        "A keyslot's area is as large as its split key.",
        _area_takes_split_key,
        "lib/luks2/luks2_keyslot_luks2.c",
    ),
    _rule(
        "area-aligned",
        "A keyslot's area begins at a multiple of 4096.",
        _area_aligned,
        "lib/luks2/luks2_json_format.c LUKS2_find_area_gap",
    ),
    _rule(
        "area-encrypted",
        "A keyslot's area is encrypted.",
        _area_encrypted,
        "lib/luks2/luks2_keyslot_luks2.c",
    ),
    _rule("kdf-known", "A keyslot's KDF is a known one.", _known_kdf, "specification 3.2.5"),
    _rule(
        "kdf-salt-size",
        "A KDF's salt is base64 of 32 bytes.",
        _kdf_salt,
        "lib/luks2/luks2_keyslot_luks2.c",
    ),
    _rule(
        "kdf-cost",
        "A KDF's costs are such as cryptsetup makes.",
        _kdf_costs,
        "lib/crypto_backend/pbkdf_check.c",
    ),
    _rule(
        "priority-known",
        "A keyslot's priority is 0, 1 or 2.",
        _known_priority,
        "specification 3.2.1",
    ),
    _rule(
        "digest-proves",
        "A digest has what it takes to prove a key.",
        _digest_proves,
        "lib/luks2/luks2_digest_pbkdf2.c",
    ),
    _rule(
        "digest-named-once", "A digest names each object once.", _named_once, "specification 3.4"
    ),
    _rule(
        "segment-sector-usable",
        "An encrypted segment's sector size is 512, 1024, 2048 or 4096.",
        _usable_sectors,
        "specification 3.3.2",
    ),
    _rule(
        "segment-adjacent",
        "Each regular segment begins where the one before it ends.",
        _no_gap,
        "specification 3.3",
    ),
    _rule(
        "segment-hot",
        "A segment is in reencryption only while a reencryption is in progress.",
        _hot_only_in_reencryption,
        "specification 4.9",
    ),
    _rule(
        "reencrypt-digest",
        "The keyslot of a reencryption is in a digest.",
        _reencryption_proved,
        "specification 4.9.2; lib/luks2/luks2_reencrypt.c",
    ),
    _rule(
        "reencrypt-version",
        "The requirement of a reencryption has a version.",
        _reencryption_versioned,
        "specification 4.9; lib/luks2/luks2_reencrypt.c",
    ),
)
