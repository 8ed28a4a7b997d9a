"""Hashes: the names of LUKS, and their values against published ones and a second library."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest

from luksmeta.errors import AlgorithmError
from luksmeta.kdf import hashes

ABC = {  # of b"abc", from the authors of each function
    "md5": "900150983cd24fb0d6963f7d28e17f72",  # RFC 1321 A.5
    "sha1": "a9993e364706816aba3e25717850c26c9cd0d89d",  # FIPS 180
    "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",  # FIPS 180
    "sha3-256": "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532",  # FIPS 202
    "ripemd160": "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc",  # Bosselaers' page
    "sm3": "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0",  # GM/T 0004
    "blake2s-256": "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982",  # RFC 7693
    "whirlpool": (  # ISO 10118-3
        "4e2448a4c6f486bb16b6562c73b4020bf3043e3a731bce721ae1b303d97e6d4c"
        "7181eebdb6c57e277d0e34957114cbd6c797fc9d95d8b582d225292076d4eef5"
    ),
}


@pytest.mark.parametrize("name", ABC)
def test_a_digest_is_the_published_one(name: str) -> None:
    assert hashes.get(name).digest(b"abc").hex() == ABC[name]


@pytest.mark.parametrize("name", hashes.NAMES)
def test_every_known_hash_gives_digests_of_its_size(name: str) -> None:
    function = hashes.get(name)
    assert function.name == name
    assert len(function.digest(bytearray(b"abc"))) == function.digest_size


@pytest.mark.parametrize("name", hashes.NAMES)
def test_both_libraries_agree_on_every_hash(name: str) -> None:
    assert hashes._openssl_digest(name)(b"abc") == hashes.get(name).digest(b"abc")


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("SHA256", "sha256"),
        ("SHA-256", "sha256"),
        ("sha2-512", "sha512"),
        ("Blake2b512", "blake2b-512"),
        ("RMD160", "ripemd160"),
        ("RIPEMD-160", "ripemd160"),
        ("Whirlpool", "whirlpool"),
    ],
)
def test_spellings_that_cryptsetup_accepts_are_accepted(spelling: str, name: str) -> None:
    assert hashes.get(spelling).name == name


@pytest.mark.parametrize("name", ["", "sha257", "shake128", "hmac(sha256)", "crc32", "sha256\n"])
def test_an_unknown_hash_is_an_algorithm_error_that_lists_the_known(name: str) -> None:
    with pytest.raises(AlgorithmError, match=r"known are .*sha256.*whirlpool") as caught:
        hashes.get(name)
    assert (caught.value.kind, caught.value.name) == ("hash", name)


def test_a_hash_that_openssl_lacks_is_an_algorithm_error_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(hashes._DIGEST_SIZES, "gone", 64)
    with pytest.raises(AlgorithmError, match="install cryptography's own wheel") as caught:
        hashes.get("gone")
    assert (caught.value.kind, caught.value.name) == ("hash", "gone")


def test_whirlpool_without_the_legacy_provider_is_an_algorithm_error() -> None:
    code = (
        "from luksmeta.kdf import hashes\n"
        "from luksmeta.errors import AlgorithmError\n"
        "assert hashes.get('ripemd160').digest(b'')\n"
        "try: hashes.get('whirlpool')\n"
        "except AlgorithmError as error: print(error.kind, error.name)\n"
    )
    environment = os.environ | {"CRYPTOGRAPHY_OPENSSL_NO_LEGACY": "1"}
    said = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    )
    assert said.stdout == "hash whirlpool\n"


@pytest.mark.parametrize("name", [name for name in hashes.NAMES if name != "whirlpool"])
def test_pbkdf2_equals_that_of_hashlib(name: str) -> None:
    spelling = {"blake2b-512": "blake2b", "blake2s-256": "blake2s"}.get(
        name, name.replace("-", "_")
    )
    key = bytearray(100)
    hashes.get(name).pbkdf2(b"pass\0word", b"salt", 3, memoryview(key))
    assert key == hashlib.pbkdf2_hmac(spelling, b"pass\0word", b"salt", 3, 100)


@pytest.mark.parametrize("iterations", [-1, 0, hashes.MAX_ITERATIONS + 1])
def test_impossible_iterations_are_a_value_error(iterations: int) -> None:
    with pytest.raises(ValueError, match=f"{iterations} iterations"):
        hashes.get("sha1").pbkdf2(b"", b"salt", iterations, memoryview(bytearray(20)))
