"""The tokens of a header changed: stored, removed, assigned to keyslots.

Every function gives the metadata that holds afterwards. Source: lib/luks2/luks2_token.c; which
tokens go with their keyslots, systemd's src/cryptenroll/cryptenroll-wipe.c.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Final

from luksmeta.errors import TokenError, UnsupportedError
from luksmeta.model import Metadata, Token

_REPLACE_HINT: Final = "--token-replace puts the new one in its place"
_GO_WITH_KEYSLOTS: Final = ("systemd-", "luksmeta-")


def require_tokens(metadata: Metadata) -> None:
    """UnsupportedError for LUKS1, which has none."""
    if metadata.version == 1:
        raise UnsupportedError("header: LUKS1 has no tokens")


def token_of(metadata: Metadata, token_id: int) -> Token:
    """The token of this id; TokenError when there is none."""
    require_tokens(metadata)
    try:
        return metadata.tokens[token_id]
    except KeyError:
        raise TokenError(f"token {token_id}: not in use") from None


def keyslots_of(metadata: Metadata, token_type: str) -> frozenset[int]:
    """The keyslots that tokens of this type are assigned to."""
    return frozenset(
        keyslot_id
        for token in metadata.tokens.values()
        if token.type == token_type
        for keyslot_id in token.keyslots
    )


def stored(
    metadata: Metadata,
    token: Token,
    ids: range,
    token_id: int | None = None,
    *,
    replacing: bool = False,
) -> tuple[int, Metadata]:
    """The token under ``token_id``, or the lowest free one of ``ids``; and that id.

    TokenError for an id that is out of range, or in use unless ``replacing``.
    """
    require_tokens(metadata)
    if token_id is None:
        token_id = _free_id(metadata, ids)
    elif token_id not in ids:
        raise TokenError(f"token {token_id}: ids go from 0 to {ids.stop - 1}")
    elif token_id in metadata.tokens and not replacing:
        raise TokenError(f"token {token_id}: in use already").advise(_REPLACE_HINT)
    _require_keyslots(metadata, token.keyslots)
    return token_id, _with(metadata, token_id, token)


def removed(metadata: Metadata, token_id: int) -> Metadata:
    """The token gone, of whatever type; its keyslots stay."""
    token_of(metadata, token_id)
    return replace(metadata, tokens={k: v for k, v in metadata.tokens.items() if k != token_id})


def assigned(metadata: Metadata, token_id: int, keyslots: Iterable[int]) -> Metadata:
    """The token assigned to these keyslots too; KeyslotNotFoundError."""
    token = token_of(metadata, token_id)
    more = tuple(each for each in dict.fromkeys(keyslots) if each not in token.keyslots)
    _require_keyslots(metadata, more)
    return _with(metadata, token_id, replace(token, keyslots=(*token.keyslots, *more)))


def unassigned(metadata: Metadata, token_id: int, keyslots: Collection[int]) -> Metadata:
    """The token no longer assigned to these keyslots; TokenError when it was not."""
    token = token_of(metadata, token_id)
    for keyslot_id in keyslots:
        if keyslot_id not in token.keyslots:
            raise TokenError(f"token {token_id}: not assigned to keyslot {keyslot_id}")
    left = tuple(each for each in token.keyslots if each not in keyslots)
    return _with(metadata, token_id, replace(token, keyslots=left))


def copied(metadata: Metadata, from_keyslot: int, to_keyslot: int) -> Metadata:
    """Every token of one keyslot assigned to another one as well."""
    for token_id, token in metadata.tokens.items():
        if from_keyslot in token.keyslots:
            more = replace(token, keyslots=(*token.keyslots, to_keyslot))
            metadata = _with(metadata, token_id, more)
    return metadata


def without_keyslot(metadata: Metadata, keyslot_id: int) -> Metadata:
    """The keyslot gone, and with it the tokens of systemd's and of ours that were its alone.

    Others stay, as in cryptsetup: nobody here knows what they are good for.
    """
    gone = {
        token_id
        for token_id, token in metadata.tokens.items()
        if set(token.keyslots) == {keyslot_id} and token.type.startswith(_GO_WITH_KEYSLOTS)
    }
    left = metadata.without_keyslot(keyslot_id)
    return replace(left, tokens={k: v for k, v in left.tokens.items() if k not in gone})


def _free_id(metadata: Metadata, ids: range) -> int:
    for token_id in ids:
        if token_id not in metadata.tokens:
            return token_id
    raise TokenError(f"header: all {len(ids)} tokens are in use")


def _require_keyslots(metadata: Metadata, keyslots: Iterable[int]) -> None:
    for keyslot_id in keyslots:
        metadata.keyslot(keyslot_id)


def _with(metadata: Metadata, token_id: int, token: Token) -> Metadata:
    return replace(metadata, tokens={**metadata.tokens, token_id: token})
