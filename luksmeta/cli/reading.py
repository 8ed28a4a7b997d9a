"""``read``: plaintext out of a volume."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import click

from luksmeta.cli import interrupts, output, progress
from luksmeta.cli.options import FileName, Size, dry_run_option, json_option
from luksmeta.cli.plaintext import checked_length, refuse_same
from luksmeta.cli.source import Source
from luksmeta.cli.table_options import TableOptions, open_any, source_or_table_options
from luksmeta.cli.type_options import OFFSET_HELP, Offset
from luksmeta.copying import Write, copy_out
from luksmeta.file_storage import flush_directory
from luksmeta.segment_stream import SegmentStream
from luksmeta.write_plan import Progress

_HOLE: Final = 4096  # bytes of zeroes that become a hole in a sparse file


@click.command("read")
@source_or_table_options
@click.option(
    "-o",
    "--output",
    "output_file",
    type=FileName(),
    metavar="FILE",
    help="Default, and -: standard output.",
)
@click.option("--offset", type=Offset(), default=0, metavar="N", help=OFFSET_HELP)
@click.option("--length", type=Size(), metavar="BYTES", help="So many; default: to the end.")
@json_option
@dry_run_option
def read_command(
    *,
    source: Source,
    table: TableOptions,
    output_file: str | None,
    offset: int,
    length: int | None,
    as_json: bool,
    dry_run: bool,
) -> None:
    """Write the plaintext to a file or standard output.

    Zeroes become holes in the file, and it has its name only when it is complete. --json and
    --dry-run are about the file.
    """
    file = None if output_file == "-" else output_file
    if file is None and (as_json or dry_run):
        raise click.UsageError("--json and --dry-run are about the file that -o names")
    if file is not None:
        refuse_same(file, source.volume, {**source.key_files, **table.devices})
    elif not source.volume.batch_mode and sys.stdout is not None and sys.stdout.isatty():
        raise click.UsageError("plaintext is not written to a terminal; give -o FILE, a pipe or -q")
    start = source.layout.start(offset)
    with (
        open_any(source, table, offset) as data,
        data.open() as stream,
    ):
        size = checked_length(stream, start, length)
        if dry_run:
            _say_plan(size, file, as_json=as_json)
            return
        with progress.bar("Reading") as advance:
            if file is None:
                with output.to_standard_output():
                    copy_out(stream, start, size, sys.stdout.buffer.write, advance)
                    sys.stdout.buffer.flush()
            else:
                with output.errors_of(file):
                    _read_to_file(stream, start, size, file, advance)
    if as_json:
        output.say_json({"file": file, "offset": start, "read": size})


def _say_plan(size: int, file: str | None, *, as_json: bool) -> None:
    what = f"plaintext, in the file {file}"
    step: dict[str, int | str] = {"step": "write", "offset": 0, "length": size, "what": what}
    output.say_steps([step], as_json=as_json)


def _read_to_file(
    stream: SegmentStream, offset: int, size: int, name: str, advance: Progress
) -> None:
    """The plaintext in a file that has its name only when it is complete; devices as they are."""
    path = Path(name).resolve()  # a link stays one
    if path.exists() and not path.is_file():
        with path.open("wb") as device:
            copy_out(stream, offset, size, device.write, advance)
        return
    import tempfile

    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".luksmeta.")
    with interrupts.incomplete(temporary):
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                copy_out(stream, offset, size, _sparse(file.fileno()), advance)
                file.truncate(size)
                os.fsync(file.fileno())
            Path(temporary).replace(path)
            flush_directory(path)
        except BaseException:
            with suppress(OSError):
                Path(temporary).unlink()
            raise


def _sparse(descriptor: int) -> Write:
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
