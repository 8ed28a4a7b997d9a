"""The segment files of an E01 image: their order, and where in them the chunks of the disk lie.

Source: libewf's documentation of the Expert Witness Compression Format (EWF), the parts about
EWF-E01 and EWF-S01.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from luksmeta.errors import StorageError
from luksmeta.extents import Extent
from luksmeta.forensics.virtual_disks import SIZE_MAX
from luksmeta.storage import Storage

MAGIC: Final = b"EVF\x09\x0d\x0a\xff\x00"
_FILE_HEADER: Final = struct.Struct("<8sBHH")  # magic, 1, number of the segment from 1 on, 0
_SECTION: Final = struct.Struct("<16sQQ40xI")  # type, place of the next one, size, checksum
_GEOMETRY: Final = struct.Struct("<4xIIIQ")  # chunks, sectors in each, bytes of these, all sectors
_GEOMETRY_SMART: Final = struct.Struct("<4xIIII")  # in a section of 94 bytes
_TABLE: Final = struct.Struct("<I4xQ4xI")  # chunks, base of their offsets, checksum
IS_COMPRESSED: Final = 1 << 31  # of an entry in a table; the rest is an offset
_SMART_SIZE: Final = 94
CHECKSUM: Final = 4  # bytes; Adler-32, as behind a chunk that is not compressed
_SECTIONS_MAX: Final = 1 << 16  # of one file
_SEGMENTS_MAX: Final = 4095  # files, .E01 to .ZZZ have more
CHUNK_MAX: Final = 16 << 20  # bytes; EnCase takes 32 KiB, libewf up to 16 MiB

_SUFFIX: Final = re.compile(r"\.[EeSs](0[1-9]|[1-9][0-9]|[A-Za-z]{2})")


def segment_suffix(first: str, number: int) -> str:
    """``.E01`` to ``.E99``, then ``.EAA`` to ``.ZZZ``; the first letter is that of ``first``."""
    if number <= 99:
        return f"{first[:2]}{number:02}"
    rest, low = divmod(number - 100, 26)
    high, middle = divmod(rest, 26)
    base = ord("a" if first[1].islower() else "A")
    return f".{chr(ord(first[1]) + high)}{chr(base + middle)}{chr(base + low)}"


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a segment file: of what type, and where its data lies."""

    type: str
    data: Extent


@dataclass(frozen=True, slots=True)
class Geometry:
    """The disk: ``size`` bytes in ``chunks`` of ``chunk_size``, the last perhaps shorter.

    ``is_smart``: the older form EWF-S01, whose tables have no checksum of their entries.
    """

    chunks: int
    chunk_size: int
    size: int
    is_smart: bool


@dataclass(frozen=True, slots=True)
class Table:
    """Where ``count`` chunks of one segment file lie, from ``entries`` on in that; ``end`` of all.

    ``mirror`` is where the entries lie once more.
    """

    file: Storage
    count: int
    base: int
    entries: int
    mirror: int | None
    end: int


def open_segments(path: Path, first: Storage, beside: Callable[[str], Storage]) -> list[Storage]:
    """All files of the image whose first is ``path``; ``beside`` opens one of another name.

    Raises StorageError where one is missing, or is another's.
    """
    files = [first]
    _require_number(first, 1)
    while not _is_last(files[-1]):
        if _SUFFIX.fullmatch(path.suffix) is None or len(files) == _SEGMENTS_MAX:
            raise StorageError(
                f"is segment {len(files)} of an E01 image, and not the last: the name of the next "
                "cannot be told"
            ).about(files[-1].name)
        files.append(beside(path.stem + segment_suffix(path.suffix, len(files) + 1)))
        _require_number(files[-1], len(files))
    return files


def _require_number(file: Storage, number: int) -> None:
    magic, _, own, _ = _FILE_HEADER.unpack(_bytes(file, 0, _FILE_HEADER.size))
    if magic != MAGIC:
        raise StorageError("is no segment of an E01 image").about(file.name)
    if own != number:
        raise (
            StorageError(f"is segment {own} of an E01 image, segment {number} belongs here")
            .about(file.name)
            .advise("name the first one")
        )


def _is_last(file: Storage) -> bool:
    return list(sections_of(file))[-1].type == "done"


def _bytes(file: Storage, offset: int, size: int) -> bytes:
    if offset + size > file.size:
        raise StorageError(
            f"the E01 image has {size} bytes at {offset:#x}, the file ends at {file.size:#x}"
        ).about(file.name)
    return file.read_at(offset, size)


