"""``recover``."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import click

from luksmeta.cli import interrupts, output, progress, prompt
from luksmeta.cli.key_options import NewKeyOptions, UnlockOptions, new_key_options, unlock_options
from luksmeta.cli.keyslot_options import KeyslotOptions, keyslot_options
from luksmeta.cli.options import (
    Command,
    FileName,
    NewFileName,
    Size,
    Uuid,
    VolumeOptions,
    dry_run_option,
    grouped,
    json_option,
    volume_options,
)
from luksmeta.cli.read_log import log_to, read_log_option
from luksmeta.cli.unlocking import read_volume_key, try_passphrases
from luksmeta.errors import AlgorithmError, VolumeKeyError
from luksmeta.extents import Extent
from luksmeta.kdf.pbkdf import Limits
from luksmeta.model import SECTOR_SIZE
from luksmeta.secret import SecretBytes
from luksmeta.sector import engine
from luksmeta.sector.cipher_spec import CipherSpec

if TYPE_CHECKING:
    from luksmeta.forensics.recovery.recovery import Recovery

    RangeType = click.ParamType[Extent]
    CipherType = click.ParamType[str]
else:  # no generic class before click 8.3
    RangeType = CipherType = click.ParamType


_MAX_TIME: Final = 60_000  # milliseconds of one derivation: what is left may be damaged, or hostile


class ByteRange(RangeType):
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


class Cipher(CipherType):
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


@click.command("recover")
@volume_options
@result_options
@search_options
@unlock_options()
@new_key_options
@keyslot_options
def recover_command(
    *,
    volume: VolumeOptions,
    result: ResultOptions,
    search: SearchOptions,
    key: UnlockOptions,
    new_key: NewKeyOptions,
    made: KeyslotOptions,
) -> None:
    """Bring back a header of which there is only a part left, into a new file.

    IMAGE is read and never written to. Used is what is left: header copies without their magic,
    or elsewhere than they should be; JSON texts in their place, in slack or in pieces; a LUKS1
    keyslot table; a header backup. --dry-run shows all possible headers, how sure each is, from
    which bytes it comes and what is lost for good.

    With --key-file a header must open before it is written. With --volume-key-file nothing of a
    header need be left: the data is found by what it decrypts to, and gets a new header, with a
    keyslot for --new-keyfile; a structure that is known must be in it, unless with --unproved.
    Without a key the surest header is written, and said to be unproved. A derivation may take 60
    seconds, by an estimate, and all together ten times that; --max-time raises both.
    """
    from luksmeta.forensics.recovery.recovery import recover

    if not result.new_files and not result.dry_run:
        raise click.UsageError("-o or --repaired must name a new file, unless with --dry-run")
    if search.flipped_bit is not None and key.key_file is None:
        raise click.UsageError("--flipped-bit needs a --key-file")
    _require_different(*result.new_files, result.read_log)
    for name in result.new_files:
        output.require_new(name)
    with ExitStack() as stack:
        log = stack.enter_context(log_to(result.read_log))
        recovery = stack.enter_context(
            recover(
                volume.image,
                volume.header,
                backup=search.backup,
                secondary_at=search.secondary_at,
                uuid=search.uuid,
                cipher=search.cipher,
                sector_size=search.sector_size,
                offset=None if search.offset is None else SECTOR_SIZE * search.offset,
                read_log=log,
            )
        )
        if search.candidate is not None:
            recovery.choose(search.candidate)
        if key.volume_key_file is None:
            recovery.require_any()
        found = len(recovery.candidates)
        try:
            _prove(recovery, search, key, new_key, made)
        except VolumeKeyError:
            if result.dry_run and len(recovery.candidates) > found:
                _say(recovery, result)  # the new header, though nothing proves its key
            raise
        _warn_of_contradictions(recovery, volume, search)
        if not result.dry_run:
            _write(recovery, result)
            _warn_unproved(recovery)
        with output.after_making(*(() if result.dry_run else result.new_files)):
            _say(recovery, result)


def _require_different(*names: str | None) -> None:
    """A usage error where two new files have the same name."""
    paths = [os.path.realpath(each) for each in names if each is not None]
    for each in paths:
        if paths.count(each) > 1:
            raise click.UsageError(f"{each}: named twice for a new file")


def _warn_of_contradictions(
    recovery: Recovery, volume: VolumeOptions, search: SearchOptions
) -> None:
    """What was said to be known and is otherwise in the header that is taken."""
    from luksmeta.forensics.recovery.data_start import places_of

    chosen = recovery.chosen
    if chosen is None:
        return
    base = chosen.base if volume.header is None else 0
    for place in places_of(chosen.metadata):
        sectors = (place.offset + base) // SECTOR_SIZE
        for option, stated, there in (
            ("--cipher", search.cipher, place.cipher),
            ("--sector-size", search.sector_size, place.sector_size),
            ("--offset", search.offset, sectors),
        ):
            if stated is not None and _plain64(stated) != _plain64(there):
                output.warning(f"{option} {stated}: the header that is taken says {there}")


def _plain64(value: object) -> str:
    """``plain`` is the same up to 2 TiB."""
    text = str(value)
    return f"{text}64" if text.endswith("-plain") else text


def _warn_unproved(recovery: Recovery) -> None:
    from luksmeta.cli.recover_page import proof_of

    if recovery.proof is None or not recovery.proof.holds:
        output.warning(proof_of(recovery))


def _prove(
    recovery: Recovery,
    search: SearchOptions,
    key: UnlockOptions,
    new_key: NewKeyOptions,
    made: KeyslotOptions,
) -> None:
    question = f"Passphrase for {recovery.name}"
    limits = replace(key.limits, milliseconds=key.max_time or _MAX_TIME)
    if key.volume_key_file is not None:
        with progress.bar("Looking for the data") as show:
            found = _VolumeKey(key.volume_key_file, limits, search.unproved)
            _prove_volume_key(recovery, found, new_key, made, show)
    elif search.flipped_bit is not None:
        with (
            prompt.read_passphrase(question, key.source) as given,
            progress.bar("Trying every bit") as show,
        ):
            recovery.flip_bit(given, search.flipped_bit, limits=limits, progress=show)
    elif key.key_file is not None:
        _, passphrase = try_passphrases(
            question, key, lambda given: recovery.prove(given, limits=limits)
        )
        passphrase.wipe()


@dataclass(frozen=True, slots=True)
class _VolumeKey:
    """A volume key that is tried, what its digests may cost, and what it may rest on."""

    file: str
    limits: Limits
    unproved: bool


def _prove_volume_key(
    recovery: Recovery,
    given: _VolumeKey,
    new_key: NewKeyOptions,
    made: KeyslotOptions,
    show: progress.Show,
) -> None:
    with ExitStack() as stack:
        volume_key = stack.enter_context(read_volume_key(given.file, None))
        with progress.waiting("Trying the digests"):
            version = recovery.version_of(volume_key, limits=given.limits)
        if new_key.new_keyfile is None and version is not None:
            recovery.prove_volume_key(volume_key, limits=given.limits)
            return
        passphrase = stack.enter_context(
            prompt.read_passphrase(
                f"New passphrase for {recovery.name}", new_key.source, verify=True
            )
        )
        version = version or 2  # of a new header
        made.check(version)
        pbkdf = made.costs(version, made.hash or "sha256")
        recovery.prove_volume_key(
            volume_key,
            passphrase,
            pbkdf=pbkdf,
            unproved=given.unproved,
            limits=given.limits,
            progress=show,
        )


def _write(recovery: Recovery, result: ResultOptions) -> None:
    with interrupts.making(*result.new_files):
        if result.output_file is not None:
            recovery.write_header(result.output_file)
        if result.repaired is not None:
            with progress.bar("Copying") as show:
                recovery.write_repaired(result.repaired, show)


def _say(recovery: Recovery, result: ResultOptions) -> None:
    files = {"header": result.output_file, "repaired": result.repaired}
    if result.as_json:
        written = None if result.dry_run else files
        output.say_json({**recovery.describe(), "written": written})
        return
    from luksmeta.cli.recover_page import plan_page, result_page

    page = plan_page(recovery) if result.dry_run else result_page(recovery, files)
    for line in page:
        output.say(line)
