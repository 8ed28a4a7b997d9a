"""A volume of whatever ``--type``, with its key: what says which, and how it is opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from luksmeta.cli.headerless import open_headerless
from luksmeta.cli.key_options import UnlockOptions, unlock_options
from luksmeta.cli.options import Command, VolumeOptions, grouped, policy_option, volume_options
from luksmeta.cli.seal_options import SealOptions, seal_options
from luksmeta.cli.type_options import LUKS, TypeOptions, refuse_meaningless, type_options
from luksmeta.cli.unlocking import open_for, unlock
from luksmeta.data_lock import data_in_use
from luksmeta.segment_stream import SegmentStream
from luksmeta.storage import Storage


class Data(Protocol):
    """An open volume of whatever type."""

    @property
    def data_storage(self) -> Storage:
        """What holds the data."""

    def open(self, *, writable: bool = ..., storage: Storage | None = ...) -> SegmentStream:
        """The plaintext."""


@dataclass(frozen=True, slots=True)
class Source:
    """Which volume, how it is unlocked and laid out, and what must hold before."""

    volume: VolumeOptions
    key: UnlockOptions
    seal: SealOptions
    layout: TypeOptions
    policy: str | None

    @property
    def image(self) -> str:
        """The file that holds the data."""
        return self.volume.image

    @property
    def key_files(self) -> dict[str, str | None]:
        """The files that hold a key, each with what to call it."""
        return {
            "the key file": self.key.key_file,
            "the volume key file": self.key.volume_key_file,
        }

    @contextmanager
    def open(self, offset: int, *, writable: bool = False, dry_run: bool = False) -> Iterator[Data]:
        """The volume with its key; closed and wiped at the end. ``offset`` is that of ``--offset``.

        Nobody else may write meanwhile, or, where this is for writing, read.
        """
        refuse_meaningless(self.layout.type)
        if self.layout.type == LUKS:
            opened = self._open_luks(writable=writable, dry_run=dry_run)
        else:
            opened = open_headerless(
                self.volume, self.key, self.layout, offset, writable=writable, dry_run=dry_run
            )
        with opened as data:
            yield data

    @contextmanager
    def _open_luks(self, *, writable: bool, dry_run: bool) -> Iterator[Data]:
        with (
            open_for(self.volume, writable=writable, dry_run=dry_run, policy=self.policy) as opened,
            data_in_use(opened.data_storage, writable=writable and not dry_run),
            unlock(opened, self.key, keyslot=self.key.key_slot, seal=self.seal) as unlocked,
        ):
            yield unlocked


def source_options(command: Command, volume: Callable[[Any], Any] = volume_options) -> Command:
    """IMAGE, its key and its type; the command gets ``source: Source``."""
    collected: Any = grouped(command, "source", Source, [])
    for options in (policy_option, type_options, seal_options, unlock_options(), volume):
        collected = options(collected)
    decorated: Command = collected
    return decorated
