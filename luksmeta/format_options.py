"""What a new volume is to be; what is not said is decided as cryptsetup 2.8 does."""

from __future__ import annotations

import uuid as uuids
from dataclasses import dataclass
from typing import Final, Literal

from luksmeta import digests
from luksmeta.errors import UnsupportedError
from luksmeta.kdf.pbkdf import Pbkdf, Pbkdf2
from luksmeta.model import SECTOR_SIZE
from luksmeta.new_keyslot import DEFAULT_HASH
from luksmeta.texts import check_text

DATA_OFFSET_UNIT: Final = 4096  # lib/setup.c crypt_set_data_offset
LUKS1_OFFSET_MAX: Final = ((1 << 32) - 1) * SECTOR_SIZE  # 32 bits of sectors in the header
LUKS2_OFFSET_MAX: Final = (1 << 63) - 1  # what file offsets can be
DEFAULT_CIPHER: Final = "aes-xts-plain64"

Version = Literal["luks1", "luks2"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatOptions:
    """What a new volume is to be; what is None is decided as cryptsetup does.

    ``key_size``, ``data_offset``, ``metadata_size`` (of one header copy) and ``keyslots_size`` are
    in bytes. ``digest_iterations`` are those of the volume key's digest. Raises ValueError,
    UnsupportedError, or AlgorithmError (for an unknown hash).
    """

    type: Version = "luks2"
    cipher: str = DEFAULT_CIPHER
    key_size: int | None = None
    hash: str = DEFAULT_HASH
    pbkdf: Pbkdf | None = None
    digest_iterations: int | None = None
    sector_size: int | None = None
    uuid: str | None = None
    label: str = ""
    subsystem: str = ""
    data_offset: int | None = None
    metadata_size: int | None = None
    keyslots_size: int | None = None
    keyslot: int = 0
    keyslot_cipher: str | None = None
    keyslot_key_size: int | None = None

    def __post_init__(self) -> None:
        if self.data_offset is not None:
            self._check_data_offset(self.data_offset)
        digests.check_hash(self.hash)
        check_text("label", self.label)
        check_text("subsystem", self.subsystem)
        if self.uuid is not None:
            uuids.UUID(self.uuid)
        if self.type == "luks1":
            self._refuse_what_luks1_lacks()

    def _check_data_offset(self, data_offset: int) -> None:
        if data_offset % DATA_OFFSET_UNIT:
            raise ValueError(
                f"data offset {data_offset} is not a multiple of {DATA_OFFSET_UNIT} bytes"
            )
        largest = LUKS1_OFFSET_MAX if self.type == "luks1" else LUKS2_OFFSET_MAX
        if not 0 <= data_offset <= largest:
            raise ValueError(f"data offset {data_offset} is not between 0 and {largest} bytes")

    def _refuse_what_luks1_lacks(self) -> None:
        given = {
            "label": self.label,
            "subsystem": self.subsystem,
            "metadata size": self.metadata_size,
            "keyslots size": self.keyslots_size,
            "keyslot cipher": self.keyslot_cipher,
            "keyslot key size": self.keyslot_key_size,
        }
        for name, value in given.items():
            if value:
                raise UnsupportedError(f"format: LUKS1 has no {name} of its own")
        if self.sector_size not in (None, SECTOR_SIZE):
            raise UnsupportedError(
                f"format: sector size {self.sector_size}, LUKS1 knows {SECTOR_SIZE} only"
            )
        if self.pbkdf is not None and not isinstance(self.pbkdf, Pbkdf2):
            raise UnsupportedError("format: LUKS1 knows PBKDF2 only")
