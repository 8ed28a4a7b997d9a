"""The worked examples and the tables of spec/sector-encryption.md."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import pytest

from luksmeta.sector.block_ciphers import ALGORITHMS, spell_sizes
from tests.corpus import PROJECT, stream
from tests.sector.passes import VECTORS, encrypted, portable_cipher

DOCUMENT = (PROJECT / "spec" / "sector-encryption.md").read_text(encoding="utf-8")
EXAMPLES = json.loads(
    (PROJECT / "spec" / "vectors" / "sector-encryption.json").read_text(encoding="utf-8")
)["examples"]
OURS = ("aes-hctr2-plain64/256/s512",)
each_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["id"])


@each_example
def test_the_first_sector_is_that_of_the_example(example: dict[str, Any]) -> None:
    key = bytes.fromhex(example["key"])
    assert key == stream(f"{example['id']}/key", len(key))
    plaintext = stream(f"{example['id']}/plaintext", example["sector_size"])
    with portable_cipher(
        example["cipher"], key, example["sector_size"], large_iv=example["iv_large_sectors"]
    ) as cipher:
        ciphertext = encrypted(cipher, example["sector"], plaintext)
    assert ciphertext[:16].hex() == example["ciphertext_first"]
    assert hashlib.sha256(ciphertext).hexdigest() == example["ciphertext_sha256"]
    row = rf"\| (L3\.\d\.\d(, )?)+ \| `{re.escape(example['id'])}` \| `{ciphertext[:16].hex()}` \|"
    assert re.search(row, DOCUMENT)


@pytest.mark.parametrize(
    "example",
    [example for example in EXAMPLES if example["id"] not in OURS],
    ids=lambda example: example["id"],
)
def test_an_example_is_what_the_kernel_wrote(example: dict[str, Any]) -> None:
    known = {vector.id: vector for vector in VECTORS}
    if example["id"] not in known:
        pytest.skip("the shared vectors are not there")
    vector = known[example["id"]]
    assert vector.ciphertext[:16].hex() == example["ciphertext_first"]
    sector = vector.ciphertext[: vector.sector_size]
    assert hashlib.sha256(sector).hexdigest() == example["ciphertext_sha256"]


def test_the_block_ciphers_are_those_of_the_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (8|16) \| ([^|]+) \| ", DOCUMENT, re.MULTILINE)
    assert rows == [
        (algorithm.name, str(algorithm.block_size), spell_sizes(algorithm.key_sizes))
        for algorithm in ALGORITHMS.values()
    ]
