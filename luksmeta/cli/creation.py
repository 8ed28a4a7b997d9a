"""``format``: a new volume."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from luksmeta.cli import filling as fillings
from luksmeta.cli import interrupts, output, progress, prompt
from luksmeta.cli.filling_options import FillingOptions, filling_options
from luksmeta.cli.key_options import KeyFileOptions, key_file_options
from luksmeta.cli.keyslot_options import KeyBits, KeyslotOptions, keyslot_options
from luksmeta.cli.options import (
    FileName,
    Size,
    Uuid,
    VolumeOptions,
    dry_run_option,
    json_option,
    volume_options,
)
from luksmeta.cli.seeding import seed_option, seeding
from luksmeta.cli.unlocking import read_volume_key
from luksmeta.disks.parts import split_name
from luksmeta.extents import align_down
from luksmeta.format_options import DEFAULT_CIPHER, FormatOptions
from luksmeta.formatting import DEFAULT_KEY_SIZE
from luksmeta.kdf.calibrate import digest_share
from luksmeta.kdf.pbkdf import Pbkdf2
from luksmeta.model import SECTOR_SIZE
from luksmeta.new_keyslot import DEFAULT_HASH
from luksmeta.new_volume import FormatKeywords, check_places
from luksmeta.new_volume import format as format_volume
from luksmeta.secret import SecretBytes
from luksmeta.sector.cipher_spec import CipherSpec
from luksmeta.signatures import find_signatures, first_data
from luksmeta.sizes import format_size
from luksmeta.target import open_storage
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
@keyslot_options
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
@click.option("-S", "--key-slot", type=int, default=0, metavar="N", help="The first keyslot's id.")
@key_file_options
@click.option(
    "--volume-key-file",
    type=FileName(),
    metavar="FILE",
    help="Use this volume key, not a random one.",
)
@filling_options
@seed_option
@json_option
@dry_run_option
def format_command(
    *,
    volume: VolumeOptions,
    key: KeyFileOptions,
    made: KeyslotOptions,
    size: int | None,
    kind: str,
    volume_key_file: str | None,
    filling: FillingOptions,
    seed: bytes | None,
    as_json: bool,
    dry_run: bool,
    **options: Any,  # noqa: ANN401  # click's values, typed where FormatKeywords takes them
) -> None:
    """Write a new LUKS volume with one passphrase. What IMAGE holds is lost.

    With --header the header goes to that file, and IMAGE is left for the data.

    With --populate or --encrypt-from IMAGE is a file that has its name, or its new content, only
    when all of it is there. A passphrase of the old image is asked for, or read, first.
    """
    filling.check(volume)
    keywords = _keywords(kind, made, options)
    # What makes no sense is refused before anything is asked.
    FormatOptions(**keywords)
    made.check(_version(kind))
    if filling.source is None:
        check_places(volume.image, size=size, header=volume.header)
    if not dry_run:
        _confirm(volume)
    with ExitStack() as stack:
        stack.enter_context(seeding(seed, made))
        source = None
        if filling.encrypt_from is not None:
            source = stack.enter_context(
                fillings.opened_origin(filling, batch_mode=volume.batch_mode)
            )
        volume_key = _given_volume_key(stack, volume_key_file, keywords)
        question, verify = f"Passphrase for {volume.image}", not volume.batch_mode
        passphrase = stack.enter_context(
            prompt.read_passphrase(question, key.source, verify=verify)
        )
        with progress.waiting("Measuring this machine"):
            _add_costs(keywords, made)
        if filling.populate is not None:
            source = stack.enter_context(
                fillings.populated(filling, filling.populate, size, volume_key, keywords)
            )
        if source is not None:
            image = fillings.write_image(
                volume, filling, source, passphrase, volume_key, size, keywords, dry_run=dry_run
            )
            fillings.report(
                volume.image, filling.source or "", image, as_json=as_json, dry_run=dry_run
            )
            return
        with _formatted(volume, passphrase, volume_key, size, keywords, dry_run=dry_run) as new:
            if dry_run:
                output.say_plans(new.written, as_json=as_json)
            else:
                _report(new, as_json=as_json)


def _formatted(
    volume: VolumeOptions,
    passphrase: SecretBytes,
    volume_key: SecretBytes | None,
    size: int | None,
    keywords: FormatKeywords,
    *,
    dry_run: bool,
) -> Volume:
    with (
        interrupts.making(volume.header_file, volume.image),
        progress.bar("Formatting", first="Deriving the key") as advance,
    ):
        return format_volume(
            volume.image,
            passphrase,
            size=size,
            header=volume.header,
            volume_key=volume_key,
            dry_run=dry_run,
            progress=advance,
            **keywords,
        )


def _confirm(volume: VolumeOptions) -> None:
    """Name what would be lost; nothing is asked where there is nothing."""
    for name in dict.fromkeys((volume.header_file, volume.image)):
        if not Path(split_name(name)[0]).exists():
            continue
        with open_storage(name) as storage:
            found = find_signatures(storage)
            if found:
                held = ", ".join(str(each) for each in found)
            elif first_data(storage, _LOOKED_AT) is not None:
                held = "data of no known kind"
            else:
                continue
        prompt.confirm(
            name,
            f"holds {held}, which will be lost",
            batch_mode=volume.batch_mode,
            refused=prompt.FormatRefusedError,
        )


def _version(kind: str) -> int:
    return 1 if kind == "luks1" else 2


def _keywords(kind: str, made: KeyslotOptions, options: dict[str, Any]) -> FormatKeywords:
    sectors = options["data_sectors"]
    return {
        "type": "luks1" if kind == "luks1" else "luks2",
        "cipher": options["cipher"],
        "key_size": options["key_size"],
        "hash": made.hash or DEFAULT_HASH,
        "sector_size": options["sector_size"],
        "uuid": options["uuid"],
        "label": options["label"],
        "subsystem": options["subsystem"],
        "data_offset": None if sectors is None else sectors * SECTOR_SIZE,
        "metadata_size": options["luks2_metadata_size"],
        "keyslots_size": options["luks2_keyslots_size"],
        "keyslot": options["key_slot"],
        "keyslot_cipher": made.keyslot_cipher,
        "keyslot_key_size": made.keyslot_key_size,
    }


def _given_volume_key(
    stack: ExitStack, name: str | None, keywords: FormatKeywords
) -> SecretBytes | None:
    """The volume key in the file, until the stack is left; as long as the cipher wants it."""
    if name is None:
        return None
    keys = 2 if CipherSpec.parse(keywords["cipher"]).mode == "xts" else 1
    size = keywords["key_size"] or keys * DEFAULT_KEY_SIZE
    return stack.enter_context(read_volume_key(name, size))


def _add_costs(keywords: FormatKeywords, made: KeyslotOptions) -> None:
    """The keyslot's KDF, and the digest's iterations where they follow from it."""
    is_luks1 = keywords["type"] == "luks1"
    chosen = made.costs(_version(keywords["type"]), keywords["hash"])
    keywords["pbkdf"] = chosen
    if made.pbkdf_force_iterations is not None:
        keywords["digest_iterations"] = made.digest_iterations
    elif is_luks1 and isinstance(chosen, Pbkdf2):
        keywords["digest_iterations"] = digest_share(chosen.iterations, made.milliseconds)


def _report(new: Volume, *, as_json: bool) -> None:
    metadata = new.metadata
    start = metadata.data_offset
    data_size = max(0, align_down(new.data_storage.size - start, SECTOR_SIZE))
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
            f"{new.data_storage.name}: LUKS{metadata.version} volume {metadata.uuid}, keyslot "
            f"{keyslot}, {format_size(data_size)} of data"
        )
    if not data_size and not new.is_detached:
        output.warning(
            f"{new.data_storage.name}: there is no room for data, which starts at {start:#x}; the "
            f"file has {new.data_storage.size:#x} bytes"
        )
