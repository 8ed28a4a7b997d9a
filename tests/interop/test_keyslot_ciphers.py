"""Keyslots with another cipher than the data's, made by every operation, opened by cryptsetup."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import luksmeta
from luksmeta.cli.keyslot_options import KeyslotKeywords
from luksmeta.model import CryptSegment, Keyslot
from luksmeta.new_keyslot import keyslot_encryption
from tests.builders import opened
from tests.interop.peers import cryptsetup

FIRST, SECOND, THIRD, FOURTH = b"first", b"second", b"third", b"fourth"
KDF = luksmeta.Pbkdf2(hash="sha256", iterations=1000)
FALLBACK = ("aes-xts-plain64", 64)
DATA = [  # cipher, key size, and the cipher of keyslots for which none is asked
    ("aes-xts-plain64", 64, ("aes-xts-plain64", 64)),
    ("aes-cbc-essiv:sha256", 16, ("aes-cbc-essiv:sha256", 16)),
    ("cipher_null-ecb", 32, FALLBACK),
    ("aes:4-cbc-plain64", 64, FALLBACK),
    ("aes-cbc-lmk", 16, FALLBACK),
    ("capi:xts(aes)-plain64", 64, FALLBACK),
]
KEYSLOTS = [("aes-xts-plain64", 32), ("aes-cbc-essiv:sha256", 24), ("aes-ecb", 16)]


@pytest.mark.parametrize(("encryption", "area_key_size"), KEYSLOTS)
@pytest.mark.parametrize(("cipher", "key_size", "default"), DATA)
def test_every_operation_makes_keyslots_of_another_cipher(
    cipher: str,
    key_size: int,
    default: tuple[str, int],
    encryption: str,
    area_key_size: int,
    tmp_path: Path,
) -> None:
    path, wanted = tmp_path / "volume", (encryption, area_key_size)
    other: KeyslotKeywords = {
        "pbkdf": KDF,
        "hash": None,
        "encryption": encryption,
        "area_key_size": area_key_size,
    }
    with luksmeta.format(
        path,
        FIRST,
        size=4 << 20,
        cipher=cipher,
        key_size=key_size,
        sector_size=512,
        pbkdf=KDF,
        digest_iterations=1000,
        keyslots_size=2 << 20,
        keyslot_cipher=encryption,
        keyslot_key_size=area_key_size,
    ) as volume:
        with volume.unlock(FIRST) as unlocked:
            key = bytes(unlocked.volume_key.view())
            unlocked.add_keyslot(SECOND, **other)
            unlocked.add_keyslot(THIRD, pbkdf=KDF)
            assert ciphers(volume) == {0: wanted, 1: wanted, 2: default}
            # As with cryptsetup, a change asks for the cipher anew.
            unlocked.change_keyslot(2, FOURTH, **other)
            unlocked.change_keyslot(1, SECOND, pbkdf=KDF)
        volume.add_unbound_keyslot(THIRD, key_size=20, digest_iterations=1000, **other)
        assert ciphers(volume) == {0: wanted, 1: default, 2: wanted, 3: wanted}
    for keyslot, passphrase in enumerate((FIRST, SECOND, FOURTH, THIRD)):
        assert cryptsetup.unlocks(path, passphrase, slot=keyslot)
    assert cryptsetup.dump_volume_key(path, FOURTH) == key


def ciphers(volume: luksmeta.Volume) -> dict[int, tuple[str, int]]:
    return {
        keyslot_id: (keyslot.area.encryption, keyslot.area.key_size)
        for keyslot_id, keyslot in volume.keyslots.items()
        if isinstance(keyslot, Keyslot)
    }


def test_cryptsetup_resets_the_cipher_of_a_changed_keyslot_as_we_do(tmp_path: Path) -> None:
    other = ("--keyslot-cipher", "aes-cbc-plain64", "--keyslot-key-size", "128")
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    cryptsetup.luks_format(theirs, FIRST, extra=other)
    ours.write_bytes(theirs.read_bytes())
    cryptsetup.change_key(theirs, FIRST, SECOND)
    with luksmeta.open(ours, writable=True) as volume, volume.unlock(FIRST) as unlocked:
        unlocked.change_keyslot(0, SECOND, pbkdf=KDF)
    with luksmeta.open(theirs) as changed:
        assert ciphers(changed) == ciphers(volume) == {0: FALLBACK}


@pytest.mark.parametrize(
    "cipher", ["aes-gcm-random", "capi:gcm(aes)-random", "aes-cbc-tcw", "aes-cbc-elephant"]
)
def test_keyslots_never_get_a_cipher_that_cryptsetup_cannot_use_for_them(cipher: str) -> None:
    with opened("luks2") as volume:
        segment = volume.metadata.segments[0]
        assert isinstance(segment, CryptSegment)
        segment = replace(segment, encryption=cipher)
        assert keyslot_encryption(replace(volume.metadata, segments={0: segment}), 64) == FALLBACK
