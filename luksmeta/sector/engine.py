"""The way into the sector-encryption engine: from a cipher specification and a key to a cipher."""

from __future__ import annotations

import hmac
from types import TracebackType
from typing import Final, Protocol, Self

from luksmeta.errors import AlgorithmError
from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.sector import ciphers, iv
from luksmeta.sector.cipher_spec import CipherSpec, check_key_size

SECTOR_SIZES: Final = (512, 1024, 2048, 4096)  # bytes; dm-crypt's (crypt_ctr_optional)

_MODES: Final = {
    ("cipher_null", "ecb"): ciphers.NullCipher,
    ("aes", "ecb"): ciphers.AesEcb,
    ("aes", "cbc"): ciphers.AesCbc,
    ("aes", "xts"): ciphers.AesXts,
}


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


def create(
    spec: CipherSpec | str, key: SecretBytes, sector_size: int = 512, *, large_iv: bool = False
) -> SectorCipher:
    """A cipher for ``spec`` under the volume key ``key``, of which it keeps a copy.

    IVs count 512-byte sectors, as LUKS has it; with ``large_iv`` (dm-crypt's
    ``iv_large_sectors``) they count units of ``sector_size`` bytes. Raises AlgorithmError where
    the cipher is not available here or the key's size does not fit, ValueError for a sector size
    that dm-crypt does not know.
    """
    if sector_size not in SECTOR_SIZES:
        raise ValueError(f"sector size {sector_size} is none of {SECTOR_SIZES}")
    if isinstance(spec, str):
        spec = CipherSpec.parse(spec)
    mode = _MODES.get((spec.cipher, spec.mode or ""))
    if mode is None or spec.key_count != 1:
        raise AlgorithmError(
            f"cipher {spec}: not available, aes in xts, cbc and ecb mode and cipher_null are",
            kind="cipher",
            name=spec.text,
        )
    # A cipher without IVs ignores the generator, and so does the kernel (crypt_ctr_ivmode).
    ivs = iv.Null() if spec.mode == "ecb" else iv.create(spec, key)
    check_key_size(spec, len(key))
    if mode is ciphers.AesXts and not _openssl_takes(key):
        mode = ciphers.AesXtsFromEcb
    return mode(key, ivs, sector_size, large_iv=large_iv)


def _openssl_takes(key: SecretBytes) -> bool:
    """Whether OpenSSL has this XTS key size, and the halves differ as it demands."""
    half = len(key) // 2
    view = key.view()
    return half != 24 and not hmac.compare_digest(view[:half], view[half:])
