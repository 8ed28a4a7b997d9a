"""Keyslots in the text forms that password recovery programs read: hashcat's and John's.

For those who may recover the passphrase. No line holds a secret, but whoever has one can try as
many passphrases as he likes.

hashcat tests a passphrase on the first 512 bytes of data, which must not look random when they are
decrypted: of a volume whose first sector was never written it finds nothing. John tests on the
header's own digest. Sources: hashcat tools/luks2hashcat.py and its modules 29511 to 29543 and
34100; John the Ripper run/luks2john.py and src/luks_fmt_plug.c. LUKS2 keyslots with PBKDF2 that are
encrypted as LUKS1's are take the form of these: the computation is the same.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NoReturn

from luksmeta.errors import AlgorithmError, UnsupportedError
from luksmeta.extents import align_up
from luksmeta.header import Header
from luksmeta.kdf import hashes
from luksmeta.kdf.pbkdf import Argon2i, Argon2id, Pbkdf2
from luksmeta.luks1.header import Luks1Header
from luksmeta.luks1.partition_header import INACTIVE
from luksmeta.model import SECTOR_SIZE, STRIPES, CryptSegment, Keyslot
from luksmeta.sizes import counted
from luksmeta.storage import Storage

ARGON2_MODE: Final = 34100
"""Of hashcat 7.1 and later."""

_HASHES: Final = {"sha1": 1, "sha256": 2, "sha512": 3, "ripemd160": 4}  # 2951x to 2954x
_CIPHERS: Final = {"aes": 1, "serpent": 2, "twofish": 3}
_MODES: Final = ("cbc-essiv:sha256", "cbc-plain", "cbc-plain64", "xts-plain", "xts-plain64")
_KEY_SIZES: Final = (16, 32, 64)
_ARGON2_CPUS_MAX: Final = 32
_SALT_SIZE: Final = 32
_JOHN: Final = ("aes-cbc-essiv:sha256", "sha1")
_JOHN_KEY_SIZES: Final = (16, 24, 32)


class HashForm(StrEnum):
    """Whose form."""

    HASHCAT = "hashcat"
    JOHN = "john"


@dataclass(frozen=True, slots=True)
class ExportedHash:
    """A keyslot in one line of text; ``mode`` is hashcat's ``-m``."""

    keyslot: int
    form: HashForm
    mode: int | None
    text: str

    def describe(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "keyslot": self.keyslot,
            "form": str(self.form),
            "mode": self.mode,
            "hash": self.text,
        }


def export(
    header: Header, keyslot_id: int, form: HashForm, storage: Storage, data: Storage
) -> ExportedHash:
    """The line for a keyslot; ``storage`` holds its area, ``data`` the segments.

    Raises KeyslotNotFoundError, UnsupportedError that says what the program does not know, and
    StorageError.
    """
    keyslot = header.metadata.keyslot(keyslot_id)
    if not isinstance(keyslot, Keyslot):
        _refuse(keyslot_id, f"of type {keyslot.type}, no passphrase opens it")
    if len(keyslot.salt) != _SALT_SIZE:
        _refuse(
            keyslot_id, f"salt of {counted(len(keyslot.salt), 'byte')}, {_SALT_SIZE} are expected"
        )
    return _EXPORTERS[form](header, keyslot_id, keyslot, storage, data)


def _refuse(keyslot_id: int, why: str) -> NoReturn:
    raise UnsupportedError(f"keyslot {keyslot_id}: {why}")


# --- hashcat -------------------------------------------------------------------------------------


def _hashcat(
    header: Header, keyslot_id: int, keyslot: Keyslot, storage: Storage, data: Storage
) -> ExportedHash:
    segment = _segment_of(header, keyslot_id)
    _check_same_cipher(keyslot_id, keyslot, segment)
    cipher, _, mode = segment.encryption.partition("-")
    bits = 8 * keyslot.key_size
    if cipher not in _CIPHERS or mode not in _MODES or keyslot.key_size not in _KEY_SIZES:
        _refuse(keyslot_id, f"hashcat knows no {segment.encryption} with a key of {bits} bits")
    number, words = _hashcat_kdf(keyslot_id, keyslot, cipher)
    fields = (*words[:-1], cipher, mode, bits, words[-1])
    material = storage.read_at(keyslot.area.offset, keyslot.key_size * STRIPES)
    start = _first_sector(keyslot_id, segment, data)
    text = "$".join((*map(str, fields), keyslot.salt.hex(), material.hex(), start.hex()))
    return ExportedHash(keyslot_id, HashForm.HASHCAT, number, f"$luks${text}")


def _segment_of(header: Header, keyslot_id: int) -> CryptSegment:
    found = header.metadata.digest_of_keyslot(keyslot_id)
    segments = [header.metadata.segments[each] for each in found[1].segments] if found else []
    crypt = [each for each in segments if isinstance(each, CryptSegment)]
    if not crypt:
        _refuse(keyslot_id, "it opens no encrypted segment, on which hashcat tries passphrases")
    return crypt[0]


