"""What reading and writing plaintext share: which files must not be touched, which bytes exist."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from luksmeta.cli import prompt
from luksmeta.cli.options import VolumeOptions
from luksmeta.model import SECTOR_SIZE
from luksmeta.segment_stream import SegmentStream
from luksmeta.signatures import find_signatures
from luksmeta.sizes import counted
from luksmeta.storage import Storage

if TYPE_CHECKING:
    from luksmeta.cli.type_options import TypeOptions


def refuse_same(name: str, volume: VolumeOptions, keys: Mapping[str, str | None]) -> None:
    """Raise InputError where plaintext would take the place of the volume or its key, or be it."""
    own = {"the volume": volume.image, "the volume's header": volume.header}
    for what, other in {**own, **keys}.items():
        with suppress(OSError):  # one of them is not there
            if other is not None and Path(name).samefile(other):
                raise prompt.InputError(f"is {what} itself, not a file for plaintext").about(name)


def checked_length(stream: SegmentStream, offset: int, length: int | None) -> int:
    """The bytes to read or write; prompt.InputError when they are not all inside the volume."""
    if offset > stream.size:
        raise prompt.InputError(f"offset {offset} lies past the data's end, {stream.size}")
    if length is not None and offset + length > stream.size:
        raise prompt.InputError(
            f"{counted(length, 'byte')} at offset {offset} would reach past the data's end, "
            f"{stream.size}"
        )
    return stream.size - offset if length is None else length


def confirm_loss(volume: VolumeOptions, layout: TypeOptions, offset: int, storage: Storage) -> None:
    """Name what writing would destroy: where there was a volume without a header, nothing is known.

    As cryptsetup's ``open --type plain`` asks for signatures, but only for those within the data.
    """
    start = offset * SECTOR_SIZE
    end = storage.size if layout.size is None else start + layout.size * SECTOR_SIZE
    found = [each for each in find_signatures(storage) if start <= each.offset < end]
    if found:
        held = ", ".join(map(str, found))
        warning = f"holds {held}; writing as --type {layout.type} may destroy that"
        prompt.confirm(volume.image, warning, batch_mode=volume.batch_mode)
