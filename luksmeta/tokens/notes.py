"""Notes: a token of our own that says whose a keyslot is, what for, and when it was made.

``{"type": "luksmeta-note", "keyslots": ["1"], "owner": "Ann", "purpose": "her laptop", "created":
"2026-01-31T12:00:00Z"}``. Others keep it as any token of a type that they do not know.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Self

from luksmeta.model import JsonObject, JsonValue, Metadata, Token
from luksmeta.texts import check_text
from luksmeta.tokens import assignment

TYPE: Final = "luksmeta-note"
OWNER_MAX: Final = 128
"""Bytes of UTF-8, as below: 32 of the longest notes leave room in a JSON area of 128 KiB, and
four beside four keyslots in the usual one of 12 KiB."""
PURPOSE_MAX: Final = 512
_NAMES: Final = ("owner", "purpose", "created")


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Whose a keyslot is, what it is for, and when it was made, where that is known.

    ValueError for texts too long or with control characters, and for a time without a zone.
    """

    owner: str = ""
    purpose: str = ""
    created: datetime | None = None

    def __post_init__(self) -> None:
        for name, text, most in (
            ("owner", self.owner, OWNER_MAX),
            ("purpose", self.purpose, PURPOSE_MAX),
        ):
            check_text(f"note: {name}", text)
            size = len(text.encode())
            if size > most:
                raise ValueError(f"note: {name} of {size} bytes, {most} are the most")
        if self.created is not None and self.created.utcoffset() is None:
            raise ValueError("note: created needs a time zone")

    @property
    def is_empty(self) -> bool:
        """Whether it names neither owner nor purpose."""
        return not (self.owner or self.purpose)

    def made_now(self) -> Self:
        """The same with the present time, in whole seconds, unless it has one."""
        return replace(self, created=self.created or datetime.now(UTC).replace(microsecond=0))

    def members(self) -> dict[str, str]:
        """What it says, as a token and JSON output have it; what is not said is left out."""
        created = self.created.astimezone(UTC).isoformat() if self.created else ""
        values = (self.owner, self.purpose, created.replace("+00:00", "Z"))
        return {name: value for name, value in zip(_NAMES, values, strict=True) if value}

    def token(self) -> Token:
        """The token that says it, not assigned to a keyslot yet."""
        members: JsonObject = {"type": TYPE, "keyslots": [], **self.members()}
        return Token(type=TYPE, keyslots=(), as_read=members)


def note_in(members: JsonObject) -> Note:
    """The note that a token's JSON object holds; ValueError when it is none of ours."""
    owner, purpose, created = (_text(members.get(name, "")) for name in _NAMES)
    return Note(owner=owner, purpose=purpose, created=_time(created) if created else None)


def new_tokens(note: Note | None) -> tuple[Token, ...]:
    """The token that comes with a new keyslot, made now, if there is anything to say of it."""
    return () if note is None or note.is_empty else (note.made_now().token(),)


def note_of(metadata: Metadata, keyslot_id: int) -> Note | None:
    """The note of a keyslot: that of the first token with a sound one."""
    for token_id in _tokens_of(metadata, keyslot_id):
        try:
            return note_in(metadata.tokens[token_id].as_read)
        except ValueError:
            continue
    return None


def with_note(metadata: Metadata, keyslot_id: int, note: Note, token_ids: range) -> Metadata:
    """The same with this note of a keyslot; an empty one removes what was there.

    What else the keyslot's own note has for members stays. Raises KeyslotNotFoundError, TokenError
    when all of ``token_ids`` are in use.
    """
    metadata.keyslot(keyslot_id)
    own, others = None, {}
    for token_id in _tokens_of(metadata, keyslot_id):
        token = metadata.tokens[token_id]
        metadata = assignment.unassigned(metadata, token_id, [keyslot_id])
        if token.keyslots == (keyslot_id,):
            metadata = assignment.removed(metadata, token_id)
            own = token_id if own is None else own
            others = {k: v for k, v in token.as_read.items() if k not in _NAMES}
    if note.is_empty:
        return metadata
    token = replace(note.token(), keyslots=(keyslot_id,))
    token = replace(token, as_read={**others, **token.as_read})
    return assignment.stored(metadata, token, token_ids, own)[1]


def _tokens_of(metadata: Metadata, keyslot_id: int) -> list[int]:
    """The ids of the notes that are assigned to a keyslot."""
    return [
        token_id
        for token_id, token in sorted(metadata.tokens.items())
        if token.type == TYPE and keyslot_id in token.keyslots
    ]


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"note: created {text[:40]!r} is no time") from None


def _text(value: JsonValue) -> str:
    if not isinstance(value, str):
        raise ValueError("note: what it says is no text")  # noqa: TRY004  # the data's type, not the call's
    return value
