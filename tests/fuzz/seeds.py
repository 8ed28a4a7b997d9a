"""What the fuzzer starts from: good headers, named defects, and the corpus of ``../shared``."""

from __future__ import annotations

import lzma
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from luksmeta.errors import MetadataError
from luksmeta.luks1.partition_header import SIZE as LUKS1_SIZE
from luksmeta.luks2.json_text import compact_text
from luksmeta.luks2.limits import BINARY_HEADER_SIZE, HDR_SIZES
from tests import builders
from tests.corpus import SHARED
from tests.defects import documents
from tests.defects.luks1 import LUKS1_DEFECTS
from tests.defects.luks2 import DEFECTS
from tests.fuzz import hostile, targets

FOUND: Final = Path(__file__).with_name("found.tar.bz2")
"""Made by ``python -m tests.fuzz.keep FOLDER`` out of what ``--corpus FOLDER`` left there."""
_PREFIX: Final = 1 << 16  # bytes of a corpus image that are looked at
_MATERIAL: Final = b"\0" + bytes(range(256))


def seeds(name: str) -> list[bytes]:
    """The inputs for a target, each once, in the order of their making."""
    return list(dict.fromkeys(_MAKERS[name]()))


def found(name: str) -> list[bytes]:
    """The inputs that long runs found for a target, each of which goes where no other goes."""
    with tarfile.open(FOUND) as archive:
        files = (archive.extractfile(each) for each in archive if each.name.startswith(f"{name}/"))
        return [file.read() for file in files if file is not None]


def dictionary() -> str:
    """Words of both formats, in libFuzzer's notation."""
    words = {*hostile.NAMES, *hostile.TEXTS, *hostile.NUMBERS}
    encoded = sorted(word.encode("utf-8", "surrogatepass") for word in words)
    lines = ("".join(f"\\x{byte:02x}" for byte in word) for word in encoded if 0 < len(word) < 64)
    return "".join(f'"{line}"\n' for line in lines)


def _luks1() -> Iterator[bytes]:
    good = builders.image("luks1")[:LUKS1_SIZE]
    yield good
    yield good + (1 << 20).to_bytes(4, "big")
    for defect in LUKS1_DEFECTS:
        header = bytearray(good)
        defect.spoil(header)
        yield bytes(header[:LUKS1_SIZE])
    for image in _corpus("luks1"):
        yield image[:LUKS1_SIZE]


def _luks2() -> Iterator[bytes]:
    images = [builders.image("luks2")[:_PREFIX], *_corpus("luks2"), *_corpus("luks2-validation")]
    right = targets.FIX_PRIMARY | targets.FIX_SECONDARY
    for image in images:
        for wishes in (right, right | targets.FIX_OFFSETS, targets.FIX_SECONDARY, 0):
            yield bytes([wishes]) + _records(image) + _text(image)


def _json() -> Iterator[bytes]:
    bases = (
        documents.plain,
        documents.reencrypting,
        documents.opal,
        documents.two_segments,
        *(defect.document for defect in DEFECTS),
    )
    for make in bases:
        with suppress(MetadataError):
            yield compact_text(make())
    for image in (builders.image("luks2"), *_corpus("luks2"), *_corpus("luks2-validation")):
        yield _text(image)


def _keyslot() -> Iterator[bytes]:
    salt = targets.SALT.decode()
    kdfs = (
        {"type": "pbkdf2", "hash": "sha256", "iterations": 1000, "salt": salt},
        {"type": "argon2id", "time": 1, "memory": 8, "cpus": 1, "salt": salt},
        {"type": "argon2i", "time": 4, "memory": 64, "cpus": 2, "salt": salt},
    )
    ciphers = ("aes-xts-plain64", "aes-cbc-essiv:sha256", "aes-ecb", "cipher_null-ecb")
    for kdf in kdfs:
        for cipher in ciphers:
            keyslot = documents.keyslot(targets.KEYSLOT_AREA_OFFSET, kdf)
            keyslot["area"]["encryption"] = cipher
            yield compact_text(keyslot) + _MATERIAL


_MAKERS: Final[dict[str, Callable[[], Iterator[bytes]]]] = {
    "luks1": _luks1,
    "luks2": _luks2,
    "json": _json,
    "keyslot": _keyslot,
}


def _corpus(folder: str) -> Iterator[bytes]:
    """The first bytes of every image in a folder of the corpus; none where there is no corpus."""
    for path in sorted((SHARED / "corpus" / folder).glob("*.xz")):
        with lzma.open(path) as image:
            yield image.read(_PREFIX)


def _records(image: bytes) -> bytes:
    """The meaningful part of both binary headers; the second where its magic is found first."""
    second = next(
        (size for size in HDR_SIZES if image[size : size + 6] == b"SKUL\xba\xbe"), HDR_SIZES[0]
    )
    size = targets.RECORD_SIZE
    return image[:size] + image[second : second + size]


def _text(image: bytes) -> bytes:
    return image[BINARY_HEADER_SIZE : HDR_SIZES[0]].rstrip(b"\0")
