"""The worked examples of spec/vectors/header-trust.json, by plain code and by the package."""

from __future__ import annotations

import base64
import json
import zlib
from functools import cache
from typing import Any

import pytest

import luksmeta
from luksmeta import MemoryStorage
from luksmeta.luks2.json_text import parse_json
from luksmeta.trust import canonical
from tests import builders
from tests.corpus import PROJECT
from tests.test_spec_vectors import Vector, by_plain_code
from tests.trust import plain

VERSIONS = pytest.mark.parametrize("version", [1, 2], ids=["luks1", "luks2"])


@cache
def stated() -> dict[str, Any]:
    path = PROJECT / "spec" / "vectors" / "header-trust.json"
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values


@cache
def volume(version: int) -> bytes:
    vector = Vector.read(version)
    return vector.image(by_plain_code(vector))


def sealed_volume() -> bytes:
    document = builders.document_of(volume(2))
    document["tokens"] = {"0": stated()["seal"]["token"]}
    return builders.with_document(volume(2), document)


def test_values_are_encoded_as_stated() -> None:
    for each in stated()["encodings"]:
        value = parse_json(json.dumps({"value": each["json"]}).encode())["value"]
        assert plain.encode(each["json"]).hex() == each["encoded"]
        assert canonical.encode(value).hex() == each["encoded"]


@VERSIONS
def test_plain_code_measures_what_is_stated(version: int) -> None:
    values = stated()[f"luks{version}"]
    tree = {1: plain.luks1, 2: plain.luks2}[version](volume(version))
    assert tree == values["tree"]
    assert len(plain.encode(tree)) == values["encoded_size"]
    for name in ("sha256", "sha384", "sha512"):
        assert plain.measure(tree, name) == values[name]


@VERSIONS
def test_the_package_measures_what_is_stated(version: int) -> None:
    values = stated()[f"luks{version}"]
    storage = MemoryStorage(volume(version))
    with luksmeta.open(storage) as opened:
        assert canonical.tree(opened.header, storage) == values["tree"]
        for name in ("sha256", "sha384", "sha512"):
            assert opened.measure(name).hex() == values[name]


def test_plain_code_seals_as_stated() -> None:
    seal = stated()["seal"]
    volume_key, token = bytes.fromhex(seal["volume_key"]), seal["token"]
    assert plain.seal_key(volume_key).hex() == seal["key"]
    assert plain.mac(token, volume_key) == token["mac"]
    assert base64.b64decode(token["mac"]).hex() == seal["mac"]
    assert token["measurement"] == stated()["luks2"]["sha256"]
    assert zlib.decompress(base64.b64decode(token["record"])).decode() == seal["record_json"]


def test_the_package_takes_the_stated_seal() -> None:
    with luksmeta.open(MemoryStorage(sealed_volume()), writable=True) as opened:
        key = bytes.fromhex(stated()["seal"]["volume_key"])
        with opened.unlock(volume_key=key, require_seal=True) as unlocked:
            assert unlocked.verify_seal().counter == stated()["seal"]["token"]["counter"]
            opened.sealers.clear()
            opened.configure(label="changed")
            (finding,) = unlocked.verify_seal().findings
    assert (finding.path, finding.before, finding.after) == ("header.label", "vector", "changed")


def test_the_package_makes_the_stated_token() -> None:
    seal = stated()["seal"]
    storage = MemoryStorage(volume(2))
    with (
        luksmeta.open(storage, writable=True) as opened,
        opened.unlock(volume_key=bytes.fromhex(seal["volume_key"])) as unlocked,
    ):
        for _ in range(seal["token"]["counter"]):
            unlocked.seal()
        made = dict(opened.metadata.tokens[0].as_read)
    text = zlib.decompress(base64.b64decode(str(made["record"]))).decode()
    assert json.loads(text) == json.loads(seal["record_json"])
    names = ("type", "keyslots", "version", "counter", "measurement")
    assert [made[name] for name in names] == [seal["token"][name] for name in names]
    assert list(made) == list(seal["token"])
