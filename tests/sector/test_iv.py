from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luksmeta.errors import AlgorithmError
from luksmeta.secret import SecretBytes
from luksmeta.sector import block_ciphers, iv
from luksmeta.sector.cipher_spec import CipherSpec
from luksmeta.sector.parts import IvGenerator


def create(text: str) -> IvGenerator:
    return iv.create(CipherSpec.parse(text), SecretBytes(bytes(32)))


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("plain", "00000000" + "00" * 12),
        ("plain64", "0000000001000000" + "00" * 8),
        ("plain64be", "00" * 8 + "0000000100000000"),
        ("null", "00" * 16),
        ("plain64:ignored", "0000000001000000" + "00" * 8),
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
    for name in ("plain", "plain64", "plain64be", "benbi", "null", "essiv:sha256"):
        generator = create(f"aes-cbc-{name}")
        single = [bytes(generator.ivs(first + n * step, 1, step)) for n in range(count)]
        assert b"".join(single) == generator.ivs(first, count, step)


@pytest.mark.parametrize("hash_name", ["sha1", "sha224", "sha512"])
def test_essiv_refuses_a_hash_whose_size_is_no_key_size(hash_name: str) -> None:
    with pytest.raises(AlgorithmError, match="aes takes 16, 24 or 32") as caught:
        create(f"aes-cbc-essiv:{hash_name}")
    assert (caught.value.kind, caught.value.name) == ("hash", hash_name)


@pytest.mark.parametrize("hash_name", ["md4711", "../sha256"])
def test_essiv_refuses_an_unknown_hash(hash_name: str) -> None:
    with pytest.raises(AlgorithmError):
        create(f"aes-cbc-essiv:{hash_name}")


@pytest.mark.parametrize(
    "text", ["aes-cbc", "aes-cbc-essiv", "aes-cbc-random", "aes-cbc-plain65", "aes-cbc-lmk"]
)
def test_an_iv_that_is_not_available_is_refused_by_name(text: str) -> None:
    with pytest.raises(AlgorithmError, match=f"cipher {text}: IV .* is not available") as caught:
        create(text)
    assert caught.value.name == text


@pytest.mark.parametrize(
    ("text", "iv_size", "first"),
    [
        ("blowfish-cbc-plain64", 8, "0700000000000000"),
        ("blowfish-cbc-plain64be", 8, "0000000000000007"),
        ("blowfish-cbc-benbi", 8, "00000000000001c1"),  # 7 * 64 + 1
        ("aes-cbc-benbi", 16, "00" * 8 + "00000000000000e1"),  # 7 * 32 + 1
        ("aes-ctr-benbi", 16, "00" * 8 + "0000000000000e01"),  # 7 * 512 + 1: blocks of one byte
        ("aes-hctr2-plain64", 32, "07" + "00" * 31),
        ("aes-hctr2-plain64be", 32, "00" * 31 + "07"),
        ("aes-hctr2-null", 32, "00" * 32),
        ("xchacha12,aes-adiantum-benbi", 32, "00" * 24 + "00000000000000e1"),
    ],
)
def test_an_iv_is_as_long_as_a_block_or_a_tweak(text: str, iv_size: int, first: str) -> None:
    generator = iv.create(CipherSpec.parse(text), SecretBytes(bytes(32)), iv_size)
    assert generator.ivs(7, 1, 1).hex() == first


def test_essiv_encrypts_by_the_cipher_of_the_data() -> None:
    """The IV of sector 0 is the encrypted zero block; that of the 8-byte ciphers has 8 bytes."""
    for cipher, iv_size in (("serpent", 16), ("blowfish", 8)):
        spec = CipherSpec.parse(f"{cipher}-cbc-essiv:sha256")
        generator = iv.create(spec, SecretBytes(bytes(32)), iv_size)
        essiv_key = hashlib.sha256(bytes(32)).digest()
        expected = block_ciphers.create(cipher, essiv_key).encrypt(bytes(iv_size))
        assert generator.ivs(0, 1, 1) == expected


def test_essiv_is_refused_with_the_tweaks_of_wide_block_modes() -> None:
    with pytest.raises(AlgorithmError, match="IV essiv:sha256 is not available with hctr2 mode"):
        iv.create(CipherSpec.parse("aes-hctr2-essiv:sha256"), SecretBytes(bytes(32)), 32)
