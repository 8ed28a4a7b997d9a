"""What shows that a candidate is right: a key that its digest, or the data itself, knows.

A digest may be among what is lost, or where the data lies. Then a structure in the data must speak
for the key: under a wrong one it decrypts to noise. A digest that is there has the last word.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from luksmeta import keyslot as keyslot_area
from luksmeta.errors import (
    AlgorithmError,
    KeyslotError,
    LuksError,
    PassphraseError,
    ResourceLimitError,
    StorageError,
    VolumeKeyError,
)
from luksmeta.forensics.recovery.candidates import Candidate, changed
from luksmeta.forensics.recovery.data_start import places_of, recognise_data
from luksmeta.forensics.recovery.digest_damage import is_damaged
from luksmeta.forensics.recovery.filesystems import Recognition
from luksmeta.forensics.recovery.from_volume_key import find_data
from luksmeta.forensics.recovery.known import Known
from luksmeta.forensics.recovery.placing import areas_end, with_place
from luksmeta.kdf.calibrate import digest_iterations
from luksmeta.kdf.pbkdf import Limits
from luksmeta.model import SECTOR_SIZE, Keyslot, Metadata, Pbkdf2Digest
from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.storage import Storage
from luksmeta.tokens import recovery
from luksmeta.unlocking import open_with_volume_key
from luksmeta.volume_key import checked, make_digest, matches
from luksmeta.write_plan import Progress

_HINDRANCES: Final = (AlgorithmError, KeyslotError, ResourceLimitError, StorageError)
_DERIVATIONS: Final = 10
"""How many of the slowest derivations that are allowed all candidates may take together."""


@dataclass(frozen=True, slots=True)
class Proof:
    """How a candidate was proved.

    ``keyslot`` is None where the volume key itself was given. ``by_digest`` is False where only the
    data could tell. ``data`` is what the data are; None for what is not known, or noise.
    """

    keyslot: int | None
    by_digest: bool
    data: Recognition | None

    @property
    def holds(self) -> bool:
        """Whether it is a proof: by a digest, or by a structure in the data that is known."""
        return self.by_digest or (self.data is not None and self.data.proves)

    @property
    def text(self) -> str:
        """The same in a sentence."""
        opened = "the volume key" if self.keyslot is None else f"keyslot {self.keyslot} opens, it"
        by = "is that of the digest" if self.by_digest else "decrypts the data, its digest is new"
        data = f"; data: {self.data.text}" if self.data else ""
        return f"{'proved' if self.holds else 'not proved'}: {opened} {by}{data}"

    def describe(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "by": "volume key" if self.keyslot is None else "passphrase",
            "keyslot": self.keyslot,
            "by_digest": self.by_digest,
            "holds": self.holds,
            "data": None if self.data is None else self.data.name,
            "text": self.text,
        }


@dataclass(slots=True)
class Prover:
    """Tries one passphrase on many candidates, each keyslot's material once.

    ``data`` holds the segments where the header lies apart from them. Where ``limits`` have a time
    for one derivation, all together may take ten times that: no more is begun then.
    """

    passphrase: BytesLike | SecretBytes
    limits: Limits | None = None
    data: Storage | None = None
    known: Known = field(default_factory=Known)
    progress: Progress | None = None
    hindrances: list[LuksError] = field(default_factory=list)
    tried: list[int] = field(default_factory=list)
    clock: Callable[[], float] = time.monotonic  # seconds
    _refused: set[tuple[object, ...]] = field(default_factory=set)
    _started: float | None = None

    def prove(self, candidate: Candidate) -> tuple[Candidate, Proof] | None:
        """The candidate as its key shows it to be, and how; None where no keyslot opens."""
        overlay = candidate.restored()
        try:
            for keyslot_id, keyslot in _keyslots(candidate.metadata):
                identity = _identity(candidate, keyslot_id, keyslot)
                if identity in self._refused:
                    continue
                proved = self._try(candidate, overlay, keyslot_id, keyslot)
                if proved is not None:
                    return proved
                self._refused.add(identity)
        finally:
            overlay.discard()
        return None

    def error(self, candidates: Sequence[Candidate]) -> LuksError:
        """What to say when no candidate opened."""
        if self.hindrances and not self.tried:
            return self.hindrances[0]
        ids = ", ".join(map(str, dict.fromkeys(self.tried)))
        of = f" of {len(candidates)} possible headers" if len(candidates) > 1 else ""
        text = f"no keyslot{of} opens with this passphrase (tried {ids or 'none'})"
        if self.hindrances:
            text += f"; not tried: {'; '.join(dict.fromkeys(map(str, self.hindrances)))}"
        lost = dict.fromkeys(each for candidate in candidates for each in candidate.lost)
        gone = [each for each in lost if each.startswith("keyslot ")]
        text = "; ".join((*gone, text))
        return PassphraseError(text, tried=self.tried).advise(
            "damaged key material opens with no passphrase: a header backup (--backup) or the "
            "volume key (--volume-key-file) is needed then"
        )

    def _try(
        self, candidate: Candidate, storage: Storage, keyslot_id: int, keyslot: Keyslot
    ) -> tuple[Candidate, Proof] | None:
        found = candidate.metadata.digest_of_keyslot(keyslot_id)
        for passphrase in self._spellings():
            try:
                self._check_budget()
                if found is not None and not is_damaged(found[1]):
                    checked(*found, self.limits)
                keyslot_area.check_costs(keyslot_id, keyslot, self.limits)
                key = keyslot_area.unlock(keyslot_id, keyslot, passphrase, storage, self.limits)
            except _HINDRANCES as error:
                self.hindrances.append(error)
                return None
            self.tried.append(keyslot_id)
            if key is not None:
                with key:
                    proved = self._judge(candidate, keyslot_id, key)
                if proved is not None:
                    return proved
        return None

    def _check_budget(self) -> None:
        """Raises ResourceLimitError when all that was tried has taken too long."""
        allowed = self.limits.milliseconds if self.limits else None
        now = self.clock()
        self._started = now if self._started is None else self._started
        spent = int(1000 * (now - self._started))
        if allowed is not None and spent > _DERIVATIONS * allowed:
            raise ResourceLimitError(
                f"all that was tried took {spent} ms, the limit is {_DERIVATIONS * allowed} ms, "
                f"{_DERIVATIONS} times that of one derivation",
                asked=spent,
                limit=_DERIVATIONS * allowed,
                cost="milliseconds",
            )

    def _spellings(self) -> Iterator[BytesLike | SecretBytes]:
        """The passphrase; a recovery key as systemd made it too."""
        yield self.passphrase
        normal = recovery.normalized(self.passphrase)
        if normal is not None:
            with normal:
                if not normal.matches(self.passphrase):
                    yield normal

    def _judge(
        self, candidate: Candidate, keyslot_id: int, key: SecretBytes
    ) -> tuple[Candidate, Proof] | None:
        data = self.data or candidate.view
        if self._is_of_digest(candidate.metadata, keyslot_id, key):
            checked, seen = _with_data(candidate, data, key, self.known, self.progress)
            return checked, Proof(keyslot_id, by_digest=True, data=seen)
        found = candidate.metadata.digest_of_keyslot(keyslot_id)
        if not is_damaged(found[1] if found else None):
            return None
        known = _with_cipher_of(candidate, self.known)
        checked, seen = _with_data(candidate, data, key, known, self.progress)
        if seen is None or not seen.proves:
            return None
        return _with_digest(checked, keyslot_id, key), Proof(keyslot_id, by_digest=False, data=seen)

    def _is_of_digest(self, metadata: Metadata, keyslot_id: int, key: SecretBytes) -> bool:
        found = metadata.digest_of_keyslot(keyslot_id)
        try:
            return found is not None and matches(*found, key, self.limits)
        except _HINDRANCES as error:
            self.hindrances.append(error)
            return False


def knows(candidate: Candidate, key: SecretBytes, limits: Limits | None) -> bool:
    """Whether a digest of the candidate knows the volume key; ResourceLimitError."""
    try:
        open_with_volume_key(candidate.metadata, key, limits).wipe()
    except (VolumeKeyError, AlgorithmError):
        return False
    return True


def prove_volume_key(
    candidate: Candidate, key: SecretBytes, data: Storage | None, known: Known
) -> tuple[Candidate, Proof]:
    """The candidate whose digest :func:`knows` the volume key, with its data."""
    checked, seen = _with_data(candidate, data or candidate.view, key, known, None)
    return checked, Proof(None, by_digest=True, data=seen)


def _keyslots(metadata: Metadata) -> Iterator[tuple[int, Keyslot]]:
    """All that could open, whatever their priority: those of the data's key first."""
    bound = metadata.bound_keyslots
    for keyslot_id in sorted(metadata.keyslots, key=lambda each: each not in bound):
        keyslot = metadata.keyslots[keyslot_id]
        if isinstance(keyslot, Keyslot):
            yield keyslot_id, keyslot


