from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luksmeta.errors import AlgorithmError
from luksmeta.sector import block_ciphers, libgcrypt, openssl
from luksmeta.sector.block_ciphers import ALGORITHMS
from luksmeta.sector.twofish import Twofish
from tests.corpus import stream

# (cipher, key, plaintext block, ciphertext block), with where they are published
PUBLISHED = [
    # FIPS 197, appendix C
    *(
        ("aes", bytes(range(size)).hex(), "00112233445566778899aabbccddeeff", ciphertext)
        for size, ciphertext in (
            (16, "69c4e0d86a7b0430d8cdb78070b4c55a"),
            (24, "dda97ca4864cdfe06eaf70a0ec0d7191"),
            (32, "8ea2b7ca516745bfeafc49904b496089"),
        )
    ),
    # RFC 3713, appendix A
    *(
        ("camellia", f"0123456789abcdeffedcba9876543210{more}", *rest)
        for more, *rest in (
            ("", "0123456789abcdeffedcba9876543210", "67673138549669730857065648eabe43"),
            (
                "0011223344556677",
                *("0123456789abcdeffedcba9876543210", "b4993401b3e996f84ee5cee7d79b09b9"),
            ),
            (
                "00112233445566778899aabbccddeeff",
                *("0123456789abcdeffedcba9876543210", "9acc237dff16d76c20ef7c919e3a7509"),
            ),
        )
    ),
    # B. Schneier et al., "Twofish: A 128-Bit Block Cipher", appendix B.2
    ("twofish", "00" * 16, "00" * 16, "9f589f5cf6122c32b6bfec2f2ae8c35a"),
    (
        "twofish",
        "0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff",
        "00" * 16,
        "37527be0052334b89f0cfccae87cfa20",
    ),
    (
        "twofish",
        "0123456789abcdeffedcba98765432100011223344556677",
        "00" * 16,
        "cfd1d2e5a9be9cdf501f13b892bd2248",
    ),
    # RFC 2612, appendix A
    (
        "cast6",
        "2342bb9efa38542c0af75647f29f615d",
        "00" * 16,
        "c842a08972b43d20836c91d1b7530f6b",
    ),
    (
        "cast6",
        "2342bb9efa38542cbed0ac83940ac298bac77a7717942863",
        "00" * 16,
        "1b386c0210dcadcbdd0e41aa08a7a7e8",
    ),
    (
        "cast6",
        "2342bb9efa38542cbed0ac83940ac2988d7c47ce264908461cc1b5137ae6b604",
        "00" * 16,
        "4f6a2038286897b9c9870136553317fa",
    ),
    # RFC 2144, appendix B.1
    ("cast5", "0123456712345678234567893456789a", "0123456789abcdef", "238b4fe5847e44b2"),
    ("cast5", "01234567123456782345", "0123456789abcdef", "eb6a711a2c02271b"),
    ("cast5", "0123456712", "0123456789abcdef", "7ac816d16e9b302e"),
    # E. Young's vectors for Blowfish (schneier.com)
    ("blowfish", "00" * 8, "00" * 8, "4ef997456198dd78"),
    ("blowfish", "ff" * 8, "ff" * 8, "51866fd5b85ecb8a"),
    # NIST SP 800-67, appendix B; J. Grabbe's worked example of DES
    (
        "des3_ede",
        "0123456789abcdef23456789abcdef01456789abcdef0123",
        "5468652071756663",
        "a826fd8ce53b855f",
    ),
    ("des", "133457799bbcdff1", "0123456789abcdef", "85e813540f0ab405"),
]
each_published = pytest.mark.parametrize(("name", "key", "plaintext", "ciphertext"), PUBLISHED)
# OpenSSL in cryptography's own wheels has all of these.
IN_BOTH = [
    (algorithm, size)
    for algorithm in ALGORITHMS.values()
    for size in algorithm.libgcrypt
    if algorithm.openssl
]


@each_published
def test_a_block_cipher_gives_the_published_ciphertext(
    name: str, key: str, plaintext: str, ciphertext: str
) -> None:
    cipher = block_ciphers.create(name, bytes.fromhex(key))
    assert cipher.block_size == len(plaintext) // 2
    assert cipher.encrypt(bytes.fromhex(plaintext)).hex() == ciphertext
    assert cipher.decrypt(bytes.fromhex(ciphertext)).hex() == plaintext


