"""ECB, CBC and CTR over any block cipher, several keys in turn, and no cipher at all."""

from __future__ import annotations

from collections.abc import Sequence

from luksmeta.sector.lanes import xor
from luksmeta.sector.parts import BlockCipher, IvGenerator, SectorMode
from luksmeta.sector.runs import SECTOR_SIZE


class NullCipher:
    """``cipher_null``: the data as they are."""

    def encrypt(self, numbers: range, data: memoryview, out: memoryview) -> None:
        """See :class:`luksmeta.sector.parts.SectorMode`."""
        out[:] = data

    decrypt = encrypt


class Ecb:
    """Block by block, without IVs."""

    def __init__(self, cipher: BlockCipher) -> None:
        self._cipher = cipher

    def encrypt(self, numbers: range, data: memoryview, out: memoryview) -> None:
        """See :class:`luksmeta.sector.parts.SectorMode`."""
        out[:] = self._cipher.encrypt(data)

    def decrypt(self, numbers: range, data: memoryview, out: memoryview) -> None:
        """See :class:`luksmeta.sector.parts.SectorMode`."""
        out[:] = self._cipher.decrypt(data)


class Cbc:
    """Chained within a sector, anew in each; the n-th blocks of all sectors go together."""

    def __init__(self, cipher: BlockCipher, ivs: IvGenerator, sector_size: int) -> None:
        self._cipher = cipher
        self._ivs = ivs
        self._sector_size = sector_size

    def encrypt(self, numbers: range, data: memoryview, out: memoryview) -> None:
        """See :class:`luksmeta.sector.parts.SectorMode`."""
        size = self._cipher.block_size
        chained = self._ivs.ivs(numbers.start, len(numbers), numbers.step)
        columns = []
        for first in range(0, self._sector_size, size):
            starts = range(first, len(data), self._sector_size)
            column = b"".join(data[start : start + size] for start in starts)
            chained = self._cipher.encrypt(xor(column, chained))
            columns.append(chained)
        starts = range(0, len(numbers) * size, size)
        out[:] = b"".join(column[start : start + size] for start in starts for column in columns)

    def decrypt(self, numbers: range, data: memoryview, out: memoryview) -> None:
        """See :class:`luksmeta.sector.parts.SectorMode`."""
        size = self._cipher.block_size
        ivs = self._ivs.ivs(numbers.start, len(numbers), numbers.step)
        before = b"".join(
            ivs[index * size : (index + 1) * size]
            + data[index * self._sector_size : (index + 1) * self._sector_size - size]
            for index in range(len(numbers))
        )
        out[:] = xor(self._cipher.decrypt(data), before)


class Ctr:
    """The data XORed with an encrypted counter, big-endian, that begins with the IV."""

    def __init__(self, cipher: BlockCipher, ivs: IvGenerator, sector_size: int) -> None:
        self._cipher = cipher
        self._ivs = ivs
        self._blocks = sector_size // cipher.block_size

    def encrypt(self, numbers: range, data: memoryview, out: memoryview) -> None:
        """See :class:`luksmeta.sector.parts.SectorMode`."""
        size = self._cipher.block_size
        mask = (1 << 8 * size) - 1
        ivs = self._ivs.ivs(numbers.start, len(numbers), numbers.step)
        firsts = [
            int.from_bytes(ivs[start : start + size], "big") for start in range(0, len(ivs), size)
        ]
        counters = b"".join(
            (first + block & mask).to_bytes(size, "big")
            for first in firsts
            for block in range(self._blocks)
        )
        out[:] = xor(data, self._cipher.encrypt(counters))

    decrypt = encrypt


class MultiKey:
    """Several keys, a power of two, by turns: sector n has key n modulo their number.

    ``unit`` is what a step of the IVs' numbers is in 512-byte sectors, which choose the key.
    """

    def __init__(self, modes: Sequence[SectorMode], sector_size: int, *, large_iv: bool) -> None:
        self._modes = modes
        self._sector_size = sector_size
        self._unit = sector_size // SECTOR_SIZE if large_iv else 1

    def encrypt(self, numbers: range, data: memoryview, out: memoryview) -> None:
        """See :class:`luksmeta.sector.parts.SectorMode`."""
        for index, number in enumerate(numbers):
            mode = self._modes[number * self._unit % len(self._modes)]
            place = slice(index * self._sector_size, (index + 1) * self._sector_size)
            mode.encrypt(numbers[index : index + 1], data[place], out[place])

    def decrypt(self, numbers: range, data: memoryview, out: memoryview) -> None:
        """See :class:`luksmeta.sector.parts.SectorMode`."""
        for index, number in enumerate(numbers):
            mode = self._modes[number * self._unit % len(self._modes)]
            place = slice(index * self._sector_size, (index + 1) * self._sector_size)
            mode.decrypt(numbers[index : index + 1], data[place], out[place])
