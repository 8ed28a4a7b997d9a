"""Notes: whose a keyslot is, what for, since when."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

import luksmeta
from luksmeta import KeyslotNotFoundError, Note, TokenError, UnsupportedError, Volume
from luksmeta.tokens import notes
from tests import builders
from tests.builders import (
    FIRST,
    KDF,
    SECOND,
    VOLUME_KEY,
    content,
    document_of,
    opened,
)

THEN = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
ANN = Note(owner="Ann", purpose="her laptop", created=THEN)


def tokens(volume: Volume) -> dict[str, Any]:
    """As they stand on the disk."""
    found: dict[str, Any] = document_of(content(volume))["tokens"]
    return found


def test_a_new_keyslot_gets_its_note_and_the_time_with_one_header() -> None:
    with opened("luks2") as volume, volume.unlock(FIRST) as unlocked:
        before = datetime.now(UTC).replace(microsecond=0)
        unlocked.add_keyslot(SECOND, pbkdf=KDF, note=Note(owner="Ann", purpose="laptop"))
        assert len(volume.written) == 1
        note = volume.note(1)
        assert note is not None
        assert note.created is not None
        assert before <= note.created <= datetime.now(UTC)
        assert note == Note(owner="Ann", purpose="laptop", created=note.created)
        text = note.created.strftime("%Y-%m-%dT%H:%M:%SZ")
        assert tokens(volume) == {
            "0": {"type": "luksmeta-note", "keyslots": ["1"], "owner": "Ann",
                  "purpose": "laptop", "created": text}
        }  # fmt: skip
        assert volume.note(0) is None


def test_a_note_without_a_word_makes_no_token() -> None:
    with opened("luks2") as volume, volume.unlock(FIRST) as unlocked:
        unlocked.add_keyslot(SECOND, pbkdf=KDF, note=Note())
        assert tokens(volume) == {}


def test_a_note_is_changed_in_place_with_what_else_its_token_says() -> None:
    with opened("luks2", FIRST, SECOND) as volume:
        volume.tokens.add({"type": "acme", "keyslots": []})
        members = {"type": notes.TYPE, "keyslots": ["1"], "owner": "Ann", "colour": ["red"]}
        volume.tokens.add(members, token_id=7)
        volume.configure(notes={1: Note(purpose="spare", created=THEN)})
        assert tokens(volume)["7"] == {
            "type": notes.TYPE, "keyslots": ["1"], "colour": ["red"],
            "purpose": "spare", "created": "2026-01-31T12:00:00Z",
        }  # fmt: skip
        volume.configure(notes={1: Note()})
        assert list(tokens(volume)) == ["0"]


def test_a_note_that_keyslots_share_stays_for_the_others() -> None:
    with opened("luks2", FIRST, SECOND) as volume:
        volume.configure(notes={0: ANN})
        volume.tokens.assign(0)
        volume.configure(notes={1: Note(owner="Bob")})
        assert (volume.note(0), volume.note(1)) == (ANN, Note(owner="Bob"))
        assert [each["keyslots"] for each in tokens(volume).values()] == [["0"], ["1"]]


def test_a_note_follows_its_keyslot_and_goes_with_it() -> None:
    with opened("luks2", FIRST, SECOND) as volume:
        volume.configure(notes={1: ANN})
        with volume.unlock(volume_key=VOLUME_KEY) as unlocked:
            unlocked.change_keyslot(1, b"another", pbkdf=KDF)
        assert volume.note(1) == ANN
        volume.remove_keyslot(1)
        assert tokens(volume) == {}


def test_a_time_is_written_in_utc() -> None:
    local = THEN.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert Note(owner="x", created=local).members()["created"] == "2026-01-31T12:00:00Z"


@pytest.mark.parametrize(
    ("what", "part"),
    [
        ({"owner": "x" * 129}, "owner of 129 bytes, 128"),
        ({"owner": "ü" * 65}, "owner of 130 bytes"),
        ({"purpose": "x" * 513}, "purpose of 513 bytes, 512"),
        ({"owner": "two\nlines"}, "control character"),
        ({"purpose": "\x1b[2J"}, "control character"),
        ({"owner": "\udc80"}, "no UTF-8"),
        ({"owner": "x", "created": THEN.replace(tzinfo=None)}, "time zone"),
    ],
)
def test_a_note_is_short_and_printable(what: Any, part: str) -> None:  # noqa: ANN401  # any field
    with pytest.raises(ValueError, match=part):
        Note(**what)
    Note(owner="ü" * 64, purpose="x" * 512)


@pytest.mark.parametrize(
    "members",
    [
        {"owner": 5},
        {"owner": ["Ann"]},
        {"purpose": "x" * 600},
        {"owner": "\x1b]0;owned\x07"},
        {"created": "yesterday"},
        {"created": "2026-01-31"},
        {"created": None},
    ],
)
def test_a_note_on_disk_that_makes_no_sense_is_only_a_token(members: dict[str, Any]) -> None:
    document = document_of(builders.image("luks2"))
    document["tokens"]["0"] = {"type": notes.TYPE, "keyslots": ["0"], **members}
    storage = builders.memory("luks2")
    storage.data[:] = builders.with_document(bytes(storage.data), document)
    with luksmeta.open(storage, writable=True) as volume:
        assert volume.note(0) is None
        with pytest.raises(TokenError, match="note"):
            volume.tokens.import_json(json.dumps(document["tokens"]["0"]).encode())
        volume.configure(notes={0: ANN})
        assert volume.note(0) == ANN


def test_notes_need_a_keyslot_and_luks2() -> None:
    with opened("luks2") as volume, pytest.raises(KeyslotNotFoundError, match="keyslot 5"):
        volume.configure(notes={5: ANN})
    with opened("luks1") as volume, pytest.raises(UnsupportedError, match="LUKS1 has no tokens"):
        volume.configure(notes={0: ANN})


def test_four_of_the_longest_notes_fit_beside_four_keyslots() -> None:
    longest = Note(owner="x" * notes.OWNER_MAX, purpose="y" * notes.PURPOSE_MAX, created=THEN)
    passphrases = (FIRST, SECOND, b"3", b"4")
    with opened("luks2", *passphrases) as volume:
        volume.configure(notes=dict.fromkeys(range(4), longest))
        assert [volume.note(each) for each in range(4)] == [longest] * 4
