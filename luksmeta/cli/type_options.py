"""``--type``, and the options that stand in for a header."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import click

from luksmeta import plain
from luksmeta.cli.keyslot_options import KeyBits
from luksmeta.cli.options import Command, Option, Size, grouped, options_behind, refuse_given

SECTORS: Final = click.IntRange(min=0)
LUKS: Final = "luks"
_TABLE: Final = "table"  # a device-mapper table, which is no --type
OFFSET_HELP: Final = (
    "Start at this byte of the plaintext; without a header, the data's first sector in IMAGE."
)
_PLACEMENT: Final = ("cipher", "key_size", "hash", "skip", "size")
_PLAIN_ONLY: Final = ("defaults", "sector_size", "iv_large_sectors")
_HEADER_ONLY: Final = (
    *("header", "key_slot", "tries", "max_memory", "max_time", "max_threads"),
    *("require_seal", "seal_counter", "seal_measurement", "policy"),
)
_MEANINGLESS: Final = {
    LUKS: (*_PLACEMENT, *_PLAIN_ONLY),
    "plain": _HEADER_ONLY,
    "loopaes": (*_HEADER_ONLY, *_PLAIN_ONLY, "volume_key_file"),
    _TABLE: (
        *("type", "key_file", "keyfile_offset", "keyfile_size", "volume_key_file"),
        *_HEADER_ONLY,
        *_PLACEMENT,
        *_PLAIN_ONLY,
    ),
}


class Offset(Size):
    """``--offset``: bytes of the plaintext or, without a header, sectors of IMAGE."""

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """The number; sectors have no unit."""
        if ctx is not None and ctx.params.get("type", LUKS) != LUKS:
            if not str(value).isdecimal():
                self.fail(f"{value!r} is not a number of sectors", param, ctx)
            return int(str(value))
        return super().convert(value, param, ctx)


@dataclass(frozen=True, slots=True)
class TypeOptions:
    """The type of a volume, and what a header would say; sectors are of 512 bytes."""

    type: str
    cipher: str | None
    key_size: int | None  # bytes
    hash: str | None
    defaults: str | None
    skip: int | None
    size: int | None
    sector_size: int
    iv_large_sectors: bool

    def start(self, offset: int) -> int:
        """The first byte of the plaintext to read or write, given ``--offset``."""
        return offset if self.type == LUKS else 0


def layout_family(prefix: str = "") -> list[Option]:
    """What a header would say, each name behind ``prefix``."""
    option = options_behind(prefix)
    return [
        option("cipher", "-c", metavar="SPEC", help="As in dm-crypt; loopaes: aes."),
        option("key-size", "-s", type=KeyBits(), metavar="BITS", help="Of the key."),
        option(
            "hash",
            "-h",
            metavar="NAME",
            help="Of the passphrase, perhaps NAME:LENGTH; plain is none.",
        ),
        option(
            "defaults",
            type=click.Choice(list(plain.DEFAULTS)),
            help="Whose cipher, key size and hash to take, where they are not given.",
        ),
        option("skip", type=SECTORS, metavar="SECTORS", help="Number of the first sector."),
        option(
            "size",
            type=click.IntRange(min=1),
            metavar="SECTORS",
            help="Length of the data; default: to the end.",
        ),
        option(
            "sector-size",
            type=int,
            default=512,
            metavar="BYTES",
            help="Bytes encrypted at once, 512 to 4096.",
        ),
        option("iv-large-sectors", is_flag=True, help=f"Count in units of --{prefix}sector-size."),
    ]


def type_options(command: Command) -> Command:
    """``--type`` and what a header would say; the command gets ``layout: TypeOptions``."""
    kind = click.option(
        "--type",
        type=click.Choice([kind for kind in _MEANINGLESS if kind != _TABLE]),
        default=LUKS,
        show_default=True,
        is_eager=True,  # --offset depends on it
        help="plain and loopaes have no header: the options below say what it would.",
    )
    return grouped(command, "layout", TypeOptions, [kind, *layout_family()])


def data_offset_option(command: Command) -> Command:
    """``--offset`` where it is about the image alone; the command gets ``offset: int``, sectors."""
    option: Callable[[Any], Any] = click.option(
        "--offset",
        type=SECTORS,
        default=0,
        metavar="SECTORS",
        help="Without a header: the data's first sector in IMAGE.",
    )
    decorated: Command = option(command)
    return decorated


def refuse_data_offset(layout: TypeOptions, offset: int) -> None:
    """UsageError for the offset of :func:`data_offset_option` where a header has it."""
    if offset and layout.type == LUKS:
        raise click.UsageError(f"--offset has no meaning for --type {LUKS}")


def refuse_meaningless(kind: str) -> None:
    """UsageError for an option of the running command that has no meaning for this type."""
    volume = "--table" if kind == _TABLE else f"--type {kind}"
    refuse_given(_MEANINGLESS[kind], f"has no meaning for {volume}")
