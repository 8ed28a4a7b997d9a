"""Named defects of LUKS1 partition headers, each with the error that must name it.

Those of the format are refused when the header is read; ``at_unlock`` marks what only shows when a
key is needed, because a header may carry names that another machine knows.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from luksmeta.errors import (
    AlgorithmError,
    HeaderError,
    LuksError,
    NotLuksError,
    PassphraseError,
    ResourceLimitError,
    VersionError,
)

Spoil = Callable[[bytearray], None]

# LUKS1 specification 1.2.3, figures 1 and 2.
_KEYSLOTS, _ENTRY_SIZE = 208, 48
_ITERATIONS, _MATERIAL_OFFSET, _STRIPES = 4, 40, 44


@dataclass(frozen=True)
class Luks1Defect:
    """A way to spoil a good header; ``offset`` is the field that the error points to."""

    name: str
    error: type[LuksError]
    message: str
    offset: int | None
    at_unlock: bool
    spoil: Spoil


LUKS1_DEFECTS: list[Luks1Defect] = []


def defect(
    error: type[LuksError], message: str, offset: int | None = None, *, at_unlock: bool = False
) -> Callable[[Spoil], Spoil]:
    """Register a function that spoils a header; ``message`` is part of the error's text."""

    def register(spoil: Spoil) -> Spoil:
        LUKS1_DEFECTS.append(Luks1Defect(spoil.__name__, error, message, offset, at_unlock, spoil))
        return spoil

    return register


def _put(header: bytearray, offset: int, number: int) -> None:
    struct.pack_into(">I", header, offset, number)


def _entry(keyslot: int, field: int = 0) -> int:
    return _KEYSLOTS + keyslot * _ENTRY_SIZE + field


@defect(NotLuksError, "not a LUKS volume")
def magic_gone(header: bytearray) -> None:
    header[:6] = bytes(6)


@defect(VersionError, "LUKS version 0", 6)
def version_0(header: bytearray) -> None:
    header[6:8] = b"\0\0"


@defect(VersionError, "LUKS version 256", 6)
def version_little_endian(header: bytearray) -> None:
    header[6:8] = b"\1\0"


@defect(AlgorithmError, "cipher aaa", at_unlock=True)
def cipher_name_without_nul(header: bytearray) -> None:
    header[8:40] = b"a" * 32


@defect(AlgorithmError, "aes-xxx", at_unlock=True)
def cipher_mode_without_nul(header: bytearray) -> None:
    header[40:72] = b"x" * 32


@defect(AlgorithmError, "hash 'hhh", at_unlock=True)
def hash_without_nul(header: bytearray) -> None:
    header[72:104] = b"h" * 32


@defect(AlgorithmError, "es-xts-plain64': not a cipher specification", at_unlock=True)
def cipher_name_not_ascii(header: bytearray) -> None:
    header[8] = 0xE4


@defect(HeaderError, "hash md5 has 16 bytes, the volume key's digest 20", 72)
def hash_too_short(header: bytearray) -> None:
    header[72:80] = b"md5\0\0\0\0\0"


@defect(HeaderError, "a key of 0 bytes", 108)
def key_of_no_bytes(header: bytearray) -> None:
    _put(header, 108, 0)


@defect(HeaderError, "a key of 4294967295 bytes", 108)
def key_of_four_gigabytes(header: bytearray) -> None:
    _put(header, 108, 0xFFFFFFFF)


@defect(HeaderError, "keyslot 0: area ends at 0x3f800, the data starts at 0x20000", _entry(0, 40))
def key_too_long_for_the_payload_offset(header: bytearray) -> None:
    _put(header, 108, 64)
    _put(header, 104, 256)


@defect(HeaderError, "keyslot 7: area ends at 0x100400, the data starts at 0x100000", _entry(7, 40))
def payload_within_the_last_area(header: bytearray) -> None:
    _put(header, 104, 0x100000 // 512)


@defect(PassphraseError, "no keyslot is there to be tried", at_unlock=True)
def keyslot_state_off_by_one(header: bytearray) -> None:
    _put(header, _entry(0), 0x00AC71F4)


@defect(HeaderError, "keyslot 0: 3999 stripes", _entry(0, _STRIPES))
def stripes_of_an_active_keyslot(header: bytearray) -> None:
    _put(header, _entry(0, _STRIPES), 3999)


@defect(HeaderError, "keyslot 5: 0 stripes", _entry(5, _STRIPES))
def stripes_of_an_inactive_keyslot(header: bytearray) -> None:
    _put(header, _entry(5, _STRIPES), 0)


@defect(HeaderError, "keyslot 0: area starts at 0x200, the header ends at 0x400", _entry(0, 40))
def area_within_the_header(header: bytearray) -> None:
    _put(header, _entry(0, _MATERIAL_OFFSET), 1)


@defect(HeaderError, "keyslot 6: area starts at 0x0,", _entry(6, 40))
def area_of_an_inactive_keyslot_at_zero(header: bytearray) -> None:
    _put(header, _entry(6, _MATERIAL_OFFSET), 0)


@defect(HeaderError, "keyslot 2: area ends at 0x2000001f200", _entry(2, 40))
def area_beyond_any_device(header: bytearray) -> None:
    _put(header, _entry(2, _MATERIAL_OFFSET), 0xFFFFFFFF)


@defect(HeaderError, "the last keyslot area ends at 0x2000001f200, the device at")
def area_beyond_any_device_and_detached_data(header: bytearray) -> None:
    _put(header, 104, 0)
    _put(header, _entry(2, _MATERIAL_OFFSET), 0xFFFFFFFF)


@defect(HeaderError, "overlaps that of keyslot 0", _entry(1, 40))
def two_areas_in_one_place(header: bytearray) -> None:
    _put(header, _entry(1, _MATERIAL_OFFSET), 8)


@defect(HeaderError, "keyslot 1: area 0x20200..0x3f600 overlaps that of keyslot 0", _entry(1, 40))
def two_areas_that_share_a_sector(header: bytearray) -> None:
    _put(header, _entry(1, _MATERIAL_OFFSET), 0x20200 // 512)


@defect(AlgorithmError, "hash 'sha257': not known", at_unlock=True)
def hash_unknown(header: bytearray) -> None:
    header[72:80] = b"sha257\0\0"


@defect(AlgorithmError, "cipher rot13-xts-plain64: not available", at_unlock=True)
def cipher_unknown(header: bytearray) -> None:
    header[8:16] = b"rot13\0\0\0"


@defect(AlgorithmError, "not a cipher specification", at_unlock=True)
def cipher_name_empty(header: bytearray) -> None:
    header[8] = 0


@defect(AlgorithmError, "key has 24 bytes, takes 32", at_unlock=True)
def key_size_not_the_ciphers(header: bytearray) -> None:
    _put(header, 108, 24)


@defect(AlgorithmError, "pbkdf2: iterations is 0", at_unlock=True)
def keyslot_without_iterations(header: bytearray) -> None:
    _put(header, _entry(0, _ITERATIONS), 0)


@defect(ResourceLimitError, "pbkdf2: iterations is 4294967295", at_unlock=True)
def keyslot_with_endless_iterations(header: bytearray) -> None:
    _put(header, _entry(0, _ITERATIONS), 0xFFFFFFFF)


@defect(AlgorithmError, "pbkdf2: iterations is 0", at_unlock=True)
def digest_without_iterations(header: bytearray) -> None:
    _put(header, 164, 0)


@defect(ResourceLimitError, "pbkdf2: iterations is 4294967295", at_unlock=True)
def digest_with_endless_iterations(header: bytearray) -> None:
    _put(header, 164, 0xFFFFFFFF)
