"""Every rule that a policy may set, in one table."""

from __future__ import annotations

from typing import Final

from luksmeta.trust import digest_rules, header_rules, keyslot_rules, segment_rules
from luksmeta.trust.rule import PolicyRule

RULES: Final[tuple[PolicyRule, ...]] = (
    *header_rules.RULES,
    *segment_rules.RULES,
    *keyslot_rules.RULES,
    *digest_rules.RULES,
)
BY_NAME: Final = {rule.name: rule for rule in RULES}
BY_KEY: Final = {rule.key: rule for rule in RULES if rule.key is not None}
