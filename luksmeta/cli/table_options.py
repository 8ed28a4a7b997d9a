"""``--table`` and ``--device``: a device-mapper table in the place of IMAGE."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from luksmeta.cli import prompt
from luksmeta.cli.options import Command, FileName, TextType, grouped, volume_options
from luksmeta.cli.source import Data, Source, source_options
from luksmeta.cli.type_options import refuse_meaningless
from luksmeta.data_lock import data_in_use
from luksmeta.disks.parts import open_part, split_name
from luksmeta.errors import errors_about
from luksmeta.file_storage import FileStorage
from luksmeta.overlay import OverlayStorage
from luksmeta.storage import Storage

if TYPE_CHECKING:
    from luksmeta.dm.devices import Devices, Opener

_MARK: Final = "@"  # before the name of a table


class Device(TextType):
    """``NAME=FILE`` or ``NAME=@TABLE``."""

    name = "device"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """The text, when it has both parts."""
        name, _, file = str(value).partition("=")
        if not name or not file.removeprefix(_MARK):
            self.fail(f"{value!r}: NAME=FILE or NAME=@TABLE is expected", param, ctx)
        return str(value)


@dataclass(frozen=True, slots=True)
class TableOptions:
    """A file with a table, and what its devices are."""

    table: str | None
    device: tuple[str, ...]

    @property
    def files(self) -> dict[str, str]:
        """What each name stands for; InputError for a name given twice."""
        files: dict[str, str] = {}
        for each in self.device:
            name, _, file = each.partition("=")
            if name in files:
                raise prompt.InputError(f"--device {name} is given twice")
            files[name] = file
        return files

    @property
    def devices(self) -> dict[str, str | None]:
        """The devices' files, each with what to call it."""
        return {
            f"device {name}": split_name(file.removeprefix(_MARK))[0]
            for name, file in self.files.items()
        }


def _volume_or_table_options(command: Command) -> Command:
    """IMAGE or ``--table FILE``; the command gets ``volume`` and ``table: TableOptions``."""
    options = [
        click.option(
            "--table",
            type=FileName(),
            metavar="FILE",
            help="Instead of IMAGE, what this device-mapper table shows.",
        ),
        click.option(
            "--device",
            type=Device(),
            multiple=True,
            metavar="NAME=FILE",
            help="The file of a device in the table, or a part of one; @FILE: another table.",
        ),
    ]
    collected = volume_options(grouped(command, "table", TableOptions, options), is_required=False)

    @functools.wraps(collected)
    def checked(*, image: str | None, **values: Any) -> object:  # noqa: ANN401  # click's
        table = values["table"]
        if image is None and table is None:
            raise click.UsageError("Missing argument 'IMAGE'")
        if image is not None and table is not None:
            raise click.UsageError("--table and IMAGE exclude each other")
        if table is None and values["device"]:
            raise click.UsageError("--device is for the devices of a --table")
        return collected(image=image if table is None else table, **values)

    result: Any = checked
    decorated: Command = result
    return decorated


def source_or_table_options(command: Command) -> Command:
    """The same with key and type; the command gets ``source: Source`` and ``table``."""
    return source_options(command, _volume_or_table_options)


@contextmanager
def open_any(
    source: Source,
    table: TableOptions,
    offset: int,
    *,
    writable: bool = False,
    dry_run: bool = False,
) -> Iterator[Data]:
    """The volume with its key, or what the table shows; closed at the end.

    Nobody else may write meanwhile, or, where this is for writing, read.
    """
    if table.table is None:
        with source.open(offset, writable=writable, dry_run=dry_run) as data:
            yield data
        return
    from luksmeta.dm.mapped_device import TableVolume  # only here: most commands have no table

    refuse_meaningless("table")
    with ExitStack() as in_use:
        devices = _devices(table.files, in_use, writable=writable, dry_run=dry_run)
        with errors_about(table.table):
            opened = TableVolume(_read_table(table.table), devices, name=table.table)
        with opened:
            yield opened


def _devices(files: dict[str, str], in_use: ExitStack, *, writable: bool, dry_run: bool) -> Devices:
    """Each name with its file; names of one file or part share it: snapshots find their origin."""
    from luksmeta.dm.devices import Devices

    opened: dict[str, Storage] = {}
    writes = writable and not dry_run

    def open_disk(path: str) -> Storage:
        real = os.path.realpath(path)
        if real not in opened:
            file = FileStorage(path, writable=writes)
            opened[real] = OverlayStorage(file) if dry_run and writable else file
            in_use.enter_context(data_in_use(file, writable=writes))
        return opened[real]

    def open_file(name: str) -> Storage:
        path, part = split_name(name)
        real = f"{os.path.realpath(path)}#{part}"
        if real not in opened:
            opened[real] = open_part(name, open_disk)
        return opened[real]

    return Devices({name: _opener(file, open_file) for name, file in files.items()})


def _opener(file: str, open_file: Callable[[str], Storage]) -> Opener:
    path = file.removeprefix(_MARK)
    if path == file:
        return lambda _devices: open_file(path)
    return lambda devices: _open_table(path, devices)


def _open_table(path: str, devices: Devices) -> Storage:
    from luksmeta.dm.mapped_device import MappedDevice

    with errors_about(path):
        return MappedDevice(_read_table(path), devices, name=path)


def _read_table(path: str) -> str:
    """The text of a table; InputError for a file that cannot be read, or is no text."""
    from luksmeta.dm.table import TEXT_MAX

    try:
        with Path(path).open(encoding="utf-8") as file:
            return file.read(TEXT_MAX + 1)
    except OSError as error:
        raise prompt.input_error(path, error) from error
    except UnicodeDecodeError as error:
        raise prompt.InputError("is no table: not a text").about(path) from error