def _identity(candidate: Candidate, keyslot_id: int, keyslot: Keyslot) -> tuple[object, ...]:
    """What decides whether a passphrase opens a keyslot."""
    found = candidate.metadata.digest_of_keyslot(keyslot_id)
    digest = found[1].digest if found and isinstance(found[1], Pbkdf2Digest) else b""
    area = (keyslot.area.encryption, keyslot.area.key_size, keyslot.key_size, keyslot.af.hash)
    material = candidate.material.get(keyslot_id)
    return keyslot.salt, repr(keyslot.kdf), area, material, digest, candidate.data_is_supposed


# --- what the data says --------------------------------------------------------------------------


def _with_data(
    candidate: Candidate,
    data: Storage,
    key: SecretBytes,
    known: Known,
    progress: Progress | None,
) -> tuple[Candidate, Recognition | None]:
    """The candidate with its data where it is found, and what that is.

    Looked for elsewhere only where the candidate's own word is a guess.
    """
    for place in places_of(candidate.metadata):
        seen = recognise_data(data, place, key)
        if seen is not None and not candidate.data_is_supposed:
            return candidate, seen
    if not candidate.data_is_supposed:
        return candidate, None
    try:
        wanted = _known_of(candidate, data, known)
        found = find_data(data, key, wanted, progress)
    except VolumeKeyError:
        lost = ["where the data begins could not be found: a guess stands in for it"]
        return changed(candidate, candidate.header, (), lost), None
    header = with_place(candidate.header, found.place)
    reason = f"{found.place}: {found.recognition.text}"
    return changed(candidate, header, [reason]), found.recognition


