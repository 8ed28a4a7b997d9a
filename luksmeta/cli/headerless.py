"""A volume of type plain or loopaes, opened with its key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from luksmeta import loopaes, plain
from luksmeta.cli import output, prompt
from luksmeta.cli.key_options import UnlockOptions
from luksmeta.cli.options import VolumeOptions
from luksmeta.cli.plaintext import confirm_loss
from luksmeta.cli.prompt import KeySource
from luksmeta.cli.type_options import TypeOptions
from luksmeta.cli.unlocking import read_volume_key
from luksmeta.data_lock import data_in_use
from luksmeta.headerless import HeaderlessVolume
from luksmeta.overlay import OverlayStorage
from luksmeta.secret import SecretBytes
from luksmeta.storage import Storage
from luksmeta.target import open_storage


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
        if writes:
            confirm_loss(volume, layout, offset, file)
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
