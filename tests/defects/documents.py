"""Good LUKS2 documents to spoil, and images with a document in both header copies."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Any, TypeAlias

from luksmeta.luks2.json_text import compact_text

Document: TypeAlias = dict[str, Any]

HDR_SIZE = 16384
DATA_OFFSET = 16 << 20
_SALT = "z6vz4xK7cjan92rDA5JF8O6Jk2HouV0O8DMB6GlztVk="
_BINARY_HEADER = struct.Struct(">6sHQQ48s32s64s40s48sQ184x64s3584x")  # specification 2.1


def plain() -> Document:
    """Two keyslots, a token, one segment: much like section 3.1 of the specification."""
    kdfs = (
        {"type": "argon2id", "time": 4, "memory": 32, "cpus": 1, "salt": _SALT},
        {"type": "pbkdf2", "hash": "sha256", "iterations": 1000, "salt": _SALT},
    )
    return {
        "keyslots": {str(n): keyslot(32768 + n * 131072, kdf) for n, kdf in enumerate(kdfs)},
        "tokens": {"0": {"type": "luks2-keyring", "keyslots": ["1"], "key_description": "it"}},
        "segments": {"0": crypt(DATA_OFFSET)},
        "digests": {"0": digest(["0", "1"], ["0"])},
        "config": {"json_size": "12288", "keyslots_size": str(DATA_OFFSET - 2 * HDR_SIZE)},
    }


def reencrypting() -> Document:
    """A reencryption that has done the second half of the device."""
    document = plain()
    half = 8 << 20
    document["segments"] = {
        "0": crypt(DATA_OFFSET, str(half), encryption="aes-cbc-plain64"),
        "1": crypt(DATA_OFFSET + half, flags=["in-reencryption"]),
        "2": crypt(DATA_OFFSET, encryption="aes-cbc-plain64", flags=["backup-previous"]),
        "3": crypt(DATA_OFFSET, flags=["backup-final"]),
    }
    document["keyslots"]["2"] = {
        "type": "reencrypt",
        "key_size": 1,
        "mode": "reencrypt",
        "direction": "backward",
        "area": {
            "type": "checksum",
            "offset": "294912",
            "size": "131072",
            "hash": "sha256",
            "sector_size": 512,
        },
    }
    document["digests"] = {
        "0": digest(["0"], ["0", "2"]),
        "1": digest(["1"], ["1", "3"]),
        "2": digest(["2"], []),
    }
    document["config"]["requirements"] = {"mandatory": ["online-reencrypt-v2"]}
    return document


def opal() -> Document:
    """A segment that the drive encrypts."""
    document = plain()
    document["segments"]["0"] = {
        "type": "hw-opal",
        "offset": str(DATA_OFFSET),
        "size": "1048576",
        "opal_segment_number": 1,
        "opal_key_size": 32,
        "opal_segment_size": "1048576",
    }
    document["config"]["requirements"] = {"mandatory": ["opal"]}
    return document


def two_segments() -> Document:
    """Two regular segments, one behind the other."""
    document = plain()
    document["segments"] = {
        "0": crypt(DATA_OFFSET, "1048576"),
        "1": crypt(DATA_OFFSET + 1048576),
    }
    document["digests"]["0"]["segments"] = ["0", "1"]
    return document


def keyslot(offset: int, kdf: dict[str, Any]) -> Document:
    """A keyslot for a key of 32 bytes."""
    return {
        "type": "luks2",
        "key_size": 32,
        "af": {"type": "luks1", "stripes": 4000, "hash": "sha256"},
        "area": {
            "type": "raw",
            "offset": str(offset),
            "size": "131072",
            "encryption": "aes-xts-plain64",
            "key_size": 32,
        },
        "kdf": kdf,
    }


def crypt(
    offset: int,
    size: str = "dynamic",
    *,
    encryption: str = "aes-xts-plain64",
    flags: list[str] | None = None,
) -> Document:
    """An encrypted segment."""
    segment: Document = {
        "type": "crypt",
        "offset": str(offset),
        "size": size,
        "iv_tweak": "0",
        "encryption": encryption,
        "sector_size": 4096,
    }
    return segment if flags is None else {**segment, "flags": flags}


def digest(keyslots: list[str], segments: list[str]) -> Document:
    """A digest of these keyslots and segments."""
    return {
        "type": "pbkdf2",
        "keyslots": keyslots,
        "segments": segments,
        "hash": "sha256",
        "iterations": 1000,
        "salt": _SALT,
        "digest": _SALT,
    }


def write_image(path: Path, area: bytes) -> Path:
    """A sparse image with this JSON area behind both binary headers, checksums right."""
    with path.open("wb") as image:
        image.truncate(DATA_OFFSET + (32 << 20))
        for magic, offset in ((b"LUKS\xba\xbe", 0), (b"SKUL\xba\xbe", HDR_SIZE)):
            unsigned = _binary_header(magic, offset, b"")
            image.seek(offset)
            image.write(_binary_header(magic, offset, hashlib.sha256(unsigned + area).digest()))
            image.write(area)
    return path


def area_of(document: Document) -> bytes:
    """The JSON area of an image's header copy, control characters in it as they are."""
    return compact_text(document).replace(rb"\u0001", b"\x01").ljust(HDR_SIZE - 4096, b"\0")


def _binary_header(magic: bytes, offset: int, csum: bytes) -> bytes:
    uuid = b"2b4e6a0c-5b0f-4c8e-9d35-1d2f7a0b9c11"
    return _BINARY_HEADER.pack(
        magic, 2, HDR_SIZE, 3, b"", b"sha256", bytes(64), uuid, b"", offset, csum
    )
