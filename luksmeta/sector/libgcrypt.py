"""Block ciphers and modes out of libgcrypt, through ctypes: what OpenSSL lacks.

libgcrypt is on nearly every Linux (systemd and GnuPG need it). Its handles hold the key's schedule
in memory that it wipes on closing; a handle lives for one call, so that threads may share a cipher.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Final, TypeAlias

from luksmeta.errors import AlgorithmError
from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.sector.parts import IvGenerator

# enum gcry_cipher_modes and gcry_ctl_cmds of gcrypt.h
ECB: Final = 1
CBC: Final = 3
XTS: Final = 13  # since libgcrypt 1.8
_INITIALIZATION_FINISHED: Final = 38
_IS_INITIALIZATION_FINISHED: Final = 40
_DISABLE_SECURE_MEMORY: Final = 37

# The folders of Homebrew and MacPorts are not where macOS looks by itself.
_FILE_NAMES: Final = {
    "darwin": (
        "libgcrypt.20.dylib",
        "/opt/homebrew/lib/libgcrypt.20.dylib",
        "/opt/local/lib/libgcrypt.20.dylib",
    ),
    "win32": ("libgcrypt-20.dll",),
}
_Handle: TypeAlias = ctypes.c_void_p


def require(cipher: str) -> None:
    """Raise AlgorithmError, with how to install it, where libgcrypt is missing for ``cipher``."""
    try:
        _library()
    except OSError as error:
        raise AlgorithmError(
            f"cipher {cipher}: needs the library libgcrypt, which is not there; install it "
            "(Debian: apt install libgcrypt20, Fedora: dnf install libgcrypt, "
            "macOS: brew install libgcrypt)",
            kind="cipher",
            name=cipher,
        ) from error


class LibgcryptBlockCipher:
    """A block cipher of libgcrypt; see :class:`luksmeta.sector.parts.BlockCipher`.

    ``algorithm`` is its number in gcrypt.h. Serpent does 90 MiB/s and Twofish 180: libgcrypt 1.10
    takes the blocks of ECB one by one.
    """

    def __init__(self, algorithm: int, block_size: int, key: BytesLike) -> None:
        self.block_size = block_size
        self._algorithm = algorithm
        self._key = SecretBytes(key)

    def encrypt(self, blocks: BytesLike) -> bytearray:
        """Encrypt whole blocks, each by itself."""
        out = bytearray(blocks)
        with _opened(self._algorithm, ECB, self._key) as handle:
            _check(_library().gcry_cipher_encrypt(handle, _pointer(out), len(out), None, 0))
        return out

    def decrypt(self, blocks: BytesLike) -> bytearray:
        """Decrypt whole blocks, each by itself."""
        out = bytearray(blocks)
        with _opened(self._algorithm, ECB, self._key) as handle:
            _check(_library().gcry_cipher_decrypt(handle, _pointer(out), len(out), None, 0))
        return out


class LibgcryptMode:
    """A whole mode of libgcrypt, :data:`CBC` or :data:`XTS`, sector by sector.

    MiB/s with 512 and 4096-byte sectors: serpent-xts 65 and 94, twofish-xts 80 and 180,
    serpent-cbc decrypted 157 and 467. Two calls by ctypes cost 1.6 µs for a sector; what else
    bounds it is libgcrypt, whose XTS and encryption by CBC go block by block.
    """

    def __init__(
        self, algorithm: int, mode: int, key: BytesLike, ivs: IvGenerator, sector_size: int
    ) -> None:
        self._algorithm = algorithm
        self._mode = mode
        self._key = SecretBytes(key)
        self._ivs = ivs
        self._sector_size = sector_size

    def encrypt(self, numbers: range, data: memoryview, out: memoryview) -> None:
        """See :class:`luksmeta.sector.parts.SectorMode`."""
        self._each(_library().gcry_cipher_encrypt, numbers, data, out)

    def decrypt(self, numbers: range, data: memoryview, out: memoryview) -> None:
        """See :class:`luksmeta.sector.parts.SectorMode`."""
        self._each(_library().gcry_cipher_decrypt, numbers, data, out)

    def _each(
        self,
        function: ctypes._NamedFuncPointer,
        numbers: range,
        data: memoryview,
        out: memoryview,
    ) -> None:
        if not numbers:
            return
        size, set_iv = self._sector_size, _library().gcry_cipher_setiv
        ivs = bytearray(self._ivs.ivs(numbers.start, len(numbers), numbers.step))
        iv_size = len(ivs) // len(numbers)
        out[:] = data
        iv, sector = ctypes.addressof(_pointer(ivs)), ctypes.addressof(_pointer(out))
        with _opened(self._algorithm, self._mode, self._key) as handle:
            for _ in numbers:
                _check(set_iv(handle, iv, iv_size) or function(handle, sector, size, None, 0))
                iv += iv_size
                sector += size


@contextmanager
def _opened(algorithm: int, mode: int, key: SecretBytes) -> Iterator[_Handle]:
    library, handle = _library(), _Handle()
    _check(library.gcry_cipher_open(ctypes.byref(handle), algorithm, mode, 0))
    try:
        view = key.view()
        _check(library.gcry_cipher_setkey(handle, _pointer(view), len(view)))
        yield handle
    finally:
        library.gcry_cipher_close(handle)


def _pointer(buffer: bytearray | memoryview) -> ctypes.Array[ctypes.c_char]:
    return (ctypes.c_char * len(buffer)).from_buffer(buffer)


def _check(error: int) -> None:
    if error:
        reason = _library().gcry_strerror(error).decode(errors="replace")
        raise AlgorithmError(f"cipher: libgcrypt says: {reason}", kind="cipher", name="libgcrypt")


@cache
def _library() -> ctypes.CDLL:
    """libgcrypt, initialised unless another part of the process has done that.

    Raises OSError where it is missing.
    """
    library = _loaded(_FILE_NAMES.get(sys.platform, ("libgcrypt.so.20",)))
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    library.gcry_check_version.restype = ctypes.c_char_p
    library.gcry_strerror.restype = ctypes.c_char_p
    library.gcry_cipher_open.argtypes = [pointer, ctypes.c_int, ctypes.c_int, ctypes.c_uint]
    library.gcry_cipher_close.argtypes = [_Handle]
    library.gcry_cipher_setkey.argtypes = [_Handle, pointer, size]
    library.gcry_cipher_setiv.argtypes = [_Handle, pointer, size]
    library.gcry_cipher_encrypt.argtypes = [_Handle, pointer, size, pointer, size]
    library.gcry_cipher_decrypt.argtypes = [_Handle, pointer, size, pointer, size]
    if not library.gcry_control(_IS_INITIALIZATION_FINISHED):
        library.gcry_check_version(None)
        library.gcry_control(_DISABLE_SECURE_MEMORY, 0)  # the pool of 32 KiB would be too small
        library.gcry_control(_INITIALIZATION_FINISHED, 0)
    return library


def _loaded(names: tuple[str, ...]) -> ctypes.CDLL:
    *others, last = names
    for name in others:
        with suppress(OSError):
            return ctypes.CDLL(name)
    return ctypes.CDLL(last)
