"""The rules about sizes, about references between objects, and about requirements."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from luksmeta.errors import MetadataError
from luksmeta.extents import Extent
from luksmeta.luks2.json_text import compact_text
from luksmeta.luks2.limits import (
    AREA_ALIGNMENT,
    BINARY_HEADER_SIZE,
    HDR_SIZES,
    KEYSLOTS_AREA_MAX,
)
from luksmeta.luks2.validation.view import Section, View, number, texts
from luksmeta.rules import Finding, Rule

_ONLINE_REENCRYPT: Final = re.compile(r"online-reencrypt(-v[0-9]+)?")
_KNOWN_REENCRYPT: Final = ("online-reencrypt", "online-reencrypt-v2", "online-reencrypt-v3")


def announced_reencryptions(view: View) -> tuple[str, ...]:
    """The requirements of a reencryption in progress, of whatever version."""
    return tuple(name for name in view.requirements if _ONLINE_REENCRYPT.fullmatch(name))


def is_reencrypting(view: View) -> bool:
    """Whether a reencryption of a known version is in progress, with all that belongs to it.

    Of another version only the requirement is known; it forbids writing and unlocking anyway.
    """
    return any(name in _KNOWN_REENCRYPT for name in view.requirements)


def keyslots_area(view: View) -> Extent | None:
    """Where keyslot areas may lie; None when the config section is broken."""
    if view.config is None:
        return None
    return Extent(2 * view.hdr_size, number(view.config, "keyslots_size"))


def _is_legal_json_size(size: int) -> bool:
    return size + BINARY_HEADER_SIZE in HDR_SIZES


def _legal_json_size(view: View) -> Iterator[Finding]:
    if view.config is None:
        return
    size = number(view.config, "json_size")
    if not _is_legal_json_size(size):
        yield "config.json_size", f"config: json_size {size:#x} is none of the legal sizes"


def _same_json_size(view: View) -> Iterator[Finding]:
    if view.config is None:
        return
    size = number(view.config, "json_size")
    if _is_legal_json_size(size) and size != view.json_size:
        text = f"config: json_size is {size:#x}, json area of the binary header {view.json_size:#x}"
        yield "config.json_size", text


def _text_fits(view: View) -> Iterator[Finding]:
    try:
        length = len(compact_text(view.document))
    except MetadataError as error:
        yield "config.json_size", str(error)
        return
    if length > view.json_size:
        yield (
            "config.json_size",
            f"json area: compact text has {length} bytes, the area {view.json_size}",
        )


def _legal_keyslots_size(view: View) -> Iterator[Finding]:
    area = keyslots_area(view)
    if area and (area.size % AREA_ALIGNMENT or area.size > KEYSLOTS_AREA_MAX):
        yield (
            "config.keyslots_size",
            f"config: keyslots_size {area.size:#x} is no multiple of {AREA_ALIGNMENT:#x}"
            f" up to {KEYSLOTS_AREA_MAX:#x}",
        )


def _keyslots_before_data(view: View) -> Iterator[Finding]:
    area = keyslots_area(view)
    if area is None or view.segments is None or not view.segments.whole:
        return
    offsets = (number(segment, "offset") for segment in view.segments.sound.values())
    data = min(offsets, default=0)
    if data and area.end > data:  # 0: the data lies on another device
        text = f"config: keyslots area ends at {area.end:#x}, data begins at {data:#x}"
        yield "config.keyslots_size", text


def _one_reencryption(view: View) -> Iterator[Finding]:
    names = announced_reencryptions(view)
    if len(names) > 1:
        text = f"config: {len(names)} requirements announce a reencryption, 1 may: {names}"
        yield "config.requirements.mandatory", text


def _references(
    source: Section | None, kind: str, member: str, target: Section | None
) -> Iterator[Finding]:
    if source is None or target is None:
        return
    for object_id, value in source.sound.items():
        for name in texts(value, member):
            if name not in target.present:
                text = f"{kind} {object_id}: {member} has {name[:40]!r}, there is none"
                yield f"{kind}s.{object_id}.{member}", text


_METADATA: Final = "lib/luks2/luks2_json_metadata.c"

RULES: Final[tuple[Rule[View], ...]] = (
    Rule(
        "config-json-size-legal",
        "json_size and 4096 together are one of the nine legal sizes of a header copy.",
        f"{_METADATA} hdr_validate_config",
        _legal_json_size,
    ),
    Rule(
        "config-json-size-match",
        "json_size is that of the binary header.",
        f"{_METADATA} hdr_validate_json_size",
        _same_json_size,
    ),
    Rule(
        "document-size",
        "The compact text is no longer than the JSON area.",
        f"{_METADATA} hdr_validate_json_size",
        _text_fits,
    ),
    Rule(
        "config-keyslots-size-legal",
        "keyslots_size is a multiple of 4096, at most 128 MiB.",
        f"{_METADATA} hdr_validate_config",
        _legal_keyslots_size,
    ),
    Rule(
        "keyslots-area-end",
        "The keyslots area ends at or before the first segment, unless the header is detached.",
        f"{_METADATA} hdr_validate_config",
        _keyslots_before_data,
    ),
    Rule(
        "requirements-reencrypt-once",
        "At most one requirement announces a reencryption.",
        f"{_METADATA} hdr_validate_requirements",
        _one_reencryption,
    ),
    Rule(
        "token-keyslot",
        "A token names keyslots that are there.",
        f"{_METADATA} hdr_validate_tokens",
        lambda v: _references(v.tokens, "token", "keyslots", v.keyslots),
    ),
    Rule(
        "digest-keyslot",
        "A digest names keyslots that are there.",
        f"{_METADATA} hdr_validate_digests",
        lambda v: _references(v.digests, "digest", "keyslots", v.keyslots),
    ),
    Rule(
        "digest-segment",
        "A digest names segments that are there.",
        f"{_METADATA} hdr_validate_digests",
        lambda v: _references(v.digests, "digest", "segments", v.segments),
    ),
)
