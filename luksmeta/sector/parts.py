"""What sector encryption is put together from: block ciphers, IV generators, modes of operation."""

from __future__ import annotations

from typing import Protocol, TypeAlias

from luksmeta.secret import BytesLike

IvBytes: TypeAlias = bytes | bytearray


class BlockCipher(Protocol):
    """A block cipher under its key, for many blocks at once."""

    @property
    def block_size(self) -> int:
        """In bytes."""

    def encrypt(self, blocks: BytesLike) -> bytes | bytearray:
        """Encrypt whole blocks, each by itself."""

    def decrypt(self, blocks: BytesLike) -> bytes | bytearray:
        """Decrypt whole blocks, each by itself."""


class IvGenerator(Protocol):
    """What turns a run of sector numbers into IVs."""

    def ivs(self, first: int, count: int, step: int) -> IvBytes:
        """The IVs of the numbers ``first``, ``first + step``, …, one after another."""


class SectorMode(Protocol):
    """A mode of operation under its key: turns the sectors of one chunk.

    ``numbers`` are the sectors' numbers as IVs count them, one for each sector of ``data``. ``out``
    is as long as ``data``, and may be the same memory. Nothing but the key is kept between calls,
    so that threads may share a mode; the key lies in SecretBytes, which wipe it when the mode goes.
    """

    def encrypt(self, numbers: range, data: memoryview, out: memoryview) -> None:
        """Encrypt ``data`` into ``out``."""

    def decrypt(self, numbers: range, data: memoryview, out: memoryview) -> None:
        """Decrypt ``data`` into ``out``."""
