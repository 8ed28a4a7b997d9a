from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luksmeta.errors import AlgorithmError
from luksmeta.secret import SecretBytes
from luksmeta.sector import iv
from luksmeta.sector.cipher_spec import CipherSpec


def create(text: str) -> iv.IvGenerator:
    return iv.create(CipherSpec.parse(text), SecretBytes(bytes(32)))


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("plain", "00000000" + "00" * 12),
        ("plain64", "0000000001000000" + "00" * 8),
        ("plain64be", "00" * 8 + "0000000100000000"),
        ("null", "00" * 16),
    ],
)
def test_a_generator_passes_2_to_the_32_as_dm_crypt_does(name: str, second: str) -> None:
    ivs = create(f"aes-cbc-{name}").ivs(0xFFFFFFFF, 2, 1)
    assert len(ivs) == 32
    assert ivs[16:].hex() == second


def test_numbers_wrap_at_64_bits() -> None:
    ivs = create("aes-xts-plain64").ivs((1 << 64) - 8, 2, 8)
    assert ivs == (((1 << 64) - 8).to_bytes(16, "little") + bytes(16))


@given(st.integers(0, 1 << 64), st.integers(0, 20), st.sampled_from([1, 2, 4, 8]))
def test_a_run_of_ivs_is_the_single_ones_in_a_row(first: int, count: int, step: int) -> None:
    for name in ("plain", "plain64", "plain64be", "null", "essiv:sha256"):
        generator = create(f"aes-cbc-{name}")
        single = [bytes(generator.ivs(first + n * step, 1, step)) for n in range(count)]
        assert b"".join(single) == generator.ivs(first, count, step)


@pytest.mark.parametrize("hash_name", ["sha1", "sha224", "sha512"])
def test_essiv_refuses_a_hash_whose_size_is_no_key_size(hash_name: str) -> None:
    with pytest.raises(AlgorithmError, match="AES takes 16, 24 or 32") as caught:
        create(f"aes-cbc-essiv:{hash_name}")
    assert (caught.value.kind, caught.value.name) == ("hash", hash_name)


@pytest.mark.parametrize("hash_name", ["md4711", "../sha256"])
def test_essiv_refuses_an_unknown_hash(hash_name: str) -> None:
    with pytest.raises(AlgorithmError):
        create(f"aes-cbc-essiv:{hash_name}")


@pytest.mark.parametrize(
    "text", ["aes-cbc", "aes-cbc-benbi", "aes-cbc-essiv", "aes-cbc-plain64:1", "aes-cbc-lmk"]
)
def test_an_iv_that_is_not_available_is_refused_by_name(text: str) -> None:
    with pytest.raises(AlgorithmError, match=f"cipher {text}: IV .* is not available") as caught:
        create(text)
    assert caught.value.name == text
