"""The canonical encoding, measurement and seal by plain code, written from spec/header-trust.md.

Nothing of the package is used: what this computes, any other language can.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import struct
from typing import Any

FORMAT = "luksmeta-header-v1"


def encode(value: Any) -> bytes:  # noqa: ANN401  # any JSON value
    match value:
        case None:
            return b"n"
        case True | False:
            return b"t" if value else b"f"
        case int():
            return b"i%de" % value
        case float():
            return b"r" + struct.pack(">d", value).hex().encode()
        case str():
            data = value.encode("utf-8", "surrogateescape")
            return b"%d:%s" % (len(data), data)
        case list():
            return b"l" + b"".join(map(encode, value)) + b"e"
    pairs = sorted((name.encode("utf-8", "surrogateescape"), name) for name in value)
    return b"d" + b"".join(encode(name) + encode(value[name]) for _, name in pairs) + b"e"


def luks2(image: bytes) -> dict[str, Any]:
    """The tree of an attached volume whose primary header copy is good."""
    hdr_size = int.from_bytes(image[8:16], "big")
    document = json.loads(image[4096:hdr_size].rstrip(b"\0").decode("utf-8", "surrogateescape"))
    tokens = document["tokens"]
    seals = [each for each in tokens if tokens[each]["type"] == "luksmeta-seal"]
    if len(seals) == 1:
        document["tokens"] = {each: tokens[each] for each in tokens if each != seals[0]}
    padding = image[264:448] + image[480:512] + image[512:4096]  # behind a csum of SHA-256
    start, size = 2 * hdr_size, int(document["config"]["keyslots_size"])
    taken = {
        each: range(int(area["offset"]), int(area["offset"]) + int(area["size"]))
        for each, keyslot in document["keyslots"].items()
        for area in [keyslot["area"]]
    }
    free, at = b"", start
    for place in sorted(taken.values(), key=lambda place: place.start):
        free, at = free + image[at : place.start], place.stop
    free += image[at : start + size]
    data = min(int(each["offset"]) for each in document["segments"].values())
    areas = {each: sha256(image[place.start : place.stop]) for each, place in taken.items()}
    return {
        "format": FORMAT,
        "header": {
            "version": 2,
            "hdr_size": hdr_size,
            "uuid": text(image[168:208]),
            "label": text(image[24:72]),
            "subsystem": text(image[208:256]),
            "csum_alg": text(image[72:104]),
            "padding": unless_zero(padding),
        },
        "metadata": document,
        "areas": {
            **areas,
            "free": sha256(free),
            "behind": unless_zero(image[start + size : data]),
        },
    }


def luks1(image: bytes) -> dict[str, Any]:
    """The tree of a LUKS1 volume."""

    def number(at: int) -> int:
        return int.from_bytes(image[at : at + 4], "big")

    keyslots: dict[str, Any] = {
        str(each): {
            "active": number(at),
            "iterations": number(at + 4),
            "salt": image[at + 8 : at + 40].hex(),
            "key_material_offset": number(at + 40),
            "stripes": number(at + 44),
        }
        for each, at in enumerate(range(208, 592, 48))
    }
    size = -(-number(108) * 4000 // 512) * 512
    return {
        "format": FORMAT,
        "header": {
            "version": 1,
            "cipher_name": text(image[8:40]),
            "cipher_mode": text(image[40:72]),
            "hash_spec": text(image[72:104]),
            "payload_offset": number(104),
            "key_bytes": number(108),
            "mk_digest": image[112:132].hex(),
            "mk_digest_salt": image[132:164].hex(),
            "mk_digest_iter": number(164),
            "uuid": text(image[168:208]),
        },
        "keyslots": keyslots,
        "areas": {
            each: sha256(image[entry["key_material_offset"] * 512 :][:size])
            for each, entry in keyslots.items()
            if entry["active"] == 0x00AC71F3
        },
    }


def measure(tree: dict[str, Any], hash: str = "sha256") -> str:
    return hashlib.new(hash, encode(tree)).hexdigest()


def seal_key(volume_key: bytes) -> bytes:
    """HKDF-SHA256 (RFC 5869) of one block: extract with zeroes for salt, expand with the info."""
    pseudorandom = hmac.digest(bytes(32), volume_key, "sha256")
    return hmac.digest(pseudorandom, b"luksmeta-seal-v1\x01", "sha256")


def mac(token: dict[str, Any], volume_key: bytes) -> str:
    covered = {name: value for name, value in token.items() if name != "mac"}
    tag = hmac.digest(seal_key(volume_key), encode(covered), "sha256")
    return base64.b64encode(tag).decode()


def text(field: bytes) -> str:
    return field.rstrip(b"\0").decode("utf-8", "surrogateescape")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def unless_zero(data: bytes) -> str:
    data = data.rstrip(b"\0")
    return sha256(data) if data else ""
