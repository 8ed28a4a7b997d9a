"""``read`` and ``write``: plaintext out of a volume and into it."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from luksmeta.cli import interrupts, output, prompt
from luksmeta.cli.key_options import UnlockOptions, unlock_options
from luksmeta.cli.options import (
    FileName,
    Size,
    VolumeOptions,
    dry_run_option,
    json_option,
    volume_options,
)
from luksmeta.cli.unlocking import open_for, unlock
from luksmeta.overlay import OverlayStorage
from luksmeta.segment_stream import SegmentStream
from luksmeta.unlocked_volume import UnlockedVolume
from luksmeta.volume import Volume

_CHUNK: Final = 1 << 20
_HOLE: Final = 4096  # bytes of zeroes that become a hole in a sparse file

_Progress = Callable[[int, int], None]
_Write = Callable[[memoryview], object]


@click.command("read")
@volume_options
@unlock_options()
@click.option(
    "-o",
    "--output",
    "output_file",
    type=FileName(),
    metavar="FILE",
    help="Default: standard output.",
)
@click.option("--offset", type=Size(), default=0, metavar="BYTES", help="Start here.")
@click.option("--length", type=Size(), metavar="BYTES", help="So many; default: to the end.")
def read_command(
    *,
    volume: VolumeOptions,
    key: UnlockOptions,
    output_file: str | None,
    offset: int,
    length: int | None,
) -> None:
    """Write the plaintext to a file or standard output.

    Zeroes become holes in the file, and it has its name only when it is complete.
    """
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    if output_file is None and is_terminal and not volume.batch_mode:
        raise click.UsageError("plaintext is not written to a terminal; give -o FILE, a pipe or -q")
    with (
        open_for(volume) as opened,
        unlock(opened, key, keyslot=key.key_slot) as unlocked,
        unlocked.open() as stream,
    ):
        size = _checked_length(stream, offset, length)
        with output.progress("Reading") as progress:
            if output_file is None:
                with output.to_standard_output():
                    _copy_out(stream, offset, size, sys.stdout.buffer.write, progress)
                    sys.stdout.buffer.flush()
            else:
                with output.errors_of(output_file):
                    _read_to_file(stream, offset, size, output_file, progress)


@click.command("write")
@volume_options
@unlock_options()
@click.option(
    "-i", "--input", "input_file", type=FileName(), metavar="FILE", help="Default: standard input."
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
            with unlocked.open() as stream:
                extents = stream.device_extents(offset, size)
            output.say_steps(
                [
                    {"step": "write", "offset": each.offset, "length": each.size, "what": "data"}
                    for each in extents
                ],
                as_json=as_json,
            )
        elif as_json:
            output.say_json({"offset": offset, "written": size})
        else:
            output.say(f"{volume.image}: {size} bytes written at {offset}")


def _checked_length(stream: SegmentStream, offset: int, length: int | None) -> int:
    """The bytes to read or write; prompt.InputError when they are not all inside the volume."""
    end = offset if length is None else offset + length
    if end > stream.size:
        raise prompt.InputError(
            f"{end - offset} bytes at offset {offset} reach past the data's end, {stream.size}"
        )
    return stream.size - offset if length is None else length


# --- reading ---------------------------------------------------------------------------------


def _copy_out(
    stream: SegmentStream, offset: int, size: int, write: _Write, progress: _Progress
) -> None:
    """Hand ``size`` bytes from ``offset`` on to ``write``, a chunk at a time."""
    stream.seek(offset)
    buffer = memoryview(bytearray(min(_CHUNK, max(size, 1))))
    done = 0
    while done < size:
        part = buffer[: size - done]
        stream.readinto(part)
        write(part)
        done += len(part)
        progress(done, size)


def _read_to_file(
    stream: SegmentStream, offset: int, size: int, name: str, progress: _Progress
) -> None:
    """The plaintext in a file that has its name only when it is complete; devices as they are."""
    path = Path(name).resolve()  # a link stays one
    if path.exists() and not path.is_file():
        with path.open("wb") as device:
            _copy_out(stream, offset, size, device.write, progress)
        return
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".luksmeta.")
    with interrupts.incomplete(temporary):
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                _copy_out(stream, offset, size, _sparse(file.fileno()), progress)
                file.truncate(size)
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink()
            raise


def _sparse(descriptor: int) -> _Write:
    """A writer into a new file that skips blocks of zeroes."""
    zeroes = bytes(_HOLE)
    position = 0

    def write(data: memoryview) -> None:
        nonlocal position
        start = 0  # of the data that is not written yet
        for at in range(0, len(data), _HOLE):
            block = data[at : at + _HOLE]
            if block == zeroes[: len(block)]:
                _write_all(descriptor, data[start:at], position + start)
                start = at + len(block)
        _write_all(descriptor, data[start:], position + start)
        position += len(data)

    return write


def _write_all(descriptor: int, data: memoryview, offset: int) -> None:
    os.lseek(descriptor, offset, os.SEEK_SET)
    while data:
        data = data[os.write(descriptor, data) :]


# --- writing ---------------------------------------------------------------------------------


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
    with unlocked.open(writable=True) as stream, output.progress("Writing") as progress:
        _checked_length(stream, offset, size)
        return _copy_in(stream, offset, descriptor, size, progress)


def _write_stream(volume: Volume, unlocked: UnlockedVolume, descriptor: int, offset: int) -> int:
    """Write a pipe, which tells its length only at its end: sectors wait aside, encrypted."""
    aside = OverlayStorage(volume.data_storage)
    try:
        with (
            unlocked.open(writable=True, storage=aside) as stream,
            output.progress("Writing") as progress,
        ):
            _checked_length(stream, offset, 0)
            room = stream.size - offset
            written = _copy_in(stream, offset, descriptor, room, progress)
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
    stream: SegmentStream, offset: int, descriptor: int, size: int, progress: _Progress
) -> int:
    """Write up to ``size`` bytes, until the input ends; how many there were."""
    stream.seek(offset)
    done = 0
    while done < size:
        chunk = _read_chunk(descriptor, min(_CHUNK, size - done))
        if not chunk:
            break
        stream.write(chunk)
        done += len(chunk)
        progress(done, size)
    return done


def _read_chunk(descriptor: int, size: int) -> bytearray:
    """``size`` bytes, fewer only at the input's end: pipes come in small pieces."""
    chunk = bytearray()
    while len(chunk) < size and (part := os.read(descriptor, size - len(chunk))):
        chunk += part
    return chunk
