"""The native part of the engine: AES and Camellia through OpenSSL, at its speed.

It is there where the package was built with a C compiler and OpenSSL's headers. It does the
modes below with IVs that are made of the sector's number alone; the portable part does all.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from luksmeta.closing import Closing
from luksmeta.errors import AlgorithmError
from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.sector import threads
from luksmeta.sector.cipher_spec import CipherSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from luksmeta.sector import _native

    Turn = Callable[[int, int, int, BytesLike, bytearray | memoryview], None]

SECTOR_SIZE: Final = 512  # bytes; the unit of sector numbers

_OPENSSL_NAMES: Final = {"aes": "AES", "camellia": "CAMELLIA"}
_MODES: Final = ("cbc", "ctr", "ecb", "xts")
_KEY_SIZES: Final = (16, 24, 32)  # bytes, of both ciphers


@dataclass(frozen=True, slots=True)
class Numbering:
    """An IV is ``number * factor + addend`` modulo 2^64, in the C part's ``layout``.

    These are the ``crypt_iv_*_gen`` of drivers/md/dm-crypt.c.
    """

    layout: int
    factor: int = 1
    addend: int = 0


@dataclass(frozen=True, slots=True)
class Keyed:
    """The C part's cipher, and the keys that it reads at every call.

    They are wiped when nobody refers to this any more: a run does until it has ended.
    """

    cipher: _native.Cipher
    keys: tuple[SecretBytes, ...]


class NativeCipher(Closing):
    """A :class:`luksmeta.sector.engine.SectorCipher` that leaves whole runs to the C part.

    Runs of some length are split over ``thread_count`` processors, by default all.
    """

    def __init__(
        self,
        keyed: Keyed,
        numbering: Numbering,
        sector_size: int,
        *,
        large_iv: bool,
        thread_count: int | None,
    ) -> None:
        self.sector_size = sector_size
        self._keyed: Keyed | None = keyed
        self._numbering = numbering
        per_sector = sector_size // SECTOR_SIZE
        self._unit = per_sector if large_iv else 1
        self._step = per_sector // self._unit * numbering.factor
        self._thread_count = thread_count

    def encrypt_into(self, sector: int, data: BytesLike, out: bytearray | memoryview) -> None:
        """Encrypt ``data``, whose first 512-byte sector has the number ``sector``, into ``out``.

        ``out`` may be the very buffer of ``data``, but not overlap it in another way; what it has
        beyond the length of ``data`` stays as it is. Raises ValueError for a length that is no
        multiple of the sector size, a short ``out``, a negative ``sector`` or a closed cipher.
        """
        keyed = self._opened()
        self._run(keyed.cipher.encrypt, sector, data, out)

    def decrypt_into(self, sector: int, data: BytesLike, out: bytearray | memoryview) -> None:
        """Decrypt ``data`` into ``out``; otherwise as :meth:`encrypt_into`."""
        keyed = self._opened()
        self._run(keyed.cipher.decrypt, sector, data, out)

    def close(self) -> None:
        """Let go of the keys, which wipes them. Harmless when repeated.

        A run in another thread still ends well: it has a reference of its own.
        """
        self._keyed = None

    def _opened(self) -> Keyed:
        if self._keyed is None:
            raise ValueError("this cipher has been closed")
        return self._keyed

    def _run(self, turn: Turn, sector: int, data: BytesLike, out: bytearray | memoryview) -> None:
        if sector < 0:
            raise ValueError(f"sector {sector} is negative")
        numbering, step = self._numbering, self._step
        layout = numbering.layout
        first = sector // self._unit * numbering.factor + numbering.addend
        size = memoryview(data).nbytes
        if size < threads.SPLIT_SIZE:
            turn(layout, first, step, data, out)
            return
        source, target = memoryview(data).cast("B"), memoryview(out).cast("B")
        self._check_sizes(len(source), len(target))

        def turn_piece(start: int, stop: int) -> None:
            number = first + start // self.sector_size * step
            turn(layout, number, step, source[start:stop], target[start:stop])

        threads.each_piece(turn_piece, size, self._thread_count)

    def _check_sizes(self, size: int, out_size: int) -> None:
        """What the C part would only find when it comes to the last piece."""
        if size % self.sector_size:
            raise ValueError(f"data has {size} bytes, sectors have {self.sector_size}")
        if out_size < size:
            raise ValueError(f"out has {out_size} bytes, data has {size}")


def is_built() -> bool:
    """Whether the C part was built with the package, and its OpenSSL is here."""
    try:
        from luksmeta.sector import _native  # noqa: F401 - only whether it can be
    except ImportError:
        return False
    return True


def openssl_version() -> str:
    """What the C part's OpenSSL calls itself; ImportError where the C part is not built."""
    from luksmeta.sector import _native

    return _native.OPENSSL


