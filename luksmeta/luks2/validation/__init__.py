"""Every rule that cryptsetup 2.8 holds the JSON area to, as tables of named rules.

``shapes`` says which members objects have; ``keyslots``, ``segments`` and ``config`` hold the rules
about how sound objects fit together. Ids must be canonical besides, a member called a number must
be one to the last character, where cryptsetup trusts ``strtoull``, and numbers are bounded, of
objects and of references: what cryptsetup takes beyond them nobody made in good faith.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from luksmeta.errors import Violation
from luksmeta.luks2.limits import VIOLATIONS_MAX
from luksmeta.luks2.validation import config, keyslots, segments
from luksmeta.luks2.validation.repair import repair_known_faults
from luksmeta.luks2.validation.view import View, crowded_sections, shape_rules
from luksmeta.model import JsonObject

__all__ = ["RULES", "repair_known_faults", "rule_names", "validate"]

RULES: Final = {**config.RULES, **segments.RULES, **keyslots.RULES}
"""The rules about how objects fit together, by name."""


def validate(document: JsonObject, hdr_size: int) -> tuple[Violation, ...]:
    """Everything in the document that breaks a rule; empty for one that cryptsetup accepts.

    ``hdr_size`` is the binary header's, in bytes. An object with a broken member is reported for
    that alone (specification 3; cryptsetup ``lib/luks2/luks2_json_metadata.c``), a document with
    too many objects for their number alone, and no document for more than VIOLATIONS_MAX.
    """
    crowded = tuple(crowded_sections(document))
    return crowded or tuple(islice(_violations(View.of(document, hdr_size)), VIOLATIONS_MAX))


def _violations(view: View) -> Iterator[Violation]:
    yield from view.shape_violations
    for name, rule in RULES.items():
        for path, text in rule(view):
            yield Violation(path, name, text)


def rule_names() -> frozenset[str]:
    """The name of every rule that :func:`validate` knows."""
    return frozenset(shape_rules()) | frozenset(RULES)
