"""``write``: plaintext into a volume."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import click

from luksmeta.cli import output, progress, prompt
from luksmeta.cli.options import FileName, dry_run_option, json_option
from luksmeta.cli.plaintext import checked_length, refuse_same
from luksmeta.cli.source import Data, Source
from luksmeta.cli.table_options import TableOptions, open_any, source_or_table_options
from luksmeta.cli.type_options import OFFSET_HELP, Offset
from luksmeta.copying import Read, copy_in
from luksmeta.overlay import OverlayStorage
from luksmeta.signatures import ext_block_size
from luksmeta.sizes import counted
from luksmeta.target import open_storage


@click.command("write")
@source_or_table_options
@click.option(
    "-i",
    "--input",
    "input_file",
    type=FileName(),
    metavar="FILE",
    help="Default, and -: standard input.",
)
@click.option("--offset", type=Offset(), default=0, metavar="N", help=OFFSET_HELP)
@json_option
@dry_run_option
def write_command(
    *,
    source: Source,
    table: TableOptions,
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
        if source.key.source.takes_all_input:
            raise click.UsageError(
                "key and data are both standard input; give -l/--keyfile-size, or -i FILE"
            )
    else:
        refuse_same(input_file, source.volume, table.devices)
    start = source.layout.start(offset)
    with (
        _source(input_file) as descriptor,
        open_any(source, table, offset, writable=True, dry_run=dry_run) as data,
    ):
        size = _size_left(descriptor)
        if size is None:
            size = _write_stream(data, descriptor, start)
        else:
            size = _write_file(data, descriptor, start, size)
        if not start and size:
            _warn_of_small_blocks(source.image, data)
        if dry_run:
            _say_plan(data, start, size, as_json=as_json)
        elif as_json:
            output.say_json({"offset": start, "written": size})
        else:
            output.say(f"{source.image}: {counted(size, 'byte')} written at {start}")


def _warn_of_small_blocks(image: str, data: Data) -> None:
    """The kernel mounts no file system whose blocks are smaller than the device's sectors."""
    with data.open() as stream:
        blocks = ext_block_size(open_storage(cast("BinaryIO", stream)))
        if blocks is not None and blocks < stream.sector_size:
            output.warning(
                f"{image}: no kernel mounts this file system, its blocks of {blocks} bytes are "
                f"smaller than the volume's sectors of {stream.sector_size}; format with "
                "--sector-size 512, or make it with larger blocks"
            )


def _say_plan(data: Data, offset: int, size: int, *, as_json: bool) -> None:
    with data.open() as stream:
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


def _write_file(data: Data, descriptor: int, offset: int, size: int) -> int:
    """Write a file; how many bytes there were."""
    with data.open(writable=True) as stream, progress.bar("Writing") as advance:
        checked_length(stream, offset, size)
        return copy_in(stream, offset, size, _reader(descriptor), advance)


def _write_stream(data: Data, descriptor: int, offset: int) -> int:
    """Write a pipe, which tells its length only at its end: sectors wait aside, encrypted."""
    aside = OverlayStorage(data.data_storage)
    try:
        with (
            data.open(writable=True, storage=aside) as stream,
            progress.bar("Writing") as advance,
        ):
            checked_length(stream, offset, 0)
            room = stream.size - offset
            written = copy_in(stream, offset, room, _reader(descriptor), advance)
            if os.read(descriptor, 1):
                raise prompt.InputError(
                    f"more than the {counted(room, 'byte')} that fit at offset {offset}; "
                    "nothing was written"
                ).about(data.data_storage.name)
        aside.commit()
    finally:
        aside.discard()
    return written


def _reader(descriptor: int) -> Read:
    """Fills a chunk from a file; pipes come in small pieces."""
    file = io.FileIO(descriptor, closefd=False)

    def read(chunk: memoryview) -> int:
        filled = 0
        while filled < len(chunk) and (length := file.readinto(chunk[filled:])):
            filled += length
        return filled

    return read
