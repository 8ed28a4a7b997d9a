"""Twofish (B. Schneier et al., "Twofish: A 128-Bit Block Cipher", 1998), for keys of 24 bytes.

libgcrypt has it for 16 and 32 bytes; SuSE's old loop_fish2 used 24. Pure Python, 0.5 MiB/s: table
look-ups one block after another.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final

from luksmeta.secret import BytesLike, SecretBytes

_MASK: Final = 0xFFFFFFFF
_ROUNDS: Final = 16
_SUBKEYS: Final = 8 + 2 * _ROUNDS  # words; the first 4 and the next 4 whiten
_BOX: Final = 256  # words
# Section 4.3.5: the 4-bit tables of the permutations q0 and q1.
_Q_TABLES: Final = (
    ("817d6f320b59eca4", "ecb81235f4a6709d", "ba5e6d90c8f32471", "d7f4126e9b3085ca"),
    ("28bdf76e31940ac5", "1e2b4c376da5f908", "4c75169a0ed82b3f", "b951c3de647f208a"),
)
_MDS: Final = (b"\x01\xef\x5b\x5b", b"\x5b\xef\xef\x01", b"\xef\x5b\x01\xef", b"\xef\x01\xef\x5b")
_MDS_POLYNOMIAL: Final = 0x169
_RS: Final = (
    bytes.fromhex("01a455875a58db9e"),
    bytes.fromhex("a45682f31ec668e5"),
    bytes.fromhex("02a1fcc147ae3d19"),
    bytes.fromhex("a455875a58db9e03"),
)
_RS_POLYNOMIAL: Final = 0x14D
# Figure 2: the permutation of each byte, last stage first (stages 3 and 2 only with longer keys).
_STAGES: Final = ((1, 0, 1, 0), (0, 0, 1, 1), (0, 1, 0, 1), (1, 1, 0, 0), (1, 0, 0, 1))


class Twofish:
    """See :class:`luksmeta.sector.parts.BlockCipher`; keys of 16, 24 or 32 bytes.

    What depends on the key, the subkeys and four tables, is computed once.
    """

    block_size = 16

    def __init__(self, key: BytesLike) -> None:
        self._schedule = SecretBytes(4 * (_SUBKEYS + 4 * _BOX))
        words = self._schedule.view().cast("I")
        for place, word in enumerate(_schedule(bytes(key))):
            words[place] = word

    def encrypt(self, blocks: BytesLike) -> bytes:
        """Encrypt whole blocks, each by itself."""
        k, *boxes = self._parts()
        out = bytearray()
        for a, b, c, d in struct.iter_unpack("<4I", blocks):
            a, b, c, d = a ^ k[0], b ^ k[1], c ^ k[2], d ^ k[3]
            for subkey in range(8, _SUBKEYS, 2):
                t0, t1 = _g(boxes, a), _g(boxes, _left(b, 8))
                c ^= t0 + t1 + k[subkey] & _MASK
                d = _left(d, 1) ^ (t0 + 2 * t1 + k[subkey + 1] & _MASK)
                a, b, c, d = _left(c, 31), d, a, b
            out += struct.pack("<4I", c ^ k[4], d ^ k[5], a ^ k[6], b ^ k[7])
        return bytes(out)

    def decrypt(self, blocks: BytesLike) -> bytes:
        """Decrypt whole blocks, each by itself."""
        k, *boxes = self._parts()
        out = bytearray()
        for c, d, a, b in struct.iter_unpack("<4I", blocks):
            c, d, a, b = c ^ k[4], d ^ k[5], a ^ k[6], b ^ k[7]
            for subkey in range(_SUBKEYS - 2, 6, -2):
                a, b, c, d = c, d, _left(a, 1), b
                t0, t1 = _g(boxes, a), _g(boxes, _left(b, 8))
                c ^= t0 + t1 + k[subkey] & _MASK
                d = _left(d ^ (t0 + 2 * t1 + k[subkey + 1] & _MASK), 31)
            out += struct.pack("<4I", a ^ k[0], b ^ k[1], c ^ k[2], d ^ k[3])
        return bytes(out)

    def _parts(self) -> list[memoryview]:
        """The subkeys, and the four tables."""
        words = self._schedule.view().cast("I")
        starts = range(_SUBKEYS, len(words), _BOX)
        return [words[:_SUBKEYS], *(words[start : start + _BOX] for start in starts)]


def _g(boxes: Sequence[memoryview], word: int) -> int:
    s0, s1, s2, s3 = boxes
    return s0[word & 255] ^ s1[word >> 8 & 255] ^ s2[word >> 16 & 255] ^ s3[word >> 24]


def _left(word: int, bits: int) -> int:
    return (word << bits | word >> 32 - bits) & _MASK


def _schedule(key: bytes) -> Iterator[int]:
    """Sections 4.3.1 and 4.3.2: the subkeys, then each byte's share of g for all its values."""
    words = [key[start : start + 4] for start in range(0, len(key), 4)]
    for index in range(0, _SUBKEYS, 2):
        a = _h(bytes([index] * 4), words[0::2])
        b = _left(_h(bytes([index + 1] * 4), words[1::2]), 8)
        yield a + b & _MASK
        yield _left(a + 2 * b & _MASK, 9)
    eights = [key[start : start + 8] for start in range(0, len(key), 8)]
    box_keys = [bytes(_dot(row, part, _RS_POLYNOMIAL) for row in _RS) for part in reversed(eights)]
    for place in range(4):
        for value in range(_BOX):
            yield _column(place, _chain(place, value, box_keys))


def _h(data: bytes, keys: list[bytes]) -> int:
    result = 0
    for place, value in enumerate(data):
        result ^= _column(place, _chain(place, value, keys))
    return result


def _chain(place: int, value: int, keys: list[bytes]) -> int:
    """A byte through the permutations, with the bytes of the key between them."""
    for stage in range(len(keys), 0, -1):
        value = _q()[_STAGES[stage][place]][value] ^ keys[stage - 1][place]
    return _q()[_STAGES[0][place]][value]


@cache
def _column(place: int, value: int) -> int:
    """A byte's share of the product with the MDS matrix, as a little-endian word."""
    column = bytes(_times(row[place], value, _MDS_POLYNOMIAL) for row in _MDS)
    return int.from_bytes(column, "little")


def _dot(left: bytes, right: bytes, polynomial: int) -> int:
    total = 0
    for a, b in zip(left, right, strict=True):
        total ^= _times(a, b, polynomial)
    return total


def _times(left: int, right: int, polynomial: int) -> int:
    """A product in GF(2^8)."""
    product = 0
    while right:
        product ^= left if right & 1 else 0
        left = left << 1 ^ (polynomial if left & 0x80 else 0)
        right >>= 1
    return product


@cache
def _q() -> tuple[bytes, bytes]:
    """Section 4.3.5: the permutations q0 and q1 of the bytes."""
    digits = [[[int(digit, 16) for digit in table] for table in tables] for tables in _Q_TABLES]
    q0, q1 = (bytes(_permuted(tables, value) for value in range(256)) for tables in digits)
    return q0, q1


def _permuted(tables: list[list[int]], value: int) -> int:
    a, b = value >> 4, value & 15
    for first in range(0, 4, 2):
        mixed = a ^ (b >> 1 | b << 3 & 15) ^ (a << 3 & 15)
        a, b = tables[first][a ^ b], tables[first + 1][mixed]
    return b << 4 | a
