"""BitLocker's ``eboiv``: the sector's offset in bytes, encrypted (dm-crypt.c, crypt_iv_eboiv)."""

from __future__ import annotations

from luksmeta.sector.parts import SectorMode


class Eboiv:
    """IVs of ``size`` bytes out of ``block_mode``, the mode itself for sectors of one block.

    With the offset as its IV it encrypts a block of zeros, so that CBC gives the encrypted offset.
    """

    def __init__(self, block_mode: SectorMode, size: int) -> None:
        self._block_mode = block_mode
        self._size = size

    def ivs(self, first: int, count: int, step: int) -> bytearray:
        """See :class:`luksmeta.sector.parts.IvGenerator`."""
        ivs = bytearray(count * self._size)
        numbers = range(first, first + count * step, step)
        self._block_mode.encrypt(numbers, memoryview(bytes(ivs)), memoryview(ivs))
        return ivs
