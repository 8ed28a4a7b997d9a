"""What ``table`` and ``map`` share: the optional parameters of dm-crypt, and a volume's table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import click

from luksmeta.cli.options import Command, grouped
from luksmeta.cli.source import Data
from luksmeta.cli.type_options import LUKS, Offset, TypeOptions
from luksmeta.dm.mapping import Mappable
from luksmeta.headerless import HeaderlessVolume
from luksmeta.unlocked_volume import UnlockedVolume


@dataclass(frozen=True, slots=True)
class CryptFlags:
    """The optional parameters; each field is called as the kernel has it, behind its prefix."""

    allow_discards: bool
    perf_same_cpu_crypt: bool
    perf_submit_from_crypt_cpus: bool
    perf_no_read_workqueue: bool
    perf_no_write_workqueue: bool
    perf_high_priority: bool

    @property
    def words(self) -> tuple[str, ...]:
        """Those that are given, in the kernel's words."""
        given = (field.name for field in fields(self) if getattr(self, field.name))
        return tuple(name.removeprefix("perf_") for name in given)


def crypt_flags(command: Command) -> Command:
    """``--allow-discards`` and the like; the command gets ``flags: CryptFlags``."""
    helps = {
        "--allow-discards": "Let discards (TRIM) through; they show which sectors are free.",
        "--perf-same_cpu_crypt": "Encrypt on the CPU that asks.",
        "--perf-submit_from_crypt_cpus": "Submit writes from the CPUs that encrypt.",
        "--perf-no_read_workqueue": "Decrypt without a queue.",
        "--perf-no_write_workqueue": "Encrypt without a queue.",
        "--perf-high_priority": "Encrypt with high priority; Linux 6.11.",
    }
    options = [
        click.option(name, name[2:].replace("-", "_"), is_flag=True, help=text)
        for name, text in helps.items()
    ]
    return grouped(command, "flags", CryptFlags, options)


def place_option(command: Command) -> Command:
    """``--offset`` of a volume without a header; the command gets ``offset: int``, sectors."""
    option: Callable[[Command], Command] = click.option(
        "--offset",
        type=Offset(),
        default=0,
        metavar="SECTORS",
        callback=_without_header,
        help="Without a header: where the data starts in IMAGE.",
    )
    return option(command)


def _without_header(context: click.Context, _parameter: click.Parameter, offset: int) -> int:
    if offset and context.params["type"] == LUKS:
        raise click.UsageError("--offset is for a volume without a header")
    return offset


def mappable(data: Data, layout: TypeOptions, device: str, flags: CryptFlags) -> Mappable:
    """How the kernel is to map an open volume, whose data are on ``device`` there."""
    if isinstance(data, HeaderlessVolume):
        return Mappable.headerless(data, layout.type.upper(), device, flags.words)
    if not isinstance(data, UnlockedVolume):
        raise TypeError(f"no volume: {data!r}")
    return Mappable.unlocked(data, device, flags.words)
