"""Recovery keys as systemd makes, marks and reads them.

A recovery key is 256 random bits in modhex, a hexadecimal whose letters are in the same place on
most keyboards, in groups that a dash separates. A token says which keyslots such keys open. Source:
systemd src/shared/recovery-key.c, src/cryptenroll/cryptenroll-recovery.c.
"""

from __future__ import annotations

from typing import Final

from luksmeta.kdf.pbkdf import MIN_ITERATIONS, Pbkdf2
from luksmeta.model import Token
from luksmeta.secret import BytesLike, SecretBytes

TYPE: Final = "systemd-recovery"
HASH: Final = "sha512"
KDF: Final = Pbkdf2(hash=HASH, iterations=MIN_ITERATIONS)
"""The least: nobody guesses 256 random bits, however fast (cryptsetup_set_minimal_pbkdf)."""

_ALPHABET: Final = b"cbdefghijklnrtuv"
_RAW_SIZE: Final = 32
_DIGITS: Final = 2 * _RAW_SIZE
_GROUP: Final = 8  # digits between two dashes
_SIZE: Final = _DIGITS + _DIGITS // _GROUP - 1
_DASH: Final = ord("-")


def token() -> Token:
    """The token that marks a recovery key's keyslot, not assigned to one yet."""
    return Token(type=TYPE, keyslots=())


def make_key() -> SecretBytes:
    """A new recovery key: 71 ASCII characters, lower case, with dashes."""
    with SecretBytes.random(_RAW_SIZE) as raw, SecretBytes(_DIGITS) as digits:
        for at, byte in enumerate(raw.view()):
            digits.view()[2 * at] = _ALPHABET[byte >> 4]
            digits.view()[2 * at + 1] = _ALPHABET[byte & 15]
        return _grouped(digits)


def normalized(passphrase: BytesLike | SecretBytes) -> SecretBytes | None:
    """The recovery key as it was made, if this is one: of either case, with all dashes or none.

    None for what is no recovery key.
    """
    view = passphrase.view() if isinstance(passphrase, SecretBytes) else memoryview(passphrase)
    if len(view) not in (_DIGITS, _SIZE):
        return None
    with SecretBytes(_DIGITS) as digits:
        return _grouped(digits) if _read_digits(view, digits.view()) else None


def _read_digits(text: memoryview, digits: memoryview) -> bool:
    """Fill ``digits`` in lower case from ``text``; whether it is a recovery key."""
    has_dashes = len(text) == _SIZE
    at = 0
    for number in range(_DIGITS):
        if has_dashes and number and number % _GROUP == 0:
            if text[at] != _DASH:
                return False
            at += 1
        digit = text[at] | 0x20  # the letters of ASCII in lower case
        if digit not in _ALPHABET or text[at] < ord("A"):
            return False
        digits[number] = digit
        at += 1
    return True


def _grouped(digits: SecretBytes) -> SecretBytes:
    key = SecretBytes(_SIZE)
    key.view()[:] = bytes([_DASH]) * _SIZE
    for group in range(_DIGITS // _GROUP):
        at = group * (_GROUP + 1)
        key.view()[at : at + _GROUP] = digits.view()[group * _GROUP :][:_GROUP]
    return key
