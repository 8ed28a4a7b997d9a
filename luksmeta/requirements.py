"""What a header's mandatory requirements let one do.

Source: lib/luks2/luks2_json_metadata.c (requirements_flags), lib/setup.c (onlyLUKS2...).
"""

from __future__ import annotations

from typing import Final

from luksmeta.errors import RequirementError
from luksmeta.model import Metadata

OFFLINE_REENCRYPTION: Final = "offline-reencrypt"
ONLINE_REENCRYPTION: Final = frozenset(
    {"online-reencrypt", "online-reencrypt-v2", "online-reencrypt-v3"}
)
_HARDWARE: Final = frozenset({"inline-hw-tags", "opal", "opal-v2"})


def is_reencrypting(metadata: Metadata) -> bool:
    """Whether a reencryption has begun and not ended."""
    return bool(ONLINE_REENCRYPTION.intersection(metadata.config.requirements))


def allow_unlocking(metadata: Metadata) -> None:
    """Raise RequirementError when a requirement forbids using the volume's keys."""
    _refuse_all_but(metadata, _HARDWARE | ONLINE_REENCRYPTION)


def allow_changes(metadata: Metadata) -> None:
    """Raise RequirementError when a requirement forbids changing the header."""
    _refuse_all_but(metadata, _HARDWARE)


def allow_removal(metadata: Metadata) -> None:
    """Raise RequirementError when a requirement is one that nobody here knows."""
    _refuse_all_but(metadata, _HARDWARE | ONLINE_REENCRYPTION | {OFFLINE_REENCRYPTION})


def allow_anything(metadata: Metadata) -> None:
    """Raise nothing: no requirement keeps a header from being erased altogether."""


def allow_restoring(metadata: Metadata) -> None:
    """Raise RequirementError for a header backup taken in a state that must not come back."""
    _refuse_all_but(metadata, ONLINE_REENCRYPTION | {"inline-hw-tags"})


def is_known(requirement: str) -> bool:
    """Whether cryptsetup 2.8 knows it."""
    return requirement in _HARDWARE | ONLINE_REENCRYPTION | {OFFLINE_REENCRYPTION}


def _refuse_all_but(metadata: Metadata, allowed: frozenset[str]) -> None:
    for requirement in metadata.config.requirements:
        if requirement in allowed:
            continue
        if requirement == OFFLINE_REENCRYPTION or requirement in ONLINE_REENCRYPTION:
            raise RequirementError(
                f"header: requirement {requirement!r}: a reencryption must be finished first"
            ).advise("cryptsetup can finish or repair it")
        raise RequirementError(
            f"header: requirement {requirement!r} is not known here; "
            "the volume can only be inspected"
        )
