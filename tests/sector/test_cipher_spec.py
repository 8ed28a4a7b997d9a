from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luksmeta.errors import AlgorithmError
from luksmeta.sector.cipher_spec import TEXT_MAX, CipherSpec, check_key_size
from tests.corpus import cipher_vectors

# text -> cipher, key count, mode, IV, IV option; as crypt_ctr_cipher_old and _new read it
SPECIFICATIONS = {
    "aes-xts-plain64": ("aes", 1, "xts", "plain64", None),
    "aes-cbc-essiv:sha256": ("aes", 1, "cbc", "essiv", "sha256"),
    "aes-cbc-essiv:sha3-256": ("aes", 1, "cbc", "essiv", "sha3-256"),
    "aes-ecb": ("aes", 1, "ecb", None, None),
    "aes-cbc": ("aes", 1, "cbc", None, None),
    "aes": ("aes", 1, "cbc", "plain", None),
    "aes-plain": ("aes", 1, "cbc", "plain", None),
    "aes:64-cbc-lmk": ("aes", 64, "cbc", "lmk", None),
    "cipher_null-ecb": ("cipher_null", 1, "ecb", None, None),
    "cipher_null": ("cipher_null", 1, "ecb", None, None),
    "null": ("cipher_null", 1, "ecb", None, None),
    "aegis128-random": ("aegis128", 1, "random", None, None),
    "xchacha20,aes-adiantum-plain64": ("xchacha20,aes", 1, "adiantum", "plain64", None),
    "capi:xts(aes)-plain64": ("aes", 1, "xts", "plain64", None),
    "capi:cbc(aes)-essiv:sha256": ("aes", 1, "cbc", "essiv", "sha256"),
    "capi:cbc(aes)-essiv:sha3-256": ("aes", 1, "cbc", "essiv", "sha3-256"),
    "capi:essiv(cbc(aes),sha256)-plain64": ("aes", 1, "cbc", "essiv", "sha256"),
    "capi:essiv(cbc(aes),sha256)-plain": ("cbc(aes),sha256", 1, "essiv", "plain", None),
    "capi:adiantum(xchacha12,aes)-plain64": ("xchacha12,aes", 1, "adiantum", "plain64", None),
    "capi:cbc(aes)-lmk": ("aes", 64, "cbc", "lmk", None),
    "capi:ecb(aes)": ("aes", 1, "ecb", None, None),
    "capi:xts-aes-aesni-plain64": ("xts-aes-aesni", 1, None, "plain64", None),
    "capi:authenc(hmac(sha256),xts(aes))-random": (
        *("hmac(sha256),xts(aes)", 1, "authenc", "random", None),
    ),
}


@pytest.mark.parametrize("text", SPECIFICATIONS)
def test_a_specification_is_read_as_the_kernel_reads_it(text: str) -> None:
    spec = CipherSpec.parse(text)
    assert (
        spec.cipher,
        spec.key_count,
        spec.mode,
        spec.iv,
        spec.iv_option,
    ) == SPECIFICATIONS[text]
    assert str(spec) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "-", "aes-", "-xts-plain64", "aes--plain64", "aes-xts-", "aes-cbc-essiv:", ":1-cbc"),
        *("aes-essiv:sha256", "aes xts plain64", "aes-xts-plain64\n", "äes-xts-plain64", "aes\0"),
        *("xts(aes)-plain64", "aes-xts-plain64(", "capi:", "capi:-plain64", "capi:xts(aes)-"),
        *("capi:xts(aes-plain64", "capi:xts)aes(-plain64", "capi:cbc(aes-generic)"),
        *("capi:cbc(aes)-essiv:", "capi:cbc(aes):sha256", "aes:3-cbc-lmk", "aes:0-cbc-lmk"),
        "a" * (TEXT_MAX + 1),
    ],
)
def test_nonsense_is_refused_without_repeating_all_of_it(text: str) -> None:
    with pytest.raises(AlgorithmError) as caught:
        CipherSpec.parse(text)
    assert caught.value.kind == "cipher"
    assert len(str(caught.value)) < 200


@given(st.text(max_size=40) | st.text("aesx64:-(),", max_size=30).map("capi:".__add__))
def test_any_text_is_kept_as_it_is_or_refused(text: str) -> None:
    try:
        spec = CipherSpec.parse(text)
    except AlgorithmError:
        return
    assert str(spec) == text
    assert spec.cipher


def test_everything_the_kernel_took_is_read() -> None:
    for vector in cipher_vectors():
        spec = CipherSpec.parse(vector.cipher)
        check_key_size(spec, len(vector.key))
        assert spec.is_null == (vector.cipher == "cipher_null-ecb")


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("aes-xts-plain64", (32, 48, 64)),
        ("aes-cbc-plain", (16, 24, 32)),
        ("capi:xts(aes)-plain64", (32, 48, 64)),
        ("aes-cbc-elephant", (32, 48, 64)),
        ("aes:4-cbc-elephant", None),
        ("serpent-xts-plain64", (32, 48, 64)),
        ("twofish-lrw-benbi", (32, 40, 48)),
        ("blowfish-cbc-tcw", tuple(range(28, 81))),
        ("aes-cbc-tcw", (48, 56, 64)),
        ("aes-cbc-lmk", (16, 24, 32)),
        ("aes:64-cbc-lmk", (1024, 1040, 1536, 1560, 2048, 2080)),
        ("aes:2-xts-plain64", (64, 96, 128)),
        ("des3_ede-cbc-plain", (24,)),
        ("cast5-xts-plain64", None),
        ("xchacha20,aes-adiantum-plain64", (32,)),
        ("xchacha8,aes-adiantum-plain64", None),
        ("aes-hctr2-plain64", (16, 24, 32)),
        ("rot13-cbc-plain", None),
        ("aes-zzz-plain64", None),
        ("cipher_null-ecb", None),
    ],
)
def test_key_sizes_are_those_of_the_kernel(text: str, sizes: tuple[int, ...] | None) -> None:
    spec = CipherSpec.parse(text)
    assert spec.key_sizes == sizes
    for size in sizes or (0, 7, 64):
        check_key_size(spec, size)


def test_a_wrong_key_size_is_refused_with_the_sizes_that_fit() -> None:
    with pytest.raises(AlgorithmError, match="key has 33 bytes, takes 32, 48 or 64") as caught:
        check_key_size(CipherSpec.parse("aes-xts-plain64"), 33)
    assert (caught.value.kind, caught.value.name) == ("cipher", "aes-xts-plain64")
