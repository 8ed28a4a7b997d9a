"""The table of a volume in a part of a disk, told for the disk, which is what the kernel has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from luksmeta.disks.part_storage import PartStorage
from luksmeta.dm.crypt_table import KeyedLine
from luksmeta.dm.table import TableLine
from luksmeta.dm.targets.crypt import CryptLine
from luksmeta.errors import UnsupportedError
from luksmeta.model import SECTOR_SIZE
from luksmeta.storage import Storage


def on_disk(table: tuple[KeyedLine, ...], storage: Storage) -> tuple[KeyedLine, ...]:
    """The lines with the disk's offsets, where ``storage`` is a part of one; else the same.

    A line becomes one for each extent that it reaches. Raises UnsupportedError where an extent
    does not start or end with a sector.
    """
    part = _part_of(storage)
    if part is None:
        return table
    return tuple(piece for each in table for piece in _pieces(each, part))


def _part_of(storage: Storage) -> PartStorage | None:
    view: Storage | None = storage
    while view is not None and not isinstance(view, PartStorage):
        view = view.base
    return view


def _pieces(keyed: KeyedLine, part: PartStorage) -> Iterator[KeyedLine]:
    line, done = keyed.line, 0
    crypt = CryptLine.parse(line) if line.target == "crypt" else None
    first = crypt.start if crypt else int(line.arguments[1])
    unit = crypt.options.sector_size if crypt else SECTOR_SIZE
    for _, offset, size in part.below(first * SECTOR_SIZE, line.length * SECTOR_SIZE):
        if offset % unit or size % unit:
            raise UnsupportedError(
                f"{part.name}: {size} bytes at {offset:#x} of the disk are no whole sectors of "
                f"{unit} bytes, and no table can show them"
            )
        start, length, at = line.start + done, size // SECTOR_SIZE, offset // SECTOR_SIZE
        yield replace(keyed, line=_moved(line, crypt, start, length, at, done))
        done += length


def _moved(
    line: TableLine, crypt: CryptLine | None, start: int, length: int, offset: int, done: int
) -> TableLine:
    """``length`` sectors of a line, the first ``done`` left out, from ``offset`` of the disk on."""
    if crypt is None:
        return TableLine(start, length, line.target, (line.arguments[0], str(offset)))
    moved = replace(crypt, iv_offset=crypt.iv_offset + done, start=offset)
    return moved.line(start, length)