@pytest.mark.parametrize(
    ("algorithm", "size"), IN_BOTH, ids=lambda value: getattr(value, "name", str(value))
)
def test_openssl_and_libgcrypt_agree(algorithm: block_ciphers.Algorithm, size: int) -> None:
    key, blocks = stream(algorithm.name, size), stream("blocks", 1024)
    assert algorithm.openssl is not None
    ours = openssl.OpenSslBlockCipher(algorithm.openssl, algorithm.block_size, key)
    number = block_ciphers.libgcrypt_number(algorithm, size)
    theirs = libgcrypt.LibgcryptBlockCipher(number, algorithm.block_size, key)
    assert ours.encrypt(blocks) == theirs.encrypt(blocks)
    assert ours.decrypt(blocks) == theirs.decrypt(blocks)


@pytest.mark.parametrize("size", [16, 32])
def test_our_twofish_is_that_of_libgcrypt(size: int) -> None:
    key, blocks = stream("twofish", size), stream("blocks", 256)
    theirs = block_ciphers.create("twofish", key)
    assert isinstance(theirs, libgcrypt.LibgcryptBlockCipher)
    assert Twofish(key).encrypt(blocks) == theirs.encrypt(blocks)
    assert Twofish(key).decrypt(blocks) == theirs.decrypt(blocks)


@pytest.mark.parametrize("name", ["camellia", "cast5", "blowfish", "des3_ede"])
def test_where_openssl_lacks_a_cipher_libgcrypt_gives_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, blocks = ALGORITHMS[name].key_sizes[-1], stream("blocks", 64)
    size = 16 if name == "blowfish" else size  # all that libgcrypt takes
    key = stream(name, size)
    by_openssl = block_ciphers.create(name, key).encrypt(blocks)
    monkeypatch.setattr(openssl, "is_available", lambda name, key_size: False)
    cipher = block_ciphers.create(name, key)
    assert isinstance(cipher, libgcrypt.LibgcryptBlockCipher)
    assert cipher.encrypt(blocks) == by_openssl
    if name == "blowfish":
        with pytest.raises(AlgorithmError, match=r"blowfish: .* keys of other than 56 bytes"):
            block_ciphers.create(name, stream(name, 56))


@given(st.sampled_from(sorted(ALGORITHMS)), st.integers(0, 4), st.binary(min_size=1, max_size=9))
def test_many_blocks_are_the_single_ones_in_a_row(name: str, count: int, seed: bytes) -> None:
    algorithm = ALGORITHMS[name]
    size = algorithm.block_size
    key = stream(seed.hex(), algorithm.key_sizes[-1])
    cipher = block_ciphers.create(name, key)
    blocks = stream(seed.hex(), count * size)
    single = [cipher.encrypt(blocks[start : start + size]) for start in range(0, len(blocks), size)]
    together = cipher.encrypt(blocks)
    assert b"".join(single) == together
    assert cipher.decrypt(together) == blocks


@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        ("rot13", 16, "known are aes, serpent, twofish, camellia, cast6, cast5, blowfish"),
        ("aes", 20, "key has 20 bytes, takes 16, 24 or 32"),
        ("blowfish", 57, "key has 57 bytes, takes 4 to 56"),
        ("des", 7, "key has 7 bytes, takes 8"),
    ],
)
def test_an_unknown_name_or_a_wrong_key_size_is_refused(name: str, size: int, reason: str) -> None:
    with pytest.raises(AlgorithmError, match=reason) as caught:
        block_ciphers.create(name, bytes(size))
    assert (caught.value.kind, caught.value.name) == ("cipher", name)


def test_without_libgcrypt_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing() -> None:
        raise OSError("libgcrypt.so.20: cannot open shared object file")

    monkeypatch.setattr(libgcrypt, "_library", missing)
    with pytest.raises(AlgorithmError, match=r"serpent: .*apt install libgcrypt20") as caught:
        block_ciphers.create("serpent", bytes(32))
    assert (caught.value.kind, caught.value.name) == ("cipher", "serpent")
    block_ciphers.create("aes", bytes(32))  # needs it not
    block_ciphers.create("cast6", bytes(32))


def test_what_libgcrypt_refuses_is_named() -> None:
    cipher = libgcrypt.LibgcryptBlockCipher(302, 8, bytes(8))  # a weak key of DES
    with pytest.raises(AlgorithmError, match=r"libgcrypt says: .*[Ww]eak"):
        cipher.encrypt(bytes(8))
