"""``recover``: a header out of what is left of one, into a new file.

The evidence is opened read-only. Every way in gives candidates; with a passphrase or the volume key
the first that opens is the one, and it has opened in memory before a file is made.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from luksmeta.closing import Closing
from luksmeta.errors import ResourceLimitError, VolumeKeyError
from luksmeta.extents import Extent
from luksmeta.forensics.containers import evidence_of
from luksmeta.forensics.read_log import ReadLog
from luksmeta.forensics.recovery import from_backup, from_luks1, from_luks2, from_volume_key
from luksmeta.forensics.recovery.candidates import Candidate, ranked
from luksmeta.forensics.recovery.data_start import places_of
from luksmeta.forensics.recovery.detached import write_detached, write_repaired
from luksmeta.forensics.recovery.exchanged_areas import exchanged
from luksmeta.forensics.recovery.flipped_bit import with_bit_flipped
from luksmeta.forensics.recovery.foreign_remains import with_remains_told
from luksmeta.forensics.recovery.from_volume_key import FoundData, find_data, with_keyslot
from luksmeta.forensics.recovery.keyslot_damage import with_damage_told
from luksmeta.forensics.recovery.known import Contradiction, Known
from luksmeta.forensics.recovery.nothing_left import nothing_left
from luksmeta.forensics.recovery.proving import Proof, Prover, knows, prove_volume_key
from luksmeta.kdf.pbkdf import Limits, Pbkdf
from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.storage import Storage
from luksmeta.target import Target
from luksmeta.write_plan import Progress

SCHEMA: Final = "luksmeta-recovery-1"
"""The name of the JSON document: another number when a member goes or changes its meaning."""


class Recovery(Closing):
    """What could be recovered from the evidence, which it holds open; a context manager.

    ``chosen`` is the candidate that a key has proved, else the surest one.
    """

    def __init__(
        self,
        storage: Storage,
        data: Storage | None,
        candidates: tuple[Candidate, ...],
        known: Known,
        stack: ExitStack,
    ) -> None:
        self.name = storage.name
        self.size = storage.size
        self.candidates = candidates
        self.chosen = candidates[0] if candidates else None
        self.proof: Proof | None = None
        self._storage = storage
        self._data = data
        self._known = known
        self._stack = stack
        self._asked: tuple[SecretBytes, Limits | None, int | None] | None = None
        self._not_asked: ResourceLimitError | None = None

    def require_any(self) -> None:
        """Raise HeaderError where nothing is left to make a header of: which bytes are gone."""
        if not self.candidates:
            raise nothing_left(self._storage)

    def choose(self, number: int) -> None:
        """Take the candidate of this number, from 0; ValueError for one that is not there."""
        if not 0 <= number < len(self.candidates):
            raise ValueError(f"candidate {number}: there are {len(self.candidates)}, from 0 on")
        self.candidates = (self.candidates[number],)
        self._asked = None
        self.chosen = self.candidates[0]

    def prove(
        self,
        passphrase: BytesLike | SecretBytes,
        *,
        limits: Limits | None = None,
        progress: Progress | None = None,
    ) -> Proof:
        """Choose the first candidate that opens; what :meth:`choose` took is the only one tried.

        Where none does, one with the areas of two keyslots exchanged may. Raises PassphraseError
        where that opens nothing either, ResourceLimitError.
        """
        prover = Prover(passphrase, limits, self._data, self._known, progress)
        for number, candidate in enumerate(self.candidates):
            proved = prover.prove(candidate)
            if proved is not None:
                return self._take(number, *proved)
        for candidate in exchanged(self.candidates):
            proved = prover.prove(candidate)
            if proved is not None:
                self.candidates = (*self.candidates, candidate)
                return self._take(len(self.candidates) - 1, *proved)
        raise prover.error(self.candidates).about(self.name)

    def flip_bit(
        self,
        passphrase: BytesLike | SecretBytes,
        where: Extent,
        *,
        limits: Limits | None = None,
        progress: Progress | None = None,
    ) -> Proof:
        """Put the one bit right that the surest header's keyslot lacks within ``where`` (bytes).

        Raises ValueError for more than 512 bytes, KeyslotError for a place without key material,
        PassphraseError where no bit makes the passphrase open, ResourceLimitError.
        """
        mended = with_bit_flipped(self._required(), passphrase, where, limits, progress)
        self.candidates = (mended,)
        return self.prove(passphrase, limits=limits)

    def prove_volume_key(
        self,
        volume_key: BytesLike | SecretBytes,
        new_passphrase: BytesLike | SecretBytes | None = None,
        *,
        pbkdf: Pbkdf | None = None,
        unproved: bool = False,
        limits: Limits | None = None,
        progress: Progress | None = None,
    ) -> Proof:
        """Choose the candidate whose digest knows the key, or make a new header around the data.

        ``new_passphrase`` gets a keyslot in either. Raises VolumeKeyError where no digest knows the
        key and nothing but noise decrypts; ValueError where a new header lacks its passphrase.
        Where the data is not noise and nothing in it is known, the new header is a candidate that
        only ``unproved`` chooses: VolumeKeyError without it. Digests above the ``limits`` are not
        asked; ResourceLimitError where nothing else proves the key.
        """
        with SecretBytes(volume_key) as key:
            number = self._knowing(volume_key, limits)
            if number is not None:
                candidate = self.candidates[number]
                checked, proof = prove_volume_key(candidate, key, self._data, self._known)
                if new_passphrase is not None:
                    checked = with_keyslot(checked, key, new_passphrase, pbkdf)
                return self._take(number, checked, proof)
            try:
                found = self._new_header(key, new_passphrase, pbkdf, progress)
            except VolumeKeyError as error:
                raise (self._not_asked or error) from None
            number, new = len(self.candidates) - 1, self.candidates[-1]
            proof = Proof(None, by_digest=False, data=found.recognition)
            if not (proof.holds or unproved):
                raise from_volume_key.not_proved(found).about(self.name)
            return self._take(number, new, proof)

    def version_of(self, volume_key: SecretBytes, *, limits: Limits | None = None) -> int | None:
        """The version of LUKS of the candidate whose digest knows this key; None without one."""
        number = self._knowing(volume_key, limits)
        return None if number is None else self.candidates[number].metadata.version

    def _knowing(self, volume_key: BytesLike | SecretBytes, limits: Limits | None) -> int | None:
        """The number of the candidate whose digest knows this key; a SecretBytes is asked once."""
        asked = self._asked
        if asked is not None and asked[0] is volume_key and asked[1] == limits:
            return asked[2]
        with SecretBytes(volume_key) as key:
            number = self._find_knowing(key, limits)
        if isinstance(volume_key, SecretBytes):
            self._asked = volume_key, limits, number
        return number

    def _find_knowing(self, key: SecretBytes, limits: Limits | None) -> int | None:
        self._not_asked = None
        refused: list[object] = []
        for number, candidate in enumerate(self.candidates):
            digests = candidate.metadata.digests
            if digests in refused:
                continue
            try:
                if knows(candidate, key, limits):
                    return number
            except ResourceLimitError as error:
                self._not_asked = error
            refused.append(digests)
        return None

    def _new_header(
        self,
        key: SecretBytes,
        passphrase: BytesLike | SecretBytes | None,
        pbkdf: Pbkdf | None,
        progress: Progress | None,
    ) -> FoundData:
        if passphrase is None:
            raise ValueError("a new header needs a new passphrase: --new-keyfile")
        data = self._data or self._storage
        found = find_data(data, key, self._known, progress)
        new = from_volume_key.candidate(
            data, key, passphrase, found, uuid=self._known.uuid, pbkdf=pbkdf
        )
        self.candidates = (*self.candidates, new)
        return found

    def _take(self, number: int, candidate: Candidate, proof: Proof) -> Proof:
        others = list(self.candidates)
        others[number] = candidate
        self.candidates = tuple(others)
        self.chosen, self.proof = candidate, proof
        return proof

    def contradictions(self) -> tuple[Contradiction, ...]:
        """What was said to be known and is otherwise in the chosen header."""
        if self.chosen is None:
            return ()
        base = self.chosen.base if self._data is None else 0
        return tuple(
            each
            for place in places_of(self.chosen.metadata)
            for each in self._known.contradictions(replace(place, offset=place.offset + base))
        )

    def write_header(self, path: str | os.PathLike[str]) -> int:
        """The chosen header with its keyslot areas as a new file; its size in bytes.

        Its segments are where they lie in the image. Raises StorageExistsError where the file is
        there, HeaderError where it does not read back as it should, or there is no candidate.
        """
        return write_detached(self._required(), path, is_apart=self._data is not None)

    def write_repaired(self, path: str | os.PathLike[str], progress: Progress | None = None) -> int:
        """The whole volume with the chosen header as a new file, with holes; its size in bytes.

        Raises UnsupportedError for a header that would lie over the data.
        """
        return write_repaired(self._required(), path, progress)

    def _required(self) -> Candidate:
        if self.chosen is None:
            raise nothing_left(self._storage)
        return self.chosen

    def describe(self) -> dict[str, object]:
        """The document for programs; spec/forensics.md describes its members."""
        chosen = (n for n, each in enumerate(self.candidates) if each is self.chosen)
        return {
            "schema": SCHEMA,
            "name": self.name,
            "size": self.size,
            "candidates": [each.describe() for each in self.candidates],
            "chosen": next(chosen, None),
            "proof": None if self.proof is None else self.proof.describe(),
        }

    def close(self) -> None:
        """Close the evidence; harmless when repeated."""
        self._stack.close()


def recover(
    target: Target,
    header: Target | None = None,
    *,
    backup: Target | None = None,
    secondary_at: int | None = None,
    uuid: str | None = None,
    cipher: str | None = None,
    sector_size: int | None = None,
    offset: int | None = None,
    read_log: ReadLog | None = None,
) -> Recovery:
    """What can be recovered of the header of ``target``; nothing is written.

    With ``header`` it lies there. ``backup`` is a header backup of whatever age; ``secondary_at`` a
    further place (bytes) to look for a LUKS2 copy. ``uuid``, ``cipher``, ``sector_size`` and
    ``offset`` (of the data, in bytes) are known where nothing else tells them; ``read_log`` gets
    every read of files that are opened here. Raises StorageError. Where nothing is left there are
    no candidates, and :meth:`Recovery.require_any` says why.
    """
    known = Known(cipher, sector_size, offset, uuid)
    with ExitStack() as stack:
        data = stack.enter_context(evidence_of(target, read_log))
        storage = data if header is None else stack.enter_context(evidence_of(header, read_log))
        found = [
            *from_luks2.candidates(storage, secondary_at=secondary_at, uuid=known.uuid),
            *from_luks1.candidates(storage, uuid=known.uuid),
        ]
        if backup is not None:
            kept = stack.enter_context(evidence_of(backup, read_log))
            found += from_backup.candidates(storage, kept, ranked(found))
        apart = None if header is None else data
        candidates = with_remains_told(with_damage_told(ranked(found)), storage)
        return Recovery(storage, apart, candidates, known, stack.pop_all())
