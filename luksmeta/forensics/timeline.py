"""What a header tells of its past; no field of it is a time, so all but a few are guesses.

Versions are those of cryptsetup whose release notes name the change of a default: others make
headers too, and who asks for something gets it from any version.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from luksmeta.forensics.copies import CopyContent
from luksmeta.kdf.pbkdf import Argon2i, Argon2id, Pbkdf2
from luksmeta.luks2.validation.view import value_at
from luksmeta.model import CryptSegment, Keyslot, Metadata, Pbkdf2Digest
from luksmeta.sizes import counted
from luksmeta.tokens.notes import note_of

_NEW_SEQID: Final = 3  # after luksFormat: two writes, of which the first has 2
_PACE_MAX: Final = 1.5  # two runs of one machine's benchmark differ less
_LUKS1_CIPHERS: Final = {
    "aes-cbc-essiv:sha256": "the default before cryptsetup 1.6.0 (2013)",
    "aes-xts-plain64": "the default since cryptsetup 1.6.0 (2013)",
}
_LUKS1_HASHES: Final = {
    "sha1": "the default before cryptsetup 1.7.0 (2015)",
    "sha256": "the default since cryptsetup 1.7.0 (2015)",
}
_LUKS2_KDFS: Final = {
    Argon2i: "the default from cryptsetup 2.0.0 (2017) until 2.4.0 (2021)",
    Argon2id: "the default since cryptsetup 2.4.0 (2021)",
}
_LUKS2_DATA: Final = {
    4 << 20: "the default of cryptsetup 2.0 (2017)",
    16 << 20: "the default since cryptsetup 2.1.0 (2019)",
}


class Certainty(StrEnum):
    """How far a hint can be relied on."""

    STATED = "stated"
    """The header says so; whoever wrote it may have said anything."""
    LIKELY = "likely"
    """What cryptsetup does makes it so."""
    WEAK = "weak"
    """One explanation among others."""


@dataclass(frozen=True, slots=True)
class Hint:
    """A sentence, how certain it is, and what it is concluded from."""

    text: str
    certainty: Certainty
    basis: str

    def describe(self) -> dict[str, object]:
        """The same for programs."""
        return {"text": self.text, "certainty": str(self.certainty), "basis": self.basis}


def hints_of(metadata: Metadata, copies: Sequence[CopyContent]) -> tuple[Hint, ...]:
    """All hints, the most certain first."""
    found = [*_of_writes(copies), *_of_notes(metadata), *_of_keyslots(metadata)]
    found += _of_luks1(metadata) if metadata.version == 1 else _of_luks2(metadata)
    return tuple(sorted(found, key=lambda hint: list(Certainty).index(hint.certainty)))


def _of_writes(copies: Sequence[CopyContent]) -> Iterator[Hint]:
    seqids = {each.record.seqid for each in copies if each.has_right_checksum}
    for seqid in sorted(seqids, reverse=True):
        if seqid == _NEW_SEQID:
            text = "the header was not changed since the volume was made"
            yield Hint(text, Certainty.LIKELY, "seqid 3, which luksFormat leaves")
        elif seqid > _NEW_SEQID:
            text = f"the header had been written {counted(seqid - 1, 'time')}"
            yield Hint(text, Certainty.STATED, f"seqid {seqid}, the first write has 2")
    if len(seqids) > 1:
        text = "a write of the header did not reach both copies, or one was put back later"
        yield Hint(text, Certainty.LIKELY, f"seqids {sorted(seqids)}")


def _of_notes(metadata: Metadata) -> Iterator[Hint]:
    for keyslot_id in metadata.keyslots:
        note = note_of(metadata, keyslot_id)
        if note and note.created:
            text = f"keyslot {keyslot_id} was made at {note.created.isoformat()}"
            yield Hint(text, Certainty.STATED, "its note")


def _of_keyslots(metadata: Metadata) -> Iterator[Hint]:
    order = list(metadata.keyslots)
    if metadata.version == 2 and order != sorted(order):
        text = f"the keyslots were made in the order {', '.join(map(str, order))}"
        yield Hint(text, Certainty.LIKELY, "the order of the JSON text, which new ones end")
    yield from _of_places(metadata)
    yield from _of_pace(metadata)


def _of_places(metadata: Metadata) -> Iterator[Hint]:
    """New areas take the first gap that is large enough (luks2_json_format.c)."""
    if metadata.version == 1:
        return
    reached = metadata.keyslots_area.offset
    for keyslot_id, each in sorted(metadata.keyslots.items(), key=lambda item: item[1].area.offset):
        gap = each.area.offset - reached
        if gap >= each.area.size:
            text = f"a keyslot before that of keyslot {keyslot_id} was removed since it was made"
            where = f"a gap of {gap} bytes at {reached:#x}, where its area would have fit"
            yield Hint(text, Certainty.LIKELY, where)
        reached = max(reached, each.area.extent.end)


def _of_pace(metadata: Metadata) -> Iterator[Hint]:
    """The same time on the same machine gives about the same number of iterations."""
    counts: dict[str, dict[int, int]] = {}
    for keyslot_id, each in metadata.keyslots.items():
        if isinstance(each, Keyslot) and isinstance(each.kdf, Pbkdf2):
            counts.setdefault(each.kdf.hash, {})[keyslot_id] = each.kdf.iterations
    for by_id in counts.values():
        least, most = min(by_id, key=by_id.__getitem__), max(by_id, key=by_id.__getitem__)
        if by_id[most] > _PACE_MAX * by_id[least]:
            text = f"keyslots {least} and {most} were made on other machines, or with other options"
            basis = f"{by_id[least]} and {by_id[most]} iterations"
            yield Hint(text, Certainty.WEAK, basis)


def _of_luks1(metadata: Metadata) -> Iterator[Hint]:
    segment, digest = metadata.segments.get(0), metadata.digests.get(0)
    if isinstance(segment, CryptSegment) and segment.encryption in _LUKS1_CIPHERS:
        yield _default(segment.encryption, _LUKS1_CIPHERS[segment.encryption])
    if isinstance(digest, Pbkdf2Digest) and digest.hash in _LUKS1_HASHES:
        yield _default(digest.hash, _LUKS1_HASHES[digest.hash])


def _of_luks2(metadata: Metadata) -> Iterator[Hint]:
    kinds = dict.fromkeys(
        type(each.kdf) for each in metadata.keyslots.values() if isinstance(each, Keyslot)
    )
    yield from (_default(each.name, _LUKS2_KDFS[each]) for each in kinds if each in _LUKS2_KDFS)
    offsets = [metadata.segments[each].offset for each in metadata.data_segments]
    if offsets and offsets[0] in _LUKS2_DATA:
        yield _default(f"data at {offsets[0]:#x}", _LUKS2_DATA[offsets[0]])
    yield from _of_reencryption(metadata)


def _of_reencryption(metadata: Metadata) -> Iterator[Hint]:
    if any("reencrypt" in each for each in metadata.config.requirements):
        modes = [
            value_at(each.as_read, "mode")
            for each in metadata.keyslots.values()
            if each.type == "reencrypt"
        ]
        what = f" (mode {modes[0]})" if modes else ""
        text = f"a reencryption was begun and has not ended{what}"
        yield Hint(
            text, Certainty.STATED, f"requirements {', '.join(metadata.config.requirements)}"
        )


def _default(what: str, when: str) -> Hint:
    return Hint(f"{what} is {when}", Certainty.WEAK, "defaults change with the version")
