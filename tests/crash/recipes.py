"""Every command that changes a volume, as recipes: a command with ``--dry-run`` must be here.

Each is proved three times over: no crash, no disk that lies and no write outside its plans costs
more than its recipe admits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from luksmeta.header_copies import HeaderCopy
from tests.builders import VERSIONS
from tests.crash import header_recipes, keyslot_recipes
from tests.crash.recipe import Recipe, damaged, outdated

UNTOUCHED = (
    *("backup-header", "export-header", "volume-key", "token export"),
    *("recover", "report", "read", "hash"),
)
"""Commands with ``--dry-run`` that make a new file and leave the volume as it is."""

MAPPINGS = ("map", "unmap")
"""Commands with ``--dry-run`` that tell the kernel something."""

DATA_ONLY = ("write",)
"""Commands that write data, sector by sector and without a plan, and leave the header alone."""


@cache
def recipes() -> tuple[Recipe, ...]:
    """All of them, on sound volumes."""
    return tuple(recipe for family in _FAMILIES for v in VERSIONS for recipe in family(v))


@cache
def recipes_on_damaged_headers() -> tuple[Recipe, ...]:
    """LUKS2 commands on volumes of which one header copy is lost, or left over from before."""
    return tuple(
        replace(next(family("luks2")), case=case, image=image)
        for family in _ON_A_DAMAGED_HEADER
        for copy in HeaderCopy
        for case, image in _damages(next(family("luks2")).image, copy)
    )


def _damages(image: bytes, copy: HeaderCopy) -> Iterator[tuple[str, bytes]]:
    yield f"without {copy}", damaged(image, copy)
    yield f"with an old {copy}", outdated(image, copy)


def recipe(name: str) -> Recipe:
    """The one of this name."""
    return next(each for each in recipes() if str(each) == name)


_ON_A_DAMAGED_HEADER = (
    keyslot_recipes.add_key,
    keyslot_recipes.change_key,
    keyslot_recipes.convert_key,
    keyslot_recipes.removal,
    header_recipes.config,
    header_recipes.renew_digest,
)
_FAMILIES = (
    keyslot_recipes.add_key,
    keyslot_recipes.change_key,
    keyslot_recipes.convert_key,
    keyslot_recipes.removal,
    keyslot_recipes.erase,
    header_recipes.format,
    header_recipes.config,
    header_recipes.renew_digest,
    header_recipes.tokens,
    header_recipes.seal,
    header_recipes.restore_header,
    header_recipes.repair_header,
    header_recipes.convert_header,
)
