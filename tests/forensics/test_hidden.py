"""What luksDump passes over, told; and that cryptsetup's own dump does pass over it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import luksmeta
from luksmeta.luks2.binary_header import BinaryHeader, with_checksum
from luksmeta.luks2.limits import BINARY_HEADER_SIZE
from tests.builders import document_of, image, with_document
from tests.interop.peers.cryptsetup import TOOL as CRYPTSETUP
from tests.storages import UntouchedStorage


def hidden(document: dict[str, Any]) -> dict[str, str]:
    disk = with_document(image("luks2"), document)
    return {each.path: each.why for each in luksmeta.inspect(UntouchedStorage(disk)).hidden}


def test_a_header_of_ours_hides_nothing() -> None:
    assert hidden(document_of(image("luks2"))) == {}


def crowded() -> dict[str, Any]:
    document = document_of(image("luks2"))
    document["keyslots"]["0"]["xnote"] = "hidden-1"
    document["keyslots"]["0"]["area"]["xnote"] = "hidden-2"
    document["segments"]["0"]["xnote"] = "hidden-3"
    document["digests"]["0"]["xnote"] = "hidden-4"
    document["config"]["xnote"] = "hidden-5"
    document["tokens"]["40"] = {"type": "hidden-6", "keyslots": []}
    document["tokens"]["3"] = {"type": "shown", "keyslots": [], "xnote": "hidden-7"}
    document["hidden-8"] = {}
    document["config"]["flags"] = ["shown-flag"]
    document["config"]["requirements"] = {"mandatory": ["shown-requirement"], "xnote": "hidden-9"}
    return document


def test_every_hiding_place_is_told() -> None:
    assert hidden(crowded()).keys() == {
        "keyslots.0.xnote",
        "keyslots.0.area.xnote",
        "segments.0.xnote",
        "digests.0.xnote",
        "config.xnote",
        "tokens.40",
        "tokens.3.xnote",
        "hidden-8",
        "config.requirements.xnote",
    }


def test_the_dump_of_cryptsetup_shows_none_of_it(tmp_path: Path) -> None:
    path = tmp_path / "crowded.img"
    path.write_bytes(with_document(image("luks2"), crowded()))
    dump = CRYPTSETUP.run("luksDump", path).decode()
    assert all(each in dump for each in ("shown", "shown-flag", "shown-requirement"))
    assert "hidden-" not in dump


def test_unknown_types_are_told() -> None:
    document = document_of(image("luks2"))
    document["digests"]["1"] = {"type": "odd", "keyslots": [], "segments": [], "more": [1, 2]}
    found = hidden(document)
    assert found["digests.1.type"] == "a type that is not known"


def test_a_member_that_comes_twice_is_told_with_its_first_value() -> None:
    data = bytearray(image("luks2"))
    for offset in (0, 0x4000):
        record = BinaryHeader.from_bytes(bytes(data[offset : offset + BINARY_HEADER_SIZE]))
        area = bytes(data[offset + BINARY_HEADER_SIZE : offset + record.hdr_size])
        text = area.rstrip(b"\0").replace(b'{"type":"luks2"', b'{"type":"luks2","xx":1,"xx":2')
        copy = with_checksum(record, text.ljust(len(area), b"\0"))
        data[offset : offset + len(copy)] = copy
    inspection = luksmeta.inspect(UntouchedStorage(data))
    assert inspection.diagnosis.is_sound
    assert [(each.path, each.value) for each in inspection.hidden] == [
        ("xx", 1),
        ("keyslots.0.xx", 2),
    ]


def test_a_reencryption_and_a_keyring_token_are_no_secret() -> None:
    document = document_of(image("luks2"))
    document["tokens"]["0"] = {"type": "luks2-keyring", "keyslots": [], "key_description": "x"}
    document["keyslots"]["0"]["priority"] = 2
    assert hidden(document) == {}
