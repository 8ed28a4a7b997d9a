"""Options about passphrases: how to unlock, and where a new passphrase is."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import click

from luksmeta.cli.options import (
    Command,
    FileName,
    NumberType,
    Option,
    Size,
    grouped,
    options_behind,
)
from luksmeta.cli.prompt import KeySource
from luksmeta.kdf.pbkdf import Limits

_MAX_SECONDS: Final = 10**9  # 30 years; infinity is refused, and what is no number


class Seconds(NumberType):
    """A time in seconds, perhaps a fraction; the value is in milliseconds, at least 1."""

    name = "seconds"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """The milliseconds that the text means."""
        try:
            seconds = float(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        if not 0 < seconds <= _MAX_SECONDS:
            self.fail(f"{value!r}: more than 0 and up to {_MAX_SECONDS} is needed", param, ctx)
        return math.ceil(seconds * 1000)


@dataclass(frozen=True, slots=True)
class KeyFileOptions:
    """Where a passphrase is."""

    key_file: str | None
    keyfile_offset: int
    keyfile_size: int | None

    @property
    def source(self) -> KeySource:
        """The key file, or standard input."""
        return KeySource(self.key_file, self.keyfile_offset, self.keyfile_size)


@dataclass(frozen=True, slots=True)
class UnlockOptions(KeyFileOptions):
    """How to unlock."""

    volume_key_file: str | None
    key_slot: int | None
    tries: int
    max_memory: int | None
    max_time: int | None  # milliseconds
    max_threads: int | None

    @property
    def names_any(self) -> bool:
        """Whether an option says with what to unlock."""
        given = (self.key_file, self.volume_key_file, self.key_slot)
        return any(each is not None for each in given)

    @property
    def limits(self) -> Limits:
        """What a keyslot's KDF may cost."""
        given = {
            "memory": self.max_memory,
            "cpus": self.max_threads,
            "milliseconds": self.max_time,
        }
        return Limits(**{name: limit for name, limit in given.items() if limit is not None})


@dataclass(frozen=True, slots=True)
class NewKeyOptions:
    """Where a new passphrase is."""

    new_keyfile: str | None
    new_keyfile_offset: int
    new_keyfile_size: int | None

    @property
    def source(self) -> KeySource:
        """The key file, or standard input."""
        return KeySource(self.new_keyfile, self.new_keyfile_offset, self.new_keyfile_size)


def key_file_family(prefix: str = "") -> list[Option]:
    """Where a passphrase is, each name behind ``prefix``."""
    option = options_behind(prefix)
    return [
        option(
            "key-file",
            "-d",
            type=FileName(),
            metavar="FILE",
            help="The whole file is the passphrase; - is standard input.",
        ),
        option("keyfile-offset", type=Size(), default=0, metavar="BYTES", help="Skip so many."),
        option(
            "keyfile-size",
            "-l",
            type=Size(),
            metavar="BYTES",
            help="Read so many exactly, of standard input too; 0: all.",
        ),
    ]


def unlock_family(prefix: str = "") -> list[Option]:
    """The same, or the volume key."""
    return [
        *key_file_family(prefix),
        options_behind(prefix)(
            "volume-key-file",
            type=FileName(),
            metavar="FILE",
            help="The volume key, instead of a passphrase.",
        ),
    ]


def key_file_options(command: Command) -> Command:
    """Where the first passphrase of a volume is; the command gets ``key: KeyFileOptions``."""
    return grouped(command, "key", KeyFileOptions, key_file_family())


def unlock_options(
    key_slot: str = "This keyslot only.",
) -> Callable[[Command], Command]:
    """How to unlock; the command gets ``key: UnlockOptions``. ``key_slot`` is the help of -S."""
    return functools.partial(
        grouped,
        parameter="key",
        kind=UnlockOptions,
        options=[
            *unlock_family(),
            click.option("-S", "--key-slot", type=int, metavar="N", help=key_slot),
            click.option(
                "-T",
                "--tries",
                type=click.IntRange(min=1),
                default=3,
                show_default=True,
                metavar="N",
                help="How often to ask on a terminal.",
            ),
            click.option(
                "--max-memory",
                type=click.IntRange(min=1),
                metavar="KiB",
                help="Refuse keyslots whose KDF needs more memory.",
            ),
            click.option(
                "--max-time",
                type=Seconds(),
                metavar="SECONDS",
                help="Refuse keyslots whose KDF would take longer here, by an estimate.",
            ),
            click.option(
                "--max-threads",
                type=click.IntRange(min=1),
                metavar="N",
                help="Refuse keyslots whose KDF has more lanes; 64.",
            ),
        ],
    )


def new_key_options(command: Command) -> Command:
    """Where the new passphrase is; the command gets ``new_key: NewKeyOptions``."""
    return grouped(
        command,
        "new_key",
        NewKeyOptions,
        [
            click.option(
                "--new-keyfile",
                type=FileName(),
                metavar="FILE",
                help="The whole file is the new passphrase.",
            ),
            click.option(
                "--new-keyfile-offset",
                type=Size(),
                default=0,
                metavar="BYTES",
                help="Skip so many.",
            ),
            click.option(
                "--new-keyfile-size",
                type=Size(),
                metavar="BYTES",
                help="Read so many exactly; 0: all.",
            ),
        ],
    )