def create(
    spec: CipherSpec,
    key: SecretBytes,
    sector_size: int,
    *,
    large_iv: bool,
    thread_count: int | None = None,
) -> NativeCipher | None:
    """A cipher for ``spec`` under the volume key ``key``, or None where this part has none.

    None too for a key that does not fit: the portable part knows why, and says so. ``sector_size``
    is in bytes. Raises ImportError where the C part is not built.
    """
    numbering = _numbering(spec, sector_size)
    if spec.cipher not in _OPENSSL_NAMES or spec.key_count != 1 or numbering is None:
        return None
    for mode in _makings(spec):
        with contextlib.suppress(LookupError, AlgorithmError):
            keyed = _keyed(spec, mode, sector_size, SecretBytes(key))
            return NativeCipher(
                keyed, numbering, sector_size, large_iv=large_iv, thread_count=thread_count
            )
    return None


def _makings(spec: CipherSpec) -> tuple[str, ...]:
    """The C part's modes for ``spec``, best first.

    OpenSSL has no XTS of Camellia or AES-192, and none for a key of two equal halves.
    """
    if spec.mode not in _MODES:
        return ()
    return ("xts", "xts-of-ecb") if spec.mode == "xts" else (spec.mode,)


def _keyed(spec: CipherSpec, mode: str, sector_size: int, key: SecretBytes) -> Keyed:
    """The C part's cipher; LookupError or AlgorithmError where the key or ESSIV's hash is unfit."""
    from luksmeta.sector import _native

    cipher = _openssl_name(spec, len(key) // 2 if spec.mode == "xts" else len(key))
    view = key.view()
    if spec.mode != "ecb" and spec.iv == "essiv":
        iv_key = _essiv_key(spec, key)
        iv_cipher = _openssl_name(spec, len(iv_key))
        made = _native.Cipher(mode, cipher, sector_size, view, iv_cipher, iv_key.view())
        return Keyed(made, (key, iv_key))
    if spec.mode != "ecb" and spec.iv == "eboiv":
        return Keyed(_native.Cipher(mode, cipher, sector_size, view, cipher, view), (key,))
    return Keyed(_native.Cipher(mode, cipher, sector_size, view), (key,))


def _openssl_name(spec: CipherSpec, key_size: int) -> str:
    if key_size not in _KEY_SIZES:
        raise LookupError(f"{spec.cipher} with a key of {key_size} bytes")
    return f"{_OPENSSL_NAMES[spec.cipher]}-{8 * key_size}"


def _essiv_key(spec: CipherSpec, key: SecretBytes) -> SecretBytes:
    from luksmeta.kdf import hashes

    function = hashes.get(spec.iv_option or "")
    return SecretBytes.filled(
        function.digest_size, lambda digest: function.digest_into(key.view(), digest)
    )


def _numbering(spec: CipherSpec, sector_size: int) -> Numbering | None:
    """How ``spec`` makes its IVs; None for what is not made of the sector's number alone."""
    from luksmeta.sector import _native

    if spec.mode == "ecb":  # the kernel ignores the generator (crypt_ctr_ivmode)
        return Numbering(_native.PLAIN64)
    match spec.iv:  # which ignores an option, but for essiv's (crypt_ctr_ivmode)
        case "plain":
            return Numbering(_native.PLAIN)
        case "plain64" | "essiv":
            return Numbering(_native.PLAIN64)
        case "plain64be":
            return Numbering(_native.PLAIN64BE)
        case "null":
            return Numbering(_native.PLAIN64, factor=0)
        case "benbi":  # counts cipher blocks from 1; the kernel's CTR has blocks of a byte
            block_size = 1 if spec.mode == "ctr" else 16
            return Numbering(_native.PLAIN64BE, factor=SECTOR_SIZE // block_size, addend=1)
        case "eboiv" if spec.mode == "cbc":  # counts bytes; elsewhere it is more than one block
            return Numbering(_native.PLAIN64, factor=sector_size)
    return None
