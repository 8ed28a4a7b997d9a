"""Key material of which one bit is wrong, in a place that is known to a few bytes.

The anti-forensic splitter makes a key of it only when every bit is right, and nothing but the
digest tells. So every bit is tried: the keyslot's KDF is paid for once, and for each bit one
merging and the digest's iterations, 5 ms and more. Two wrong bits are out of reach.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Final

from luksmeta import keyslot as keyslot_area
from luksmeta.errors import KeyslotError, PassphraseError
from luksmeta.extents import Extent, align_down
from luksmeta.forensics.recovery.candidates import Candidate
from luksmeta.forensics.regions import material_extent
from luksmeta.kdf import antiforensic
from luksmeta.kdf.pbkdf import Limits
from luksmeta.model import SECTOR_SIZE, STRIPES, Digest, Keyslot
from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.sector.engine import SectorCipher
from luksmeta.storage import Storage
from luksmeta.volume_key import matches
from luksmeta.write_plan import Progress, Write, WritePlan

RANGE_MAX: Final = 512  # bytes: 4096 tries, minutes


@dataclass(frozen=True, slots=True)
class _Material:
    """The key material of a keyslot under its passphrase, and what proves a key."""

    keyslot: Keyslot
    cipher: SectorCipher
    digest_id: int
    digest: Digest
    limits: Limits | None
    encrypted: bytearray
    split: SecretBytes

    def decrypt(self, sector: int) -> None:
        """Decrypt one sector again, ``sector`` bytes into the material."""
        part = slice(sector, sector + SECTOR_SIZE)
        number = sector // SECTOR_SIZE
        self.cipher.decrypt_into(number, bytes(self.encrypted[part]), self.split.view()[part])

    def is_right(self) -> bool:
        """Whether it holds the key of the digest."""
        size, af = self.keyslot.key_size, self.keyslot.af
        with antiforensic.merge(self.split, size, STRIPES, af.hash) as key:
            return matches(self.digest_id, self.digest, key, self.limits)

    def bit_to_flip(self, within: Extent, progress: Progress | None) -> tuple[int, int] | None:
        """Offset and mask of the bit that makes it right; None where none does."""
        for done, at in enumerate(range(within.offset, within.end)):
            if progress is not None:
                progress(done, within.size)
            sector = align_down(at, SECTOR_SIZE)
            for mask in (1 << bit for bit in range(8)):
                self.encrypted[at] ^= mask
                self.decrypt(sector)
                if self.is_right():
                    return at, mask
                self.encrypted[at] ^= mask
            self.decrypt(sector)
        return None


def with_bit_flipped(
    candidate: Candidate,
    passphrase: BytesLike | SecretBytes,
    where: Extent,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Candidate:
    """The candidate with the one bit put right that a keyslot lacks, within ``where`` (bytes).

    Raises ValueError for a range of more than :data:`RANGE_MAX` bytes, KeyslotError where no
    keyslot's material has it, PassphraseError where no bit of it makes the passphrase open.
    """
    if not 0 < where.size <= RANGE_MAX:
        raise ValueError(f"flipped bit: {where.size} bytes, from 1 to {RANGE_MAX} are tried")
    keyslot_id, keyslot = _keyslot_at(candidate, where)
    material = material_extent(keyslot)
    overlay = candidate.restored()
    try:
        inside = Extent(where.offset - material.offset, where.size)
        found = _search(overlay, candidate, keyslot_id, passphrase, inside, limits, progress)
    finally:
        overlay.discard()
    if found is None:
        raise PassphraseError(
            f"keyslot {keyslot_id}: none of the {8 * where.size} bits of {where} is the one that "
            "is wrong, or the passphrase is",
            tried=[keyslot_id],
        )
    offset, old, new, material_hash = found
    reason = f"keyslot {keyslot_id}: byte {offset:#x} is {old:#04x} and was {new:#04x}"
    write = Write(offset, bytes([new]), reason)
    return replace(
        candidate,
        plan=WritePlan.of(candidate.plan.what, (*candidate.plan.steps, write)),
        material={**candidate.material, keyslot_id: material_hash},
        reasons=(*candidate.reasons, reason),
    )


def _keyslot_at(candidate: Candidate, where: Extent) -> tuple[int, Keyslot]:
    for keyslot_id, keyslot in candidate.metadata.keyslots.items():
        if isinstance(keyslot, Keyslot) and material_extent(keyslot).contains(where):
            return keyslot_id, keyslot
    raise KeyslotError(f"flipped bit: {where} lies in no keyslot's key material")


def _search(
    storage: Storage,
    candidate: Candidate,
    keyslot_id: int,
    passphrase: BytesLike | SecretBytes,
    inside: Extent,
    limits: Limits | None,
    progress: Progress | None,
) -> tuple[int, int, int, str] | None:
    """Where the bit is, its byte before and after, and the hash of the right material."""
    keyslot = candidate.metadata.keyslots[keyslot_id]
    found = candidate.metadata.digest_of_keyslot(keyslot_id)
    if found is None or not isinstance(keyslot, Keyslot):
        raise KeyslotError(f"keyslot {keyslot_id}: belongs to no digest")
    keyslot_area.check_costs(keyslot_id, keyslot, limits)
    extent = material_extent(keyslot)
    encrypted = bytearray(storage.read_at(extent.offset, extent.size))
    with (
        keyslot_area.area_cipher(keyslot_id, keyslot, passphrase, limits) as cipher,
        SecretBytes(extent.size) as split,
    ):
        cipher.decrypt_into(0, bytes(encrypted), split.view())
        material = _Material(keyslot, cipher, *found, limits, encrypted, split)
        bit = material.bit_to_flip(inside, progress)
    if bit is None:
        return None
    at, mask = bit
    right = encrypted[at]
    return extent.offset + at, right ^ mask, right, hashlib.sha256(encrypted).hexdigest()
