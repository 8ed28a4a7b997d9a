"""The way into the sector-encryption engine: from a cipher specification and a key to a cipher.

It has two parts with the same results: the native one, which does most of what is in use at the
speed of OpenSSL, and the portable one, which does everything. The environment variable
``LUKSMETA_ENGINE`` (``native`` or ``portable``) chooses one.
"""

from __future__ import annotations

import os
from functools import cache
from types import TracebackType
from typing import Final, Literal, Protocol, Self, TypeAlias

from luksmeta.errors import AlgorithmError
from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.sector import native
from luksmeta.sector.cipher_spec import CipherSpec

SECTOR_SIZES: Final = (512, 1024, 2048, 4096)  # bytes; dm-crypt's (crypt_ctr_optional)
VARIABLE: Final = "LUKSMETA_ENGINE"

EngineName: TypeAlias = Literal["native", "portable"]


class SectorCipher(Protocol):
    """Encrypts and decrypts runs of whole sectors of ``sector_size`` bytes.

    ``sector`` is the number of the run's first 512-byte sector as dm-crypt counts for IVs, a
    segment's ``iv_tweak`` already added. ``out`` may be the very buffer of ``data``, but not
    overlap it otherwise. Several threads may share a cipher; ``close`` it when all are done.
    """

    @property
    def sector_size(self) -> int:
        """In bytes, 512 to 4096."""

    def encrypt_into(self, sector: int, data: BytesLike, out: bytearray | memoryview) -> None:
        """Encrypt ``data`` into the first ``len(data)`` bytes of ``out``."""

    def decrypt_into(self, sector: int, data: BytesLike, out: bytearray | memoryview) -> None:
        """Decrypt ``data`` into the first ``len(data)`` bytes of ``out``."""

    def close(self) -> None:
        """Wipe the key; harmless when repeated."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


@cache
def name() -> EngineName:
    """Which part is in use, decided at the first call: the native one wherever it is built.

    What the native part does not do is left to the portable one even so. Raises ValueError where
    LUKSMETA_ENGINE names neither, AlgorithmError where it asks for a native part that is missing.
    """
    chosen = os.environ.get(VARIABLE, "")
    if chosen not in ("", "native", "portable"):
        raise ValueError(f"{VARIABLE} is {chosen!r}, native and portable are known")
    if chosen == "portable":
        return "portable"
    if native.is_built():
        return "native"
    if chosen == "native":
        raise AlgorithmError(
            "sector engine native: not built; installing luksmeta again with a C compiler and "
            "OpenSSL's headers builds it",
            kind="engine",
            name="native",
        )
    return "portable"


def create(
    spec: CipherSpec | str,
    key: SecretBytes,
    sector_size: int = 512,
    *,
    large_iv: bool = False,
    thread_count: int | None = None,
) -> SectorCipher:
    """A cipher for ``spec`` under the volume key ``key``, of which it keeps a copy.

    IVs count 512-byte sectors, as LUKS has it; with ``large_iv`` (dm-crypt's
    ``iv_large_sectors``) they count units of ``sector_size`` bytes. Long runs are split over
    ``thread_count`` processors at most, by default all that there are. Raises AlgorithmError
    where the cipher is not available here or the key's size does not fit, ValueError for a sector
    size that dm-crypt does not know.
    """
    if sector_size not in SECTOR_SIZES:
        raise ValueError(f"sector size {sector_size} is none of {SECTOR_SIZES}")
    if isinstance(spec, str):
        spec = CipherSpec.parse(spec)
    if name() == "native":
        made = native.create(spec, key, sector_size, large_iv=large_iv, thread_count=thread_count)
        if made is not None:
            return made
    from luksmeta.sector import portable  # many modules, which most volumes can do without

    return portable.create(spec, key, sector_size, large_iv=large_iv)
