"""Which texts may be stored in a header: what others will read, and terminals will show.

What lies on a disk already is read whatever it holds.
"""

from __future__ import annotations

import unicodedata
from typing import Final

_CONTROLS: Final = frozenset({"Cc", "Zl", "Zp"})  # control characters, line and paragraph ends
_SURROGATES: Final = "Cs"


def check_text(what: str, text: str) -> None:
    """Raise ValueError for a new text that is no UTF-8, or has control characters or line ends.

    A byte that is no UTF-8 comes from the command line as a surrogate, as any lone one is none.
    """
    for character in text:
        category = unicodedata.category(character)
        if category == _SURROGATES:
            raise ValueError(f"{what}: {text[:40]!r} is no UTF-8")
        if category in _CONTROLS:
            raise ValueError(f"{what}: {text[:40]!r} has the control character {character!r}")
