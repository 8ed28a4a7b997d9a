"""The modes that are spelled out, against published vectors and those that a library has whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luksmeta.sector import block_ciphers, iv, libgcrypt
from luksmeta.sector.lrw import Lrw
from luksmeta.sector.modes import Cbc, Ctr
from luksmeta.sector.openssl import AesPerSector, OpenSslCbc
from luksmeta.sector.parts import BlockCipher, SectorMode
from luksmeta.sector.xts import Xts, tweaks
from tests.corpus import stream

SECTOR_SIZES = (512, 1024, 2048, 4096)
NUMBERS = range(1 << 32, (1 << 32) + 3)


class Fixed:
    """An IV generator that gives one IV."""

    def __init__(self, iv: bytes) -> None:
        self.iv = iv

    def ivs(self, first: int, count: int, step: int) -> bytes:
        return self.iv * count


def encrypted(mode: SectorMode, numbers: range, data: bytes) -> bytes:
    out = bytearray(len(data))
    mode.encrypt(numbers, memoryview(data), memoryview(out))
    return bytes(out)


def decrypted(mode: SectorMode, numbers: range, data: bytes) -> bytes:
    out = bytearray(len(data))
    mode.decrypt(numbers, memoryview(data), memoryview(out))
    return bytes(out)


def aes(key: bytes) -> BlockCipher:
    return block_ciphers.create("aes", key)


def assert_alike(ours: SectorMode, theirs: SectorMode, sector_size: int) -> None:
    data = stream("data", len(NUMBERS) * sector_size)
    assert encrypted(ours, NUMBERS, data) == encrypted(theirs, NUMBERS, data)
    assert decrypted(ours, NUMBERS, data) == decrypted(theirs, NUMBERS, data)
    assert encrypted(ours, range(0), b"") == decrypted(ours, range(0), b"") == b""


# --- XTS ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sector_size", SECTOR_SIZES)
@pytest.mark.parametrize("key_size", [32, 64])
def test_xts_from_a_block_cipher_is_that_of_openssl(key_size: int, sector_size: int) -> None:
    key, half = stream("xts", key_size), key_size // 2
    ours = Xts(aes(key[:half]), aes(key[half:]), iv.Counter(), sector_size)
    assert_alike(ours, AesPerSector("xts", key, iv.Counter(), sector_size), sector_size)


def test_xts_with_equal_halves_gives_the_vector_of_ieee_1619() -> None:
    """IEEE 1619-2007, annex B, vector 1."""
    zeros = aes(bytes(16))
    mode = Xts(zeros, zeros, iv.Counter(), 32)
    expected = "917cf69ebd68b2ec9b9fe9a3eadda692cd43d2f59598ed858c02c2652fbf922e"
    assert encrypted(mode, range(1), bytes(32)).hex() == expected


@given(st.binary(min_size=16, max_size=16), st.integers(0, 3), st.sampled_from([1, 32, 256]))
def test_each_tweak_is_the_one_before_times_x(first: bytes, sectors: int, blocks: int) -> None:
    expected = bytearray()
    for sector in range(sectors):
        tweak = int.from_bytes(first, "little") ^ sector
        for _ in range(blocks):
            expected += tweak.to_bytes(16, "little")
            tweak = (tweak << 1) ^ (0x87 | 1 << 128 if tweak >> 127 else 0)
    firsts = b"".join(
        (int.from_bytes(first, "little") ^ sector).to_bytes(16, "little")
        for sector in range(sectors)
    )
    assert tweaks(firsts, blocks) == expected


# --- CBC and CTR --------------------------------------------------------------------------------


@pytest.mark.parametrize("sector_size", SECTOR_SIZES)
def test_cbc_from_a_block_cipher_is_that_of_openssl(sector_size: int) -> None:
    key = stream("cbc", 32)
    ours = Cbc(aes(key), iv.Counter(), sector_size)
    assert_alike(ours, OpenSslCbc("AES", 16, key, iv.Counter(), sector_size), sector_size)


@pytest.mark.parametrize("sector_size", SECTOR_SIZES)
def test_ctr_from_a_block_cipher_is_that_of_openssl(sector_size: int) -> None:
    key, ivs = stream("ctr", 32), Fixed(b"\xff" * 15 + b"\xf0")  # the counter wraps
    ours = Ctr(aes(key), ivs, sector_size)
    assert_alike(ours, AesPerSector("ctr", key, ivs, sector_size), sector_size)


def test_cbc_gives_the_vector_of_sp_800_38a() -> None:
    """NIST SP 800-38A, F.2.1, the first two blocks."""
    key = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
    plaintext = bytes.fromhex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51")
    expected = "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2"
    ivs = Fixed(bytes(range(16)))
    for mode in (Cbc(aes(key), ivs, 32), OpenSslCbc("AES", 16, key, ivs, 32)):
        assert encrypted(mode, range(1), plaintext).hex() == expected
        assert decrypted(mode, range(1), bytes.fromhex(expected)) == plaintext


def test_ctr_gives_the_vector_of_sp_800_38a() -> None:
    """NIST SP 800-38A, F.5.1, the first two blocks."""
    key = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
    plaintext = bytes.fromhex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51")
    expected = "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff"
    ivs = Fixed(bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"))
    for mode in (Ctr(aes(key), ivs, 32), AesPerSector("ctr", key, ivs, 32)):
        assert encrypted(mode, range(1), plaintext).hex() == expected


@pytest.mark.parametrize("sector_size", SECTOR_SIZES)
@pytest.mark.parametrize("mode", ["cbc", "xts"])
def test_libgcrypts_modes_are_those_of_openssl(mode: str, sector_size: int) -> None:
    key = stream(mode, 64 if mode == "xts" else 32)
    number = {"cbc": libgcrypt.CBC, "xts": libgcrypt.XTS}[mode]
    theirs: SectorMode
    if mode == "cbc":
        theirs = OpenSslCbc("AES", 16, key, iv.Counter(), sector_size)
    else:
        theirs = AesPerSector("xts", key, iv.Counter(), sector_size)
    ours = libgcrypt.LibgcryptMode(9, number, key, iv.Counter(), sector_size)
    assert_alike(ours, theirs, sector_size)


# --- LRW ----------------------------------------------------------------------------------------

# From IEEE P1619's draft of 2004, as in the kernel's crypto/testmgr.h: key, index, ciphertext of
# one block of "0123456789ABCDEF".
LRW = [
    (
        "4562ac25f828176d4c268414b5680185258e2a05e73e9d03ee5a830ccc094c87",
        1,
        "f1b273cd65a3df5fe95d489254634eb8",
    ),
    (
        "59704714f557478cd779e80f548879440d48f0b7b15a53ea1caa6b29c2cafbaf",
        2,
        "00c82bae95bbcde5274f0769b260e136",
    ),
]


@pytest.mark.parametrize(("key", "index", "ciphertext"), LRW)
def test_lrw_gives_the_vectors_of_p1619s_draft(key: str, index: int, ciphertext: str) -> None:
    raw = bytes.fromhex(key)
    mode = Lrw(aes(raw[:-16]), raw[-16:], Fixed(index.to_bytes(16, "big")), 16)
    assert encrypted(mode, range(1), b"0123456789ABCDEF").hex() == ciphertext
    assert decrypted(mode, range(1), bytes.fromhex(ciphertext)) == b"0123456789ABCDEF"


@pytest.mark.parametrize("index", [0, 1, 255, (1 << 64) - 3, (1 << 128) - 2])
def test_the_blocks_of_lrw_are_numbered_on_from_the_first(index: int) -> None:
    """Through carries, and from the last index to 0."""
    key, data = stream("lrw", 32), stream("data", 64)
    whole = Lrw(aes(key[:16]), key[16:], Fixed(index.to_bytes(16, "big")), 64)
    single = [
        Lrw(aes(key[:16]), key[16:], Fixed(((index + n) % (1 << 128)).to_bytes(16, "big")), 16)
        for n in range(4)
    ]
    expected = [
        encrypted(mode, range(1), data[16 * n : 16 * n + 16]) for n, mode in enumerate(single)
    ]
    assert encrypted(whole, range(1), data) == b"".join(expected)