def sections_of(file: Storage) -> Iterator[Section]:
    """What a segment file consists of, in order; the last is named ``next`` or ``done``."""
    offset = _FILE_HEADER.size
    for _ in range(_SECTIONS_MAX):
        raw = _bytes(file, offset, _SECTION.size)
        kind, following, size, checksum = _SECTION.unpack(raw)
        if zlib.adler32(raw[:-CHECKSUM]) != checksum:
            raise damaged(file, f"section at {offset:#x}")
        start = offset + _SECTION.size
        end = following if size == 0 else offset + size
        yield Section(
            kind.rstrip(b"\0").decode("ascii", "replace"), Extent(start, max(0, end - start))
        )
        if kind.rstrip(b"\0") in (b"next", b"done"):
            return
        if following <= offset:
            break
        offset = following
    raise StorageError(f"the E01 image's sections do not end at {offset:#x}").about(file.name)


def geometry_of(sections: Sequence[tuple[Storage, list[Section]]]) -> Geometry:
    """What the section ``volume``, or ``disk``, says."""
    for file, found in sections:
        for section in found:
            if section.type in ("volume", "disk"):
                return _parsed_geometry(file, section.data)
    raise StorageError("the E01 image does not say how large the disk is").about(
        sections[0][0].name
    )


def _parsed_geometry(file: Storage, place: Extent) -> Geometry:
    is_smart = place.size == _SMART_SIZE
    layout = _GEOMETRY_SMART if is_smart else _GEOMETRY
    if not layout.size + CHECKSUM <= place.size <= CHUNK_MAX:
        raise StorageError(
            f"the E01 image's geometry has {place.size} bytes, {layout.size + CHECKSUM} at least"
        ).about(file.name)
    raw = _bytes(file, place.offset, place.size)
    if without_checksum(raw) is None:
        raise damaged(file, "geometry")
    chunks, per_chunk, sector_size, sectors = layout.unpack_from(raw)
    chunk_size, size = per_chunk * sector_size, sectors * sector_size
    is_filled = (chunks - 1) * chunk_size < size <= min(chunks * chunk_size, SIZE_MAX)
    if not (0 < chunk_size <= CHUNK_MAX and size > 0 and is_filled):
        raise StorageError(
            f"the E01 image states {sectors} sectors of {sector_size} bytes in {chunks} chunks of "
            f"{chunk_size} bytes"
        ).about(file.name)
    return Geometry(chunks, chunk_size, size, is_smart)


def tables_of(file: Storage, sections: Sequence[Section]) -> Iterator[Table]:
    """The tables of one file; ``table2`` behind a ``table`` is its mirror."""
    for number, section in enumerate(sections):
        if section.type != "table":
            continue
        following = sections[number + 1] if number + 1 < len(sections) else None
        mirror = following.data if following and following.type == "table2" else None
        yield _table(file, section.data, mirror)


def _table(file: Storage, place: Extent, mirror: Extent | None) -> Table:
    header = _table_header(file, place)
    if header is None and mirror is not None:
        header = _table_header(file, mirror)
    if header is None:
        raise damaged(file, f"table at {place.offset:#x}")
    count, base = header
    length = _TABLE.size + 4 * count + CHECKSUM
    if count == 0 or place.size < length:
        raise StorageError(
            f"the E01 image's table at {place.offset:#x} has {place.size} bytes, {count} chunks "
            f"need {length}"
        ).about(file.name)
    _bytes(file, place.offset, length)
    again = None
    if mirror is not None and mirror.size >= length and mirror.offset + length <= file.size:
        again = mirror.offset + _TABLE.size
    end = place.end if place.size > length else place.offset - _SECTION.size
    return Table(file, count, base, place.offset + _TABLE.size, again, end)


def _table_header(file: Storage, place: Extent) -> tuple[int, int] | None:
    """How many chunks, and from where their offsets count; None where the checksum is wrong."""
    raw = _bytes(file, place.offset, _TABLE.size)
    if without_checksum(raw) is None:
        return None
    count, base, _ = _TABLE.unpack(raw)
    return count, base


def without_checksum(raw: bytes) -> bytes | None:
    """Bytes before their checksum, if it is theirs."""
    data = raw[:-CHECKSUM]
    return data if zlib.adler32(data) == int.from_bytes(raw[-CHECKSUM:], "little") else None


def damaged(file: Storage, what: str) -> StorageError:
    """The error about a part of an image that is not what was written."""
    text = f"{what} of the E01 image: its checksum is wrong"
    return StorageError(text).about(file.name).advise("ewfverify shows all that is damaged")
