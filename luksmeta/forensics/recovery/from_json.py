"""LUKS2 headers made around a JSON text.

The JSON text is all that cannot be made anew. Of the binary header (specification 2.1) magic,
version, sizes and offsets follow from the place, salt and checksum are made anew, and the UUID
matters to nobody's data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Final

from luksmeta.binary import c_bytes, c_text
from luksmeta.errors import LuksError
from luksmeta.extents import Extent
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
from luksmeta.forensics.recovery.json_fragments import fragments_in
from luksmeta.forensics.recovery.json_texts import JsonText
from luksmeta.header_copies import HeaderCopy
from luksmeta.luks2.binary_header import (
    CHECKSUM_ALGORITHM,
    MAGIC,
    SALT_SIZE,
    VERSION,
    BinaryHeader,
    check_checksum,
)
from luksmeta.luks2.header_copy import copy_bytes, copy_offset, metadata_of
from luksmeta.luks2.limits import BINARY_HEADER_SIZE
from luksmeta.luks2.validation import repair_known_faults
from luksmeta.model import Keyslot
from luksmeta.random_bytes import random_bytes, random_uuid
from luksmeta.storage import Storage
from luksmeta.uuids import is_uuid
from luksmeta.write_plan import Write

_SEQID_MAX: Final = 1 << 40  # more updates than anybody makes


def by_text(storage: Storage, text: JsonText, uuid: str | None) -> Iterator[Candidate]:
    """The header around a whole text, wherever the volume that it belongs to may begin."""
    own = {
        text.offset - BINARY_HEADER_SIZE - copy_offset(copy, text.hdr_size): copy
        for copy in HeaderCopy
    }
    for base in _bases(storage, text, own):
        copy = own.get(base)
        yield from made(partial(_of_text, storage, text, base, copy, uuid))


def _bases(storage: Storage, text: JsonText, own: Iterable[int]) -> list[int]:
    """Where the volume may begin: at the start, unless its key material speaks for elsewhere."""
    if 0 in own:
        return [0]
    fitting = [each for each in (0, *own) if _has_material(ShiftedView(storage, each), text)]
    return fitting or [0]


def _has_material(view: Storage, text: JsonText) -> bool:
    """Whether all areas of key material begin with what could be some."""
    record = _blank_record(text.hdr_size)
    keyslots = metadata_of(record, repair_known_faults(text.document)).keyslots.values()
    areas = [each.area for each in keyslots if isinstance(each, Keyslot)]
    return bool(areas) and all(
        area.offset + STEP <= view.size and looks_random(view.read_at(area.offset, STEP))
        for area in areas
    )


def _of_text(
    storage: Storage, text: JsonText, base: int, copy: HeaderCopy | None, uuid: str | None
) -> Candidate:
    view = ShiftedView(storage, base)
    proved = None if copy is None else _record_with_checksum(view, text, copy)
    found = _records(view, text.hdr_size)
    record, lost = _record_for(text, found, uuid)
    salts = {}
    if proved is not None and copy is not None:
        record, lost, salts = proved, [], {copy: proved.salt}
    where = " and ".join(map(str, text.extents))
    return candidate_of(
        view,
        both_copies(record, text.json_area, salts),
        way=_way_of(text, copy),
        confidence=_confidence(copy, base, is_proved=proved is not None),
        reasons=_reasons(text, where, base, copy, is_proved=proved is not None),
        sources=[
            *(Source.of(storage, each, "JSON text") for each in text.extents),
            *(Source.of(storage, Extent(base + at, STEP), "binary header") for at in found),
        ],
        lost=lost,
        base=base,
        needs=metadata_of(record, repair_known_faults(text.document)).keyslots_area.end,
    )


def by_fragments(storage: Storage, data: bytes, uuid: str | None) -> Iterator[Candidate]:
    """Headers around the objects that are left of texts which are whole nowhere."""
    for fragments in fragments_in(data):
        whole = fragments.text()
        if whole is not None:
            yield from made(partial(_of_fragments, storage, *whole, uuid))


def _of_fragments(
    storage: Storage, text: JsonText, lost: tuple[str, ...], is_guess: bool, uuid: str | None
) -> Candidate:
    view = ShiftedView(storage, 0)
    found = _records(view, text.hdr_size)
    record, more_lost = _record_for(text, found, uuid)
    return candidate_of(
        view,
        both_copies(record, text.json_area, {}),
        way="fragments of JSON texts",
        confidence=Confidence.POSSIBLE,
        reasons=[f"{len(text.extents)} objects of JSON texts that are damaged are whole"],
        sources=[
            *(Source.of(storage, each, "JSON object") for each in text.extents),
            *(Source.of(storage, Extent(at, STEP), "binary header") for at in found),
        ],
        lost=[*lost, *more_lost],
        needs=metadata_of(record, text.document).keyslots_area.end,
        data_is_supposed=is_guess,
    )


def _way_of(text: JsonText, copy: HeaderCopy | None) -> str:
    if len(text.extents) > 1:
        return "JSON text of both copies"
    return "JSON text in slack" if copy is None else f"JSON text of the {copy} copy"


def _confidence(copy: HeaderCopy | None, base: int, *, is_proved: bool) -> Confidence:
    if is_proved:
        return Confidence.CERTAIN
    return Confidence.POSSIBLE if base or copy is None else Confidence.LIKELY


def _reasons(
    text: JsonText, where: str, base: int, copy: HeaderCopy | None, *, is_proved: bool
) -> Iterator[str]:
    yield f"JSON text at {where}: whole, and keeps every rule of the format"
    if is_proved:
        yield "the checksum that is left of its binary header is right for it"
    elif copy is None:
        yield "it lies where no header says: it may be older than what was lost"
    if base:
        yield f"the volume would begin at {base:#x} of the image"


def _blank_record(hdr_size: int) -> BinaryHeader:
    return BinaryHeader(
        magic=MAGIC[HeaderCopy.PRIMARY],
        version=VERSION,
        hdr_size=hdr_size,
        seqid=1,
        label=bytes(48),
        csum_alg=c_bytes(CHECKSUM_ALGORITHM, 32, "csum_alg"),
        salt=bytes(SALT_SIZE),
        uuid=bytes(40),
        subsystem=bytes(48),
        hdr_offset=0,
        csum=bytes(64),
    )


def _records(view: Storage, hdr_size: int) -> dict[int, BinaryHeader]:
    """The binary headers of which a UUID is left, by their place in the volume."""
    found = {}
    for copy in HeaderCopy:
        offset = copy_offset(copy, hdr_size)
        header = first_bytes_of(ShiftedView(view, offset), BINARY_HEADER_SIZE)
        if len(header) == BINARY_HEADER_SIZE:
            record = BinaryHeader.from_bytes(header)
            if is_uuid(c_text(record.uuid)):
                found[offset] = record
    return found


def _record_for(
    text: JsonText, found: dict[int, BinaryHeader], uuid: str | None
) -> tuple[BinaryHeader, list[str]]:
    """A binary header with what is left of the old ones, and what of it is gone."""
    blank = _blank_record(text.hdr_size)
    if not found:
        new = uuid or str(random_uuid())
        lost = ["label and subsystem, if there were any"]
        if uuid is None:
            lost.insert(0, f"the UUID: {new} is a new one, --uuid names another")
        return replace(blank, uuid=c_bytes(new, 40, "uuid")), lost
    old = max(found.values(), key=lambda each: _seqid_of(each))
    return replace(
        blank,
        uuid=c_bytes(uuid or c_text(old.uuid), 40, "uuid"),
        label=_text_or_nothing(old.label),
        subsystem=_text_or_nothing(old.subsystem),
        seqid=_seqid_of(old) + 1,
    ), []


def _seqid_of(record: BinaryHeader) -> int:
    return record.seqid if record.seqid < _SEQID_MAX else 1


def _text_or_nothing(data: bytes) -> bytes:
    return data if c_text(data).isprintable() and b"\0" in data else bytes(len(data))


def _record_with_checksum(view: Storage, text: JsonText, copy: HeaderCopy) -> BinaryHeader | None:
    """The copy's own binary header, when its checksum is right once what follows is put back."""
    offset = copy_offset(copy, text.hdr_size)
    header = first_bytes_of(ShiftedView(view, offset), BINARY_HEADER_SIZE)
    if len(header) < BINARY_HEADER_SIZE:
        return None
    record = replace(
        BinaryHeader.from_bytes(header),
        magic=MAGIC[copy],
        version=VERSION,
        hdr_size=text.hdr_size,
        hdr_offset=offset,
        csum_alg=c_bytes(CHECKSUM_ALGORITHM, 32, "csum_alg"),
    )
    try:
        check_checksum(copy, record.to_bytes(), text.json_area)
    except LuksError:
        return None
    return record


def both_copies(
    record: BinaryHeader, json_area: bytes, salts: dict[HeaderCopy, bytes]
) -> list[Write]:
    """Both copies, each with the salt that it had, where that is known."""
    return [
        Write(
            copy_offset(copy, record.hdr_size),
            copy_bytes(record, json_area, copy, salts.get(copy) or random_bytes(SALT_SIZE)),
            f"{copy} header, seqid {record.seqid}",
        )
        for copy in HeaderCopy
    ]
