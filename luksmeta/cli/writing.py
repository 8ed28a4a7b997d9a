"""``write``: plaintext into a volume."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from luksmeta.cli import output, progress, prompt
from luksmeta.cli.key_options import UnlockOptions, unlock_options
from luksmeta.cli.options import (
    FileName,
    Size,
    VolumeOptions,
    dry_run_option,
    json_option,
    volume_options,
)
from luksmeta.cli.plaintext import CHUNK, checked_length, refuse_same
from luksmeta.cli.unlocking import open_for, unlock
from luksmeta.overlay import OverlayStorage
from luksmeta.segment_stream import SegmentStream
from luksmeta.unlocked_volume import UnlockedVolume
from luksmeta.volume import Volume
from luksmeta.write_plan import Progress


@click.command("write")
@volume_options
@unlock_options()
@click.option(
    "-i",
    "--input",
    "input_file",
    type=FileName(),
    metavar="FILE",
    help="Default, and -: standard input.",
)
@click.option("--offset", type=Size(), default=0, metavar="BYTES", help="Start here.")
@json_option
@dry_run_option
def write_command(
    *,
    volume: VolumeOptions,
    key: UnlockOptions,
    input_file: str | None,
    offset: int,
    as_json: bool,
    dry_run: bool,
) -> None:
    """Write a file or standard input into the volume.

    Nothing is written when it does not fit.

    Standard input gives the passphrase first, in its first line, unless a key file does.
    """
    if input_file in (None, "-"):
        if key.source.takes_all_input:
            raise click.UsageError(
                "key and data are both standard input; give -l/--keyfile-size, or -i FILE"
            )
    else:
        refuse_same(input_file, volume, {})
    with (
        _source(input_file) as descriptor,
        open_for(volume, writable=True, dry_run=dry_run) as opened,
        unlock(opened, key, keyslot=key.key_slot) as unlocked,
    ):
        size = _size_left(descriptor)
        if size is None:
            size = _write_stream(opened, unlocked, descriptor, offset)
        else:
            size = _write_file(unlocked, descriptor, offset, size)
        if dry_run:
            _say_plan(unlocked, offset, size, as_json=as_json)
        elif as_json:
            output.say_json({"offset": offset, "written": size})
        else:
            output.say(f"{volume.image}: {size} bytes written at {offset}")


def _say_plan(unlocked: UnlockedVolume, offset: int, size: int, *, as_json: bool) -> None:
    with unlocked.open() as stream:
        extents = stream.device_extents(offset, size)
    steps: list[dict[str, int | str]] = [
        {"step": "write", "offset": each.offset, "length": each.size, "what": "data"}
        for each in extents
    ]
    output.say_steps(steps, as_json=as_json)


@contextmanager
def _source(name: str | None) -> Iterator[int]:
    """The file descriptor to read plaintext from."""
    if name is None or name == "-":
        yield prompt.STDIN
        return
    try:
        file = Path(name).open("rb", buffering=0)  # noqa: SIM115  # closed below
    except OSError as error:
        raise prompt.input_error(name, error) from error
    with file:
        yield file.fileno()


def _size_left(descriptor: int) -> int | None:
    """How many bytes a regular file has from its position on; None for a pipe or a device."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        return None
    return max(0, status.st_size - os.lseek(descriptor, 0, os.SEEK_CUR))


def _write_file(unlocked: UnlockedVolume, descriptor: int, offset: int, size: int) -> int:
    """Write a file; how many bytes there were."""
    with unlocked.open(writable=True) as stream, progress.bar("Writing") as advance:
        checked_length(stream, offset, size)
        return _copy_in(stream, offset, descriptor, size, advance)


def _write_stream(volume: Volume, unlocked: UnlockedVolume, descriptor: int, offset: int) -> int:
    """Write a pipe, which tells its length only at its end: sectors wait aside, encrypted."""
    aside = OverlayStorage(volume.data_storage)
    try:
        with (
            unlocked.open(writable=True, storage=aside) as stream,
            progress.bar("Writing") as advance,
        ):
            checked_length(stream, offset, 0)
            room = stream.size - offset
            written = _copy_in(stream, offset, descriptor, room, advance)
            if os.read(descriptor, 1):
                raise prompt.InputError(
                    f"{volume.data_storage.name}: more than the {room} bytes that fit at offset "
                    f"{offset}; nothing was written"
                )
        aside.commit()
    finally:
        aside.discard()
    return written


def _copy_in(
    stream: SegmentStream, offset: int, descriptor: int, size: int, advance: Progress
) -> int:
    """Write up to ``size`` bytes, until the input ends; how many there were."""
    stream.seek(offset)
    done = 0
    while done < size:
        chunk = _read_chunk(descriptor, min(CHUNK, size - done))
        if not chunk:
            break
        stream.write(chunk)
        done += len(chunk)
        advance(done, size)
    return done


def _read_chunk(descriptor: int, size: int) -> bytearray:
    """``size`` bytes, fewer only at the input's end: pipes come in small pieces."""
    chunk = bytearray()
    while len(chunk) < size and (part := os.read(descriptor, size - len(chunk))):
        chunk += part
    return chunk
