"""What guesses are tried on: the keyslots of one header and their key material, read once."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from luksmeta.errors import (
    AlgorithmError,
    KeyslotError,
    LuksError,
    PassphraseError,
    ResourceLimitError,
)
from luksmeta.forensics.evidence import Evidence
from luksmeta.kdf import antiforensic, estimate, hashes, machine
from luksmeta.kdf.pbkdf import Limits, Pbkdf, Pbkdf2
from luksmeta.keyslot import check_costs
from luksmeta.model import STRIPES, ForeignKdf, Keyslot, Metadata
from luksmeta.requirements import allow_unlocking
from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.sector import engine
from luksmeta.sector.cipher_spec import CipherSpec
from luksmeta.sizes import counted
from luksmeta.unlocking import keyslots_that_open
from luksmeta.volume import Volume
from luksmeta.volume_key import checked

_KEY_SIZE_MAX: Final = 512  # bytes; of any cipher, so that what is read stays below 2 MiB


@dataclass(frozen=True, slots=True)
class Target:
    """Keyslots to open, the cheapest first; it goes to other processes, and holds no secret.

    ``areas`` are the key material by its offset, ``hindered`` the keyslots that are left out, and
    why.
    """

    name: str
    metadata: Metadata
    keyslots: tuple[int, ...]
    areas: Mapping[int, bytes] = field(repr=False)
    limits: Limits
    hindered: Mapping[int, str]

    @classmethod
    def of(
        cls, volume: Volume, keyslots: Collection[int] | None = None, limits: Limits | None = None
    ) -> Target:
        """The keyslots of a volume that open it, also those to be ignored; or only those named.

        Raises RequirementError, KeyslotNotFoundError, StorageError; what hinders every keyslot
        (ResourceLimitError, AlgorithmError, KeyslotError), and PassphraseError without any keyslot.
        """
        allow_unlocking(volume.metadata)
        limits = limits or Limits()
        if keyslots is None:
            known = volume.header.keyslot_ids
            keyslots = [each for each in volume.metadata.bound_keyslots if each in known]
        hindered: dict[int, LuksError] = {}
        costs: dict[int, int] = {}
        for each in keyslots:
            try:
                costs[each] = _cost(volume.metadata, each, limits)
            except (AlgorithmError, KeyslotError, ResourceLimitError) as error:
                hindered[each] = error
        if not costs:
            raise next(iter(hindered.values()), PassphraseError("no keyslot is there to be tried"))
        return cls(
            volume.header_storage.name,
            volume.metadata,
            tuple(sorted(costs, key=lambda each: costs[each])),
            dict(_area(volume, each) for each in costs),
            replace(limits, milliseconds=None),  # estimated once; busy processes would differ
            {each: str(error) for each, error in hindered.items()},
        )

    def opened_by(self, passphrase: BytesLike | SecretBytes) -> int | None:
        """The keyslot that a passphrase opens; raises what keeps one from being tried."""
        areas = _Areas(self.name, self.areas)
        for each in self.keyslots:
            opened, hindered = keyslots_that_open(
                self.metadata, areas, passphrase, (each,), self.limits
            )
            if opened:
                return each
            if hindered:
                raise hindered[each]
        return None

    @property
    def cheapest(self) -> Pbkdf:
        """The KDF of the keyslot that costs the least to try."""
        return _keyslot(self.metadata, self.keyslots[0])[1]

    @property
    def memory(self) -> int:
        """KiB that a guess takes while it is tried."""
        kdfs = [_keyslot(self.metadata, each)[1] for each in self.keyslots]
        return max(0 if isinstance(kdf, Pbkdf2) else kdf.memory for kdf in kdfs)

    def processes(self, asked: int | None, memory: int | None) -> int:
        """How many processes may try guesses at once within ``memory`` KiB, at least one.

        As many as ``asked``, or one for each usable processor; without ``memory`` in half of this
        machine's. Raises ResourceLimitError where so many were asked for that they do not fit.
        """
        limit = memory or machine.physical_memory() // 2
        fit = max(limit // self.memory, 1) if self.memory else None
        if asked is None:
            usable = machine.usable_cpus()
            return usable if fit is None else min(usable, fit)
        if fit is not None and asked > fit:
            needed = asked * self.memory
            raise ResourceLimitError(
                f"{counted(asked, 'process', 'processes')} with {self.memory} KiB each would "
                f"need {needed} KiB, "
                f"the limit is {limit} KiB",
                asked=needed,
                limit=limit,
                cost="memory",
            )
        return asked

    def digest(self) -> str:
        """SHA-256 of the keyslots that are tried and their material, to know them again by."""
        hashed = hashlib.sha256(f"{self.metadata.uuid} {sorted(self.keyslots)}".encode())
        for offset, area in sorted(self.areas.items()):
            hashed.update(f" {offset} {len(area)} ".encode())
            hashed.update(area)
        return hashed.hexdigest()


class _Areas(Evidence):
    """A storage that has key material at its offset, and nothing else."""

    def __init__(self, name: str, areas: Mapping[int, bytes]) -> None:
        super().__init__(name)
        self._areas = areas

    @property
    def size(self) -> int:
        return max(offset + len(area) for offset, area in self._areas.items())

    def _read(self, offset: int, size: int) -> bytes:
        return self._areas.get(offset, b"")[:size]


def _keyslot(metadata: Metadata, keyslot_id: int) -> tuple[Keyslot, Pbkdf]:
    """The keyslot and its KDF; KeyslotError where no passphrase can open it."""
    keyslot = metadata.keyslot(keyslot_id)
    if not isinstance(keyslot, Keyslot):
        raise KeyslotError(f"keyslot {keyslot_id}: of type {keyslot.type}, no passphrase opens it")
    if isinstance(keyslot.kdf, ForeignKdf):
        raise KeyslotError(f"keyslot {keyslot_id}: KDF {keyslot.kdf.type} is not known")
    size = max(keyslot.key_size, keyslot.area.key_size)
    if not 0 < size <= _KEY_SIZE_MAX:
        raise KeyslotError(
            f"keyslot {keyslot_id}: a key of {counted(size, 'byte')}, 1 to "
            f"{_KEY_SIZE_MAX} are possible"
        )
    return keyslot, keyslot.kdf


def _cost(metadata: Metadata, keyslot_id: int, limits: Limits) -> int:
    """About the milliseconds of one guess; raises what keeps the keyslot from being tried."""
    keyslot, kdf = _keyslot(metadata, keyslot_id)
    digest = metadata.digest_of_keyslot(keyslot_id)
    if digest is None:
        raise KeyslotError(f"keyslot {keyslot_id}: belongs to no digest")
    check_costs(keyslot_id, keyslot, limits)
    checked(*digest, limits)
    try:
        hashes.get(keyslot.af.hash)
        with (
            SecretBytes.random(keyslot.area.key_size) as key,
            engine.create(CipherSpec.parse(keyslot.area.encryption), key),
        ):
            return estimate.milliseconds(kdf, keyslot.area.key_size)
    except AlgorithmError as error:
        text = f"keyslot {keyslot_id}: {error}"
        raise AlgorithmError(text, kind=error.kind, name=error.name) from error


def _area(volume: Volume, keyslot_id: int) -> tuple[int, bytes]:
    keyslot, _ = _keyslot(volume.metadata, keyslot_id)
    size = antiforensic.split_size(keyslot.key_size, STRIPES)
    return keyslot.area.offset, volume.header_storage.read_at(keyslot.area.offset, size)
