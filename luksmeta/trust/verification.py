"""A header held against its seal: what has changed since it was sealed, and by how much.

Nothing is read twice: the header is the parsed one, and the caller's storage gives the same bytes
of the keyslots area that the keyslot was opened with. Source: spec/header-trust.md, L5.7.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from luksmeta.errors import LuksError, SealError, UnsupportedError
from luksmeta.header import Header
from luksmeta.header_copies import HeaderCopy
from luksmeta.luks2.header import Luks2Header
from luksmeta.luks2.header_copy import LoadedCopy, copy_offset, load_copy
from luksmeta.model import JsonObject, Keyslot, Metadata
from luksmeta.secret import SecretBytes
from luksmeta.sector.cipher_spec import CipherSpec
from luksmeta.storage import Storage
from luksmeta.trust import canonical
from luksmeta.trust.changes import SealFault, SealFinding, changes
from luksmeta.trust.seal import Seal
from luksmeta.trust.terms import HASHES, SealTerms, hash_of_size

_MISSING_HINT: Final = "seal makes one, of the header as it is now"


@dataclass(frozen=True, slots=True)
class SealVerification:
    """What came of it. ``counter`` is that of a seal that this volume key made, else None."""

    measurement: bytes
    counter: int | None
    findings: tuple[SealFinding, ...]

    @property
    def holds(self) -> bool:
        """Whether the header is sealed, and every byte as it was then."""
        return not self.findings

    @property
    def can_be_renewed(self) -> bool:
        """Whether the header in use is the one that was sealed; writing makes both copies alike."""
        return all(each.fault is SealFault.COPY for each in self.findings)

    @property
    def can_be_sealed(self) -> bool:
        """Whether a seal can be made without a look: there was none, or it can be renewed."""
        return self.can_be_renewed or (self.is_missing and self.is_key_secret)

    @property
    def is_missing(self) -> bool:
        """Whether there is no seal at all."""
        return self._has(SealFault.MISSING)

    @property
    def is_key_secret(self) -> bool:
        """Whether the keyslot that opened hides the volume key."""
        return not self._has(SealFault.KEY)

    def _has(self, fault: SealFault) -> bool:
        return any(each.fault is fault for each in self.findings)

    def require(self) -> None:
        """Raise SealError unless the seal holds."""
        if self.holds:
            return
        more = f" (and {len(self.findings) - 1} more)" if len(self.findings) > 1 else ""
        text = f"the seal does not hold: {self.findings[0]}{more}"
        error = SealError(text, findings=self.findings)
        raise error.advise(_MISSING_HINT) if self.is_missing else error

    def describe(self) -> dict[str, object]:
        """The verification as one mapping for programs."""
        return {
            "holds": self.holds,
            "sealed": not self.is_missing,
            "counter": self.counter,
            "measurement": self.measurement.hex(),
            "findings": [each.describe() for each in self.findings],
        }


def require_sealable(header: Header) -> Luks2Header:
    """The header, unless it is LUKS1: UnsupportedError."""
    if not isinstance(header, Luks2Header):
        raise UnsupportedError("header: LUKS1 has no place for a seal; measure works for both")
    return header


def verify(
    header: Header,
    storage: Storage,
    volume_key: SecretBytes,
    terms: SealTerms | None = None,
    *,
    opened_by: int | None = None,
) -> SealVerification:
    """Hold a header, and the areas in ``storage``, against the seal in it; StorageError.

    ``volume_key`` is the one that the user's passphrase opened in the keyslot ``opened_by``; None
    when the user gave the key itself.
    """
    tree = canonical.tree(header, storage)
    if not isinstance(header, Luks2Header):
        none = SealFinding(SealFault.MISSING, "header", "has no seal, it is LUKS1")
        return SealVerification(measure(tree), None, (none,))
    terms = terms or SealTerms()
    counter, findings = _against_seal(header, tree, volume_key, terms)
    findings += _spelling(header.loaded)
    findings += _other_copy(header, storage)
    findings += _public_key(header.metadata, opened_by)
    if terms.measurement is not None:
        findings += _other_measurement(tree, terms.measurement)
    return SealVerification(measure(tree), counter, tuple(findings))


def measure(tree: JsonObject, hash: str = "sha256") -> bytes:
    """The digest of an encoded tree; ValueError for a hash that is not one of ``HASHES``."""
    if hash not in HASHES:
        raise ValueError(f"hash {hash!r} is none of {', '.join(HASHES)}")
    return hashlib.new(hash, canonical.encode(tree)).digest()


def _against_seal(
    header: Luks2Header,
    tree: JsonObject,
    volume_key: SecretBytes,
    terms: SealTerms,
) -> tuple[int | None, list[SealFinding]]:
    ids = canonical.seals(header.metadata)
    if not ids:
        return None, [SealFinding(SealFault.MISSING, "header", "has no seal")]
    if len(ids) > 1:
        text = f"{len(ids)} tokens say that they are the seal"
        return None, [SealFinding(SealFault.FORGED, _token(ids[1]), text)]
    try:
        seal = Seal.proved(header.metadata.tokens[ids[0]].as_read, volume_key)
    except ValueError as error:
        return None, [SealFinding(SealFault.FORGED, _token(ids[0]), f"the seal {error}")]
    findings = [] if seal.measurement == measure(tree) else changes(seal.record, tree)
    if terms.counter is not None and seal.counter < terms.counter:
        text = f"counter is {seal.counter}, it has been {terms.counter}"
        findings.append(
            SealFinding(SealFault.ROLLBACK, _token(ids[0]), text, terms.counter, seal.counter)
        )
    return seal.counter, findings


def _token(token_id: int) -> str:
    return f"tokens.{token_id}"


def _other_measurement(tree: JsonObject, expected: bytes) -> list[SealFinding]:
    found = measure(tree, hash_of_size(len(expected)))
    if found == expected:
        return []
    text = "has another measurement than the one that is expected"
    return [SealFinding(SealFault.ROLLBACK, "header", text, expected.hex(), found.hex())]


def _public_key(metadata: Metadata, opened_by: int | None) -> list[SealFinding]:
    """A seal proves nothing whose key everybody can read, and so put there (CVE-2025-59054)."""
    keyslot = None if opened_by is None else metadata.keyslots.get(opened_by)
    if not isinstance(keyslot, Keyslot) or not CipherSpec.parse(keyslot.area.encryption).is_null:
        return []
    text = f"its area is not encrypted ({keyslot.area.encryption}): anybody can have put the key in"
    return [SealFinding(SealFault.KEY, f"keyslots.{opened_by}", text)]


# --- what is in no tree -----------------------------------------------------------------


def _spelling(copy: LoadedCopy) -> list[SealFinding]:
    """Members twice and white space: others may read the text in another way, or read it at all."""
    if copy.is_compact:
        return []
    text = f"{copy.copy} copy: its JSON text is not spelled as any program writes it"
    return [SealFinding(SealFault.CHANGED, "header", text)]


def _other_copy(header: Luks2Header, storage: Storage) -> list[SealFinding]:
    """The copy that is not believed is what other programs fall back on."""
    findings = [
        SealFinding(SealFault.COPY, "header", f"{state.copy} copy: {state.problem}")
        for state in header.copies
        if state.problem
    ]
    other = next(each for each in HeaderCopy if each is not header.served_by)
    return findings or _hidden_difference(header.loaded, storage, other)


def _hidden_difference(
    believed: LoadedCopy, storage: Storage, which: HeaderCopy
) -> list[SealFinding]:
    try:
        other = load_copy(storage, which, copy_offset(which, believed.record.hdr_size))
    except LuksError as error:
        return [SealFinding(SealFault.COPY, "header", f"{which} copy: {error.text}")]
    said = [canonical.binary_header(each) for each in (believed, other)]
    if said[0] == said[1] and believed.json_area == other.json_area:
        return []
    return [SealFinding(SealFault.COPY, "header", f"{which} copy: differs from the other one")]
