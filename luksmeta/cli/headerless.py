"""``--type plain`` and ``--type loopaes``: the options that stand in for a header."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import click

from luksmeta import loopaes, plain
from luksmeta.cli import output, prompt
from luksmeta.cli.key_options import UnlockOptions
from luksmeta.cli.keyslot_options import KeyBits
from luksmeta.cli.options import Command, Size, VolumeOptions, grouped
from luksmeta.cli.prompt import KeySource
from luksmeta.cli.seal_options import SealOptions
from luksmeta.cli.unlocking import open_for, read_volume_key, unlock
from luksmeta.data_lock import data_in_use
from luksmeta.headerless import HeaderlessVolume
from luksmeta.overlay import OverlayStorage
from luksmeta.secret import SecretBytes
from luksmeta.segment_stream import SegmentStream
from luksmeta.storage import Storage
from luksmeta.target import open_storage

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


class Data(Protocol):
    """An open volume of whatever type."""

    @property
    def data_storage(self) -> Storage:
        """What holds the data."""

    def open(self, *, writable: bool = ..., storage: Storage | None = ...) -> SegmentStream:
        """The plaintext."""


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


def type_options(command: Command) -> Command:
    """``--type`` and what a header would say; the command gets ``layout: TypeOptions``."""
    sectors = click.IntRange(min=0)
    return grouped(
        command,
        "layout",
        TypeOptions,
        [
            click.option(
                "--type",
                type=click.Choice([kind for kind in _MEANINGLESS if kind != _TABLE]),
                default=LUKS,
                show_default=True,
                is_eager=True,  # --offset depends on it
                help="plain and loopaes have no header: the options below say what it would.",
            ),
            click.option("-c", "--cipher", metavar="SPEC", help="As in dm-crypt; loopaes: aes."),
            click.option("-s", "--key-size", type=KeyBits(), metavar="BITS", help="Of the key."),
            click.option(
                "-h",
                "--hash",
                metavar="NAME",
                help="Of the passphrase, perhaps NAME:LENGTH; plain is none.",
            ),
            click.option(
                "--defaults",
                type=click.Choice(list(plain.DEFAULTS)),
                help="Whose cipher, key size and hash to take, where they are not given.",
            ),
            click.option(
                "--skip", type=sectors, metavar="SECTORS", help="Number of the first sector."
            ),
            click.option(
                "--size",
                type=click.IntRange(min=1),
                metavar="SECTORS",
                help="Length of the data; default: to the end.",
            ),
            click.option(
                "--sector-size",
                type=int,
                default=512,
                metavar="BYTES",
                help="Bytes encrypted at once, 512 to 4096.",
            ),
            click.option(
                "--iv-large-sectors", is_flag=True, help="Count in units of --sector-size."
            ),
        ],
    )


def data_offset_option(command: Command) -> Command:
    """``--offset`` where it is about the image alone; the command gets ``offset: int``, sectors."""
    option: Callable[[Any], Any] = click.option(
        "--offset",
        type=click.IntRange(min=0),
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
    for name in _MEANINGLESS[kind]:
        if is_given(name):
            volume = "--table" if kind == _TABLE else f"--type {kind}"
            raise click.UsageError(f"--{name.replace('_', '-')} has no meaning for {volume}")


def is_given(name: str) -> bool:
    """Whether the running command has this parameter, and was given it."""
    source = click.get_current_context().get_parameter_source(name)
    return source not in (None, click.core.ParameterSource.DEFAULT)


@contextmanager
def open_data(
    volume: VolumeOptions,
    key: UnlockOptions,
    layout: TypeOptions,
    offset: int,
    seal: SealOptions,
    *,
    writable: bool = False,
    dry_run: bool = False,
    policy: str | None = None,
) -> Iterator[Data]:
    """The volume with its key; closed and wiped at the end. ``offset`` is that of ``--offset``.

    Nobody else may write meanwhile, or, where this is for writing, read.
    """
    refuse_meaningless(layout.type)
    writes = writable and not dry_run
    if layout.type == LUKS:
        with (
            open_for(volume, writable=writable, dry_run=dry_run, policy=policy) as opened,
            data_in_use(opened.data_storage, writable=writes),
            unlock(opened, key, keyslot=key.key_slot, seal=seal) as unlocked,
        ):
            yield unlocked
        return
    with open_headerless(
        volume, key, layout, offset, writable=writable, dry_run=dry_run
    ) as headerless:
        yield headerless


@contextmanager
def open_headerless(
    volume: VolumeOptions,
    key: UnlockOptions,
    layout: TypeOptions,
    offset: int,
    *,
    writable: bool = False,
    dry_run: bool = False,
) -> Iterator[HeaderlessVolume]:
    """The volume of type plain or loopaes; closed and wiped at the end, and in use until then."""
    writes = writable and not dry_run
    with (
        open_storage(volume.image, writable=writes) as file,
        data_in_use(file, writable=writes),
    ):
        storage = OverlayStorage(file) if dry_run else file
        opener = _open_plain if layout.type == "plain" else _open_loopaes
        with opener(storage, volume, key, layout, offset) as headerless:
            output.log(f"{volume.image}: {headerless!r}, {headerless.placement}")
            yield headerless


def _open_plain(
    storage: Storage, volume: VolumeOptions, key: UnlockOptions, layout: TypeOptions, offset: int
) -> HeaderlessVolume:
    """The plain volume, after a look at what is given and what is only supposed."""
    defaults = plain.DEFAULTS[layout.defaults or plain.NEWEST]
    key_size = layout.key_size or defaults.key_size
    hash = layout.hash or defaults.hash
    is_key = key.volume_key_file is not None or key.key_file not in (None, "-")
    _warn_of_guesses(volume, key, layout, is_key=is_key)
    with _plain_secret(key, volume, key_size, storage, is_key=is_key) as secret:
        return plain.open_plain(
            storage,
            passphrase=None if is_key else secret,
            key=secret if is_key else None,
            cipher=layout.cipher or defaults.cipher,
            key_size=key_size,
            hash=hash,
            offset=offset,
            skip=layout.skip or 0,
            size=layout.size,
            sector_size=layout.sector_size,
            iv_large_sectors=layout.iv_large_sectors,
        )


def _plain_secret(
    key: UnlockOptions, volume: VolumeOptions, key_size: int, storage: Storage, *, is_key: bool
) -> SecretBytes:
    """The key's own bytes out of a file, or a passphrase.

    For writing it is typed twice: nothing else would notice a slip, and the data would be lost.
    """
    if key.volume_key_file is not None:
        return read_volume_key(key.volume_key_file, key_size)
    if is_key and key.key_file is not None:
        return KeySource(key.key_file, key.keyfile_offset, key_size).read()
    question = f"Passphrase for {volume.image}"
    return prompt.read_passphrase(question, key.source, verify=storage.writable)


def _warn_of_guesses(
    volume: VolumeOptions, key: UnlockOptions, layout: TypeOptions, *, is_key: bool
) -> None:
    """As cryptsetup does: a wrong guess about a volume without a header cannot be noticed."""
    if is_key and not volume.batch_mode:
        for name, given in (("hash", layout.hash), ("keyfile-size", key.keyfile_size)):
            if given is not None:
                output.warning(f"--{name} is ignored: a key file is the key itself")
    guessed = [
        f"{name} {default}"
        for name, given, default in _defaults_used(layout, is_key=is_key)
        if given is None
    ]
    if guessed and layout.defaults is None:
        output.warning(
            f"{volume.image}: supposed to have {', '.join(guessed)}; programs before cryptsetup "
            "2.7 had others, see --defaults"
        )


def _defaults_used(
    layout: TypeOptions, *, is_key: bool
) -> Iterator[tuple[str, str | int | None, str]]:
    newest = plain.DEFAULTS[plain.NEWEST]
    yield "cipher", layout.cipher, newest.cipher
    yield "key size", layout.key_size, f"{newest.key_size * 8} bits"
    if not is_key:
        yield "hash", layout.hash, newest.hash


def _open_loopaes(
    storage: Storage, volume: VolumeOptions, key: UnlockOptions, layout: TypeOptions, offset: int
) -> HeaderlessVolume:
    if key.key_file is None:
        raise click.UsageError("--type loopaes needs a --key-file")
    output.log(f"{volume.image}: keys from {key.key_file}")
    with key.source.read() as key_file:
        return loopaes.open_loopaes(
            storage,
            key_file,
            cipher=layout.cipher or loopaes.CIPHER,
            key_size=layout.key_size or loopaes.KEY_SIZE,
            hash=layout.hash,
            offset=offset,
            skip=layout.skip,
            size=layout.size,
        )
