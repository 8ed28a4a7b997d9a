"""Opening a volume: its files, and the header that lies there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from luksmeta.header import read_header
from luksmeta.locking import locked
from luksmeta.overlay import OverlayStorage
from luksmeta.storage import Storage
from luksmeta.target import Target, is_same_file, open_storage
from luksmeta.volume import Volume


def open(
    target: Target,
    *,
    header: Target | None = None,
    writable: bool = False,
    dry_run: bool = False,
    hold: Callable[[Storage], Storage] | None = None,
) -> Volume:
    """Open a volume; with ``header``, its header lies there and ``target`` holds the data alone.

    Nothing is written, whatever state the header is in. With ``dry_run`` later changes go to memory
    only, and ``Volume.written`` shows them. ``hold`` makes of the header's storage the one that is
    used in its place, or raises. Raises NotLuksError, HeaderError, StorageError.
    """
    write = writable and not dry_run
    with ExitStack() as opened:
        data_storage = opened.enter_context(open_storage(target, writable=write))
        header_storage = data_storage
        if header is not None and not is_same_file(header, target):
            header_storage = opened.enter_context(open_storage(header, writable=write))
        with locked(header_storage, exclusive=False):
            held = header_storage if hold is None else hold(header_storage)
            parsed = read_header(held)
        opened.pop_all()
    data_storage = held if data_storage is header_storage else data_storage
    if dry_run:
        return Volume(parsed, *_overlaid(held, data_storage))
    return Volume(parsed, held, data_storage)


def _overlaid(header_storage: Storage, data_storage: Storage) -> tuple[Storage, Storage]:
    """Overlays of both; one overlay where both are the same storage."""
    header = OverlayStorage(header_storage)
    return header, header if data_storage is header_storage else OverlayStorage(data_storage)
