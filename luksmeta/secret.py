"""Memory for secrets: owned, locked, left out of core dumps, wiped on release.

A :class:`SecretBytes` lies in an anonymous mapping of its own, so wiping, locking and unlocking
one secret never touches another's page. Where the system refuses to lock (``RLIMIT_MEMLOCK``) the
secret is kept unlocked: no volume should stay closed for that.

Passphrases, derived keys, split keys and volume keys go from one such place to the next: they are
read by ``readinto``, derived, hashed and decrypted by calls that write into a buffer of ours, and
wiped when an exception passes by. What cannot be helped:

- bytes and str objects of the caller's own, such as a passphrase handed over as ``bytes``; and what
  ``getpass`` gives on Windows, and the volume key in hex that ``volume-key`` is asked to print;
- OpenSSL's copy of the passphrase while PBKDF2 runs, and its key schedules while a run of sectors
  is encrypted: on its heap, which may be swapped out or dumped, and cleansed afterwards;
- registers and the stack, as long as nothing overwrites them;
- the chain of the anti-forensic splitter, which is nothing without the last stripe;
- digests by a hash that OpenSSL lacks, or where the engine's C part is not built: ESSIV's key and
  the keys of plain and loop-AES volumes are an immutable object for a moment then, not wiped;
- the portable engine's work: key schedules of Twofish and CAST-256, the words of Adiantum, HCTR2's
  and LRW's tables, lmk and tcw are made of Python's integers, and so are plaintext blocks (those
  of a split key as well) in ECB, CTR, LRW, and XTS of other ciphers than AES, Serpent and Twofish;
- plaintext of the data, which is the caller's, and the text of a device-mapper table that has keys;
- guesses at a passphrase (forensics/guessing), which are made as text, and go through pipes;
- memory of a process that ``fork`` made, which has secrets of its own until it wipes them;
- an interrupt between two instructions of Python, before a ``with`` block has taken its secret
  over: the garbage collector wipes it then.

tests/test_secrets_in_memory.py looks through a process from outside, and through its core dump.
"""

from __future__ import annotations

import contextlib
import hmac
import mmap
import sys
from collections.abc import Callable
from types import TracebackType
from typing import ClassVar, NoReturn, Self, TypeAlias

from luksmeta.random_bytes import fill_with_random

BytesLike: TypeAlias = bytes | bytearray | memoryview


class SecretBytes:
    """A fixed number of secret bytes in a buffer of their own.

    Use it as a context manager, or call :meth:`wipe` when done. It has no equality, hash or
    pickle; compare with :meth:`matches`.
    """

    __hash__: ClassVar[None] = None  # type: ignore[assignment]  # a secret is no dictionary key

    def __init__(self, source: BytesLike | SecretBytes | int) -> None:
        size = source if isinstance(source, int) else len(source)
        self._size = size
        self._wiped = False
        self._mapping = _anonymous_mapping(size)
        self._view = memoryview(self._mapping)[:size]
        if isinstance(source, SecretBytes):
            self._view[:] = source.view()
        elif not isinstance(source, int):
            self._view[:] = memoryview(source).cast("B")

    @classmethod
    def filled(cls, size: int, fill: Callable[[memoryview], object]) -> Self:
        """``size`` bytes that ``fill`` writes; what it has written is wiped when it raises."""
        secret = cls(size)
        try:
            fill(secret.view())
        except BaseException:
            secret.wipe()
            raise
        return secret

    @classmethod
    def random(cls, size: int) -> Self:
        """``size`` bytes from the system's random generator, read straight into this memory."""
        return cls.filled(size, fill_with_random)

    def view(self) -> memoryview:
        """The bytes themselves, writable; valid until :meth:`wipe`."""
        if self._wiped:
            raise ValueError("this secret has been wiped")
        return self._view

    def matches(self, other: SecretBytes | BytesLike) -> bool:
        """Whether both hold the same bytes, compared in constant time."""
        theirs = other.view() if isinstance(other, SecretBytes) else other
        return hmac.compare_digest(self.view(), theirs)

    def wipe(self) -> None:
        """Overwrite the bytes with zeroes and give the memory back; harmless when repeated."""
        if self._wiped:
            return
        self._wiped = True
        self._view[:] = bytes(self._size)
        # A caller who still holds a view keeps the (zeroed) mapping alive until it lets go.
        with contextlib.suppress(BufferError):
            self._view.release()
            self._mapping.close()

    def __len__(self) -> int:
        return self._size

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("secrets are compared with SecretBytes.matches")

    def __repr__(self) -> str:
        return f"<SecretBytes {self._size} bytes>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.wipe()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, ValueError):  # when __init__ did not finish
            self.wipe()


def _anonymous_mapping(size: int) -> mmap.mmap:
    """A private mapping of at least ``size`` bytes, locked and undumpable where possible."""
    length = max(size, 1)
    if sys.platform == "win32":
        return mmap.mmap(-1, length)
    mapping = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_DONTDUMP"):  # Linux
        mapping.madvise(mmap.MADV_DONTDUMP)
    _lock(mapping, length)
    return mapping


def _lock(mapping: mmap.mmap, length: int) -> None:
    """Keep the memory out of swap; a refusal is accepted (see above), and munmap unlocks."""
    import ctypes  # only here: looking at a header holds no secret and must not wait for it

    first = ctypes.c_char.from_buffer(mapping)
    ctypes.CDLL(None).mlock(ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(length))
