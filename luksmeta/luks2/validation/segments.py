"""The rules about segments: their order, their places, their digests, their backups.

Regular segments come first, numbered from 0; those flagged ``backup-…`` follow (specification 3.3).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from luksmeta.luks2.validation.config import is_reencrypting
from luksmeta.luks2.validation.kinds import UINT64_MAX
from luksmeta.luks2.validation.view import View, number, texts
from luksmeta.model import JsonObject
from luksmeta.rules import Finding, Rule

_HOT: Final = "in-reencryption"
_BEYOND_ALL: Final = 1 << 65  # two numbers of 64 bits end below this


def _is_backup(segment: JsonObject) -> bool:
    return any(flag.startswith("backup-") for flag in texts(segment, "flags"))


def _sound(view: View) -> dict[int, JsonObject]:
    return dict(sorted(view.segments.sound.items())) if view.segments else {}


def _regular(view: View) -> dict[int, JsonObject]:
    return {key: value for key, value in _sound(view).items() if not _is_backup(value)}


def in_order(view: View) -> list[tuple[int, JsonObject]]:
    """The sound regular segments, by id."""
    return list(_regular(view).items())


def is_hot(segment: JsonObject) -> bool:
    """Whether the segment is being reencrypted."""
    return _HOT in texts(segment, "flags")


def _is_dynamic(segment: JsonObject) -> bool:
    return segment["size"] == "dynamic"


def _some(view: View) -> Iterator[Finding]:
    if view.segments is not None and not view.segments.present:
        yield "segments", "json area: segments section is empty"


def _without_gap(view: View) -> Iterator[Finding]:
    if view.segments is None or not view.segments.whole:
        return
    for expected, segment_id in enumerate(_sound(view)):
        if segment_id != expected:
            yield "segments", f"json area: next segment is {segment_id}, must be {expected}"
            return


def _backups_last(view: View) -> Iterator[Finding]:
    backups = [key for key, value in _sound(view).items() if _is_backup(value)]
    for segment_id in _regular(view):
        if backups and segment_id > backups[0]:
            text = f"segment {segment_id}: is regular, segment {backups[0]} is a backup already"
            yield f"segments.{segment_id}.flags", text


def _some_regular(view: View) -> Iterator[Finding]:
    if view.segments and view.segments.sound and view.segments.whole and not _regular(view):
        yield "segments", "json area: every segment is a backup"


def _dynamic_last(view: View) -> Iterator[Finding]:
    regular = _regular(view)
    last = max(regular, default=None)
    for segment_id, segment in regular.items():
        if _is_dynamic(segment) and segment_id != last:
            text = f"segment {segment_id}: size is dynamic, segment {last} follows"
            yield f"segments.{segment_id}.size", text


def _end_fits(view: View) -> Iterator[Finding]:
    regular = _regular(view)
    if len(regular) < 2:  # cryptsetup compares segments with each other; one alone may end anywhere
        return
    for segment_id, segment in regular.items():
        end = _end(segment)
        if not _is_dynamic(segment) and end > UINT64_MAX:
            text = f"segment {segment_id}: ends at {end:#x}, beyond 64 bits"
            yield f"segments.{segment_id}.size", text


def _end(segment: JsonObject) -> int:
    if _is_dynamic(segment):
        return _BEYOND_ALL
    return number(segment, "offset") + number(segment, "size")


def _apart(view: View) -> Iterator[Finding]:
    regular = _regular(view)
    last = max(regular, default=None)
    placed = [  # a dynamic one before others has a violation of its own
        (key, value) for key, value in regular.items() if not _is_dynamic(value) or key == last
    ]
    furthest_id, furthest_end = -1, 0
    for segment_id, segment in sorted(placed, key=lambda item: number(item[1], "offset")):
        offset, end = number(segment, "offset"), _end(segment)
        if offset < furthest_end:
            text = f"segment {segment_id}: begins at {offset:#x} inside segment {furthest_id}"
            yield f"segments.{segment_id}.offset", text
        if end > furthest_end:
            furthest_id, furthest_end = segment_id, end


def _whole_sectors(view: View) -> Iterator[Finding]:
    for segment_id, segment in _sound(view).items():
        if segment["type"] != "crypt" or _is_dynamic(segment):
            continue
        size, sector_size = number(segment, "size"), number(segment, "sector_size")
        if size % sector_size:
            text = f"segment {segment_id}: size {size:#x} is no multiple of {sector_size}"
            yield f"segments.{segment_id}.size", text


def _has_digest(view: View) -> Iterator[Finding]:
    if view.digests is None or not view.digests.whole:
        return
    digests = view.digests.sound.values()
    named = {name for digest in digests for name in texts(digest, "segments")}
    for segment_id, segment in _sound(view).items():
        if segment["type"] == "crypt" and str(segment_id) not in named:
            yield f"segments.{segment_id}", f"segment {segment_id}: is in no digest"


def _inside_locking_range(view: View) -> Iterator[Finding]:
    for segment_id, segment in _sound(view).items():
        if segment["type"] not in ("hw-opal", "hw-opal-crypt"):
            continue
        size, room = number(segment, "size"), number(segment, "opal_segment_size")
        if size > room:
            text = f"segment {segment_id}: size is {size:#x}, its locking range has {room:#x}"
            yield f"segments.{segment_id}.opal_segment_size", text


def _backup(view: View, flag: str) -> JsonObject | None:
    return next((each for each in _sound(view).values() if flag in texts(each, "flags")), None)


def _backups_there(view: View) -> Iterator[Finding]:
    if not is_reencrypting(view) or view.segments is None or not view.segments.whole:
        return
    for flag in ("backup-previous", "backup-final"):
        if _backup(view, flag) is None:
            yield "segments", f"json area: a reencryption is in progress, no segment is {flag}"


def _hot_like_final(view: View) -> Iterator[Finding]:
    final = _backup(view, "backup-final")
    if not is_reencrypting(view) or final is None:
        return
    for segment_id, segment in _regular(view).items():
        if is_hot(segment) and not _alike(segment, final):
            text = f"segment {segment_id}: is in reencryption, unlike the backup-final segment"
            yield f"segments.{segment_id}", text


def _like_a_backup(view: View) -> Iterator[Finding]:
    final, previous = _backup(view, "backup-final"), _backup(view, "backup-previous")
    if not is_reencrypting(view) or final is None or previous is None:
        return
    for segment_id, segment in _regular(view).items():
        if is_hot(segment) or _alike(segment, final) or _alike(segment, previous):
            continue
        text = f"segment {segment_id}: is like neither backup-previous nor backup-final segment"
        yield f"segments.{segment_id}", text


def _alike(segment: JsonObject, other: JsonObject) -> bool:
    """Whether a reencryption turns the one into the other by moving its borders alone."""
    members = ("type", "encryption", "sector_size") if segment["type"] == "crypt" else ("type",)
    return all(segment[name] == other.get(name) for name in members)


_SEGMENTS: Final = "lib/luks2/luks2_json_metadata.c hdr_validate_segments"

RULES: Final[tuple[Rule[View], ...]] = (
    Rule("segments-empty", "There is a segment.", _SEGMENTS, _some),
    Rule("segments-gap", "Segments are numbered from 0 without a gap.", _SEGMENTS, _without_gap),
    Rule(
        "segments-backup-last", "Backup segments follow the regular ones.", _SEGMENTS, _backups_last
    ),
    Rule("segments-backup-only", "Not every segment is a backup.", _SEGMENTS, _some_regular),
    Rule(
        "segment-dynamic-last",
        "Only the last regular segment reaches to the end of its device.",
        _SEGMENTS,
        _dynamic_last,
    ),
    Rule(
        "segment-end",
        "Of several regular segments, each ends within 64 bits.",
        _SEGMENTS,
        _end_fits,
    ),
    Rule("segment-overlap", "No regular segment begins inside another.", _SEGMENTS, _apart),
    Rule(
        "segment-whole-sectors",
        "An encrypted segment has whole sectors of its own size.",
        _SEGMENTS,
        _whole_sectors,
    ),
    Rule("segment-digest", "An encrypted segment is in a digest.", _SEGMENTS, _has_digest),
    Rule(
        "segment-locking-range",
        "A segment that the drive encrypts is no larger than its locking range.",
        _SEGMENTS,
        _inside_locking_range,
    ),
    Rule(
        "reencrypt-backup-missing",
        "A reencryption in progress has both backup segments.",
        _SEGMENTS,
        _backups_there,
    ),
    Rule(
        "reencrypt-hot-segment",
        "A segment in reencryption is like the backup-final segment.",
        _SEGMENTS,
        _hot_like_final,
    ),
    Rule(
        "reencrypt-segment",
        "A segment beside it is like one of the two backup segments.",
        _SEGMENTS,
        _like_a_backup,
    ),
)
