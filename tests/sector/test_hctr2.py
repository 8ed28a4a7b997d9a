from __future__ import annotations

import json
from pathlib import Path

import pytest

from luksmeta.sector import block_ciphers
from luksmeta.sector.hctr2 import Hctr2
from luksmeta.sector.polyval import Polyval
from tests.corpus import stream
from tests.sector.passes import decrypted, encrypted, portable_cipher

_FILE = Path(__file__).parent / "vectors" / "hctr2.json"
PUBLISHED = [
    {name: bytes.fromhex(value) for name, value in vector.items()}
    for vector in json.loads(_FILE.read_text(encoding="utf-8"))["vectors"]
]
each_published = pytest.mark.parametrize(
    "vector", PUBLISHED, ids=[f"{len(v['tweak'])}-{len(v['plaintext'])}" for v in PUBLISHED]
)


@each_published
def test_hctr2_gives_the_published_ciphertexts(vector: dict[str, bytes]) -> None:
    hctr2 = Hctr2(block_ciphers.create("aes", vector["key"]))
    assert hctr2.encrypt(vector["tweak"], vector["plaintext"]) == vector["ciphertext"]
    assert hctr2.decrypt(vector["tweak"], vector["ciphertext"]) == vector["plaintext"]


def test_polyval_gives_the_value_of_rfc_8452() -> None:
    """Appendix A."""
    key = bytes.fromhex("25629347589242761d31f826ba4b757b")
    data = bytes.fromhex("4f4f95668c83dfb6401762bb2d01a262d1a24ddd2721d006bbe45f20d3c9f362")
    expected = bytes.fromhex("f7a3b47b846119fae5b7866cf5e5b77e")
    assert Polyval(key).hash(data) == int.from_bytes(expected, "little")


@pytest.mark.parametrize("text", ["aes-hctr2-plain64", "capi:hctr2(aes)-plain64"])
@pytest.mark.parametrize("sector_size", [512, 4096])
def test_a_sector_is_one_message_with_its_iv_of_32_bytes_as_the_tweak(
    text: str, sector_size: int
) -> None:
    key, data = stream("key", 32), stream("data", 2 * sector_size)
    hctr2 = Hctr2(block_ciphers.create("aes", key))
    first = 1 << 33
    expected = b"".join(
        hctr2.encrypt(
            (first + index * sector_size // 512).to_bytes(32, "little"),
            data[index * sector_size : (index + 1) * sector_size],
        )
        for index in range(2)
    )
    with portable_cipher(text, key, sector_size) as cipher:
        assert encrypted(cipher, first, data) == expected
        assert decrypted(cipher, first, expected) == data
