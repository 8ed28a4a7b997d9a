"""Hints of a header's past: from writes, places, order, defaults and notes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import luksmeta
from luksmeta import Note
from luksmeta.forensics.timeline import Certainty
from tests import builders
from tests.builders import FIRST, SECOND, VOLUME_KEY, document_of, image, with_document
from tests.storages import UntouchedStorage


def hints(data: bytes) -> dict[str, Certainty]:
    return {each.text: each.certainty for each in luksmeta.inspect(UntouchedStorage(data)).hints}


def hints_with(document: dict[str, Any], base: bytes) -> str:
    return "; ".join(hints(with_document(base, document)))


def test_a_new_header_is_one_that_was_not_changed() -> None:
    found = hints(image("luks2"))
    assert found["the header was not changed since the volume was made"] is Certainty.LIKELY


def test_writes_are_counted() -> None:
    found = hints(image("luks2", (FIRST, SECOND)))
    assert found["the header had been written 3 times"] is Certainty.STATED


def test_an_early_gap_tells_of_a_removed_keyslot() -> None:
    volume = builders.opened("luks2", FIRST, SECOND)
    volume.remove_keyslot(0)
    found = hints(builders.content(volume))
    text = "a keyslot before that of keyslot 1 was removed since it was made"
    assert found[text] is Certainty.LIKELY


def test_the_order_of_the_text_is_that_of_making() -> None:
    base = image("luks2", (FIRST, SECOND))
    document = document_of(base)
    document["keyslots"] = dict(reversed(document["keyslots"].items()))
    assert "made in the order 1, 0" in hints_with(document, base)
    assert "order" not in "; ".join(hints(base))


def test_a_different_pace_tells_of_another_machine() -> None:
    base = image("luks2", (FIRST, SECOND))
    document = document_of(base)
    document["keyslots"]["1"]["kdf"]["iterations"] = 5000
    assert "keyslots 0 and 1 were made on other machines" in hints_with(document, base)
    assert "other machines" not in "; ".join(hints(base))


def test_a_note_dates_its_keyslot() -> None:
    volume = builders.opened("luks2", FIRST)
    created = datetime(2026, 1, 31, 12, tzinfo=UTC)
    with volume.unlock(volume_key=VOLUME_KEY) as unlocked:
        unlocked.add_keyslot(SECOND, pbkdf=builders.KDF, note=Note(owner="Ann", created=created))
    found = hints(builders.content(volume))
    assert found["keyslot 1 was made at 2026-01-31T12:00:00+00:00"] is Certainty.STATED


def test_defaults_date_a_header_weakly() -> None:
    document = document_of(image("luks2"))
    kdf = document["keyslots"]["0"]["kdf"]
    document["keyslots"]["0"]["kdf"] = {
        "type": "argon2i", "time": 4, "memory": 32, "cpus": 1, "salt": kdf["salt"]
    }  # fmt: skip
    found = hints(with_document(image("luks2"), document))
    text = "argon2i is the default from cryptsetup 2.0.0 (2017) until 2.4.0 (2021)"
    assert found[text] is Certainty.WEAK
    luks1 = hints(image("luks1"))
    assert "sha256 is the default since cryptsetup 1.7.0 (2015)" in luks1
    assert list(found.values()) == sorted(found.values(), key=list(Certainty).index)


def test_a_reencryption_that_has_not_ended_is_told() -> None:
    document = document_of(image("luks2"))
    document["config"]["requirements"] = {"mandatory": ["online-reencrypt-v2"]}
    assert "a reencryption was begun and has not ended" in hints_with(document, image("luks2"))
