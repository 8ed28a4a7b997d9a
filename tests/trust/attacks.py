"""What whoever can write to a disk does to a LUKS2 header: a table of named mutations.

Each :class:`Attack` turns the bytes of a volume of the default layout (``images.good_image()``, or
the same with more tokens, a seal among them) into those of an attacked one. Checksums are right
afterwards, wherever the attack is not about them: nothing keeps an attacker from computing them. ::

    @pytest.mark.parametrize("attack", ATTACKS, ids=str)
    def test_it_is_caught(attack: Attack) -> None:
        attacked = attack.change(good_image())
        …

``silent`` says what cryptsetup 2.6.1 does with the right passphrase: open the keyslot with status
0 and no word (``cryptsetup open --test-passphrase``); an interop test runs it for every attack.
``by_policy`` is False where the header stays one that somebody could have made in good faith, so
that no rule about a header alone can tell: there only a seal, a measurement or the caller's
expectations help.
"""

from __future__ import annotations

from typing import Final

from tests.trust import byte_attacks, document_attacks
from tests.trust.attack import REGISTERED, Attack

__all__ = ["ATTACKS", "Attack"]

ATTACKS: Final = tuple(REGISTERED)
"""All of them, those on the document first: the modules register theirs when they are imported."""

MODULES: Final = (document_attacks, byte_attacks)
