"""What a token's JSON object must be before it is stored, by its type.

Types that nobody here knows are stored as they are, but for those that begin with ``luks2-``: these
belong to the format. Source: LUKS2 specification 3.6; lib/luks2/luks2_token.c,
lib/luks2/luks2_token_keyring.c.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from luksmeta.errors import TokenError
from luksmeta.model import JsonObject, JsonValue, Token
from luksmeta.texts import check_text
from luksmeta.tokens import notes

KEYRING: Final = "luks2-keyring"
_RESERVED: Final = "luks2-"
_KEYRING_MEMBERS: Final = frozenset({"type", "keyslots", "key_description"})
_KEYSLOT: Final = re.compile(r"0|[1-9][0-9]{0,8}")


def keyring(key_description: str) -> Token:
    """The token for a passphrase in the kernel's keyring, not assigned to a keyslot yet."""
    members: JsonObject = {
        "type": KEYRING,
        "keyslots": [],
        "key_description": key_description,
    }
    return to_token(members)


def to_token(members: JsonObject) -> Token:
    """The token that a JSON object says; TokenError when cryptsetup would not store it."""
    kind = members.get("type")
    if not isinstance(kind, str) or not kind:
        raise TokenError("token: its type is no text")
    _check_text("its type", kind)
    token = Token(type=kind, keyslots=_keyslots(members.get("keyslots")), as_read=members)
    check = _CHECKS.get(kind)
    if check is not None:
        check(members)
    elif kind.startswith(_RESERVED):
        raise TokenError(
            f"token: type {kind[:40]!r} is not known here; {_RESERVED} is reserved for the format"
        )
    return token


def _keyslots(value: JsonValue) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise TokenError("token: its keyslots are no array")
    for each in value:
        if not isinstance(each, str) or not _KEYSLOT.fullmatch(each):
            raise TokenError(f"token: keyslot {str(each)[:40]!r} is no number in a string")
    return tuple(int(str(each)) for each in value)


def _check_keyring(members: JsonObject) -> None:
    surplus = sorted(members.keys() - _KEYRING_MEMBERS)
    if surplus:
        raise TokenError(f"token: {KEYRING} knows no member {surplus[0][:40]!r}")
    description = members.get("key_description")
    if not isinstance(description, str) or not description:
        raise TokenError(f"token: {KEYRING} needs a key_description")
    _check_text("key_description", description)


def _check_note(members: JsonObject) -> None:
    try:
        notes.note_in(members)
    except ValueError as error:
        raise TokenError(f"token: {error}") from error


def _check_text(what: str, text: str) -> None:
    try:
        check_text(what, text)
    except ValueError as error:
        raise TokenError(f"token: {error}") from error


_CHECKS: Final[dict[str, Callable[[JsonObject], None]]] = {
    KEYRING: _check_keyring,
    notes.TYPE: _check_note,
}
