"""What reading and writing plaintext share: which files must not be touched, which bytes exist."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from luksmeta.cli import prompt
from luksmeta.cli.options import VolumeOptions
from luksmeta.segment_stream import SegmentStream
from luksmeta.sizes import counted


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
