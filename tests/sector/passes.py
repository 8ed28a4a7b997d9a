"""Ciphers of both parts of the engine, and data passed through them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Final

from luksmeta.secret import SecretBytes
from luksmeta.sector import engine, native, portable
from luksmeta.sector.cipher_spec import CipherSpec
from tests.corpus import CipherVector, cipher_vectors

OWN_VECTORS: Final = Path(__file__).parent / "vectors" / "dmcrypt.json"


def own_vectors() -> tuple[CipherVector, ...]:
    """What ``../shared`` has no vectors of: made the same way, from vectors/dmcrypt.spec."""
    return tuple(
        CipherVector(
            id=entry["id"],
            cipher=entry["cipher"],
            key=bytes.fromhex(entry["key"]),
            sector_size=entry["sector_size"],
            iv_large_sectors=entry["iv_large_sectors"],
            iv_offset=entry["iv_offset"],
            sectors=entry["sectors"],
            ciphertext=base64.b64decode(entry["ciphertext_base64"]),
        )
        for entry in json.loads(OWN_VECTORS.read_text(encoding="utf-8"))["vectors"]
    )


VECTORS: Final = (*cipher_vectors(), *own_vectors())


def native_cipher(
    text: str,
    key: bytes,
    sector_size: int = 512,
    *,
    large_iv: bool = False,
    thread_count: int | None = None,
) -> native.NativeCipher:
    """One of the native part; LookupError where it has none."""
    made = native.create(
        CipherSpec.parse(text),
        SecretBytes(key),
        sector_size,
        large_iv=large_iv,
        thread_count=thread_count,
    )
    if made is None:
        raise LookupError(text)
    return made


def portable_cipher(
    text: str, key: bytes, sector_size: int = 512, *, large_iv: bool = False
) -> engine.SectorCipher:
    return portable.create(CipherSpec.parse(text), SecretBytes(key), sector_size, large_iv=large_iv)


def encrypted(cipher: engine.SectorCipher, sector: int, data: bytes) -> bytes:
    out = bytearray(len(data))
    cipher.encrypt_into(sector, data, out)
    return bytes(out)


def decrypted(cipher: engine.SectorCipher, sector: int, data: bytes) -> bytes:
    out = bytearray(len(data))
    cipher.decrypt_into(sector, data, out)
    return bytes(out)


def in_pieces(
    apply: Callable[[engine.SectorCipher, int, bytes], bytes],
    cipher: engine.SectorCipher,
    first: int,
    data: bytes,
    cuts: list[int],
) -> bytes:
    """Apply to ``data`` cut at ``cuts``, in sectors of the cipher's size."""
    size = cipher.sector_size
    edges = [0, *sorted(cuts), len(data) // size]
    return b"".join(
        apply(cipher, first + start * size // 512, data[start * size : stop * size])
        for start, stop in pairwise(edges)
    )
