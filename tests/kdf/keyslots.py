"""Keyslot areas of real images, decrypted with ``cryptography`` alone: split material to merge.

Nothing here comes from the package but the names of hashes that the tests pass on.
"""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import XTS

SECTOR_SIZE = 512
STRIPES = 4000


@dataclass(frozen=True)
class Slot:
    """Slot 0 of an image with pbkdf2 and aes-xts-plain64; sizes and the offset in bytes."""

    hash: str
    salt: bytes
    iterations: int
    key_size: int
    area: bytes

    def material(self, area_key: bytes) -> bytes:
        """The split material: the area, decrypted sector by sector."""
        clear = bytearray()
        for sector, start in enumerate(range(0, len(self.area), SECTOR_SIZE)):
            context = Cipher(AES(area_key), XTS(sector.to_bytes(16, "little"))).decryptor()
            clear += context.update(self.area[start : start + SECTOR_SIZE])
        return bytes(clear)


def read_slot(image: Path) -> Slot:
    """Slot 0 of a LUKS1 or LUKS2 image."""
    data = image.read_bytes()
    return _luks1(data) if data[6:8] == b"\0\1" else _luks2(data)


def _luks1(data: bytes) -> Slot:
    (key_size,) = struct.unpack_from(">I", data, 108)
    _, iterations, salt, start, _ = struct.unpack_from(">II32sII", data, 208)
    return Slot(
        data[72:104].rstrip(b"\0").decode(),
        salt,
        iterations,
        key_size,
        _area(data, start * 512, key_size),
    )


def _luks2(data: bytes) -> Slot:
    slot = json.loads(data[4096:].partition(b"\0")[0])["keyslots"]["0"]
    kdf, key_size = slot["kdf"], slot["key_size"]
    assert kdf["hash"] == slot["af"]["hash"]
    return Slot(
        kdf["hash"],
        base64.b64decode(kdf["salt"]),
        kdf["iterations"],
        key_size,
        _area(data, int(slot["area"]["offset"]), key_size),
    )


def _area(data: bytes, offset: int, key_size: int) -> bytes:
    sectors = -(-key_size * STRIPES // SECTOR_SIZE)
    return data[offset : offset + sectors * SECTOR_SIZE]