def _check_same_cipher(keyslot_id: int, keyslot: Keyslot, segment: CryptSegment) -> None:
    area = keyslot.area
    if (area.encryption, area.key_size) != (segment.encryption, keyslot.key_size):
        _refuse(
            keyslot_id,
            f"its area is {area.encryption} with {8 * area.key_size} bits, the data "
            f"{segment.encryption} with {8 * keyslot.key_size}; hashcat takes them for the same",
        )
    if segment.iv_tweak:
        _refuse(keyslot_id, f"the data's IV starts at {segment.iv_tweak}, hashcat's at 0")


def _hashcat_kdf(keyslot_id: int, keyslot: Keyslot, cipher: str) -> tuple[int, tuple[object, ...]]:
    """The mode, and the fields about the KDF: the last of them stands behind the key size."""
    merging = _hash_name(keyslot.af.hash)
    match keyslot.kdf:
        case Pbkdf2(hash=hash_name, iterations=iterations):
            if _hash_name(hash_name) != merging or merging not in _HASHES:
                _refuse(
                    keyslot_id,
                    f"pbkdf2-{hash_name} with stripes merged by {keyslot.af.hash}: hashcat knows "
                    f"{', '.join(_HASHES)}, the same for both",
                )
            number = 29500 + 10 * _HASHES[merging] + _CIPHERS[cipher]
            return number, (1, merging, iterations)
        case Argon2i() | Argon2id() as kdf:
            if (merging, cipher) != ("sha256", "aes") or not 1 <= kdf.cpus <= _ARGON2_CPUS_MAX:
                _refuse(
                    keyslot_id,
                    f"{kdf.name} in {counted(kdf.cpus, 'lane')}, {cipher}, stripes merged by "
                    f"{keyslot.af.hash}: hashcat knows {kdf.name} with aes and sha256 only",
                )
            costs = f"m={kdf.memory},t={kdf.time},p={kdf.cpus}"
            return ARGON2_MODE, (2, kdf.name, merging, costs)
        case kdf:
            _refuse(keyslot_id, f"nothing is known of the KDF {kdf.type[:40]!r}")


def _hash_name(name: str) -> str:
    try:
        return hashes.get(name).name
    except AlgorithmError:
        return name


def _first_sector(keyslot_id: int, segment: CryptSegment, data: Storage) -> bytes:
    if segment.offset + SECTOR_SIZE > data.size:
        _refuse(
            keyslot_id,
            f"the data begins at {segment.offset:#x}, {data.name} ends at {data.size:#x}; hashcat "
            "needs the first 512 bytes of it",
        )
    start = data.read_at(segment.offset, SECTOR_SIZE)
    if not any(start):
        _refuse(
            keyslot_id,
            f"the data's first 512 bytes at {segment.offset:#x} are zero, never written: hashcat "
            "would take no passphrase for right",
        )
    return start


# --- John the Ripper -----------------------------------------------------------------------------


def _john(
    header: Header, keyslot_id: int, keyslot: Keyslot, storage: Storage, data: Storage
) -> ExportedHash:
    """John tries the active keyslot with the fewest iterations, so the others are left out."""
    if not isinstance(header, Luks1Header) or not isinstance(keyslot.kdf, Pbkdf2):
        _refuse(keyslot_id, f"John knows LUKS1 only, this is LUKS{header.metadata.version}")
    if (
        keyslot.area.encryption,
        _hash_name(keyslot.kdf.hash),
    ) != _JOHN or keyslot.key_size not in _JOHN_KEY_SIZES:
        _refuse(
            keyslot_id,
            f"{keyslot.area.encryption} with {8 * keyslot.key_size} bits and {keyslot.kdf.hash}: "
            f"John knows {' with '.join(_JOHN)} only",
        )
    size = align_up(keyslot.key_size * STRIPES, SECTOR_SIZE)
    material = base64.b64encode(storage.read_at(keyslot.area.offset, size)).decode()
    record = _alone(header, keyslot_id)
    text = f"$luks$1${len(record)}${record.hex()}${size}${material}${header.record.mk_digest.hex()}"
    return ExportedHash(keyslot_id, HashForm.JOHN, None, text)


def _alone(header: Luks1Header, keyslot_id: int) -> bytes:
    """The partition header with the other keyslots inactive."""
    entries = (
        entry if number == keyslot_id or not entry.is_active else replace(entry, active=INACTIVE)
        for number, entry in enumerate(header.record.keyslot_records())
    )
    return header.record.with_keyslot_records(tuple(entries)).to_bytes()


_Exporter = Callable[[Header, int, Keyslot, Storage, Storage], ExportedHash]
_EXPORTERS: Final[Mapping[HashForm, _Exporter]] = {
    HashForm.HASHCAT: _hashcat,
    HashForm.JOHN: _john,
}
