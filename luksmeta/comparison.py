"""What differs between two headers: of a volume and of its backup, say, field by field and area by
area.

Keyslots are told by what they hold, not by their ids: salt, KDF and key material. Nothing is
decrypted here, so nothing is said of passphrases that are not there to be tried.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final, cast

from luksmeta.description import describe
from luksmeta.header import Header
from luksmeta.kdf import antiforensic
from luksmeta.luks2.header import Luks2Header
from luksmeta.model import STRIPES, AnyKeyslot, Keyslot, Metadata, Pbkdf2Digest
from luksmeta.storage import Storage

_CHUNK: Final = 1 << 20  # bytes compared at a time

# What a description has twice: once as a field, and once more for its readers.
_DERIVED: Final = (
    "version", "cipher", "key_size", "sector_size", "data_offset", "served_by", "served_because",
    "metadata",
)  # fmt: skip
_DERIVED_OF: Final = {
    "keyslots": ("state", "digest", "tokens", "note"),
    "segments": ("digest",),
}
# Members of the JSON area that a description has under other names.
_TOLD: Final = (
    "config.json_size",
    "config.keyslots_size",
    "config.flags",
    "config.requirements.mandatory",
)


class KeyslotState(StrEnum):
    """How a keyslot of one header relates to the other header."""

    SAME = "same"
    """Under the same id, the same passphrase opens both."""
    MOVED = "moved"
    """The same passphrase opens both, under different ids."""
    CHANGED = "changed"
    """One id, another salt or KDF; perhaps the same passphrase, made anew."""
    OTHER_MATERIAL = "other key material"
    """One id, the same salt and KDF, but other bytes in the area."""
    ONLY_IN_ONE = "only in one"
    """No keyslot of the other header has this salt and key material, nor this id."""
    ONLY_IN_OTHER = "only in other"


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """A field by its path, ``keyslots.1.kdf.iterations`` say; None where a side lacks it."""

    path: str
    one: object
    other: object


@dataclass(frozen=True, slots=True)
class KeyslotDifference:
    """A keyslot's ids on both sides, None where it is missing, and how they relate."""

    state: KeyslotState
    one: int | None
    other: int | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """All differences; ``same_volume_key`` is None when the digests do not tell."""

    fields: tuple[FieldDifference, ...]
    keyslots: tuple[KeyslotDifference, ...]
    same_volume_key: bool | None

    @property
    def is_equal(self) -> bool:
        """Whether both headers say the same and every keyslot is the same."""
        return not self.fields and all(each.state is KeyslotState.SAME for each in self.keyslots)

    def describe(self) -> dict[str, object]:
        """The comparison as one mapping for programs."""
        return {
            "equal": self.is_equal,
            "same_volume_key": self.same_volume_key,
            "keyslots": [asdict(each) for each in self.keyslots],
            "fields": [asdict(each) for each in self.fields],
        }


def compare(one: Header, one_storage: Storage, other: Header, other_storage: Storage) -> Comparison:
    """Compare two headers and the keyslot areas in their storages; StorageError."""
    sides = _Sides(one.metadata.keyslots, one_storage, other.metadata.keyslots, other_storage)
    return Comparison(
        tuple(_differences(one, other)),
        tuple(sorted(sides.compare(), key=_by_id)),
        _is_same_key(one.metadata, other.metadata),
    )


# --- fields --------------------------------------------------------------------------------------


def _differences(one: Header, other: Header) -> Iterator[FieldDifference]:
    yield from _unlike(_fields(one), _fields(other))
    orders = [
        [each for each in header.metadata.keyslots if each in both.metadata.keyslots]
        for header, both in ((one, other), (other, one))
    ]
    if orders[0] != orders[1]:
        yield FieldDifference("order of trying", *orders)


def differences(
    one: Mapping[str, object], other: Mapping[str, object]
) -> Iterator[FieldDifference]:
    """Every member that two documents do not have alike; an array is one value."""
    return _unlike(dict(_leaves(one)), dict(_leaves(other)))


