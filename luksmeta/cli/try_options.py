"""Options about passphrases that are almost known: which guesses to try, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import click

from luksmeta.cli.key_options import UnlockOptions
from luksmeta.cli.options import Command, FileName, NewFileName, grouped

STANDARD_INPUT: Final = "-"


@dataclass(frozen=True, slots=True)
class TryOptions:
    """Which guesses to try, and how."""

    try_variants: bool
    words: tuple[str, ...]
    rules: str | None
    processes: int | None
    state: str | None
    found_file: str | None

    @property
    def is_asked_for(self) -> bool:
        """Whether guesses are to be tried at all; UsageError where other options say so only."""
        if self.try_variants or self.words:
            return True
        for name in ("rules", "processes", "state", "found_file"):
            if getattr(self, name) is not None:
                raise click.UsageError(f"--{name.replace('_', '-')} needs --try or --words")
        return False

    def check(self, key: UnlockOptions) -> None:
        """UsageError for options that exclude each other."""
        if key.volume_key_file is not None:
            raise click.UsageError("--volume-key-file is no passphrase to try variants of")
        if not self.try_variants and key.key_file is not None:
            raise click.UsageError("--key-file needs --try, beside --words")
        if self.words.count(STANDARD_INPUT) > 1 or (
            STANDARD_INPUT in self.words and key.key_file == STANDARD_INPUT
        ):
            raise click.UsageError("standard input can be read once only")
        if STANDARD_INPUT in self.words and self.state is not None:
            raise click.UsageError("--state needs word lists that can be read again, no -")


def try_options(command: Command) -> Command:
    """Which guesses to try; the command gets ``trying: TryOptions``."""
    options: list[Callable[[Any], Any]] = [
        click.option(
            "--try",
            "try_variants",
            is_flag=True,
            help="Try what the passphrase may have become: see above.",
        ),
        click.option(
            "--words",
            type=FileName(),
            multiple=True,
            metavar="FILE",
            help="Try each line of FILE; - is standard input; repeatable.",
        ),
        click.option(
            "--rules",
            type=FileName(),
            metavar="FILE",
            help="Try what these rules of hashcat's make of each word.",
        ),
        click.option(
            "--processes",
            type=click.IntRange(min=1, max=1024),
            metavar="N",
            help="So many at once; default: as the processors and the memory allow.",
        ),
        click.option(
            "--state",
            type=NewFileName(),
            metavar="FILE",
            help="Go on where a search with the same FILE was interrupted.",
        ),
        click.option(
            "--found-file",
            type=NewFileName(),
            metavar="FILE",
            help="Write the passphrase that opens to a new FILE, a key file.",
        ),
    ]
    return grouped(command, "trying", TryOptions, options)
