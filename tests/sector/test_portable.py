"""The portable part alone: every cipher specification that the kernel takes, and none besides."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luksmeta.errors import AlgorithmError
from luksmeta.sector import block_ciphers, engine, iv, runs
from luksmeta.sector.xts import Xts
from tests.corpus import SHARED, CipherVector, shared, stream
from tests.sector.passes import (
    OWN_VECTORS,
    VECTORS,
    decrypted,
    encrypted,
    in_pieces,
    portable_cipher,
)

# Linux 6.1 of Debian has no module for it.
LATER_KERNELS = {"capi:hctr2(aes)-plain64"}
ROUND_TRIP = [
    *(("aes-xts-plain64", 64), ("aes-xts-plain64", 48), ("aes-cbc-essiv:sha256", 32)),
    *(("aes-ecb", 16), ("aes-ctr-plain64", 32), ("aes-lrw-benbi", 48), ("aes-cbc-eboiv", 16)),
    *(("aes-cbc-elephant", 64), ("serpent-xts-plain64", 64), ("twofish-cbc-plain64be", 32)),
    *(("camellia-xts-plain", 32), ("cast5-cbc-plain64", 16), ("cast6-xts-plain64", 32)),
    *(("xchacha12,aes-adiantum-plain64", 32), ("aes-hctr2-plain64", 32), ("cipher_null-ecb", 0)),
    *(("aes:4-xts-plain64", 256), ("aes-cbc-benbi", 32)),
]
ONLY_512 = [("aes-cbc-lmk", 16), ("aes:64-cbc-lmk", 65 * 16), ("blowfish-cbc-tcw", 72)]
every_vector = pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.id)


def refused() -> list[dict[str, Any]]:
    """What the kernel did not take."""
    files = [SHARED / "vectors/ciphers.json", OWN_VECTORS]
    return [
        entry
        for file in files
        if file.exists()
        for entry in json.loads(file.read_text(encoding="utf-8"))["refused"]
        if entry["cipher"] not in LATER_KERNELS
    ]


def cipher_of(vector: CipherVector) -> engine.SectorCipher:
    return portable_cipher(
        vector.cipher, vector.key, vector.sector_size, large_iv=vector.iv_large_sectors
    )


def test_the_vectors_are_there() -> None:
    shared("vectors/ciphers.json")
    assert len(VECTORS) > 130


@every_vector
def test_both_directions_are_those_of_the_kernel(vector: CipherVector) -> None:
    with cipher_of(vector) as cipher:
        assert encrypted(cipher, vector.iv_offset, vector.plaintext) == vector.ciphertext
        assert decrypted(cipher, vector.iv_offset, vector.ciphertext) == vector.plaintext


@every_vector
def test_a_run_may_be_cut_at_any_sector(vector: CipherVector) -> None:
    chance = random.Random(vector.id)
    cuts = [chance.randrange(vector.sectors * 512 // vector.sector_size) for _ in range(3)]
    with cipher_of(vector) as cipher:
        ciphertext = in_pieces(encrypted, cipher, vector.iv_offset, vector.plaintext, cuts)
        plaintext = in_pieces(decrypted, cipher, vector.iv_offset, vector.ciphertext, cuts)
    assert ciphertext == vector.ciphertext
    assert plaintext == vector.plaintext


@pytest.mark.parametrize(
    "entry", refused(), ids=lambda entry: f"{entry['cipher']}/{entry['key_bits']}"
)
def test_what_the_kernel_refuses_is_refused(entry: dict[str, Any]) -> None:
    with pytest.raises(AlgorithmError):
        portable_cipher(entry["cipher"], bytes(entry["key_bits"] // 8), entry["sector_size"])


@pytest.mark.parametrize(
    ("text", "size", "reason"),
    [
        ("rot13-cbc-plain", 16, "not available; known are aes, serpent, .* in xts, cbc, .* mode"),
        ("aes-gcm-random", 16, "not available"),
        ("capi:xts-aes-aesni-plain64", 64, "not available"),
        ("cipher_null-cbc-plain", 0, "not available"),
        ("xcipher_null-ecb", 0, "not available"),
        ("aes-xts-random", 64, "IV random is not available with xts mode, known are plain"),
        ("aes-ctr-eboiv", 16, "IV eboiv is not available with ctr mode"),
        ("aes-xts-lmk", 32, "IV lmk goes with cbc mode"),
        ("aes-xts-elephant", 64, "IV elephant goes with cbc mode"),
        ("cast5-xts-plain64", 32, "not available"),
        ("aes:64-cbc-lmk", 16 * 63, "key has 1008 bytes, takes 1024, 1040, 1536, 1560, 2048"),
        ("aes-cbc-tcw", 32, "key has 32 bytes, takes 48, 56 or 64"),
        ("aes-cbc-elephant", 16, "key has 16 bytes, takes 32, 48 or 64"),
        ("aes-lrw-benbi", 16, "key has 16 bytes, takes 32, 40 or 48"),
        ("xchacha12,aes-adiantum-plain64", 64, "key has 64 bytes, takes 32"),
        ("twofish-xts-plain64", 40, "key has 40 bytes, takes 32, 48 or 64"),
    ],
)
def test_what_is_not_known_is_refused_with_what_is(text: str, size: int, reason: str) -> None:
    with pytest.raises(AlgorithmError, match=reason) as caught:
        portable_cipher(text, bytes(size))
    assert (caught.value.kind, caught.value.name) == ("cipher", text)


@pytest.mark.parametrize(("text", "key_size"), ROUND_TRIP)
@given(st.data())
def test_decryption_undoes_encryption_however_the_run_is_cut(
    text: str, key_size: int, data: st.DataObject
) -> None:
    sector_size = data.draw(st.sampled_from((512, 1024, 2048, 4096)))
    count = data.draw(st.integers(0, 3 if "cast6" not in text else 1))
    plaintext = data.draw(st.binary(min_size=16, max_size=16)) * (count * sector_size // 16)
    first = 8 * data.draw(st.integers(0, 1 << 61))
    cuts = data.draw(st.lists(st.integers(0, count), max_size=2))
    large_iv = data.draw(st.booleans())
    with portable_cipher(text, stream(text, key_size), sector_size, large_iv=large_iv) as cipher:
        ciphertext = encrypted(cipher, first, plaintext)
        assert in_pieces(encrypted, cipher, first, plaintext, cuts) == ciphertext
        assert in_pieces(decrypted, cipher, first, ciphertext, cuts) == plaintext


@pytest.mark.parametrize(("text", "key_size"), [*ROUND_TRIP, *ONLY_512])
def test_a_run_longer_than_a_chunk_in_one_buffer_is_its_sectors_one_by_one(
    text: str, key_size: int
) -> None:
    count = runs.CHUNK_SIZE // 512 + 3 if "cast6" not in text else 3
    buffer = bytearray(stream(text, 512) * count)
    data = bytes(buffer)
    with portable_cipher(text, stream("key", key_size)) as cipher:
        cipher.encrypt_into(7, buffer, buffer)
        assert in_pieces(encrypted, cipher, 7, data, list(range(1, count))) == buffer
        cipher.decrypt_into(7, memoryview(buffer), buffer)
    assert buffer == data


@pytest.mark.parametrize(("text", "key_size"), [*ROUND_TRIP, *ONLY_512])
def test_a_closed_cipher_is_of_no_use(text: str, key_size: int) -> None:
    cipher = portable_cipher(text, stream("key", key_size))
    cipher.close()
    cipher.close()
    with pytest.raises(ValueError, match="closed"):
        cipher.decrypt_into(0, bytes(512), bytearray(512))


@pytest.mark.parametrize("text", ["aes-xts-plain64", "serpent-xts-plain64", "camellia-xts-plain64"])
def test_xts_takes_equal_halves(text: str) -> None:
    """The ciphertext is that of the halves by themselves, whatever a library thinks of them."""
    half, data = stream("half", 32), stream("data", 1024)
    block_cipher = block_ciphers.create(text.partition("-")[0], half)
    out = bytearray(len(data))
    spelled_out = Xts(block_cipher, block_cipher, iv.Counter(), 512)
    spelled_out.encrypt(range(2), memoryview(data), memoryview(out))
    with portable_cipher(text, half * 2) as cipher:
        assert encrypted(cipher, 0, data) == out