def _unlike(before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[FieldDifference]:
    inner = {parent for path in {**before, **after} for parent in _parents(path)}
    for path in {**before, **after}:
        is_told = path in inner and (path in before) != (path in after)  # empty on this side
        if before.get(path) != after.get(path) and not is_told:
            yield FieldDifference(path, before.get(path), after.get(path))


def _fields(header: Header) -> dict[str, object]:
    """The fields by path, named as in the description whatever the version.

    For LUKS2 those members of the JSON area as well that are not known here.
    """
    described = describe(header)
    for name in _DERIVED:
        described.pop(name, None)
    for section, names in _DERIVED_OF.items():
        records = cast("Mapping[str, Mapping[str, object]]", described[section])
        described[section] = {
            record_id: {name: value for name, value in record.items() if name not in names}
            for record_id, record in records.items()
        }
    described["header_copies"] = {str(each.copy): each.problem or "whole" for each in header.copies}
    fields = dict(_leaves(described))
    if isinstance(header, Luks2Header):
        told = {*fields, *_TOLD}
        fields.update((path, each) for path, each in _leaves(header.document) if path not in told)
    return fields


def _parents(path: str) -> Iterator[str]:
    """The paths of all objects that a member lies in."""
    while path := path.rpartition(".")[0]:
        yield path


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """The members that hold no others, by path; an array is one value."""
    if isinstance(value, Mapping) and value:
        for name, member in value.items():
            yield from _leaves(member, f"{path}.{name}" if path else str(name))
    else:
        yield path, value


# --- keyslots ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Sides:
    """The keyslots of both headers, and where their areas are read."""

    one: Mapping[int, AnyKeyslot]
    one_storage: Storage
    other: Mapping[int, AnyKeyslot]
    other_storage: Storage

    def compare(self) -> Iterator[KeyslotDifference]:
        """Equal ids first, then equal contents under other ids, then what has no equal."""
        ones, others = set(self.one), set(self.other)
        content_of_one = {each: _content(self.one[each], self.one_storage) for each in ones}
        content_of_other = {each: _content(self.other[each], self.other_storage) for each in others}
        pairs = [(each, each) for each in sorted(ones & others)]
        pairs += [(a, b) for a in sorted(ones) for b in sorted(others) if a != b]
        for a, b in pairs:
            if a in ones and b in others and content_of_one[a] == content_of_other[b]:
                ones.remove(a)
                others.remove(b)
                yield KeyslotDifference(KeyslotState.SAME if a == b else KeyslotState.MOVED, a, b)
        for each in ones & others:
            alike = _parameters(self.one[each]) == _parameters(self.other[each])
            state = KeyslotState.OTHER_MATERIAL if alike else KeyslotState.CHANGED
            yield KeyslotDifference(state, each, each)
        for each in ones - others:
            yield KeyslotDifference(KeyslotState.ONLY_IN_ONE, each, None)
        for each in others - ones:
            yield KeyslotDifference(KeyslotState.ONLY_IN_OTHER, None, each)


def _content(keyslot: AnyKeyslot, storage: Storage) -> tuple[object, ...]:
    """What is equal for two keyslots that hold the same; each area is read once.

    Of the area counts what a split key takes; all of it where none can lie there.
    """
    size = keyslot.area.size
    if isinstance(keyslot, Keyslot) and keyslot.key_size > 0:
        size = min(size, antiforensic.split_size(keyslot.key_size, STRIPES))
    material = hashlib.sha256()
    for at in range(0, size, _CHUNK):
        material.update(storage.read_at(keyslot.area.offset + at, min(_CHUNK, size - at)))
    return (_parameters(keyslot), size, material.digest())


def _parameters(keyslot: AnyKeyslot) -> tuple[object, ...]:
    """All that makes a key of a passphrase and the area's bytes; not where the area lies."""
    if isinstance(keyslot, Keyslot):
        area = (keyslot.area.encryption, keyslot.area.key_size)
        return (keyslot.key_size, keyslot.kdf, keyslot.salt, keyslot.af, area)
    return (keyslot.type, keyslot.key_size, keyslot.area.type, keyslot.area.size)


def _by_id(keyslot: KeyslotDifference) -> tuple[int, ...]:
    ids = (keyslot.one, keyslot.other)
    return tuple(each for each in ids if each is not None)


def _is_same_key(one: Metadata, other: Metadata) -> bool | None:
    """True when the digests of the data's key are equal; LUKS1 has the first 20 bytes of one."""
    found = [each.digest_of_segment(each.data_segments[0]) for each in (one, other)]
    digests = [each[1] for each in found if each and isinstance(each[1], Pbkdf2Digest)]
    if len(digests) != len(found):
        return None
    size = min(len(each.digest) for each in digests)
    proofs = {(each.hash, each.iterations, each.salt, each.digest[:size]) for each in digests}
    return True if len(proofs) == 1 else None
