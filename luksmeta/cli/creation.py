"""``format``: a new volume."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from luksmeta.cli import interrupts, output, prompt
from luksmeta.cli.key_options import (
    KeyBits,
    PbkdfOptions,
    pbkdf_options,
)
from luksmeta.cli.options import (
    FileName,
    Size,
    Uuid,
    VolumeOptions,
    dry_run_option,
    json_option,
    volume_options,
)
from luksmeta.cli.unlocking import read_volume_key
from luksmeta.errors import UnsupportedError
from luksmeta.extents import align_down
from luksmeta.formatting import DEFAULT_CIPHER, DEFAULT_KEY_SIZE, FormatOptions
from luksmeta.kdf.calibrate import digest_share
from luksmeta.kdf.pbkdf import MIN_ITERATIONS, Pbkdf2
from luksmeta.key_management import DEFAULT_HASH
from luksmeta.model import SECTOR_SIZE
from luksmeta.new_volume import FormatKeywords
from luksmeta.new_volume import format as format_volume
from luksmeta.sector.cipher_spec import CipherSpec
from luksmeta.signatures import find_signatures, first_data
from luksmeta.sizes import format_size
from luksmeta.storage import FileStorage
from luksmeta.volume import Volume

_LOOKED_AT = 16 << 20  # bytes of an unknown device that are looked through for data


@click.command("format")
@volume_options
@click.option("--size", type=Size(), help="Create the file, or extend it, to this size (sparse).")
@click.option(
    "--type",
    "kind",
    type=click.Choice(["luks2", "luks1"]),
    default="luks2",
    show_default=True,
    help="The format.",
)
@click.option("-c", "--cipher", default=DEFAULT_CIPHER, show_default=True, help="dm-crypt's words.")
@click.option(
    "-s", "--key-size", type=KeyBits(), help="Default: 256, for xts 512 (two keys of 256)."
)
@pbkdf_options
@click.option(
    "--sector-size", type=int, metavar="BYTES", help="512 to 4096; default: what suits the device."
)
@click.option("--uuid", type=Uuid(), help="Default: random.")
@click.option("--label", default="", help="LUKS2: a label of up to 47 bytes.")
@click.option("--subsystem", default="", help="LUKS2: a second label.")
@click.option(
    "-o",
    "--offset",
    "data_sectors",
    type=click.IntRange(min=0),
    metavar="SECTORS",
    help="Where the data starts, in 512-byte sectors.",
)
@click.option("--luks2-metadata-size", type=Size(), help="Of one header copy: 16k to 4M.")
@click.option("--luks2-keyslots-size", type=Size(), help="Of the keyslots area, up to 128M.")
@click.option("--keyslot-cipher", help="LUKS2: encrypts the keyslot; default: the data's.")
@click.option("--keyslot-key-size", type=KeyBits(), help="LUKS2: the key of that cipher.")
@click.option("-S", "--key-slot", type=int, default=0, metavar="N", help="The first keyslot's id.")
@click.option(
    "-d", "--key-file", type=FileName(), metavar="FILE", help="The whole file is the passphrase."
)
@click.option("--keyfile-offset", type=Size(), default=0, metavar="BYTES", help="Skip so many.")
@click.option("-l", "--keyfile-size", type=Size(), metavar="BYTES", help="Read so many exactly.")
@click.option(
    "--volume-key-file",
    type=FileName(),
    metavar="FILE",
    help="Use this volume key, not a random one.",
)
@json_option
@dry_run_option
def format_command(
    *,
    volume: VolumeOptions,
    kdf: PbkdfOptions,
    size: int | None,
    kind: str,
    key_file: str | None,
    keyfile_offset: int,
    keyfile_size: int | None,
    volume_key_file: str | None,
    as_json: bool,
    dry_run: bool,
    **options: Any,  # noqa: ANN401  # click's values, typed where FormatKeywords takes them
) -> None:
    """Write a new LUKS volume with one passphrase. What IMAGE holds is lost.

    With --header the header goes to that file, and IMAGE is left for the data.
    """
    keywords = _keywords(kind, kdf, options)
    FormatOptions(**keywords)  # refuses what makes no sense before anything is asked
    if not dry_run:
        _confirm(volume)
    source = None if key_file is None else prompt.KeyFile(key_file, keyfile_offset, keyfile_size)
    with ExitStack() as stack:
        volume_key = None
        if volume_key_file is not None:
            key_size = keywords["key_size"] or _default_key_size(keywords["cipher"])
            volume_key = stack.enter_context(read_volume_key(volume_key_file, key_size))
        passphrase = stack.enter_context(
            prompt.read_passphrase(
                f"Passphrase for {volume.image}", source, verify=not volume.batch_mode
            )
        )
        with output.waiting("Measuring this machine"):
            _add_costs(keywords, kind, kdf)
        with (
            interrupts.incomplete(*_new_files(volume)),
            output.progress("Formatting", first="Deriving the key") as progress,
        ):
            made = format_volume(
                volume.image,
                passphrase,
                size=size,
                header=volume.header,
                volume_key=volume_key,
                dry_run=dry_run,
                progress=progress,
                **keywords,
            )
        with made:
            if dry_run:
                output.say_plans(made.written, as_json=as_json)
            else:
                _report(made, as_json=as_json)


def _confirm(volume: VolumeOptions) -> None:
    """Name what would be lost; nothing is asked where there is nothing."""
    for name in dict.fromkeys((volume.header_file, volume.image)):
        if not Path(name).exists():
            continue
        with FileStorage(name) as storage:
            found = find_signatures(storage)
            if found:
                held = ", ".join(str(each) for each in found)
            elif first_data(storage, _LOOKED_AT) is not None:
                held = "data of no known kind"
            else:
                continue
        prompt.confirm(f"{name} holds {held}, which will be lost", batch_mode=volume.batch_mode)


def _new_files(volume: VolumeOptions) -> list[str]:
    return [name for name in (volume.header_file, volume.image) if not Path(name).exists()]


def _keywords(kind: str, kdf: PbkdfOptions, options: dict[str, Any]) -> FormatKeywords:
    sectors = options["data_sectors"]
    return {
        "type": "luks1" if kind == "luks1" else "luks2",
        "cipher": options["cipher"],
        "key_size": options["key_size"],
        "hash": kdf.hash or DEFAULT_HASH,
        "sector_size": options["sector_size"],
        "uuid": options["uuid"],
        "label": options["label"],
        "subsystem": options["subsystem"],
        "data_offset": None if sectors is None else sectors * SECTOR_SIZE,
        "metadata_size": options["luks2_metadata_size"],
        "keyslots_size": options["luks2_keyslots_size"],
        "keyslot": options["key_slot"],
        "keyslot_cipher": options["keyslot_cipher"],
        "keyslot_key_size": options["keyslot_key_size"],
    }


def _default_key_size(cipher: str) -> int:
    return (2 if CipherSpec.parse(cipher).mode == "xts" else 1) * DEFAULT_KEY_SIZE


def _add_costs(keywords: FormatKeywords, kind: str, kdf: PbkdfOptions) -> None:
    """The keyslot's KDF, and the digest's iterations where they follow from it."""
    if kind == "luks1" and kdf.pbkdf not in (None, "pbkdf2"):
        raise UnsupportedError(f"format: --pbkdf {kdf.pbkdf}, LUKS1 knows pbkdf2 only")
    chosen = kdf.choose(version=1 if kind == "luks1" else 2, hash_name=keywords["hash"])
    keywords["pbkdf"] = chosen
    if kdf.pbkdf_force_iterations is not None:
        keywords["digest_iterations"] = MIN_ITERATIONS
    elif kind == "luks1" and isinstance(chosen, Pbkdf2):
        keywords["digest_iterations"] = digest_share(chosen.iterations, kdf.milliseconds)


def _report(made: Volume, *, as_json: bool) -> None:
    metadata = made.metadata
    start = metadata.data_offset
    data_size = max(0, align_down(made.data_storage.size - start, SECTOR_SIZE))
    keyslot = next(iter(metadata.keyslots))
    if as_json:
        output.say_json(
            {
                "format": f"luks{metadata.version}",
                "uuid": metadata.uuid,
                "keyslot": keyslot,
                "data_offset": start,
                "data_size": data_size,
            }
        )
    else:
        output.say(
            f"{made.data_storage.name}: LUKS{metadata.version} volume {metadata.uuid}, keyslot "
            f"{keyslot}, {format_size(data_size)} of data"
        )
    if not data_size and not made.is_detached:
        output.warning(f"{made.data_storage.name}: there is no room for data")
