"""Options that several commands share, each group as one value that the command gets."""

from __future__ import annotations

import functools
import uuid as uuids
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from luksmeta.cli import output
from luksmeta.cli.prompt import KeyFile
from luksmeta.kdf import pbkdf as kdfs
from luksmeta.kdf.pbkdf import Argon2i, Argon2id, Limits, Pbkdf, Pbkdf2
from luksmeta.sizes import parse_size

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Option = Callable[[Any], Any]

DEFAULT_MILLISECONDS: Final = 2000  # configure.ac: both formats
DEFAULT_MEMORY: Final = 1 << 20  # KiB
DEFAULT_CPUS: Final = 4

if TYPE_CHECKING:
    _NumberType = click.ParamType[int]
    _TextType = click.ParamType[str]
else:  # no generic class before click 8.3
    _NumberType = _TextType = click.ParamType


class Size(_NumberType):
    """A number of bytes, perhaps with a unit."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """The bytes that the text means."""
        if isinstance(value, int):
            return value
        try:
            return parse_size(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class KeyBits(_NumberType):
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


class Uuid(_TextType):
    """A UUID; the value is its usual spelling."""

    name = "uuid"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """The UUID in lower case, with hyphens."""
        try:
            return str(uuids.UUID(str(value)))
        except ValueError:
            self.fail(f"{value!r} is not a UUID", param, ctx)


class FileName(click.Path):
    """A file that the command is about: errors that name it need no other name."""

    def __init__(self) -> None:
        super().__init__(readable=False)  # whether it can be read shows when it is opened

    def convert(
        self,
        value: Any,  # noqa: ANN401  # as in the base
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str:
        """The name as it was given."""
        name = str(super().convert(value, param, ctx))
        output.session.files.append(name)
        return name


@dataclass(frozen=True, slots=True)
class VolumeOptions:
    """Which volume, and how to treat the user."""

    image: str
    header: str | None
    batch_mode: bool
    debug: bool

    @property
    def header_file(self) -> str:
        """The file that holds the header."""
        return self.header or self.image


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


def volume_options(command: _Command) -> _Command:
    """IMAGE and what every command takes; the command gets ``volume: VolumeOptions``."""
    return _grouped(
        command,
        "volume",
        VolumeOptions,
        [
            click.argument("image", type=FileName()),
            click.option("--header", type=FileName(), metavar="FILE", help="Detached header."),
            click.option(
                "-q", "--batch-mode", is_flag=True, help="Ask nothing; the answer is yes."
            ),
            click.option("--debug", is_flag=True, help="Show a log, and tracebacks of errors."),
        ],
    )


def unlock_options(
    key_slot: str = "This keyslot only.",
) -> Callable[[_Command], _Command]:
    """How to unlock; the command gets ``key: UnlockOptions``. ``key_slot`` is the help of -S."""
    return functools.partial(
        _grouped,
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


def new_key_options(command: _Command) -> _Command:
    """Where the new passphrase is; the command gets ``new_key: NewKeyOptions``."""
    return _grouped(
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


def pbkdf_options(command: _Command) -> _Command:
    """The KDF of a new keyslot; the command gets ``kdf: PbkdfOptions``."""
    return _grouped(
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


def json_option(command: _Command) -> _Command:
    """``--json``; the command gets ``as_json: bool``."""
    option: _Option = click.option(
        "--json", "as_json", is_flag=True, help="One JSON document on standard output."
    )
    decorated: _Command = option(command)
    return decorated


def dry_run_option(command: _Command) -> _Command:
    """``--dry-run``; the command gets ``dry_run: bool``."""
    option: _Option = click.option(
        "--dry-run", is_flag=True, help="Print what would be written, and write nothing."
    )
    decorated: _Command = option(command)
    return decorated


def _grouped(
    command: _Command, parameter: str, kind: type[Any], options: Sequence[_Option]
) -> _Command:
    """Give ``command`` these options, collected into one value of ``kind``."""
    names = [field.name for field in fields(kind)]

    @functools.wraps(command)
    def collected(**values: object) -> object:
        group = kind(**{name: values.pop(name) for name in names})
        if isinstance(group, VolumeOptions):
            output.session.file = group.header_file
        return command(**values, **{parameter: group})

    decorated: Any = collected
    for option in reversed(options):
        decorated = option(decorated)
    result: _Command = decorated
    return result
