"""HCTR2: a sector as one block, out of AES, POLYVAL and XCTR (crypto/hctr2.c).

P. Crowley, N. Huckleberry, E. Biggers, "Length-preserving encryption with HCTR2" (IACR ePrint
2021/1441). The tweak is an IV of 32 bytes. 4 MiB/s: POLYVAL, by look-ups.
The hash's key is a secret too and lies in tables of Python integers, which nobody wipes.
"""

from __future__ import annotations

from typing import Final

from luksmeta.secret import BytesLike
from luksmeta.sector.lanes import xor
from luksmeta.sector.parts import BlockCipher, IvGenerator
from luksmeta.sector.polyval import Polyval

TWEAK_SIZE: Final = 32  # bytes
_BLOCK_SIZE: Final = 16


class Hctr2:
    """HCTR2 over a block cipher of 16-byte blocks, for messages of 16 bytes and more."""

    def __init__(self, cipher: BlockCipher) -> None:
        self._cipher = cipher
        constants = cipher.encrypt(_block(0) + _block(1))
        self._polyval = Polyval(constants[:_BLOCK_SIZE])
        self._mask = _number(constants[_BLOCK_SIZE:])  # the paper's L

    def encrypt(self, tweak: BytesLike, message: BytesLike) -> bytes:
        """The ciphertext, as long as ``message``."""
        first, rest = message[:_BLOCK_SIZE], message[_BLOCK_SIZE:]
        mixed = _number(first) ^ self._hash(tweak, rest)
        turned = _number(self._cipher.encrypt(_block(mixed)))
        rest = self._xctr(mixed ^ turned ^ self._mask, rest)
        return _block(turned ^ self._hash(tweak, rest)) + rest

    def decrypt(self, tweak: BytesLike, message: BytesLike) -> bytes:
        """The opposite of :meth:`encrypt`."""
        first, rest = message[:_BLOCK_SIZE], message[_BLOCK_SIZE:]
        turned = _number(first) ^ self._hash(tweak, rest)
        mixed = _number(self._cipher.decrypt(_block(turned)))
        rest = self._xctr(mixed ^ turned ^ self._mask, rest)
        return _block(mixed ^ self._hash(tweak, rest)) + rest

    def _hash(self, tweak: BytesLike, rest: BytesLike) -> int:
        """POLYVAL over the tweak's length, the tweak, and the message without its first block."""
        uneven = len(rest) % _BLOCK_SIZE != 0
        length = _block(2 * 8 * len(tweak) + 2 + uneven)
        ended = bytes(rest) + b"\1" if uneven else bytes(rest)
        return self._polyval.hash(length + _padded(bytes(tweak)) + _padded(ended))

    def _xctr(self, start: int, data: BytesLike) -> bytes:
        """``data`` XORed with the encrypted ``start ^ 1``, ``start ^ 2``, …"""
        blocks = -(-len(data) // _BLOCK_SIZE)
        counters = b"".join(_block(start ^ number) for number in range(1, blocks + 1))
        return xor(data, self._cipher.encrypt(counters)[: len(data)])


class Hctr2Sectors:
    """HCTR2 for every sector, with its IV as the tweak."""

    def __init__(self, cipher: BlockCipher, ivs: IvGenerator, sector_size: int) -> None:
        self._hctr2 = Hctr2(cipher)
        self._ivs = ivs
        self._sector_size = sector_size

    def encrypt(self, numbers: range, data: memoryview, out: memoryview) -> None:
        """See :class:`luksmeta.sector.parts.SectorMode`."""
        for tweak, place in self._sectors(numbers):
            out[place] = self._hctr2.encrypt(tweak, data[place])

    def decrypt(self, numbers: range, data: memoryview, out: memoryview) -> None:
        """See :class:`luksmeta.sector.parts.SectorMode`."""
        for tweak, place in self._sectors(numbers):
            out[place] = self._hctr2.decrypt(tweak, data[place])

    def _sectors(self, numbers: range) -> list[tuple[BytesLike, slice]]:
        ivs = self._ivs.ivs(numbers.start, len(numbers), numbers.step)
        return [
            (
                ivs[index * TWEAK_SIZE : (index + 1) * TWEAK_SIZE],
                slice(index * self._sector_size, (index + 1) * self._sector_size),
            )
            for index in range(len(numbers))
        ]


def _number(data: BytesLike) -> int:
    return int.from_bytes(data, "little")


def _block(number: int) -> bytes:
    return number.to_bytes(_BLOCK_SIZE, "little")


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _BLOCK_SIZE)
