"""Adiantum: a sector as one block, without AES on the data (P. Crowley, E. Biggers, 2018).

"Adiantum: length-preserving encryption for entry-level processors", IACR ToSC 2018(4); the kernel's
crypto/adiantum.c and crypto/nhpoly1305.c. The tweak is an IV of 32 bytes. 4 MiB/s, for most of the
time the multiplications of the hash NH, one by one.
"""

from __future__ import annotations

import struct
from operator import mul
from typing import Final

from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.sector import block_ciphers
from luksmeta.sector.chacha import BLOCK_SIZE as STREAM_BLOCK_SIZE
from luksmeta.sector.chacha import NONCE_SIZE, xchacha
from luksmeta.sector.lanes import Lanes, lanes, xor
from luksmeta.sector.parts import IvGenerator

KEY_SIZE: Final = 32  # bytes
TWEAK_SIZE: Final = 32
_RIGHT_SIZE: Final = 16  # the part of a sector that the block cipher turns
_NH_UNIT: Final = 1024  # bytes hashed with one run of the NH key
_NH_PASSES: Final = 4
_NH_KEY_WORDS: Final = _NH_UNIT // 4 + 4 * (_NH_PASSES - 1)
_MODULUS: Final = 1 << 128


class Adiantum:
    """Adiantum with XChaCha of ``rounds`` rounds, AES-256, NH and Poly1305."""

    def __init__(self, rounds: int, key: BytesLike, ivs: IvGenerator, sector_size: int) -> None:
        self._rounds = rounds
        self._key = SecretBytes(key)
        self._ivs = ivs
        self._sector_size = sector_size
        # The subkeys are the stream of the nonce 1, 0, 0, …: 1136 bytes.
        stream = memoryview(xchacha(key, b"\1".ljust(NONCE_SIZE, b"\0"), 32, rounds))
        self._cipher = block_ciphers.create("aes", stream[:32])
        self._tweak_key = _poly1305_key(stream[32:48])
        self._message_key = _poly1305_key(stream[48:64])
        self._nh_key = SecretBytes(stream[64 : 64 + 4 * _NH_KEY_WORDS])
        stream[:] = bytes(len(stream))

    def encrypt(self, numbers: range, data: memoryview, out: memoryview) -> None:
        """See :class:`luksmeta.sector.parts.SectorMode`."""
        if numbers:
            sums, tweaks = self._before(numbers, data)
            middle = self._cipher.encrypt(sums)
            self._after(tweaks, data, middle, middle, out)

    def decrypt(self, numbers: range, data: memoryview, out: memoryview) -> None:
        """See :class:`luksmeta.sector.parts.SectorMode`."""
        if numbers:
            middle, tweaks = self._before(numbers, data)
            self._after(tweaks, data, middle, self._cipher.decrypt(middle), out)

    def _before(self, numbers: range, data: memoryview) -> tuple[bytes, list[int]]:
        """Right parts plus the hash of tweak and left part; and each tweak's share of the hash."""
        ivs = self._ivs.ivs(numbers.start, len(numbers), numbers.step)
        tweaks = [
            self._hash_tweak(ivs[start : start + TWEAK_SIZE])
            for start in range(0, len(ivs), TWEAK_SIZE)
        ]
        sums = [
            (_number(right) + tweak + left_hash) % _MODULUS
            for (_, right), tweak, left_hash in zip(
                self._parts(data), tweaks, self._hashes(data), strict=True
            )
        ]
        return b"".join(total.to_bytes(_RIGHT_SIZE, "little") for total in sums), tweaks

    def _after(
        self,
        tweaks: list[int],
        data: memoryview,
        middle: BytesLike,
        turned: BytesLike,
        out: memoryview,
    ) -> None:
        """The left parts by the stream of ``middle``; the right ones ``turned`` minus the hash."""
        nonces = b"".join(
            bytes(middle[start : start + _RIGHT_SIZE]) + b"\1\0\0\0\0\0\0\0"
            for start in range(0, len(middle), _RIGHT_SIZE)
        )
        blocks = self._sector_size // STREAM_BLOCK_SIZE
        out[:] = xor(data, xchacha(self._key.view(), nonces, blocks, self._rounds))
        hashes = self._hashes(out)
        for index, (_, right) in enumerate(self._parts(out)):
            before = _number(turned[index * _RIGHT_SIZE : (index + 1) * _RIGHT_SIZE])
            total = (before - tweaks[index] - hashes[index]) % _MODULUS
            right[:] = total.to_bytes(_RIGHT_SIZE, "little")

    def _parts(self, data: memoryview) -> list[tuple[memoryview, memoryview]]:
        """The left and the right part of every sector."""
        size = self._sector_size
        return [
            (data[end - size : end - _RIGHT_SIZE], data[end - _RIGHT_SIZE : end])
            for end in range(size, len(data) + 1, size)
        ]

    def _hash_tweak(self, tweak: BytesLike) -> int:
        bits = 8 * (self._sector_size - _RIGHT_SIZE)
        return _poly1305(self._tweak_key, bits.to_bytes(16, "little") + tweak)

    def _hashes(self, data: memoryview) -> list[int]:
        """Of each sector's left part Poly1305 over NH of every 1024 bytes."""
        lefts = [left for left, _ in self._parts(data)]
        starts = range(0, self._sector_size - _RIGHT_SIZE, _NH_UNIT)
        places = [slice(start, start + _NH_UNIT) for start in starts]
        keys = [self._nh_keys(len(lefts[0][place]) // 4) for place in places]
        pairs = list(zip(places, keys, strict=True))
        return [
            _poly1305(self._message_key, b"".join(_nh(left[place], key) for place, key in pairs))
            for left in lefts
        ]

    def _nh_keys(self, count: int) -> list[int]:
        """For each pass ``count`` words of the key, four words further on each time."""
        words, every = self._nh_key.view().cast("I"), lanes(count)
        starts = range(0, 4 * _NH_PASSES, 4)
        return [every.load(words[start : start + count].cast("B"), 0, 1) for start in starts]


def _nh(unit: memoryview, keys: list[int]) -> bytes:
    """NH of a unit: for each key a sum of products modulo 2^64."""
    every = lanes(len(unit) // 4)
    words = every.load(unit, 0, 1)
    sums = []
    for key in keys:
        masked = _words(every, every.add(words, key))
        total = sum(map(mul, masked[0::4], masked[2::4]))
        total += sum(map(mul, masked[1::4], masked[3::4]))
        sums.append(total % (1 << 64))
    return struct.pack("<4Q", *sums)


def _words(every: Lanes, words: int) -> tuple[int, ...]:
    return struct.unpack(f"<{every.count}Q", words.to_bytes(8 * every.count, "little"))


def _poly1305_key(multiplier: BytesLike) -> SecretBytes:
    """A key of Poly1305 whose second half, which is only added, is zero."""
    key = SecretBytes(32)
    key.view()[:16] = multiplier
    return key


def _poly1305(key: SecretBytes, data: bytes) -> int:
    from cryptography.hazmat.primitives.poly1305 import Poly1305

    return _number(Poly1305.generate_tag(key.view(), data))


def _number(data: BytesLike) -> int:
    return int.from_bytes(data, "little")
