"""What a header says on disk, read byte by byte and without our parsers: two can be compared.

Everything that is random is left out: salts, digests, checksums. The order of JSON members stays.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

_LUKS1 = struct.Struct(">6sH32s32s32sII20s32sI40s")
_LUKS1_KEYSLOT = struct.Struct(">II32sII")
_LUKS2 = struct.Struct(">6sHQQ48s32s64s40s48sQ")
_RANDOM = ("salt", "digest")


def layout(path: Path) -> dict[str, Any]:
    """The header at the start of a file, and the file's size."""
    data = path.read_bytes()
    said = _luks1(data) if data[6:8] == b"\0\1" else _luks2(data)
    return said | {"file size": len(data)}


def _luks1(data: bytes) -> dict[str, Any]:
    fields = _LUKS1.unpack_from(data)
    keyslots = [_LUKS1_KEYSLOT.unpack_from(data, 208 + 48 * n) for n in range(8)]
    return {
        "fields": [field for n, field in enumerate(fields) if n not in (7, 8)],
        "keyslots": [(state, *rest) for state, iterations, _, *rest in keyslots],
        "iterations": [keyslot[1] for keyslot in keyslots],
        "salts of unused": [keyslot[2] for keyslot in keyslots if keyslot[0] == 0xDEAD],
    }


def _luks2(data: bytes) -> dict[str, Any]:
    size = _LUKS2.unpack_from(data)[2]
    return {f"copy at {offset:#x}": _luks2_copy(data[offset:][:size]) for offset in (0, size)}


def _luks2_copy(data: bytes) -> dict[str, Any]:
    fields = _LUKS2.unpack_from(data)
    area = data[4096:]
    text = area[: area.index(0)]
    return {
        "fields": [field for n, field in enumerate(fields) if n != 6],
        "document": json.dumps(json.loads(text, object_hook=_without_random), indent=1),
        "rest of the area is zero": not any(area[len(text) :]),
    }


def _without_random(members: dict[str, Any]) -> dict[str, Any]:
    return {
        name: len(value) if name in _RANDOM and isinstance(value, str) else value
        for name, value in members.items()
    }
