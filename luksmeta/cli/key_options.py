"""Options about passphrases and keys: how to unlock, and what a new keyslot is like."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import click

from luksmeta.cli.options import Command, FileName, NumberType, Size, grouped
from luksmeta.cli.prompt import KeyFile
from luksmeta.kdf import pbkdf as kdfs
from luksmeta.kdf.pbkdf import Argon2i, Argon2id, Limits, Pbkdf, Pbkdf2

DEFAULT_MILLISECONDS: Final = 2000  # configure.ac: both formats
DEFAULT_MEMORY: Final = 1 << 20  # KiB
DEFAULT_CPUS: Final = 4


class KeyBits(NumberType):
    """A key size in bits, as people write it; the value is in bytes."""

    name = "bits"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """The size in bytes."""
        try:
            bits = int(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a number of bits", param, ctx)
        if bits <= 0 or bits % 8 or bits > 8 * 512:
            self.fail(f"{bits} bits: a multiple of 8 up to 4096 is needed", param, ctx)
        return bits // 8


@dataclass(frozen=True, slots=True)
class UnlockOptions:
    """How to unlock."""

    key_file: str | None
    keyfile_offset: int
    keyfile_size: int | None
    volume_key_file: str | None
    key_slot: int | None
    tries: int
    max_memory: int | None

    @property
    def source(self) -> KeyFile | None:
        """The key file; None to ask, or to read standard input."""
        if self.key_file is None:
            return None
        return KeyFile(self.key_file, self.keyfile_offset, self.keyfile_size)

    @property
    def limits(self) -> Limits:
        """What a keyslot's KDF may cost."""
        return Limits() if self.max_memory is None else Limits(memory=self.max_memory)


@dataclass(frozen=True, slots=True)
class NewKeyOptions:
    """Where a new passphrase comes from."""

    new_keyfile: str | None
    new_keyfile_offset: int
    new_keyfile_size: int | None

    @property
    def source(self) -> KeyFile | None:
        """The key file; None to ask, or to read standard input."""
        if self.new_keyfile is None:
            return None
        return KeyFile(self.new_keyfile, self.new_keyfile_offset, self.new_keyfile_size)


@dataclass(frozen=True, slots=True)
class PbkdfOptions:
    """The KDF of a new keyslot: forced costs, or a time to calibrate to."""

    pbkdf: str | None
    iter_time: int | None
    pbkdf_force_iterations: int | None
    pbkdf_memory: int | None
    pbkdf_parallel: int | None
    hash: str | None

    @property
    def milliseconds(self) -> int:
        """The time that unlocking shall take."""
        return self.iter_time or DEFAULT_MILLISECONDS

    def choose(self, *, version: int, hash_name: str) -> Pbkdf:
        """The KDF with its costs; UsageError for options that exclude each other."""
        name = self.pbkdf or ("pbkdf2" if version == 1 else "argon2id")
        if name == "pbkdf2":
            return self._pbkdf2(hash_name)
        kind = Argon2i if name == "argon2i" else Argon2id
        memory = self.pbkdf_memory or DEFAULT_MEMORY
        cpus = self.pbkdf_parallel or DEFAULT_CPUS
        if self.pbkdf_force_iterations is not None:
            self._refuse_time()
            forced = kind(time=self.pbkdf_force_iterations, memory=memory, cpus=cpus)
            kdfs.check_new(forced)
            return forced
        return kind.calibrate(self.milliseconds, max_memory=memory, max_cpus=cpus)

    def _pbkdf2(self, hash_name: str) -> Pbkdf2:
        for option in ("pbkdf_memory", "pbkdf_parallel"):
            if getattr(self, option) is not None:
                raise click.UsageError(f"--{option.replace('_', '-')} has no meaning for pbkdf2")
        if self.pbkdf_force_iterations is not None:
            self._refuse_time()
            forced = Pbkdf2(hash=hash_name, iterations=self.pbkdf_force_iterations)
            kdfs.check_new(forced)
            return forced
        return Pbkdf2.calibrate(self.milliseconds, hash_name)

    def _refuse_time(self) -> None:
        if self.iter_time is not None:
            raise click.UsageError("--iter-time and --pbkdf-force-iterations exclude each other")


def unlock_options(
    key_slot: str = "This keyslot only.",
) -> Callable[[Command], Command]:
    """How to unlock; the command gets ``key: UnlockOptions``. ``key_slot`` is the help of -S."""
    return functools.partial(
        grouped,
        parameter="key",
        kind=UnlockOptions,
        options=[
            click.option(
                "-d",
                "--key-file",
                type=FileName(),
                metavar="FILE",
                help="The whole file is the passphrase; - is standard input.",
            ),
            click.option(
                "--keyfile-offset", type=Size(), default=0, metavar="BYTES", help="Skip so many."
            ),
            click.option(
                "-l", "--keyfile-size", type=Size(), metavar="BYTES", help="Read so many exactly."
            ),
            click.option(
                "--volume-key-file",
                type=FileName(),
                metavar="FILE",
                help="The volume key, instead of a passphrase.",
            ),
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
                "--new-keyfile-size", type=Size(), metavar="BYTES", help="Read so many exactly."
            ),
        ],
    )


def pbkdf_options(command: Command) -> Command:
    """The KDF of a new keyslot; the command gets ``kdf: PbkdfOptions``."""
    return grouped(
        command,
        "kdf",
        PbkdfOptions,
        [
            click.option(
                "--pbkdf",
                type=click.Choice(list(kdfs.NAMES)),
                help="Default: argon2id, in LUKS1 pbkdf2.",
            ),
            click.option(
                "-i",
                "--iter-time",
                type=click.IntRange(min=1),
                metavar="MS",
                help=f"Unlocking shall take so many milliseconds here; {DEFAULT_MILLISECONDS}.",
            ),
            click.option(
                "--pbkdf-force-iterations",
                type=int,
                metavar="N",
                help="Iterations (argon2: passes), without measuring.",
            ),
            click.option(
                "--pbkdf-memory",
                type=click.IntRange(min=1),
                metavar="KiB",
                help=f"Memory of argon2, at most; {DEFAULT_MEMORY}.",
            ),
            click.option(
                "--pbkdf-parallel",
                type=click.IntRange(min=1),
                metavar="N",
                help=f"Threads of argon2, at most; {DEFAULT_CPUS}.",
            ),
            click.option(
                "-h", "--hash", metavar="NAME", help="Hash of PBKDF2 and of the key's splitting."
            ),
        ],
    )
