"""Volumes without a header as a real kernel makes them, and the settings that they were made with.

A case's options are those of ``cryptsetup open``, and ours. The plaintext is the start of
``stream(name + "/plaintext")``; the image, DISK_SIZE bytes of zeroes before, is kept as a digest in
spec/vectors/headerless.json, with the device-mapper table. tests/interop/test_headerless.py makes
that file: see there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, Literal

from tests.corpus import PROJECT, stream

DISK_SIZE: Final = 64 << 10  # bytes
VECTORS: Final = PROJECT / "spec" / "vectors" / "headerless.json"

How = Literal["typed", "key file", "stdin"]

_INTEGERS: Final = ("offset", "skip", "size", "sector_size")


@dataclass(frozen=True)
class Case:
    """One volume; ``secret`` is typed (without its newline), a key file, or all of stdin."""

    name: str
    type: Literal["plain", "loopaes"]
    options: tuple[str, ...]
    secret: bytes = field(repr=False)
    how: How = "typed"

    @property
    def plaintext(self) -> bytes:
        """As much as any mapping takes."""
        return stream(f"{self.name}/plaintext", DISK_SIZE)

    def keywords(self) -> dict[str, Any]:
        """The options as open_plain and open_loopaes have them."""
        found: dict[str, Any] = {}
        words = iter(self.options)
        short = {"-c": "--cipher", "-s": "--key-size", "-h": "--hash"}
        for word in words:
            name = short.get(word, word).removeprefix("--").replace("-", "_")
            found[name] = True if name == "iv_large_sectors" else next(words)
        for name in _INTEGERS:
            if name in found:
                found[name] = int(found[name])
        if "key_size" in found:
            found["key_size"] = int(found["key_size"]) // 8
        return found


@dataclass(frozen=True)
class Made:
    """What the kernel made of a case: the digest of the image, and the mapping's table."""

    sha256: str
    table: str

    @property
    def key(self) -> bytes:
        """The volume key."""
        return bytes.fromhex(self.table.split()[4])

    @property
    def size(self) -> int:
        """The mapping's bytes."""
        return int(self.table.split()[1]) * 512


def _plain(name: str, options: str, secret: bytes | None = None, how: How = "typed") -> Case:
    return Case(name, "plain", tuple(options.split()), secret or f"pass {name}".encode(), how)


def _keys(count: int, *, length: int = 60, end: str = "\n") -> bytes:
    """A key file of so many lines."""
    text = stream("keys", count * length).hex()
    return "".join(text[n * length : (n + 1) * length] + end for n in range(count)).encode()


def _loopaes(name: str, options: str, key_file: bytes) -> Case:
    return Case(name, "loopaes", tuple(options.split()), key_file, "key file")


_XTS = "-c aes-xts-plain64"
_CBC = "-c aes-cbc-plain"
_KEY_FILE = b"\0\n" + stream("key file", 98)

