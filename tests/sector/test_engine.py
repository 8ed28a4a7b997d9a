from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luksmeta.errors import AlgorithmError
from luksmeta.secret import SecretBytes
from luksmeta.sector import engine, native, threads
from tests.corpus import CipherVector, stream
from tests.sector.passes import (
    OWN_VECTORS,
    VECTORS,
    decrypted,
    encrypted,
    in_pieces,
    portable_cipher,
)

LONG = (1 << 17) + 3 * 4096  # bytes: more than a chunk of either part, and split (see below)

ROUND_TRIP = [
    *(("aes-xts-plain64", 32), ("aes-xts-plain64", 48), ("aes-xts-plain", 64)),
    *(("aes-cbc-plain64", 16), ("aes-cbc-essiv:sha256", 32), ("aes-cbc-null", 24)),
    *(("aes-ecb", 32), ("cipher_null-ecb", 0)),
]
PASSING = pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.id)


@pytest.fixture(autouse=True)
def _short_runs_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "PIECE_SIZE", 1 << 14)
    monkeypatch.setattr(threads, "SPLIT_SIZE", 1 << 16)


def create(vector: CipherVector) -> engine.SectorCipher:
    return engine.create(
        vector.cipher,
        SecretBytes(vector.key),
        vector.sector_size,
        large_iv=vector.iv_large_sectors,
    )


@PASSING
def test_encryption_gives_what_the_kernel_wrote(vector: CipherVector) -> None:
    with create(vector) as cipher:
        assert encrypted(cipher, vector.iv_offset, vector.plaintext) == vector.ciphertext


@PASSING
def test_decryption_gives_what_the_kernel_reads(vector: CipherVector) -> None:
    with create(vector) as cipher:
        assert decrypted(cipher, vector.iv_offset, vector.ciphertext) == vector.plaintext


