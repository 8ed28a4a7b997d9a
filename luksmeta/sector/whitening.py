"""What XTS and LRW have in common: a tweak on both sides of the block cipher, ``E(P ^ T) ^ T``."""

from __future__ import annotations

from abc import ABC, abstractmethod

from luksmeta.secret import BytesLike
from luksmeta.sector.lanes import xor
from luksmeta.sector.parts import BlockCipher


class Whitened(ABC):
    """A :class:`luksmeta.sector.parts.SectorMode` of a block cipher between two tweaks."""

    def __init__(self, cipher: BlockCipher) -> None:
        self._cipher = cipher

    @abstractmethod
    def _tweaks(self, numbers: range) -> BytesLike:
        """The tweaks of all blocks of these sectors, one after another."""

    def encrypt(self, numbers: range, data: memoryview, out: memoryview) -> None:
        """See :class:`luksmeta.sector.parts.SectorMode`."""
        tweaks = self._tweaks(numbers)
        out[:] = xor(self._cipher.encrypt(xor(data, tweaks)), tweaks)

    def decrypt(self, numbers: range, data: memoryview, out: memoryview) -> None:
        """See :class:`luksmeta.sector.parts.SectorMode`."""
        tweaks = self._tweaks(numbers)
        out[:] = xor(self._cipher.decrypt(xor(data, tweaks)), tweaks)