CASES: Final = (
    # How a passphrase becomes a key.
    _plain("defaults-2.7", f"{_XTS} -s 256 -h sha256"),
    _plain("defaults-1.1", "-c aes-cbc-essiv:sha256 -s 256 -h ripemd160"),
    _plain("defaults-1.0", f"{_CBC} -s 256 -h ripemd160"),
    _plain("short-cipher", "-c aes -s 256 -h ripemd160"),
    _plain("two-digests", f"{_XTS} -s 512 -h sha256"),
    _plain("four-digests", f"{_XTS} -s 512 -h sha1"),
    _plain("whirlpool", f"{_XTS} -s 512 -h whirlpool"),
    _plain("cut-digest", f"{_CBC} -s 192 -h sha512"),
    _plain("hash-length", f"{_CBC} -s 256 -h ripemd160:20"),
    _plain("hash-length-over-a-digest", f"{_XTS} -s 512 -h sha1:50"),
    _plain("no-hash-filled", f"{_CBC} -s 256 -h plain", b"short"),
    _plain("no-hash-cut", f"{_CBC} -s 128 -h plain", b"longer than sixteen bytes"),
    _plain("no-hash-length", f"{_CBC} -s 128 -h plain:10", b"longer than ten bytes"),
    _plain("utf-8", f"{_XTS} -s 256 -h sha512", "Straße €".encode()),
    _plain("stdin-with-newline", f"{_XTS} -s 256 -h sha256", b"two\nlines\n", "stdin"),
    _plain("key-file", f"{_XTS} -s 512", _KEY_FILE, "key file"),
    _plain("key-file-offset", f"{_XTS} -s 256 --keyfile-offset 2", _KEY_FILE, "key file"),
    # Ciphers of older programs.
    _plain("ecb", "-c aes-ecb -s 256 -h sha512"),
    _plain("loop-fish2", "-c twofish-cbc-null -s 192 -h ripemd160:20"),
    _plain("serpent", "-c serpent-cbc-plain -s 256 -h sha512"),
    _plain("blowfish", "-c blowfish-cbc-plain -s 128 -h ripemd160"),
    _plain("triple-des", "-c des3_ede-cbc-plain -s 192 -h ripemd160"),
    # Where the data lies, and how sectors are counted.
    _plain("offset", f"{_XTS} -s 256 -h sha256 --offset 16"),
    _plain("skip", f"{_XTS} -s 256 -h sha256 --skip 5"),
    _plain("size", f"{_XTS} -s 256 -h sha256 --size 3"),
    _plain("all-three", f"{_CBC}64 -s 256 -h sha256 --offset 9 --skip 4294967290 --size 40"),
    _plain("plain-wraps", f"{_CBC} -s 256 -h sha256 --skip 4294967290"),
    _plain("sector-size", f"{_XTS} -s 512 -h sha512 --sector-size 4096 --skip 8"),
    _plain(
        "large-sectors",
        f"{_XTS} -s 512 -h sha512 --sector-size 4096 --offset 8 --skip 16 --iv-large-sectors",
    ),
    # loop-AES.
    _loopaes("v1-128", "-s 128", _keys(1)),
    _loopaes("v1-192", "-s 192", _keys(1)),
    _loopaes("v1-256", "-s 256", _keys(1)),
    _loopaes("v2-128", "-s 128", _keys(64)),
    _loopaes("v2-256", "-s 256", _keys(64)),
    _loopaes("v3-128", "-s 128", _keys(65)),
    _loopaes("v3-192", "-s 192", _keys(65)),
    _loopaes("v3-256", "-s 256", _keys(65)),
    _loopaes("v3-serpent", "-c serpent -s 256", _keys(65)),
    _loopaes("v2-twofish", "-c twofish -s 128", _keys(64)),
    _loopaes("v3-hash", "-s 256 -h whirlpool", _keys(65)),
    _loopaes("v3-offset", "-s 256 --offset 8", _keys(65)),
    _loopaes("v3-offset-skip", "-s 256 --offset 8 --skip 0", _keys(65)),
    _loopaes("carriage-returns", "-s 128", _keys(64, end="\r\n")),
    _loopaes("empty-lines", "-s 128", _keys(64, end="\n\n")),
    _loopaes("short-keys", "-s 128", _keys(65, length=1)),
)

REFUSED: Final = (
    _plain("key-file-too-short", f"{_XTS} -s 512", bytes(63), "key file"),
    _plain("no-hash-too-short", f"{_CBC} -s 128 -h plain:10", b"too short"),
    _plain("hash-length-too-long", f"{_CBC} -s 128 -h sha256:17"),
    _plain("unknown-hash", f"{_CBC} -s 128 -h md7"),
    _plain("offset-past-the-end", f"{_XTS} -s 256 -h sha256 --offset 128"),
    _plain("size-past-the-end", f"{_XTS} -s 256 -h sha256 --offset 1 --size 128"),
    _plain("no-whole-sectors", f"{_XTS} -s 256 -h sha256 --sector-size 4096 --offset 1"),
    _plain("uneven-size", f"{_XTS} -s 256 -h sha256 --sector-size 4096 --size 7"),
    _plain(
        "uneven-skip", f"{_XTS} -s 256 -h sha256 --sector-size 4096 --skip 7 --iv-large-sectors"
    ),
    _plain("odd-key-size", f"{_XTS} -s 320 -h sha256"),
    _plain("odd-sector-size", f"{_XTS} -s 256 -h sha256 --sector-size 1536"),
    _loopaes("two-keys", "-s 256", _keys(2)),
    _loopaes("sixty-six-keys", "-s 256", _keys(66)),
    _loopaes("no-line-end", "-s 256", _keys(65)[:-1]),
    _loopaes("uneven-keys", "-s 256", _keys(63) + b"short\n"),
    _loopaes("no-keys", "-s 256", b"\n\n"),
    _loopaes("gpg", "-s 256", b"-----BEGIN PGP MESSAGE-----\n"),
    _loopaes("key-longer-than-hash", "-s 256 -h sha1", _keys(65)),
    _loopaes("odd-loopaes-key-size", "-s 160", _keys(65)),
)


@cache
def made() -> dict[str, Made]:
    """What the kernel made, by case."""
    vectors = json.loads(VECTORS.read_text(encoding="utf-8"))["vectors"]
    return {name: Made(**vector) for name, vector in vectors.items()}


def digest(image: bytes | bytearray) -> str:
    """As in the vectors."""
    return hashlib.sha256(image).hexdigest()


def cases(type: str, among: Sequence[Case] = CASES) -> list[Case]:
    """Those of one type."""
    return [case for case in among if case.type == type]