@PASSING
def test_a_run_may_be_cut_at_any_sector(vector: CipherVector) -> None:
    chance = random.Random(vector.id)
    cuts = [chance.randrange(vector.sectors * 512 // vector.sector_size) for _ in range(3)]
    with create(vector) as cipher:
        ciphertext = in_pieces(encrypted, cipher, vector.iv_offset, vector.plaintext, cuts)
        plaintext = in_pieces(decrypted, cipher, vector.iv_offset, vector.ciphertext, cuts)
    assert ciphertext == vector.ciphertext
    assert plaintext == vector.plaintext


@pytest.mark.parametrize(
    ("text", "key_size"),
    [
        *(("rot13-cbc-plain", 32), ("aes-xts-plain65", 32), ("aes-zzz-plain64", 32)),
        *(("aes:3-cbc-plain", 96), ("aes-cbc-essiv:md4711", 32), ("capi:xts(rot13)-plain64", 64)),
    ],
)
def test_what_is_not_available_is_refused_by_name(text: str, key_size: int) -> None:
    with pytest.raises(AlgorithmError) as caught:
        engine.create(text, SecretBytes(key_size))
    assert caught.value.name in text


@pytest.mark.parametrize("entry", json.loads(OWN_VECTORS.read_text(encoding="utf-8"))["refused"])
def test_what_the_kernel_refuses_is_refused(entry: dict[str, str]) -> None:
    key = SecretBytes(int(entry["key_bits"]) // 8)
    with pytest.raises(AlgorithmError):
        engine.create(
            entry["cipher"],
            key,
            int(entry["sector_size"]),
            large_iv=bool(entry["iv_large_sectors"]),
        )


@pytest.mark.parametrize("text", ["cipher_null-cbc-plain", "aes-xts", "capi:xts(aes)", "aes-ctr"])
def test_a_mode_or_iv_missing_or_unfit_is_refused(text: str) -> None:
    with pytest.raises(AlgorithmError):
        engine.create(text, SecretBytes(32))


def test_xts_takes_equal_halves_as_the_kernel_does() -> None:
    # IEEE 1619-2007, annex B, vector 1: all zero, the halves of the key too. OpenSSL refuses it,
    # dm-crypt gives this (Linux 6.1, one sector of zeros).
    expected = "917cf69ebd68b2ec9b9fe9a3eadda692cd43d2f59598ed858c02c2652fbf922e"
    with engine.create("aes-xts-plain64", SecretBytes(32)) as cipher:
        assert encrypted(cipher, 0, bytes(512))[:32].hex() == expected


@pytest.mark.parametrize(("text", "key_size"), ROUND_TRIP)
@given(st.data())
def test_decryption_undoes_encryption_however_the_run_is_cut(
    text: str, key_size: int, data: st.DataObject
) -> None:
    sector_size = data.draw(st.sampled_from(engine.SECTOR_SIZES))
    count = data.draw(st.integers(0, 5))
    plaintext = data.draw(st.binary(min_size=16, max_size=16)) * (count * sector_size // 16)
    first = 8 * data.draw(st.integers(0, 1 << 61))
    cuts = data.draw(st.lists(st.integers(0, count), max_size=3))
    key = SecretBytes(stream(text, key_size))
    with engine.create(text, key, sector_size, large_iv=data.draw(st.booleans())) as cipher:
        ciphertext = encrypted(cipher, first, plaintext)
        assert in_pieces(encrypted, cipher, first, plaintext, cuts) == ciphertext
        assert in_pieces(decrypted, cipher, first, ciphertext, cuts) == plaintext


@pytest.mark.parametrize(("text", "key_size"), ROUND_TRIP)
def test_a_run_longer_than_a_chunk_is_its_sectors_one_by_one(text: str, key_size: int) -> None:
    count = LONG // 512
    data = stream(text, 512) * count
    with engine.create(text, SecretBytes(stream("key", key_size))) as cipher:
        whole = encrypted(cipher, 7, data)
        assert in_pieces(encrypted, cipher, 7, data, list(range(1, count))) == whole
        assert decrypted(cipher, 7, whole) == data


@pytest.mark.parametrize("sector_size", [512, 4096])
@pytest.mark.parametrize(("text", "key_size"), ROUND_TRIP)
def test_data_and_out_may_be_the_same_buffer(text: str, key_size: int, sector_size: int) -> None:
    data = stream("data", LONG)
    buffer = bytearray(data)
    with engine.create(text, SecretBytes(stream("key", key_size)), sector_size) as cipher:
        cipher.encrypt_into(5, buffer, buffer)
        assert bytes(buffer) == encrypted(cipher, 5, data)
        cipher.decrypt_into(5, memoryview(buffer), buffer)
    assert buffer == data


@pytest.mark.parametrize(("text", "key_size"), ROUND_TRIP)
def test_out_beyond_the_data_stays_as_it_is(text: str, key_size: int) -> None:
    out = bytearray(b"\xa5" * 1536)
    with engine.create(text, SecretBytes(stream("key", key_size))) as cipher:
        cipher.encrypt_into(0, bytes(512), memoryview(out)[512:])
        assert out[512:1024] == encrypted(cipher, 0, bytes(512))
    assert out[:512] == out[1024:] == b"\xa5" * 512


@pytest.mark.parametrize(("text", "key_size"), ROUND_TRIP)
def test_threads_may_share_a_cipher(text: str, key_size: int) -> None:
    data = stream("data", 1 << 15)
    with engine.create(text, SecretBytes(stream("key", key_size))) as cipher:
        alone = [encrypted(cipher, sector, data) for sector in range(8)]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda sector: encrypted(cipher, sector, data), range(8)))
    assert together == alone


def test_a_callers_mistakes_are_value_errors() -> None:
    with engine.create("aes-xts-plain64", SecretBytes(stream("key", 64)), 1024) as cipher:
        assert cipher.sector_size == 1024
        with pytest.raises(ValueError, match="data has 512 bytes, sectors have 1024"):
            cipher.encrypt_into(0, bytes(512), bytearray(512))
        with pytest.raises(ValueError, match="out has 1024 bytes, data has 2048"):
            cipher.decrypt_into(0, bytes(2048), bytearray(1024))
        with pytest.raises(ValueError, match="sector -1 is negative"):
            cipher.decrypt_into(-1, bytes(1024), bytearray(1024))


@pytest.mark.parametrize("sector_size", [0, 256, 768, 8192])
def test_a_sector_size_that_dm_crypt_lacks_is_a_value_error(sector_size: int) -> None:
    with pytest.raises(ValueError, match=f"sector size {sector_size}"):
        engine.create("aes-xts-plain64", SecretBytes(64), sector_size)


def test_a_key_that_does_not_fit_is_refused() -> None:
    with pytest.raises(AlgorithmError, match="key has 16 bytes, takes 32, 48 or 64"):
        engine.create("aes-xts-plain64", SecretBytes(16))


def test_a_cipher_keeps_a_key_of_its_own_and_is_of_no_use_once_closed() -> None:
    key = SecretBytes(stream("key", 64))
    cipher = engine.create("aes-xts-plain64", key)
    before = encrypted(cipher, 0, bytes(512))
    key.wipe()
    assert encrypted(cipher, 0, bytes(512)) == before
    cipher.close()
    cipher.close()
    with pytest.raises(ValueError, match="closed"):
        cipher.encrypt_into(0, bytes(512), bytearray(512))


# --- which part is in use ---------------------------------------------------------------------


@pytest.fixture
def undecided() -> Iterator[None]:
    """Let :func:`engine.name` decide anew, in the test and after it."""
    engine.name.cache_clear()
    yield
    engine.name.cache_clear()


@pytest.mark.usefixtures("undecided")
@pytest.mark.parametrize("built", [True, False])
def test_the_native_part_is_in_use_wherever_it_is_built(
    monkeypatch: pytest.MonkeyPatch, built: bool
) -> None:
    monkeypatch.delenv(engine.VARIABLE, raising=False)
    monkeypatch.setattr(native, "is_built", lambda: built)
    assert engine.name() == ("native" if built else "portable")


@pytest.mark.usefixtures("undecided")
@pytest.mark.parametrize("part", ["native", "portable"])
def test_a_part_can_be_asked_for(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    monkeypatch.setattr(native, "is_built", lambda: True)
    monkeypatch.setenv(engine.VARIABLE, part)
    assert engine.name() == part


@pytest.mark.usefixtures("undecided")
def test_the_portable_part_makes_every_cipher_when_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(engine.VARIABLE, "portable")
    key = stream("key", 64)
    with engine.create("aes-xts-plain64", SecretBytes(key)) as cipher:
        assert type(cipher) is type(portable_cipher("aes-xts-plain64", key))


@pytest.mark.usefixtures("undecided")
def test_a_native_part_that_is_asked_for_and_missing_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(native, "is_built", lambda: False)
    monkeypatch.setenv(engine.VARIABLE, "native")
    with pytest.raises(AlgorithmError, match="not built") as caught:
        engine.create("aes-xts-plain64", SecretBytes(stream("key", 64)))
    assert (caught.value.kind, caught.value.name) == ("engine", "native")


@pytest.mark.usefixtures("undecided")
def test_an_unknown_part_is_a_value_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(engine.VARIABLE, "Native")
    with pytest.raises(ValueError, match="LUKSMETA_ENGINE is 'Native', native and portable are"):
        engine.name()
