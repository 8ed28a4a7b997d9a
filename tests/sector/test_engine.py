from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luksmeta.errors import AlgorithmError
from luksmeta.secret import SecretBytes
from luksmeta.sector import ciphers, engine, iv
from luksmeta.sector.cipher_spec import CipherSpec
from tests.corpus import CipherVector, cipher_vectors, stream

OWN_VECTORS = Path(__file__).parent / "vectors" / "dmcrypt.json"

# Mode and IV (cipher_null aside) of what is available.
AVAILABLE = {
    *(("xts", name) for name in ("plain", "plain64", "plain64be", "null", "essiv")),
    *(("cbc", name) for name in ("plain", "plain64", "plain64be", "null", "essiv")),
    *(("ecb", name) for name in (None, "null", "plain64")),
}
ROUND_TRIP = [
    *(("aes-xts-plain64", 32), ("aes-xts-plain64", 48), ("aes-xts-plain", 64)),
    *(("aes-cbc-plain64", 16), ("aes-cbc-essiv:sha256", 32), ("aes-cbc-null", 24)),
    *(("aes-ecb", 32), ("cipher_null-ecb", 0)),
]


def own_vectors() -> Iterator[CipherVector]:
    """What ``../shared`` has no vectors of: made the same way, from vectors/dmcrypt.spec."""
    for entry in json.loads(OWN_VECTORS.read_text(encoding="utf-8"))["vectors"]:
        yield CipherVector(
            id=entry["id"],
            cipher=entry["cipher"],
            key=bytes.fromhex(entry["key"]),
            sector_size=entry["sector_size"],
            iv_large_sectors=entry["iv_large_sectors"],
            iv_offset=entry["iv_offset"],
            sectors=entry["sectors"],
            ciphertext=base64.b64decode(entry["ciphertext_base64"]),
        )


def is_available(vector: CipherVector) -> bool:
    spec = CipherSpec.parse(vector.cipher)
    return spec.is_null or (spec.cipher == "aes" and (spec.mode, spec.iv) in AVAILABLE)


VECTORS = [*cipher_vectors(), *own_vectors()]
PASSING = pytest.mark.parametrize(
    "vector", [vector for vector in VECTORS if is_available(vector)], ids=lambda vector: vector.id
)


def create(vector: CipherVector) -> engine.SectorCipher:
    return engine.create(
        vector.cipher,
        SecretBytes(vector.key),
        vector.sector_size,
        large_iv=vector.iv_large_sectors,
    )


def encrypted(cipher: engine.SectorCipher, sector: int, data: bytes) -> bytes:
    out = bytearray(len(data))
    cipher.encrypt_into(sector, data, out)
    return bytes(out)


def decrypted(cipher: engine.SectorCipher, sector: int, data: bytes) -> bytes:
    out = bytearray(len(data))
    cipher.decrypt_into(sector, data, out)
    return bytes(out)


def in_pieces(
    apply: Callable[[engine.SectorCipher, int, bytes], bytes],
    cipher: engine.SectorCipher,
    first: int,
    data: bytes,
    cuts: list[int],
) -> bytes:
    """Apply to ``data`` cut at ``cuts``, in sectors of the cipher's size."""
    size = cipher.sector_size
    edges = [0, *sorted(cuts), len(data) // size]
    return b"".join(
        apply(cipher, first + start * size // 512, data[start * size : stop * size])
        for start, stop in pairwise(edges)
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
    "vector",
    [vector for vector in VECTORS if not is_available(vector)],
    ids=lambda vector: vector.id,
)
def test_what_is_not_available_is_refused_by_name(vector: CipherVector) -> None:
    with pytest.raises(AlgorithmError, match="not available") as caught:
        create(vector)
    assert (caught.value.kind, caught.value.name) == ("cipher", vector.cipher)


@pytest.mark.parametrize("entry", json.loads(OWN_VECTORS.read_text(encoding="utf-8"))["refused"])
def test_what_the_kernel_refuses_is_refused(entry: dict[str, str]) -> None:
    with pytest.raises(AlgorithmError):
        engine.create(entry["cipher"], SecretBytes(int(entry["key_bits"]) // 8))


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


@pytest.mark.parametrize("sector_size", engine.SECTOR_SIZES)
@pytest.mark.parametrize("key_size", [32, 64])
def test_both_makings_of_xts_agree(sector_size: int, key_size: int) -> None:
    key, data = SecretBytes(stream("xts", key_size)), stream("data", 1 << 13)
    ours = ciphers.AesXtsFromEcb(key, iv.Counter(), sector_size, large_iv=False)
    openssl = ciphers.AesXts(key, iv.Counter(), sector_size, large_iv=False)
    assert encrypted(ours, 8, data) == encrypted(openssl, 8, data)
    assert decrypted(ours, 8, data) == decrypted(openssl, 8, data)


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
    count = ciphers.CHUNK_SIZE // 512 + 3
    data = stream(text, 512) * count
    with engine.create(text, SecretBytes(stream("key", key_size))) as cipher:
        whole = encrypted(cipher, 7, data)
        assert in_pieces(encrypted, cipher, 7, data, list(range(1, count))) == whole
        assert decrypted(cipher, 7, whole) == data


@pytest.mark.parametrize("sector_size", [512, 4096])
@pytest.mark.parametrize(("text", "key_size"), ROUND_TRIP)
def test_data_and_out_may_be_the_same_buffer(text: str, key_size: int, sector_size: int) -> None:
    data = stream("data", 3 * ciphers.CHUNK_SIZE // 2)
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
