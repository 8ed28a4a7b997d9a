"""LUKS1 headers out of what is left.

A LUKS1 header has no second copy and no checksum. Deterministic are magic, version, the places of
areas, and their stripes; cipher, hash and sizes are few enough to be tried, since the digest proves
them together with a passphrase. Salts and iterations are not to be had again (LUKS1 specification
1.2.3, section 4; lib/luks1/keymanage.c).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from luksmeta.binary import c_bytes, c_text
from luksmeta.errors import AlgorithmError
from luksmeta.extents import Extent, align_up
from luksmeta.forensics.damage import has_data_behind
from luksmeta.forensics.randomness import STEP, looks_random
from luksmeta.forensics.recovery.candidates import (
    Candidate,
    Confidence,
    ShiftedView,
    Source,
    candidate_of,
    first_bytes_of,
    made,
)
from luksmeta.kdf import hashes
from luksmeta.kdf.pbkdf import MIN_ITERATIONS
from luksmeta.luks1.partition_header import (
    ACTIVE,
    FIRST_AREA,
    INACTIVE,
    KEY_SIZE_MAX,
    KEYSLOT,
    KEYSLOT_COUNT,
    MAGIC,
    PARTITION_HEADER,
    SIZE,
    VERSION,
    WRITTEN_SIZE,
    KeyslotRecord,
    PartitionHeader,
    area_offset,
    areas_end,
)
from luksmeta.model import SECTOR_SIZE, STRIPES
from luksmeta.random_bytes import random_uuid
from luksmeta.sector.cipher_spec import CipherSpec
from luksmeta.storage import Storage
from luksmeta.uuids import is_uuid
from luksmeta.write_plan import Write

_CIPHERS: Final = (
    ("aes", "xts-plain64"),
    ("aes", "cbc-essiv:sha256"),
    ("aes", "cbc-plain64"),
    ("serpent", "xts-plain64"),
    ("twofish", "xts-plain64"),
)
_HASHES: Final = ("sha256", "sha1", "sha512", "ripemd160", "whirlpool")  # of all defaults, first
_KEY_SIZES: Final = (64, 32, 16)
_ITERATIONS_MAX: Final = 1 << 31  # what cryptsetup takes
_ALIGNMENT: Final = 1 << 20  # of the data, since cryptsetup 1.3
_FAR: Final = 1 << 30  # bytes; data that begins behind this was never seen
_SPELLED_KEY_SIZE: Final = 4  # entries that agree on a geometry, where the size is not legible


def candidates(storage: Storage, *, uuid: str | None = None) -> Iterator[Candidate]:
    """Every header that the first two sectors could mean, likely ones first.

    None where no entry of the keyslot table is legible: without salt and iterations no passphrase
    opens anything.
    """
    data = first_bytes_of(storage, SIZE)
    if len(data) < SIZE:
        return
    found = _Found.of(PartitionHeader.from_bytes(data))
    if found is None:
        return
    if found.payload == 0 and has_data_behind(storage, found.key_size):
        found = replace(found, payload=None)
    for cipher, hash_name in itertools.product(found.ciphers, found.hashes):
        yield from made(partial(_candidate, storage, found, cipher, hash_name, uuid))


@dataclass(frozen=True, slots=True)
class _Found:
    """What is legible, and what is left to try of the rest.

    ``first`` and ``key_size`` are the geometry in bytes; ``ciphers`` and ``hashes`` have one member
    where the field is legible. ``payload`` (bytes) is None where it is not.
    """

    record: PartitionHeader
    key_size: int
    first: int
    ciphers: tuple[tuple[str, str], ...]
    hashes: tuple[str, ...]
    payload: int | None

    @classmethod
    def of(cls, record: PartitionHeader) -> _Found | None:
        """What the fields say; None where this was no LUKS1 header, or nothing is left of it."""
        entries = record.keyslot_records()
        legible = [each for each in entries if each.stripes == STRIPES]
        if len(legible) < 2 or not any(map(_could_open, entries)):
            return None
        key_size, first = _geometry(record, entries)
        return cls(
            record,
            key_size,
            first,
            _ciphers(record, key_size),
            _hashes(record),
            _payload(record, key_size, first),
        )

    def entries(self) -> tuple[KeyslotRecord, ...]:
        """The table with places, stripes and states put right."""
        return tuple(
            _mended(each, self.first + area_offset(number, self.key_size) - FIRST_AREA)
            for number, each in enumerate(self.record.keyslot_records())
        )


def _could_open(entry: KeyslotRecord) -> bool:
    """Whether it has what a passphrase needs, be its state what it is."""
    return (
        entry.active != INACTIVE
        and MIN_ITERATIONS <= entry.iterations < _ITERATIONS_MAX
        and len(set(entry.salt)) > len(entry.salt) // 2
    )


def _mended(entry: KeyslotRecord, offset: int) -> KeyslotRecord:
    """In use where it could open; a state that makes no sense is unused then."""
    if not _could_open(entry):
        entry = replace(entry, active=INACTIVE, iterations=0, salt=bytes(len(entry.salt)))
    else:
        entry = replace(entry, active=ACTIVE)
    return replace(entry, key_material_offset=offset // SECTOR_SIZE, stripes=STRIPES)


def _geometry(record: PartitionHeader, entries: tuple[KeyslotRecord, ...]) -> tuple[int, int]:
    """Key size and place of the first area, as most entries have it; both in bytes."""
    stated = record.key_bytes if 0 < record.key_bytes <= KEY_SIZE_MAX else None
    votes: Counter[tuple[int, int]] = Counter()
    for key_size in dict.fromkeys((*([stated] if stated else []), *_KEY_SIZES)):
        for number, entry in enumerate(entries):
            distance = area_offset(number, key_size) - FIRST_AREA
            first = entry.key_material_offset * SECTOR_SIZE - distance
            if entry.stripes == STRIPES and first >= WRITTEN_SIZE:
                votes[key_size, first] += 1
    (key_size, first), count = votes.most_common(1)[0]
    if stated is not None and count < _SPELLED_KEY_SIZE:
        return stated, FIRST_AREA
    return key_size, first


def _ciphers(record: PartitionHeader, key_size: int) -> tuple[tuple[str, str], ...]:
    name, mode = c_text(record.cipher_name), c_text(record.cipher_mode)
    tried = ((name, mode), *((name, each) for _, each in _CIPHERS), *_CIPHERS)
    known = [each for each in tried if _is_known(*each, key_size)]
    return (known[0],) if known[:1] == [(name, mode)] else tuple(dict.fromkeys(known))


def _is_known(name: str, mode: str, key_size: int) -> bool:
    try:
        sizes = CipherSpec.parse(f"{name}-{mode}").key_sizes
    except AlgorithmError:
        return False
    return sizes is not None and key_size in sizes


def _hashes(record: PartitionHeader) -> tuple[str, ...]:
    name = c_text(record.hash_spec)
    try:
        is_long_enough = hashes.get(name).digest_size >= len(record.mk_digest)
    except AlgorithmError:
        return _HASHES
    return (name,) if is_long_enough else _HASHES


def _payload(record: PartitionHeader, key_size: int, first: int) -> int | None:
    """Where the data is stated to begin; None where that is among the areas, or nowhere."""
    stated = record.payload_offset * SECTOR_SIZE
    is_legible = stated == 0 or first + areas_end(key_size) - FIRST_AREA <= stated <= _FAR
    return stated if is_legible else None


def _candidate(
    storage: Storage,
    found: _Found,
    cipher: tuple[str, str],
    hash_name: str,
    uuid: str | None,
) -> Candidate:
    old = found.record
    payload = found.payload
    if payload is None:
        payload = align_up(areas_end(found.key_size), _ALIGNMENT)
    record = replace(
        old,
        magic=MAGIC,
        version=VERSION,
        cipher_name=c_bytes(cipher[0], 32, "cipher name"),
        cipher_mode=c_bytes(cipher[1], 32, "cipher mode"),
        hash_spec=c_bytes(hash_name, 32, "hash"),
        payload_offset=payload // SECTOR_SIZE,
        key_bytes=found.key_size,
        uuid=_uuid(old, uuid),
    ).with_keyslot_records(found.entries())
    mended = list(_mended_fields(old, record))
    is_legible = len(found.ciphers) == len(found.hashes) == 1 and found.payload is not None
    view = ShiftedView(storage, 0)
    return candidate_of(
        view,
        [Write(0, record.to_bytes(), "partition header")] if mended else [],
        way=_way(mended),
        confidence=Confidence.LIKELY if is_legible else Confidence.POSSIBLE,
        reasons=_reasons(found, record, mended),
        sources=[Source.of(storage, Extent(0, SIZE), "partition header")],
        lost=_lost(view, old, record),
        needs=areas_end(found.key_size),
        data_is_supposed=found.payload is None,
    )


def _uuid(record: PartitionHeader, uuid: str | None) -> bytes:
    if is_uuid(c_text(record.uuid)):
        return record.uuid
    return c_bytes(uuid or str(random_uuid()), 40, "uuid")


def _mended_fields(old: PartitionHeader, new: PartitionHeader) -> Iterator[str]:
    for name in (each.name for each in PARTITION_HEADER.subcons):
        if name != "keyslots" and _text(getattr(old, name)) != _text(getattr(new, name)):
            yield str(name).replace("_", "-")
    pairs = zip(old.keyslot_records(), new.keyslot_records(), strict=True)
    for number, (before, after) in enumerate(pairs):
        if before != after:
            yield f"keyslot {number}"


def _text(value: int | bytes) -> int | bytes:
    return value if isinstance(value, int) else value.rstrip(b"\0")


def _way(mended: list[str]) -> str:
    if not mended:
        return "sound header"
    return "wiped magic" if mended == ["magic"] else "partition header mended"


def _reasons(found: _Found, record: PartitionHeader, mended: list[str]) -> Iterator[str]:
    legible = sum(each.stripes == STRIPES for each in found.record.keyslot_records())
    yield f"{legible} of {KEYSLOT_COUNT} entries of the keyslot table are legible"
    if mended:
        yield f"put right: {', '.join(mended)}"
    for what, choices, value in (
        ("cipher", found.ciphers, f"{c_text(record.cipher_name)}-{c_text(record.cipher_mode)}"),
        ("hash", found.hashes, c_text(record.hash_spec)),
    ):
        if len(choices) > 1:
            yield f"{what} not legible, one of {len(choices)} that are tried: {value}"
    if found.payload is None:
        yield "the start of the data is not legible: the usual one, unless a key finds another"


def _lost(view: Storage, old: PartitionHeader, new: PartitionHeader) -> Iterator[str]:
    if _text(old.uuid) != _text(new.uuid):
        yield f"the UUID: {c_text(new.uuid)} stands in for it, --uuid names another"
    pairs = zip(old.keyslot_records(), new.keyslot_records(), strict=True)
    for number, (before, after) in enumerate(pairs):
        if before.active != INACTIVE and after.active == INACTIVE:
            at = PARTITION_HEADER.sizeof() - (KEYSLOT_COUNT - number) * KEYSLOT.sizeof()
            extent = Extent(at, KEYSLOT.sizeof())
            yield f"keyslot {number}: entry {extent} makes no sense; {_if_it_was(view, after)}"


def _if_it_was(view: Storage, entry: KeyslotRecord) -> str:
    """What its key material says about the entry that is gone."""
    offset = entry.key_material_offset * SECTOR_SIZE
    if offset + STEP <= view.size and looks_random(view.read_at(offset, STEP)):
        return "it was in use perhaps, and its salt and iterations are gone for good"
    return "it was not in use, by its key material"
