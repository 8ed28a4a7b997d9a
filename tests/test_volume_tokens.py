"""Tokens of a volume: stored, assigned, removed; what is refused changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import luksmeta
from luksmeta import JsonAreaFullError, KeyslotNotFoundError, TokenError, UnsupportedError, Volume
from tests.builders import FIRST, SECOND, THIRD, content, document_of, image, opened, with_document

ACME: dict[str, Any] = {"type": "acme", "keyslots": ["0"], "pin": {"tries": 3}}


def with_tokens(volume_tokens: dict[str, Any], *passphrases: bytes) -> Volume:
    storage = luksmeta.MemoryStorage(image("luks2", passphrases or (FIRST,)))
    document = document_of(bytes(storage.data))
    document["tokens"] = volume_tokens
    storage.data[:] = with_document(bytes(storage.data), document)
    return luksmeta.open(storage, writable=True)


def test_a_token_takes_the_lowest_free_id_and_is_kept_as_it_is() -> None:
    with opened("luks2") as volume:
        assert [volume.tokens.add(ACME) for _ in range(3)] == [0, 1, 2]
        volume.tokens.remove(1)
        assert volume.tokens.add(ACME) == 1
        assert volume.tokens.add(ACME, token_id=31) == 31
        assert list(volume.tokens) == [0, 1, 2, 31]
        assert document_of(content(volume))["tokens"]["31"] == ACME


def test_ids_are_those_of_the_format_and_one_in_use_is_replaced_on_demand_only() -> None:
    with opened("luks2") as volume:
        volume.tokens.add(ACME)
        for token_id in (32, -1, 1 << 31):
            with pytest.raises(TokenError, match="ids go from 0 to 31"):
                volume.tokens.add(ACME, token_id=token_id)
        with pytest.raises(TokenError, match="token 0: in use already"):
            volume.tokens.add({"type": "x", "keyslots": []}, token_id=0)
        assert volume.tokens.add({"type": "x", "keyslots": []}, token_id=0, replacing=True) == 0
        assert volume.tokens.export_json(0) == b'{"type":"x","keyslots":[]}'


def test_with_32_tokens_there_is_no_room() -> None:
    small = {"type": "x", "keyslots": []}
    with opened("luks2") as volume:
        for _ in range(32):
            volume.tokens.add(small)
        with pytest.raises(TokenError, match="all 32 tokens are in use"):
            volume.tokens.add(small)


def test_a_token_beyond_the_ids_of_new_ones_can_be_seen_and_removed() -> None:
    with with_tokens({"77": ACME}) as volume:
        assert volume.tokens[77].type == "acme"
        assert b"acme" in volume.tokens.export_json(77)
        volume.tokens.unassign(77, [0])
        volume.tokens.remove(77)
        assert not volume.tokens


def test_a_keyring_token_is_for_all_keyslots_unless_some_are_named() -> None:
    with opened("luks2", FIRST, SECOND) as volume:
        volume.tokens.add_keyring("one")
        volume.tokens.add_keyring("two", keyslots=[1])
        volume.tokens.add_keyring("three", keyslots=[])
        assert [each.keyslots for each in volume.tokens.values()] == [(0, 1), (1,), ()]
        assert volume.tokens.keyslots_of("luks2-keyring") == {0, 1}
        assert document_of(content(volume))["tokens"]["1"] == {
            "type": "luks2-keyring", "keyslots": ["1"], "key_description": "two"
        }  # fmt: skip


def test_assigning_and_unassigning() -> None:
    with opened("luks2", FIRST, SECOND, THIRD) as volume:

        def keyslots() -> list[int]:
            return list(volume.tokens[0].keyslots)

        volume.tokens.add(ACME, keyslots=[0, 2])
        assert keyslots() == [0, 2]
        volume.tokens.assign(0, [2, 1])
        assert keyslots() == [0, 2, 1]
        volume.tokens.unassign(0, [0])
        with pytest.raises(TokenError, match="token 0: not assigned to keyslot 0"):
            volume.tokens.unassign(0, [0])
        volume.tokens.assign(0)
        assert keyslots() == [2, 1, 0]
        assert document_of(content(volume))["tokens"]["0"]["pin"] == {"tries": 3}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (b"", "no JSON"),
        (b"[]", "no JSON object"),
        (b'{"type":"x","keyslots":[]} junk', "no JSON text"),
        (b"{}", "its type is no text"),
        (b'{"type":"","keyslots":[]}', "its type is no text"),
        (b'{"type":5,"keyslots":[]}', "its type is no text"),
        (b'{"type":"x"}', "keyslots are no array"),
        (b'{"type":"x","keyslots":{}}', "keyslots are no array"),
        (b'{"type":"x","keyslots":[0]}', "keyslot '0' is no number in a string"),
        (b'{"type":"x","keyslots":["00"]}', "keyslot '00' is no number"),
        (b'{"type":"x","keyslots":["-1"]}', "keyslot '-1' is no number"),
        (b'{"type":"luks2-acme","keyslots":[]}', "'luks2-acme' is not known here"),
        (b'{"type":"luks2-keyring","keyslots":[]}', "needs a key_description"),
        (b'{"type":"luks2-keyring","keyslots":[],"key_description":""}', "key_description"),
        (b'{"type":"luks2-keyring","keyslots":[],"key_description":7}', "key_description"),
        (b'{"type":"luks2-keyring","keyslots":[],"key_description":"a","b":1}', "member 'b'"),
        (b'{"type":"x","keyslots":[],"a":' + b"[" * 40 + b"]" * 40 + b"}", "31 levels"),
        (b'{"type":"x","keyslots":[],"a":[' + b"1," * (1 << 17) + b"1]}", "commas"),
        (b'{"type":"x","keyslots":[],"a":NaN}', "NaN"),
    ],
)
def test_what_no_token_can_be_is_refused(text: bytes, part: str) -> None:
    with opened("luks2") as volume:
        with pytest.raises(TokenError, match=part):
            volume.tokens.import_json(text)
        assert volume.written == []


def test_a_token_names_keyslots_that_are_there() -> None:
    with opened("luks2") as volume:
        acts: list[Callable[[], object]] = [
            lambda: volume.tokens.add({"type": "x", "keyslots": ["9"]}),
            lambda: volume.tokens.add(ACME, keyslots=[9]),
            lambda: volume.tokens.add_keyring("x", keyslots=[9]),
        ]
        for act in acts:
            with pytest.raises(KeyslotNotFoundError, match="keyslot 9: not in use"):
                act()
        volume.tokens.add(ACME)
        with pytest.raises(KeyslotNotFoundError, match="keyslot 9"):
            volume.tokens.assign(0, [9])


def test_a_token_that_could_not_be_read_again_is_refused_before_anything_is_written() -> None:
    deep: Any = "bottom"
    for _ in range(30):  # within the limit alone, and above it in its place in the header
        deep = [deep]
    with opened("luks2") as volume:
        before = content(volume)
        with pytest.raises(UnsupportedError, match="deeper than 31"):
            volume.tokens.add({"type": "x", "keyslots": [], "a": deep})
        with pytest.raises(UnsupportedError, match="cannot be written"):
            volume.tokens.add({"type": "x", "keyslots": [], "a": "\ud800"})
        with pytest.raises(JsonAreaFullError, match="12288 fit"):
            volume.tokens.add({"type": "x", "keyslots": [], "a": "x" * 12288})
        assert content(volume) == before


def test_the_spelling_of_an_imported_token_stays() -> None:
    text = b'{"type":"x","keyslots":["0"],"\xff\xc3\xa9":1.10,"z":1E2,"a/b":"\\u001b"}'
    with opened("luks2") as volume:
        volume.tokens.import_json(text)
        assert volume.tokens.export_json(0) == text
        assert text in content(volume)[:16384]


def test_an_absent_token_is_refused_by_everything() -> None:
    with opened("luks2") as volume:
        acts: list[Callable[[], object]] = [
            lambda: volume.tokens.remove(3),
            lambda: volume.tokens.assign(3),
            lambda: volume.tokens.unassign(3, [0]),
            lambda: volume.tokens.export_json(3),
        ]
        for act in acts:
            with pytest.raises(TokenError, match="token 3: not in use"):
                act()
        assert volume.tokens.get(3) is None


def test_luks1_has_no_tokens() -> None:
    with opened("luks1") as volume:
        acts: list[Callable[[], object]] = [
            lambda: volume.tokens.add(ACME),
            lambda: volume.tokens.add_keyring("x"),
            lambda: volume.tokens.remove(0),
            lambda: volume.tokens.assign(0),
            lambda: volume.tokens.unassign(0, [0]),
            lambda: volume.tokens.export_json(0),
        ]
        for act in acts:
            with pytest.raises(UnsupportedError, match="LUKS1 has no tokens"):
                act()
        assert len(volume.tokens) == 0


def test_tokens_of_systemd_and_ours_go_with_their_last_keyslot_and_others_stay() -> None:
    def token(kind: str, *keyslots: str) -> dict[str, Any]:
        return {"type": kind, "keyslots": list(keyslots)}

    tokens = {
        "0": token("systemd-tpm2", "1"),
        "1": token("systemd-fido2", "0", "1"),
        "2": token("systemd-pkcs11"),
        "3": token("luksmeta-note", "1"),
        "4": token("acme", "1"),
        "5": {**token("luks2-keyring", "1"), "key_description": "x"},
    }
    with with_tokens(tokens, FIRST, SECOND) as volume:
        volume.remove_keyslot(1)
        left = {token_id: each.keyslots for token_id, each in volume.tokens.items()}
    assert left == {1: (0,), 2: (), 4: (), 5: ()}


def test_several_keyslots_are_removed_at_once_or_none() -> None:
    with opened("luks2", FIRST, SECOND, THIRD) as volume:
        with pytest.raises(luksmeta.KeyslotError, match="keyslot 0, 1, 2: the last"):
            volume.remove_keyslot([2, 1, 0])
        with pytest.raises(KeyslotNotFoundError, match="keyslot 5"):
            volume.remove_keyslot([0, 5])
        assert volume.written == []
        volume.remove_keyslot({2, 0})
        assert list(volume.keyslots) == [1]


def test_every_keyslot_that_a_passphrase_opens_is_found_and_what_hinders_is_told() -> None:
    with opened("luks2", FIRST, SECOND, SECOND, b"") as volume:
        volume.set_priority(2, "ignore")
        assert volume.keyslots_that_open(SECOND) == ((1, 2), {})
        assert volume.keyslots_that_open(b"") == ((3,), {})
        assert volume.keyslots_that_open(b"wrong") == ((), {})
        document = document_of(content(volume))
    document["keyslots"]["1"]["area"]["encryption"] = "unknown-xts-plain64"
    data = with_document(content(volume), document)
    with luksmeta.open(luksmeta.MemoryStorage(data)) as volume:
        found, hindrances = volume.keyslots_that_open(SECOND)
    assert (found, list(hindrances)) == ((2,), [1])
