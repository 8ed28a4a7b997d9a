"""CAST-256 (RFC 2612), the kernel's ``cast6``: a block cipher that no common library has.

Pure Python, 0.5 MiB/s: table look-ups one block after another. It opens what others made; nobody
should choose it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.sector.cast_sboxes import SBoxes, sboxes

_MASK: Final = 0xFFFFFFFF
_QUAD_ROUNDS: Final = 12
_QUAD_WORDS: Final = 8  # a mask and a rotation for each of four rounds
_KAPPA: Final = struct.Struct(">8I")

_RoundKey: TypeAlias = Sequence[int]  # mask and rotation


class Cast6:
    """See :class:`luksmeta.sector.parts.BlockCipher`; keys of 16, 20, 24, 28 or 32 bytes."""

    block_size = 16

    def __init__(self, key: BytesLike) -> None:
        self._sboxes = sboxes()
        self._schedule = SecretBytes(4 * _QUAD_ROUNDS * _QUAD_WORDS)
        words = self._schedule.view().cast("I")
        for place, word in enumerate(_schedule(self._sboxes, bytes(key))):
            words[place] = word

    def encrypt(self, blocks: BytesLike) -> bytes:
        """Encrypt whole blocks, each by itself."""
        return self._each(blocks, self._quads())

    def decrypt(self, blocks: BytesLike) -> bytes:
        """Decrypt whole blocks, each by itself."""
        return self._each(blocks, self._quads()[::-1])

    def _each(self, blocks: BytesLike, quads: list[list[_RoundKey]]) -> bytes:
        """Section 2.4: six times Q, then six times QBAR; each undoes the other."""
        half = _QUAD_ROUNDS // 2
        words = struct.iter_unpack(">4I", blocks)
        turned = (self._block(block, quads[:half], quads[half:]) for block in words)
        return b"".join(struct.pack(">4I", *block) for block in turned)

    def _block(
        self,
        block: tuple[int, ...],
        forward: list[list[_RoundKey]],
        reverse: list[list[_RoundKey]],
    ) -> tuple[int, int, int, int]:
        boxes = self._sboxes
        a, b, c, d = block
        for k0, k1, k2, k3 in forward:
            c ^= _f1(boxes, d, k0)
            b ^= _f2(boxes, c, k1)
            a ^= _f3(boxes, b, k2)
            d ^= _f1(boxes, a, k3)
        for k0, k1, k2, k3 in reverse:
            d ^= _f1(boxes, a, k3)
            a ^= _f3(boxes, b, k2)
            b ^= _f2(boxes, c, k1)
            c ^= _f1(boxes, d, k0)
        return a, b, c, d

    def _quads(self) -> list[list[_RoundKey]]:
        words = self._schedule.view().cast("I")
        rounds: list[_RoundKey] = [words[n : n + 2] for n in range(0, len(words), 2)]
        return [rounds[n : n + 4] for n in range(0, len(rounds), 4)]


def _schedule(boxes: SBoxes, key: bytes) -> Iterator[int]:
    """Section 2.4: twelve times two forward octaves over the key, padded to 256 bits."""
    kappa = list(_KAPPA.unpack(key.ljust(_KAPPA.size, b"\0")))
    mask, rotation = 0x5A827999, 19  # 2^30 times the square root of 2; and of 3 the step
    for _ in range(_QUAD_ROUNDS):
        for _ in range(2):
            octave = []
            for _ in range(8):
                octave.append((mask, rotation))
                mask, rotation = (mask + 0x6ED9EBA1) & _MASK, (rotation + 17) % 32
            _forward_octave(boxes, kappa, octave)
        a, b, c, d, e, f, g, h = kappa
        yield from (h, a % 32, f, c % 32, d, e % 32, b, g % 32)


def _forward_octave(boxes: SBoxes, kappa: list[int], octave: Sequence[_RoundKey]) -> None:
    """Section 2.2: G from H, F from G, … H from A, by f1, f2 and f3 in turn."""
    functions = (_f1, _f2, _f3)
    for step, round_key in enumerate(octave):
        target = (6 - step) % 8
        kappa[target] ^= functions[step % 3](boxes, kappa[(target + 1) % 8], round_key)


def _rotated(word: int, bits: int) -> int:
    word &= _MASK
    return (word << bits | word >> (32 - bits)) & _MASK


def _f1(boxes: SBoxes, data: int, round_key: _RoundKey) -> int:
    word = _rotated(round_key[0] + data, round_key[1])
    s1, s2, s3, s4 = boxes
    left = s1[word >> 24] ^ s2[word >> 16 & 0xFF]
    return (left - s3[word >> 8 & 0xFF] + s4[word & 0xFF]) & _MASK


def _f2(boxes: SBoxes, data: int, round_key: _RoundKey) -> int:
    word = _rotated(round_key[0] ^ data, round_key[1])
    s1, s2, s3, s4 = boxes
    left = s1[word >> 24] - s2[word >> 16 & 0xFF] + s3[word >> 8 & 0xFF]
    return left & _MASK ^ s4[word & 0xFF]


def _f3(boxes: SBoxes, data: int, round_key: _RoundKey) -> int:
    word = _rotated(round_key[0] - data, round_key[1])
    s1, s2, s3, s4 = boxes
    left = s1[word >> 24] + s2[word >> 16 & 0xFF] & _MASK ^ s3[word >> 8 & 0xFF]
    return (left - s4[word & 0xFF]) & _MASK
