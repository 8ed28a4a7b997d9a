"""The table of a volume: what its header says, in dm-crypt's words; the keys apart."""

from __future__ import annotations

import pytest

import luksmeta
from luksmeta import MemoryStorage, SecretBytes, StorageError, UnsupportedError
from luksmeta.dm import crypt_table
from luksmeta.dm.mapped_device import open_table
from luksmeta.format_options import Version
from luksmeta.headerless import HeaderlessVolume, Placement
from tests import builders
from tests.builders import FIRST, VERSIONS, VOLUME_KEY

_ZEROES = "00" * len(VOLUME_KEY)


def test_each_version_has_its_line() -> None:
    for version in VERSIONS:
        with builders.opened(version) as volume:
            (keyed,) = crypt_table.luks_table(volume.metadata, volume.data_storage, "7:0")
        offset = builders.data_offset(version) // 512
        assert str(keyed.line) == f"0 128 crypt aes-xts-plain64 {_ZEROES} 0 7:0 {offset}"
        assert keyed.key_size == 32


@pytest.mark.parametrize("version", VERSIONS)
def test_the_table_with_its_keys_shows_the_plaintext(version: Version) -> None:
    storage = builders.memory(version)
    with luksmeta.open(storage, writable=True) as volume, volume.unlock(FIRST) as unlocked:
        with unlocked.open(writable=True) as data:
            data.write(b"plaintext")
        keyed = crypt_table.luks_table(volume.metadata, storage, "a b")
        with crypt_table.with_keys(keyed, unlocked.keys_by_digest) as secret:
            text = bytes(secret.view()).decode()
    assert VOLUME_KEY.hex() in text
    assert VOLUME_KEY.hex() not in repr(keyed)
    with open_table(text, {"a b": storage}) as table:
        assert table.data_storage.read_at(0, 9) == b"plaintext"


def test_the_header_s_flags_are_in_the_table_once() -> None:
    flags = ("allow-discards", "no-read-workqueue", "no-journal", "high_priority")
    with builders.opened("luks2") as volume:
        volume.configure(flags=flags)
        (keyed,) = crypt_table.luks_table(
            volume.metadata, volume.data_storage, "d", ["same_cpu_crypt", "allow_discards"]
        )
    words = ("4", "allow_discards", "same_cpu_crypt", "high_priority", "no_read_workqueue")
    assert keyed.line.arguments[5:] == words


def test_a_key_in_the_keyring_is_named_as_cryptsetup_names_it() -> None:
    with builders.opened("luks2") as volume:
        keyed = crypt_table.luks_table(volume.metadata, volume.data_storage, "d")
        (line,) = crypt_table.with_named_keys(keyed, volume.uuid)
    assert line.arguments[1] == f":32:logon:cryptsetup:{volume.uuid}-d0"


def test_the_null_cipher_has_no_key() -> None:
    storage = MemoryStorage(2 << 20)
    place = Placement(offset=8, skip=3)
    with HeaderlessVolume(storage, "cipher_null-ecb", SecretBytes(32), place) as volume:
        (keyed,) = crypt_table.headerless_table(volume, "d")
    assert str(keyed.line) == "0 4088 crypt cipher_null-ecb - 3 d 8"
    assert (keyed.digest, keyed.key_size) == (None, 0)
    assert keyed.with_key_word("00") == keyed.line
    assert crypt_table.with_named_keys((keyed,), "u") == (keyed.line,)


def test_what_no_table_can_show_is_refused() -> None:
    with builders.opened("luks2") as volume:
        start = builders.data_offset("luks2")
        with pytest.raises(UnsupportedError, match="segment 0: has no sector on memory"):
            crypt_table.luks_table(volume.metadata, MemoryStorage(start), "d")
        with pytest.raises(StorageError, match="segment 0: starts at"):
            crypt_table.luks_table(volume.metadata, MemoryStorage(start - 1), "d")


def test_the_uuid_of_a_mapping_is_cryptsetup_s() -> None:
    uuid = "12345678-1234-4234-8234-123456789abc"
    assert crypt_table.mapping_uuid("PLAIN", "n") == "CRYPT-PLAIN-n"
    assert crypt_table.mapping_uuid("LUKS2", "n", uuid) == f"CRYPT-LUKS2-{uuid.replace('-', '')}-n"