def _known_of(candidate: Candidate, data: Storage, known: Known) -> Known:
    """What is known with this header: in LUKS1 all but the place, for its cipher has opened."""
    if data is candidate.view:
        known = replace(known, behind=areas_end(candidate.metadata))
    if candidate.metadata.version == 1:
        return replace(_with_cipher_of(candidate, known), sector_size=SECTOR_SIZE)
    return known


def _with_cipher_of(candidate: Candidate, known: Known) -> Known:
    """The cipher of the keyslots is the data's, unless it was asked for otherwise."""
    for place in places_of(candidate.metadata):
        return replace(known, cipher=known.cipher or place.cipher)
    return known


def _with_digest(candidate: Candidate, keyslot_id: int, key: SecretBytes) -> Candidate:
    """The candidate with a new digest in place of the one that does not know the key."""
    metadata = candidate.metadata
    found = metadata.digest_of_keyslot(keyslot_id)
    digest_id, old = found if found else (0, None)
    hash_name = old.hash if isinstance(old, Pbkdf2Digest) else "sha256"
    digest = make_digest(
        key,
        version=metadata.version,
        hash_name=hash_name,
        iterations=digest_iterations(hash_name),
        keyslots=old.keyslots if old else (keyslot_id,),
        segments=old.segments if old else metadata.data_segments,
    )
    header = candidate.header.updated(
        replace(metadata, digests={**metadata.digests, digest_id: digest})
    )
    reason = f"digest {digest_id} was damaged, and is made anew: the data speaks for the key"
    return changed(candidate, header, [reason])
