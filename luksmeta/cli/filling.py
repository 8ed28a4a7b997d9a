"""``format`` with ``--populate`` or ``--encrypt-from``: a whole image, not an empty volume."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import BinaryIO, cast

from luksmeta.cli import interrupts, output, progress, prompt
from luksmeta.cli.filling_options import FillingOptions
from luksmeta.cli.headerless import open_headerless
from luksmeta.cli.options import VolumeOptions
from luksmeta.cli.source import Data
from luksmeta.cli.unlocking import open_for, unlock
from luksmeta.data_lock import data_in_use
from luksmeta.extents import align_down
from luksmeta.images.encrypting_copy import EncryptedImage, data_offset, encrypt_image
from luksmeta.images.filesystem_images import filesystem_image
from luksmeta.images.raw_image import Plaintext, RawImage
from luksmeta.images.tree import BLOCK_SIZE
from luksmeta.locking import locked
from luksmeta.model import SECTOR_SIZE
from luksmeta.new_volume import FormatKeywords
from luksmeta.secret import SecretBytes
from luksmeta.segment_stream import SegmentStream
from luksmeta.signatures import find_signatures
from luksmeta.sizes import format_size
from luksmeta.storage import Storage
from luksmeta.target import open_storage


@contextmanager
def opened_origin(filling: FillingOptions, *, batch_mode: bool) -> Iterator[Plaintext]:
    """The plaintext of the image to encrypt, after a look at whether it is that."""
    volume, key, layout = filling.origin(batch_mode=batch_mode)
    if layout.type == "raw":
        with RawImage(volume.image) as image:
            _confirm_raw(volume, image.storage)
            yield image
    elif layout.type == "luks":
        with (
            open_for(volume) as opened,
            data_in_use(opened.data_storage, writable=False),
            unlock(opened, key, keyslot=None) as unlocked,
            _locked_stream(unlocked) as stream,
        ):
            yield stream
    else:
        with (
            open_headerless(volume, key, layout, filling.from_offset) as headerless,
            _locked_stream(headerless) as stream,
        ):
            _confirm_decrypted(volume, stream)
            yield stream


@contextmanager
def populated(
    filling: FillingOptions,
    directory: str,
    size: int | None,
    volume_key: SecretBytes | None,
    keywords: FormatKeywords,
) -> Iterator[Plaintext]:
    """A file system made from the directory, as large as ``size``, that of the image, has room."""
    room = None
    if size is not None:
        room = align_down(size - data_offset(volume_key, **keywords), BLOCK_SIZE)
        if room <= 0:
            raise ValueError(f"size {size}: there is no room for data behind the header")
    with ExitStack() as stack:
        with progress.waiting("Making the file system"):
            image = stack.enter_context(
                filesystem_image(
                    directory, filling.filesystem, size=room, work_dir=filling.work_dir
                )
            )
        yield image


def write_image(
    volume: VolumeOptions,
    filling: FillingOptions,
    source: Plaintext,
    passphrase: SecretBytes,
    volume_key: SecretBytes | None,
    size: int | None,
    keywords: FormatKeywords,
    *,
    dry_run: bool,
) -> EncryptedImage:
    """The new image, under its name."""
    what = "Encrypting and verifying" if filling.verify else "Encrypting"
    with progress.bar(what, first="Deriving the key") as advance:
        return encrypt_image(
            volume.image,
            passphrase,
            source,
            size=size,
            volume_key=volume_key,
            verify=filling.verify,
            dry_run=dry_run,
            progress=advance,
            guard=interrupts.incomplete,
            **keywords,
        )


def report(image: str, source: str, made: EncryptedImage, *, as_json: bool, dry_run: bool) -> None:
    """What was made, or would be."""
    if dry_run:
        data: dict[str, str | int] = {
            "step": "write",
            "offset": made.data.offset,
            "length": made.data.size,
            "what": f"data, encrypted, from {source}",
        }
        output.say_steps([*output.steps_of(made.written), data], as_json=as_json)
    elif as_json:
        output.say_json(_document(source, made))
    else:
        metadata = made.metadata
        output.say(
            f"{image}: LUKS{metadata.version} volume {metadata.uuid}, keyslot "
            f"{next(iter(metadata.keyslots))}, {format_size(made.data.size)} of data from {source}"
        )
        if made.verified:
            output.say(f"Read back and the same: SHA-256 {made.sha256}")


def _document(source: str, made: EncryptedImage) -> dict[str, object]:
    return {
        "format": f"luks{made.metadata.version}",
        "uuid": made.metadata.uuid,
        "keyslot": next(iter(made.metadata.keyslots)),
        "data_offset": made.data.offset,
        "data_size": align_down(made.size - made.data.offset, SECTOR_SIZE),
        "source": source,
        "source_size": made.data.size,
        "sha256": made.sha256,
        "verified": made.verified,
    }


@contextmanager
def _locked_stream(data: Data) -> Iterator[SegmentStream]:
    """The plaintext; nobody who respects locks changes it meanwhile."""
    with locked(data.data_storage, exclusive=False), data.open() as stream:
        yield stream


def _confirm_raw(volume: VolumeOptions, storage: Storage) -> None:
    """Ask about what is not the plaintext that it is taken for."""
    from luksmeta.forensics.containers import container_of

    container = container_of(storage)
    if container is not None:
        doubt = (
            f"is a {container.name} image, and would be encrypted as the file that it is, not the "
            "disk in it; qemu-img convert -O raw makes that"
        )
    elif any(each.name == "LUKS header" for each in find_signatures(storage)):
        doubt = (
            "holds a LUKS header, and would be encrypted twice; --from-type luks takes what it "
            "protects"
        )
    else:
        return
    prompt.confirm(
        volume.image,
        doubt,
        batch_mode=volume.batch_mode,
        refused=prompt.FormatRefusedError,
    )


def _confirm_decrypted(volume: VolumeOptions, stream: SegmentStream) -> None:
    """A wrong key shows in nothing else than in what is not there."""
    if not find_signatures(open_storage(cast("BinaryIO", stream))):
        prompt.confirm(
            volume.image,
            "shows no known file system when it is decrypted, as with a wrong key or cipher",
            batch_mode=volume.batch_mode,
            refused=prompt.FormatRefusedError,
        )
