"""The seal: a LUKS2 token that authenticates the header with a key derived from the volume key.

Its MAC covers the token itself, which holds the SHA-256 of the header's canonical encoding, a
counter, and a record of what was sealed, so that changes can be named. cryptsetup and systemd leave
tokens of a type that they do not know alone. Source: spec/header-trust.md, L5.7.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from luksmeta.errors import LuksError
from luksmeta.luks2.document_reading import from_base64
from luksmeta.luks2.json_text import compact_text, parse_json
from luksmeta.model import JsonObject, JsonValue, Token
from luksmeta.secret import SecretBytes
from luksmeta.trust import canonical
from luksmeta.trust.canonical import Path
from luksmeta.trust.terms import COUNTER_MAX, SEAL_TYPE

VERSION: Final = 1
_INFO: Final = b"luksmeta-seal-v1"
_MAC_SIZE: Final = 32
_RECORD_MAX: Final = 16 << 20  # bytes; four times the largest JSON area
_FINGERPRINT: Final = 16
"""Hex digits: enough to name what has changed; the measurement proves that nothing has."""


@dataclass(frozen=True, slots=True)
class Record:
    """What was sealed: its parts as they were or, with ``is_short``, a fingerprint of each."""

    parts: Mapping[Path, JsonValue]
    is_short: bool = False

    @classmethod
    def of(cls, tree: JsonObject) -> Self:
        """The record of a canonical tree."""
        return cls(canonical.objects(tree))

    def shortened(self) -> Record:
        """The same with fingerprints, which take some 15 bytes each."""
        prints: dict[Path, JsonValue] = {path: fingerprint(v) for path, v in self.parts.items()}
        return Record(prints, is_short=True)

    def to_text(self) -> str:
        """As it is stored: base64 of zlib of JSON."""
        return base64.b64encode(zlib.compress(self._json(), 9)).decode()

    @property
    def can_be_read(self) -> bool:
        """Whether JSON parsers take it: it is nested two levels deeper than the header is."""
        try:
            parse_json(self._json())
        except LuksError:
            return False
        return True

    def _json(self) -> bytes:
        """An array of arrays: the path of a part, and the part."""
        ordered = sorted(self.parts.items(), key=_path)
        parts: list[JsonValue] = [[*path, value] for path, value in ordered]
        return compact_text({"short": self.is_short, "parts": parts})

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The record in a text that is proved by the MAC; ValueError."""
        inflating = zlib.decompressobj()
        try:
            content = inflating.decompress(from_base64(text), _RECORD_MAX)
            members = parse_json(content)
        except (zlib.error, LuksError) as error:
            raise ValueError(f"record: {error}") from error
        parts = members.get("parts")
        if not isinstance(parts, list):
            raise ValueError("record: has no parts")  # noqa: TRY004  # of a text, not of a call
        return cls(dict(map(_part, parts)), members.get("short") is True)


@dataclass(frozen=True, slots=True)
class Seal:
    """What a seal says: the counter, the measurement (SHA-256) of the header, and the record."""

    counter: int
    measurement: bytes
    record: Record

    def token(self, volume_key: SecretBytes) -> Token:
        """The token that says it, with its MAC."""
        members: dict[str, JsonValue] = {
            "type": SEAL_TYPE,
            "keyslots": [],
            "version": VERSION,
            "counter": self.counter,
            "measurement": self.measurement.hex(),
            "record": self.record.to_text(),
        }
        members["mac"] = base64.b64encode(mac(members, volume_key)).decode()
        return Token(type=SEAL_TYPE, keyslots=(), as_read=members)

    @classmethod
    def proved(cls, members: JsonObject, volume_key: SecretBytes) -> Self:
        """The seal in a token's JSON object; ValueError when this volume key did not make it."""
        stored = from_base64(members.get("mac"))
        with SecretBytes(mac(members, volume_key)) as computed:
            if not computed.matches(stored):
                raise ValueError("was not made with this volume key, or has been changed")
        return cls._said(members)

    @classmethod
    def _said(cls, members: JsonObject) -> Self:
        version, counter = members.get("version"), members.get("counter")
        measurement, record = members.get("measurement"), members.get("record")
        if type(version) is not int or version != VERSION or members.get("keyslots") != []:
            raise ValueError(f"is of version {version!r}, known is {VERSION}")
        if type(counter) is not int or not 0 < counter <= COUNTER_MAX:  # True is none
            raise ValueError(f"has the counter {counter!r}")
        if not isinstance(measurement, str) or not isinstance(record, str):
            raise ValueError("has no measurement and record")  # noqa: TRY004  # as above
        return cls(counter, bytes.fromhex(measurement), Record.from_text(record))


def mac(members: JsonObject, volume_key: SecretBytes) -> bytes:
    """HMAC-SHA256 of the encoded token without its ``mac``, by HKDF-SHA256 of the volume key."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.hmac import HMAC
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    covered = {name: value for name, value in members.items() if name != "mac"}
    with SecretBytes(_MAC_SIZE) as key:
        hkdf = HKDF(algorithm=SHA256(), length=_MAC_SIZE, salt=None, info=_INFO)
        hkdf.derive_into(volume_key.view(), key.view())
        computing = HMAC(key.view(), SHA256())
        computing.update(canonical.encode(covered))
        return computing.finalize()


def fingerprint(part: JsonValue) -> str:
    """The first 16 hex digits of the SHA-256 of an encoded part."""
    return hashlib.sha256(canonical.encode(part)).hexdigest()[:_FINGERPRINT]


def _path(item: tuple[Path, JsonValue]) -> Path:
    return item[0]


def _part(entry: JsonValue) -> tuple[Path, JsonValue]:
    if not isinstance(entry, list) or len(entry) <= 1:
        raise ValueError("record: a part is no array of a path and a value")
    *path, value = entry
    return tuple(map(str, path)), value
