"""What a new volume is filled with: a directory, or the plaintext of another image."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import click

from luksmeta.cli.key_options import UnlockOptions, unlock_family
from luksmeta.cli.options import Command, FileName, VolumeOptions, grouped, refuse_given
from luksmeta.cli.type_options import SECTORS, TypeOptions, layout_family
from luksmeta.images.filesystem_makers import MAKERS

_CRYPTOLOOP: Final = "cryptoloop"
_PLACED: Final = ("from_cipher", "from_key_size", "from_offset", "from_skip", "from_size")
_PLAIN: Final = ("from_hash", "from_sector_size", "from_iv_large_sectors", "from_volume_key_file")
_KEYED: Final = ("from_key_file", "from_keyfile_offset", "from_keyfile_size")
_MEANINGFUL: Final = {
    "raw": (),
    "luks": ("from_header", "from_volume_key_file", *_KEYED),
    "plain": ("from_defaults", *_PLACED, *_PLAIN, *_KEYED),
    _CRYPTOLOOP: (*_PLACED, *_PLAIN, *_KEYED),
    "loopaes": ("from_hash", *_PLACED, *_KEYED),
}


@dataclass(frozen=True, slots=True)
class FillingOptions:
    """Where the plaintext comes from, if from anywhere; ``from_offset`` and such are in sectors."""

    populate: str | None
    filesystem: str
    work_dir: str | None
    encrypt_from: str | None
    verify: bool
    from_type: str
    from_header: str | None
    from_key_file: str | None
    from_keyfile_offset: int
    from_keyfile_size: int | None
    from_volume_key_file: str | None
    from_cipher: str | None
    from_key_size: int | None  # bytes
    from_hash: str | None
    from_defaults: str | None
    from_offset: int
    from_skip: int | None
    from_size: int | None
    from_sector_size: int
    from_iv_large_sectors: bool

    @property
    def source(self) -> str | None:
        """The name of the directory or image; None where the volume stays empty."""
        return self.encrypt_from if self.populate is None else self.populate

    def check(self, volume: VolumeOptions) -> None:
        """Refuse what makes no sense, before anything is asked: UsageError."""
        if self.populate is not None and self.encrypt_from is not None:
            raise click.UsageError("--populate and --encrypt-from exclude each other")
        self._refuse_meaningless()
        if self.source is None:
            return
        if volume.header is not None:
            raise click.UsageError("--header: a whole image has its header in front of its data")
        if self.from_type == "loopaes" and self.from_key_file is None:
            raise click.UsageError("--from-type loopaes needs a --from-key-file")
        if self.from_type == "plain" and self.from_defaults is None:
            self._require_layout()
        self._refuse_own_image(Path(volume.image).resolve())

    def _require_layout(self) -> None:
        """Nothing is supposed: a wrong guess would be encrypted as noise, and look like success."""
        is_key = self.from_volume_key_file or self.from_key_file not in (None, "-")
        needed: dict[str, str | int | None] = {
            "cipher": self.from_cipher,
            "key-size": self.from_key_size,
        }
        if not is_key:
            needed["hash"] = self.from_hash
        missing = [f"--from-{name}" for name, value in needed.items() if value is None]
        if missing:
            text = f"--from-type plain needs --from-defaults, or {' and '.join(missing)}"
            raise click.UsageError(text)

    def _refuse_meaningless(self) -> None:
        if self.source is None:
            refuse_given(("verify",), "needs --populate or --encrypt-from")
        if self.populate is None:
            refuse_given(("filesystem", "work_dir"), "needs --populate")
        origins = [field.name for field in fields(self) if field.name.startswith("from_")]
        if self.encrypt_from is None:
            refuse_given(origins, "needs --encrypt-from")
        meaningful = ("from_type", *_MEANINGFUL[self.from_type])
        others = [name for name in origins if name not in meaningful]
        refuse_given(others, f"has no meaning for --from-type {self.from_type}")

    def _refuse_own_image(self, image: Path) -> None:
        """What is read is not replaced, under whatever name."""
        if self.populate is not None and Path(self.populate).resolve() in image.parents:
            raise click.UsageError(f"{self.populate} would hold the image itself")
        read = {
            "the image to encrypt": self.encrypt_from,
            "its header": self.from_header,
            "its key file": self.from_key_file,
            "its volume key file": self.from_volume_key_file,
        }
        for what, name in read.items():
            with suppress(OSError):  # one of them is not there
                if name is not None and image.samefile(name):
                    raise click.UsageError(f"{name} is {what}, and would be replaced")

    def origin(self, *, batch_mode: bool) -> tuple[VolumeOptions, UnlockOptions, TypeOptions]:
        """The image to encrypt, its key and its layout, as ``read`` has them."""
        volume = VolumeOptions(
            image=self.encrypt_from or "",
            header=self.from_header,
            batch_mode=batch_mode,
            debug=False,
        )
        key = UnlockOptions(
            key_file=self.from_key_file,
            keyfile_offset=self.from_keyfile_offset,
            keyfile_size=self.from_keyfile_size,
            volume_key_file=self.from_volume_key_file,
            key_slot=None,
            tries=3,
            max_memory=None,
            max_time=None,
            max_threads=None,
        )
        is_cryptoloop = self.from_type == _CRYPTOLOOP
        layout = TypeOptions(
            type="plain" if is_cryptoloop else self.from_type,
            cipher=self.from_cipher,
            key_size=self.from_key_size,
            hash=self.from_hash,
            defaults=_CRYPTOLOOP if is_cryptoloop else self.from_defaults,
            skip=self.from_skip,
            size=self.from_size,
            sector_size=self.from_sector_size,
            iv_large_sectors=self.from_iv_large_sectors,
        )
        return volume, key, layout


def filling_options(command: Command) -> Command:
    """What to fill a volume with; the command gets ``filling: FillingOptions``."""
    options: list[Any] = [
        click.option(
            "--populate",
            type=FileName(),
            metavar="DIR",
            help="Fill the volume with a file system made from this directory.",
        ),
        click.option(
            "--filesystem",
            type=click.Choice(list(MAKERS)),
            default="ext4",
            show_default=True,
            help="Which one, by mke2fs, mksquashfs, mkfs.erofs or mkfs.btrfs.",
        ),
        click.option(
            "--work-dir",
            type=FileName(),
            metavar="DIR",
            help="Make it in an unnamed file there, in the clear, and not in memory.",
        ),
        click.option(
            "--encrypt-from",
            type=FileName(),
            metavar="FILE",
            help="Fill the volume with what this image or device holds; it is only read.",
        ),
        click.option(
            "--verify/--no-verify",
            default=True,
            show_default=True,
            help="Read back what was written from the disk, and compare.",
        ),
        click.option(
            "--from-type",
            type=click.Choice(list(_MEANINGFUL)),
            default="raw",
            show_default=True,
            help="How that image is encrypted; raw is not. The options below are those of read.",
        ),
        click.option("--from-header", type=FileName(), metavar="FILE", help="Detached header."),
        *unlock_family("from-"),
        click.option(
            "--from-offset",
            type=SECTORS,
            default=0,
            metavar="SECTORS",
            help="The data's first sector in that image.",
        ),
        *layout_family("from-"),
    ]
    return grouped(command, "filling", FillingOptions, options)
