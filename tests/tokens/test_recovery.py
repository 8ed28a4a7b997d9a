"""Recovery keys in systemd's format."""

from __future__ import annotations

import re

import pytest

import luksmeta
from luksmeta import PassphraseError, SecretBytes
from luksmeta.model import Keyslot
from luksmeta.tokens import recovery
from tests.builders import FIRST, KDF, VOLUME_KEY, key_behind, opened

# systemd-cryptenroll 252 made it.
KEY = b"grnvcjir-gnegbnuk-fniliedd-ffivgrle-jluhktge-nbjecvvn-dnuefhve-fchrffke"


def normal(text: bytes) -> bytes | None:
    found = recovery.normalized(text)
    return None if found is None else bytes(found.view())


def test_a_key_has_256_bits_in_eight_groups_of_modhex() -> None:
    made = [recovery.make_key() for _ in range(50)]
    keys = {bytes(key.view()) for key in made}
    assert len(keys) == 50
    for key in keys:
        assert re.fullmatch(rb"([cbdefghijklnrtuv]{8}-){7}[cbdefghijklnrtuv]{8}", key)
    assert set(b"".join(keys)) == set(b"cbdefghijklnrtuv-")


def test_the_digits_are_the_bytes_high_half_first(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = bytes.fromhex("0123456789abcdef") * 4
    monkeypatch.setattr(SecretBytes, "random", lambda size: SecretBytes(raw[:size]))
    with recovery.make_key() as key:
        assert bytes(key.view()) == b"-".join([b"cbdefghi-jklnrtuv"] * 4)


@pytest.mark.parametrize("change", [bytes.lower, bytes.upper, bytes.swapcase, bytes.title])
@pytest.mark.parametrize("dashes", [True, False])
def test_either_case_with_all_dashes_or_none_is_the_same_key(change: object, dashes: bool) -> None:
    assert callable(change)
    assert normal(change(KEY if dashes else KEY.replace(b"-", b""))) == KEY


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"g",
        KEY[:-1],
        KEY + b"c",
        KEY + b"\n",
        KEY.replace(b"-", b"_"),
        KEY.replace(b"-", b"", 1),
        KEY.replace(b"-", b"", 1) + b"-",
        KEY.replace(b"g", b"a", 1),
        KEY.replace(b"g", b"G\x07"[1:], 1),  # 7 is g without the bits of a letter
        KEY.replace(b"g", b"\xe7", 1),
        b"-" * 71,
        b"c" * 71,
        bytes(71),
    ],
)
def test_what_is_no_recovery_key_has_no_other_form(text: bytes) -> None:
    assert normal(text) is None


def test_the_keyslot_and_its_token_come_with_one_header() -> None:
    with opened("luks2") as volume, volume.unlock(FIRST) as unlocked:
        seqid = volume.header.copies[0].seqid
        keyslot, key = unlocked.add_recovery_key()
        assert (keyslot, dict(volume.tokens)[0].keyslots) == (1, (1,))
        assert volume.tokens.export_json(0) == b'{"type":"systemd-recovery","keyslots":["1"]}'
        assert volume.header.copies[0].seqid == (seqid or 0) + 1
        made = volume.metadata.keyslots[1]
        assert isinstance(made, Keyslot)
        assert (made.kdf, made.af.hash) == (recovery.KDF, "sha512")
        typed = bytes(key.view())
    assert key_behind(volume, typed) == VOLUME_KEY


def test_a_recovery_key_may_be_typed_in_any_form_where_a_token_marks_its_keyslot() -> None:
    with opened("luks2") as volume, volume.unlock(FIRST) as unlocked:
        _, key = unlocked.add_recovery_key()
        typed = bytes(key.view()).upper().replace(b"-", b"")
        assert key_behind(volume, typed) == VOLUME_KEY
        assert volume.keyslots_that_open(typed) == ((1,), {})
        volume.tokens.unassign(0, [1])
        with pytest.raises(PassphraseError):
            volume.unlock(typed)


def test_a_passphrase_as_it_was_typed_comes_first() -> None:
    with opened("luks2") as volume, volume.unlock(FIRST) as unlocked:
        unlocked.add_keyslot(KEY.upper(), pbkdf=KDF)
        volume.tokens.add({"type": recovery.TYPE, "keyslots": ["1"]})
        assert key_behind(volume, KEY.upper()) == VOLUME_KEY
        with pytest.raises(PassphraseError):
            volume.unlock(KEY)


def test_luks1_has_no_recovery_keys_and_nothing_is_written() -> None:
    with opened("luks1") as volume, volume.unlock(FIRST) as unlocked:
        with pytest.raises(luksmeta.UnsupportedError, match="LUKS1 has no tokens"):
            unlocked.add_recovery_key()
        assert volume.written == []
