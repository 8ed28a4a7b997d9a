"""The tokens of a volume: a mapping that can be changed through its methods."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from luksmeta.errors import MetadataError, TokenError
from luksmeta.header import Header
from luksmeta.header_change import HeaderChange, reword
from luksmeta.luks2.json_text import compact_text, parse_json
from luksmeta.model import JsonObject, Metadata, Token
from luksmeta.stored_header import StoredHeader
from luksmeta.tokens import assignment, kinds


class VolumeTokens(Mapping[int, Token]):
    """The tokens by id, in ascending order; each change is one write of the header.

    Every method raises UnsupportedError for LUKS1, which has no tokens, and TokenError or
    KeyslotNotFoundError for a token or a keyslot that is not there.
    """

    def __init__(self, header: StoredHeader) -> None:
        self._stored = header

    def __getitem__(self, token_id: int) -> Token:
        return self._stored.metadata.tokens[token_id]

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._stored.metadata.tokens))

    def __len__(self) -> int:
        return len(self._stored.metadata.tokens)

    def keyslots_of(self, token_type: str) -> frozenset[int]:
        """The keyslots that tokens of this type are assigned to."""
        return assignment.keyslots_of(self._stored.metadata, token_type)

    def add(
        self,
        members: Mapping[str, Any],
        *,
        keyslots: Collection[int] = (),
        token_id: int | None = None,
        replacing: bool = False,
    ) -> int:
        """Store a token, a JSON object, and assign it to ``keyslots`` besides those that it names.

        Its id: ``token_id``, or the lowest free one. TokenError for what cryptsetup would not
        store, and for an id in use unless ``replacing``.
        """
        return self._store(kinds.to_token(members), keyslots, token_id, replacing=replacing)

    def add_keyring(
        self,
        key_description: str,
        *,
        keyslots: Collection[int] | None = None,
        token_id: int | None = None,
        replacing: bool = False,
    ) -> int:
        """Store a ``luks2-keyring`` token: the passphrase is in the kernel's keyring.

        It is assigned to ``keyslots``, by default to all there are.
        """
        token = kinds.keyring(key_description)
        return self._store(token, keyslots, token_id, replacing=replacing)

    def import_json(
        self,
        text: bytes,
        *,
        keyslots: Collection[int] = (),
        token_id: int | None = None,
        replacing: bool = False,
    ) -> int:
        """:meth:`add` for JSON text, which is stored down to the spelling of its numbers."""
        try:
            members = parse_json(text)
        except MetadataError as error:
            reason = str(error).removeprefix("json area: ")
            raise TokenError(f"token: {reason}") from error
        return self.add(members, keyslots=keyslots, token_id=token_id, replacing=replacing)

    def export_json(self, token_id: int) -> bytes:
        """A token's JSON text as it stands in the header."""
        return compact_text(self.members(token_id))

    def members(self, token_id: int) -> JsonObject:
        """A token's JSON object; TokenError when it is not in use."""
        return assignment.token_of(self._stored.metadata, token_id).as_read

    def remove(self, token_id: int) -> None:
        """Remove a token of whatever type; its keyslots stay."""
        self._change(
            f"remove token {token_id}", lambda metadata: assignment.removed(metadata, token_id)
        )

    def assign(self, token_id: int, keyslots: Collection[int] | None = None) -> None:
        """Assign a token to keyslots, by default to all."""

        def assigned(metadata: Metadata) -> Metadata:
            wanted = metadata.keyslots if keyslots is None else keyslots
            return assignment.assigned(metadata, token_id, wanted)

        self._change(f"assign token {token_id}", assigned)

    def unassign(self, token_id: int, keyslots: Collection[int]) -> None:
        """Undo :meth:`assign`; TokenError where the token was not assigned."""
        self._change(
            f"unassign token {token_id}",
            lambda metadata: assignment.unassigned(metadata, token_id, keyslots),
        )

    def _store(
        self,
        token: Token,
        keyslots: Collection[int] | None,
        token_id: int | None,
        *,
        replacing: bool,
    ) -> int:
        stored: list[int] = []

        def with_token(header: Header) -> list[HeaderChange]:
            metadata = header.metadata
            more = metadata.keyslots if keyslots is None else keyslots
            wanted = tuple(dict.fromkeys((*token.keyslots, *more)))
            stored_id, metadata = assignment.stored(
                metadata,
                replace(token, keyslots=wanted),
                header.token_ids,
                token_id,
                replacing=replacing,
            )
            stored[:] = [stored_id]
            return [reword(header, metadata, f"store token {stored_id}")]

        self._stored.change(with_token)
        return stored[0]

    def _change(self, what: str, edit: Callable[[Metadata], Metadata]) -> None:
        self._stored.change(lambda header: [reword(header, edit(header.metadata), what)])
