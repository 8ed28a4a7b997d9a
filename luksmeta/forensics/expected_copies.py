"""What the bytes of each LUKS2 header copy should be, by all that both copies still tell.

Most of a copy follows from its place: magic, version, sizes, zeroes behind the fields and behind
the JSON text. The rest lies in the other copy too, but for salt and checksum. Whatever is put
together so is proved where the copy's own stored checksum is that of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from typing import Final

from luksmeta.binary import c_text, field_offsets
from luksmeta.errors import AlgorithmError, MetadataError, StorageError
from luksmeta.extents import Extent
from luksmeta.header_copies import HeaderCopy
from luksmeta.kdf import hashes
from luksmeta.luks2.binary_header import (
    BINARY_HEADER,
    CHECKSUM_ALGORITHM,
    MAGIC,
    VERSION,
    BinaryHeader,
    checksum,
)
from luksmeta.luks2.json_text import parse_json
from luksmeta.luks2.limits import BINARY_HEADER_SIZE
from luksmeta.storage import Storage

STEP: Final = 512

_FIELDS: Final = field_offsets(BINARY_HEADER)
_SALT: Final = Extent(_FIELDS["salt"], 64)
_CSUM: Final = Extent(_FIELDS["csum"], 64)
_MERGED_MAX: Final = 64 << 20  # bytes that are hashed for two texts that differ in a few bytes
_APART_MAX: Final = 8  # bytes in which two texts may differ to be tried in all combinations
_NEAR: Final = 16  # equal bytes between two damaged ranges that are told as one


@dataclass(frozen=True, slots=True)
class RawCopy:
    """The bytes in a copy's place; what cannot be read is zero."""

    copy: HeaderCopy
    offset: int
    header: bytes
    area: bytes

    @classmethod
    def read(cls, storage: Storage, copy: HeaderCopy, offset: int, hdr_size: int) -> RawCopy:
        """All that lies in the place of a copy of this size."""
        data = _bytes_at(storage, Extent(offset, hdr_size))
        return cls(copy, offset, data[:BINARY_HEADER_SIZE], data[BINARY_HEADER_SIZE:])

    @property
    def record(self) -> BinaryHeader:
        """The fields as they lie there."""
        return BinaryHeader.from_bytes(self.header)


@dataclass(frozen=True, slots=True)
class ExpectedCopy:
    """What should lie in a copy's place.

    ``is_proved`` where the copy's own checksum is that of it. Where its salt or its checksum must
    be wrong, since all the rest is proved by the other copy, ``has_wrong_sum``.
    """

    raw: RawCopy
    header: bytes
    area: bytes
    is_proved: bool
    has_wrong_sum: bool = False

    def damage(self) -> list[Extent]:
        """The ranges of bytes on the device that are something else."""
        offset, raw = self.raw.offset, self.raw
        found = [*differing(raw.header, self.header, offset)]
        found += differing(raw.area, self.area, offset + BINARY_HEADER_SIZE)
        if self.has_wrong_sum:
            found += [Extent(offset + each.offset, each.size) for each in (_SALT, _CSUM)]
        return sorted(found, key=lambda each: each.offset)


def expected_copies(raws: Sequence[RawCopy]) -> tuple[ExpectedCopy, ...]:
    """What should lie in the place of each copy."""
    proofs = {each.copy: _proved(each, raws) for each in raws}
    return tuple(proofs[each.copy] or _likely(each, raws, proofs) for each in raws)


def differing(actual: bytes, expected: bytes, offset: int) -> Iterator[Extent]:
    """The ranges in which two texts of one length differ, as seen from ``offset``."""
    start = end = -1
    for at in _unequal(actual, expected):
        if start >= 0 and at - end > _NEAR:
            yield Extent(offset + start, end - start)
            start = -1
        start, end = (at if start < 0 else start), at + 1
    if start >= 0:
        yield Extent(offset + start, end - start)


def _unequal(one: bytes, other: bytes) -> Iterator[int]:
    for step in range(0, len(one), STEP):
        if one[step : step + STEP] != other[step : step + STEP]:
            places = range(step, min(step + STEP, len(one)))
            yield from (at for at in places if one[at] != other[at])


def _bytes_at(storage: Storage, extent: Extent) -> bytes:
    room = min(extent.end, storage.size) - extent.offset
    try:
        return storage.read_at(extent.offset, max(room, 0)).ljust(extent.size, b"\0")
    except StorageError:
        return b"".join(_step_at(storage, at) for at in range(extent.offset, extent.end, STEP))


def _step_at(storage: Storage, offset: int) -> bytes:
    try:
        return storage.read_at(offset, STEP)
    except StorageError:
        return bytes(STEP)


# --- proved by a checksum ------------------------------------------------------------------------


