"""Every rule that cryptsetup 2.8 holds the JSON area to, as tables of named rules.

``shapes`` says which members objects have; ``keyslots``, ``segments`` and ``config`` hold the rules
about how sound objects fit together. Ids must be canonical besides, a member called a number must
be one to the last character, where cryptsetup trusts ``strtoull``, and numbers are bounded, of
objects and of references: what cryptsetup takes beyond them nobody made in good faith.
``oddities`` holds what is taken all the same: broken rules of severity ``warning``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Final

from luksmeta.errors import Violation
from luksmeta.luks2.limits import VIOLATIONS_MAX
from luksmeta.luks2.validation import config, keyslots, oddities, segments
from luksmeta.luks2.validation.repair import repair_known_faults
from luksmeta.luks2.validation.view import View, crowded_sections, shape_rules, value_at
from luksmeta.model import JsonObject
from luksmeta.rules import Rule, Statement

__all__ = ["RULES", "repair_known_faults", "statements", "validate", "warnings"]

RULES: Final = (*config.RULES, *segments.RULES, *keyslots.RULES)
"""The rules about how objects fit together."""


def validate(document: JsonObject, hdr_size: int) -> tuple[Violation, ...]:
    """Everything in the document that breaks a rule; empty for one that cryptsetup accepts.

    ``hdr_size`` is the binary header's, in bytes. An object with a broken member is reported for
    that alone (specification 3; cryptsetup ``lib/luks2/luks2_json_metadata.c``), a document with
    too many objects for their number alone, and no document for more than VIOLATIONS_MAX.
    """
    crowded = tuple(crowded_sections(document))
    return crowded or tuple(islice(_violations(View.of(document, hdr_size)), VIOLATIONS_MAX))


def warnings(document: JsonObject, hdr_size: int) -> tuple[Violation, ...]:
    """What is odd in the document without being refused, whatever else is wrong with it."""
    if any(crowded_sections(document)):
        return ()
    return tuple(islice(_broken(oddities.RULES, View.of(document, hdr_size)), VIOLATIONS_MAX))


def statements() -> tuple[Statement, ...]:
    """Every rule that there is, by name: errors first, then warnings."""
    told = {each.name: each for each in (*shape_rules(), *RULES, *oddities.RULES)}
    return tuple(sorted(told.values(), key=lambda each: (each.severity, each.name)))


def _violations(view: View) -> Iterator[Violation]:
    yield from view.shape_violations
    yield from _broken(RULES, view)


def _broken(rules: Iterable[Rule[View]], view: View) -> Iterator[Violation]:
    at = partial(value_at, view.document)
    return (found for rule in rules for found in rule.violations(view, at))
