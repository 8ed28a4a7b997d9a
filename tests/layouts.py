"""The offset table in a module's layout comments, read from its source."""

from __future__ import annotations

import inspect
import re
from types import ModuleType

_FIELD = re.compile(
    r'^    (?:"(?P<name>\w+)" / \w+(?:\([^#]*\))?|Padding\([^#]*\)),\s+#\s+(?P<offset>\d+)\b',
    re.MULTILINE,
)


def offsets_in_comments(module: ModuleType, layout: str) -> dict[str, int]:
    """The offset that the comment beside each field of ``layout`` claims, paddings left out."""
    source = inspect.getsource(module)
    start = source.index(f"\n{layout} = Struct(")
    block = source[start : source.index("\n)", start)]
    fields = list(_FIELD.finditer(block))
    if len(fields) != len(block.strip().splitlines()) - 1:
        raise ValueError(f"{layout}: a line without a comment")
    return {match["name"]: int(match["offset"]) for match in fields if match["name"]}


def true_offsets(layout: object) -> dict[str, int]:
    """The offsets of a construct layout's named fields, as its own sizes make them."""
    offsets, position = {}, 0
    for field in layout.subcons:  # type: ignore[attr-defined]  # construct has no types
        if field.name:
            offsets[field.name] = position
        position += field.sizeof()
    return offsets
