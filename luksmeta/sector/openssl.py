"""Block ciphers and modes out of OpenSSL, through ``cryptography``.

A context holds the key's schedule and lives for one call. MiB/s below: Python 3.11, cryptography
50.0.2, one core where ``openssl speed`` gives 6000 for aes-256-xts with 4096-byte sectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Final, TypeVar

from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.sector.parts import IvBytes, IvGenerator

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, modes

_Mode = TypeVar("_Mode", bound="modes.Mode")
_TRIPLE_DES_KEY_SIZE: Final = 24  # bytes


@cache
def is_available(name: str, key_size: int) -> bool:
    """Whether the OpenSSL of ``cryptography`` has the cipher that it calls ``name``.

    The old ones are in OpenSSL's legacy provider: in cryptography's own wheels, not in every
    distribution's.
    """
    from cryptography.exceptions import InternalError, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.ciphers import modes

    key = memoryview(bytes(range(1, 1 + _openssl_key_size(name, key_size))))
    try:
        _cipher(name, key, modes.ECB()).encryptor()  # noqa: S305 - nothing is encrypted
    except (UnsupportedAlgorithm, InternalError):
        return False
    return True


class OpenSslBlockCipher:
    """A block cipher of OpenSSL; see :class:`luksmeta.sector.parts.BlockCipher`.

    AES does 3000 MiB/s.
    """

    def __init__(self, name: str, block_size: int, key: BytesLike) -> None:
        self.block_size = block_size
        self._name = name
        self._key = _own_key(name, key)

    def encrypt(self, blocks: BytesLike) -> bytes:
        """Encrypt whole blocks, each by itself."""
        return self._ecb().encryptor().update(blocks)

    def decrypt(self, blocks: BytesLike) -> bytes:
        """Decrypt whole blocks, each by itself."""
        return self._ecb().decryptor().update(blocks)

    def _ecb(self) -> Cipher[modes.ECB]:
        from cryptography.hazmat.primitives.ciphers import modes

        return _cipher(self._name, self._key.view(), modes.ECB())  # noqa: S305 - a block cipher


class OpenSslCbc:
    """CBC: chained within a sector, anew in each.

    A context per sector would cost 3.5 µs each, so one context runs over all the sectors of a
    chunk and its chain is led to the next IV.
    """

    def __init__(
        self, name: str, block_size: int, key: BytesLike, ivs: IvGenerator, sector_size: int
    ) -> None:
        self._name = name
        self._key = _own_key(name, key)
        self._ivs = ivs
        self._block_size = block_size
        self._sector_size = sector_size

    def encrypt(self, numbers: range, data: memoryview, out: memoryview) -> None:
        """See :class:`luksmeta.sector.parts.SectorMode`."""
        # The context XORs the first block of a sector with the last block of the sector before
        # (with its own IV, zero, at the start). XORing it with that block and the sector's IV
        # beforehand leaves only the IV. Feeding two pieces instead of one joined is slower.
        size, encryptor, chained = self._block_size, self._cbc().encryptor(), 0
        ivs = self._ivs.ivs(numbers.start, len(numbers), numbers.step)
        with _scratch(self._sector_size) as mixed:
            for iv, place in _sectors(ivs, size, self._sector_size):
                mixed[:] = data[place]
                first = _number(mixed[:size]) ^ _number(iv) ^ chained
                mixed[:size] = first.to_bytes(size, "little")
                encrypted = encryptor.update(mixed)
                chained = _number(encrypted[-size:])
                out[place] = encrypted

    def decrypt(self, numbers: range, data: memoryview, out: memoryview) -> None:
        """See :class:`luksmeta.sector.parts.SectorMode`."""
        # Each IV goes through the context as a ciphertext block before its sector: what comes out
        # for it is dropped, and the next block is chained to it.
        size = self._block_size
        ivs = self._ivs.ivs(numbers.start, len(numbers), numbers.step)
        sectors = list(_sectors(ivs, size, self._sector_size))
        pieces = [piece for iv, place in sectors for piece in (iv, data[place])]
        encrypted = b"".join(pieces)
        # update_into wants room for a block that is never there.
        with _scratch(len(encrypted) + size - 1) as decrypted:
            self._cbc().decryptor().update_into(encrypted, decrypted)
            for index, (_, place) in enumerate(sectors, start=1):
                start = place.start + index * size
                out[place] = decrypted[start : start + self._sector_size]

    def _cbc(self) -> Cipher[modes.CBC]:
        from cryptography.hazmat.primitives.ciphers import modes

        return _cipher(self._name, self._key.view(), modes.CBC(bytes(self._block_size)))


class AesPerSector:
    """``aes-xts`` and ``aes-ctr``: a context for each sector.

    ``cryptography`` cannot give a context another IV, but it reads the IV when it makes a context:
    one buffer, rewritten for every sector, saves the checks of a new mode object. XTS with 512 and
    4096-byte sectors does 104 and 752 MiB/s instead of 61 and 452; by ECB over the chunk, with the
    tweaks XORed in as long integers, it was less. OpenSSL takes XTS keys of 32 and 64 bytes whose
    halves differ; for others there is :class:`luksmeta.sector.xts.Xts`.
    """

    def __init__(self, mode: str, key: BytesLike, ivs: IvGenerator, sector_size: int) -> None:
        self._mode = mode
        self._key = SecretBytes(key)
        self._ivs = ivs
        self._sector_size = sector_size

    def encrypt(self, numbers: range, data: memoryview, out: memoryview) -> None:
        """See :class:`luksmeta.sector.parts.SectorMode`."""
        iv = bytearray(16)
        self._each(numbers, iv, self._cipher(iv).encryptor, data, out)

    def decrypt(self, numbers: range, data: memoryview, out: memoryview) -> None:
        """See :class:`luksmeta.sector.parts.SectorMode`."""
        iv = bytearray(16)
        self._each(numbers, iv, self._cipher(iv).decryptor, data, out)

    def _each(
        self,
        numbers: range,
        current: bytearray,
        new_context: Callable[[], CipherContext],
        data: memoryview,
        out: memoryview,
    ) -> None:
        ivs = self._ivs.ivs(numbers.start, len(numbers), numbers.step)
        for iv, place in _sectors(ivs, 16, self._sector_size):
            current[:] = iv
            new_context().update_into(data[place], out[place])

    def _cipher(self, iv: bytearray) -> Cipher[modes.XTS] | Cipher[modes.CTR]:
        from cryptography.hazmat.primitives.ciphers import modes

        if self._mode == "ctr":
            return _cipher("AES", self._key.view(), modes.CTR(iv))
        return _cipher("AES", self._key.view(), modes.XTS(iv))


def _sectors(ivs: IvBytes, iv_size: int, sector_size: int) -> Iterator[tuple[IvBytes, slice]]:
    """The IV of each sector, and where in the chunk the sector lies."""
    for index in range(len(ivs) // iv_size):
        iv = ivs[index * iv_size : (index + 1) * iv_size]
        yield iv, slice(index * sector_size, (index + 1) * sector_size)


@contextmanager
def _scratch(size: int) -> Iterator[memoryview]:
    """Memory for plaintext, which may be a keyslot's split key: zeroed at the end."""
    buffer = memoryview(bytearray(size))
    try:
        yield buffer
    finally:
        buffer[:] = bytes(size)


def _number(data: BytesLike) -> int:
    return int.from_bytes(data, "little")


def _openssl_key_size(name: str, key_size: int) -> int:
    return _TRIPLE_DES_KEY_SIZE if name == "TripleDES" else key_size


def _own_key(name: str, key: BytesLike) -> SecretBytes:
    """A copy of ``key``; DES is 3DES with the same key three times."""
    own = SecretBytes(_openssl_key_size(name, len(key)))
    view = own.view()
    for start in range(0, len(view), len(key)):
        view[start : start + len(key)] = memoryview(key).cast("B")
    return own


def _cipher(name: str, key: memoryview, mode: _Mode) -> Cipher[_Mode]:
    from cryptography.hazmat.decrepit.ciphers import algorithms as decrepit
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

    algorithm = algorithms.AES if name == "AES" else getattr(decrepit, name)
    return Cipher(algorithm(key), mode)