def _proved(raw: RawCopy, raws: Sequence[RawCopy]) -> ExpectedCopy | None:
    """What the copy's own checksum proves, of all that the copies make likely."""
    for header in _headers(raw, raws):
        stored = BinaryHeader.from_bytes(header)
        for area in _areas(raw, raws):
            if _is_sum_of(stored, header, area):
                return ExpectedCopy(raw, header, area, is_proved=True)
    return None


def _is_sum_of(record: BinaryHeader, header: bytes, area: bytes) -> bool:
    try:
        computed = checksum(c_text(record.csum_alg), header, area)
    except AlgorithmError:
        return False
    return record.csum[: len(computed)] == computed


def _headers(raw: RawCopy, raws: Iterable[RawCopy]) -> Iterator[bytes]:
    """The copy's own fields, then those of the other copy around its own salt and checksum."""
    if not raw.record.violations(raw.copy, raw.offset) and raw.record.magic == MAGIC[raw.copy]:
        yield _with_sum(raw.header, _without_tail(raw.record))
    yield _in_place(raw, raw.record).to_bytes()
    for other in raws:
        if other is not raw:
            yield _beside(raw, other.record)


def _in_place(raw: RawCopy, fields: BinaryHeader) -> BinaryHeader:
    """The fields, those made right that follow from the copy's place."""
    return replace(
        fields,
        magic=MAGIC[raw.copy],
        version=VERSION,
        hdr_size=BINARY_HEADER_SIZE + len(raw.area),
        hdr_offset=raw.offset,
        csum=_without_tail(fields),
    )


def _with_sum(header: bytes, csum: bytes) -> bytes:
    """The header, whatever lies between its fields, with this checksum."""
    return header[: _CSUM.offset] + csum + header[_CSUM.end :]


def _without_tail(fields: BinaryHeader) -> bytes:
    """The checksum, and zeroes behind it."""
    try:
        size = hashes.get(c_text(fields.csum_alg)).digest_size
    except AlgorithmError:
        return fields.csum
    return fields.csum[:size].ljust(len(fields.csum), b"\0")


def _beside(raw: RawCopy, other: BinaryHeader) -> bytes:
    own = raw.record
    return _in_place(raw, replace(other, salt=own.salt, csum=own.csum)).to_bytes()


def _areas(raw: RawCopy, raws: Iterable[RawCopy]) -> Iterator[bytes]:
    """The copy's own JSON area, as it lies there and without what lies behind the text; the other
    copy's; and what two that differ in a few bytes can mean.
    """
    yield raw.area
    yield _trimmed(raw.area)
    for other in raws:
        if other is not raw:
            yield _trimmed(other.area)
            yield from _merged(_trimmed(raw.area), _trimmed(other.area))


def _trimmed(area: bytes) -> bytes:
    return area.partition(b"\0")[0].ljust(len(area), b"\0")


def _merged(one: bytes, other: bytes) -> Iterator[bytes]:
    apart = list(islice(_unequal(one, other), _APART_MAX + 1))
    if not 1 < len(apart) <= _APART_MAX or len(one) << len(apart) > _MERGED_MAX:
        return
    for choice in product((one, other), repeat=len(apart)):
        merged = bytearray(one)
        for at, source in zip(apart, choice, strict=True):
            merged[at] = source[at]
        yield bytes(merged)


# --- what is likely ------------------------------------------------------------------------------


def _likely(
    raw: RawCopy, raws: Sequence[RawCopy], proofs: Mapping[HeaderCopy, ExpectedCopy | None]
) -> ExpectedCopy:
    """By the other copy, where that is proved: then salt or checksum are wrong too. By what must
    lie there and by any legible JSON text otherwise.
    """
    proof = next((each for each in proofs.values() if each), None)
    if proof is not None:
        header = _beside(raw, BinaryHeader.from_bytes(proof.header))
        return ExpectedCopy(raw, header, proof.area, is_proved=False, has_wrong_sum=True)
    header = _in_place(raw, raw.record).to_bytes()
    area = _legible([raw, *raws])
    is_all_right = (header, area) == (raw.header, raw.area)
    has_sum = any(raw.record.salt) and any(raw.record.csum)
    algorithm = c_text(raw.record.csum_alg) == CHECKSUM_ALGORITHM
    wrong_sum = is_all_right or not has_sum or not algorithm
    return ExpectedCopy(
        raw, header, raw.area if area is None else area, is_proved=False, has_wrong_sum=wrong_sum
    )


def _legible(raws: Iterable[RawCopy]) -> bytes | None:
    """The first JSON area whose text is a JSON object."""
    for each in raws:
        try:
            parse_json(each.area.partition(b"\0")[0])
        except MetadataError:
            continue
        return _trimmed(each.area)
    return None
