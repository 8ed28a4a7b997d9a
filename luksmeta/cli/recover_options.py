"""Options of ``recover``: where to look, what is known, and what is made."""

from __future__ import annotations

import os
from dataclasses import dataclass

import click

from luksmeta.cli import output
from luksmeta.cli.options import (
    Command,
    ExtentType,
    FileName,
    NewFileName,
    Size,
    TextType,
    Uuid,
    dry_run_option,
    grouped,
    json_option,
)
from luksmeta.cli.read_log import read_log_option
from luksmeta.errors import AlgorithmError
from luksmeta.extents import Extent
from luksmeta.model import SECTOR_SIZE
from luksmeta.secret import SecretBytes
from luksmeta.sector import engine
from luksmeta.sector.cipher_spec import CipherSpec


class ByteRange(ExtentType):
    """Bytes of the image: where they begin, and how many."""

    name = "range"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Extent:
        """The extent that the text means."""
        if isinstance(value, Extent):
            return value
        offset, _, size = str(value).partition(":")
        try:
            return Extent(int(offset, 0), int(size, 0) if size else 1)
        except ValueError:
            self.fail(f"{value!r} is not OFFSET:SIZE", param, ctx)


class Cipher(TextType):
    """A cipher that can decrypt here."""

    name = "cipher"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """The specification, as it was given."""
        text = str(value)
        try:
            for size in CipherSpec.parse(text).key_sizes or (32,):
                with SecretBytes(bytes(size)) as key:
                    engine.create(text, key, SECTOR_SIZE).close()
        except AlgorithmError as error:
            self.fail(str(error), param, ctx)
        return text


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """Where to look, and what is known; ``offset`` is in sectors of 512 bytes."""

    backup: str | None
    secondary_at: int | None
    uuid: str | None
    cipher: str | None
    sector_size: int | None
    offset: int | None
    candidate: int | None
    flipped_bit: Extent | None
    unproved: bool


@dataclass(frozen=True, slots=True)
class ResultOptions:
    """What is made of it."""

    output_file: str | None
    repaired: str | None
    read_log: str | None
    as_json: bool
    dry_run: bool

    @property
    def new_files(self) -> tuple[str, ...]:
        """The files that are made, the log of what was read left out."""
        return tuple(each for each in (self.output_file, self.repaired) if each is not None)

    def require_any(self) -> None:
        """UsageError where nothing would be made, or shown."""
        if not self.new_files and not self.dry_run:
            raise click.UsageError("-o or --repaired must name a new file, unless with --dry-run")

    def require_new(self) -> None:
        """UsageError where two new files have the same name, an error where one is there."""
        names = (*self.new_files, self.read_log)
        paths = [os.path.realpath(each) for each in names if each is not None]
        for each in paths:
            if paths.count(each) > 1:
                raise click.UsageError(f"{each}: named twice for a new file")
        for name in self.new_files:
            output.require_new(name)


def search_options(command: Command) -> Command:
    """Where to look, and what is known; the command gets ``search: SearchOptions``."""
    return grouped(
        command,
        "search",
        SearchOptions,
        [
            click.option(
                "--backup",
                type=FileName(),
                metavar="FILE",
                help="A header backup, of whatever size and age.",
            ),
            click.option(
                "--secondary-at",
                type=Size(),
                metavar="BYTES",
                help="LUKS2: a header copy could lie here too.",
            ),
            click.option("--uuid", type=Uuid(), help="Of the volume, where its own is gone."),
            click.option(
                "-c",
                "--cipher",
                type=Cipher(),
                metavar="SPEC",
                help="Of the data, where it is known.",
            ),
            click.option(
                "--sector-size",
                type=click.Choice(["512", "1024", "2048", "4096"]),
                callback=lambda context, parameter, value: None if value is None else int(value),
                help="Of the data's encryption, where it is known.",
            ),
            click.option(
                "--offset",
                type=click.IntRange(min=0),
                metavar="SECTORS",
                help="Where the data begins in IMAGE, where it is known.",
            ),
            click.option(
                "--candidate",
                type=click.IntRange(min=0),
                metavar="N",
                help="This possible header only; --dry-run numbers them.",
            ),
            click.option(
                "--flipped-bit",
                type=ByteRange(),
                metavar="OFFSET:SIZE",
                help="One bit of key material is wrong in these bytes, 512 at most: with "
                "--key-file each is tried, one digest a bit, which may take minutes.",
            ),
            click.option(
                "--unproved",
                is_flag=True,
                help="With --volume-key-file: make the new header also where the data is no more "
                "than not random, which other data can be too.",
            ),
        ],
    )


def result_options(command: Command) -> Command:
    """What is made; the command gets ``result: ResultOptions``."""
    return grouped(
        command,
        "result",
        ResultOptions,
        [
            click.option(
                "-o",
                "--output",
                "output_file",
                type=NewFileName(),
                metavar="FILE",
                help="A new file, mode 0600: a detached header for IMAGE.",
            ),
            click.option(
                "--repaired",
                type=NewFileName(),
                metavar="FILE",
                help="A new file, mode 0600: a copy of all of IMAGE with its header made good.",
            ),
            read_log_option,
            json_option,
            dry_run_option,
        ],
    )
