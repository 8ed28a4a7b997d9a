"""What to say where nothing is left to make a header of."""

from __future__ import annotations

from typing import Final

from luksmeta.errors import HeaderError
from luksmeta.extents import Extent
from luksmeta.forensics.randomness import runs_of
from luksmeta.forensics.recovery.from_luks2 import SEARCHED
from luksmeta.storage import Storage

_HINT: Final = "a header backup (--backup) or the volume key (--volume-key-file) is needed"
_LOOKED_AT: Final = Extent(0, 0x8000)  # both copies of a LUKS2 header of the usual size


def nothing_left(storage: Storage) -> HeaderError:
    """Which bytes are gone, and what that means."""
    if not storage.size:
        return HeaderError("nothing to recover a header from: it is empty").about(storage.name)
    looked_at = Extent(0, min(_LOOKED_AT.size, storage.size))
    runs = runs_of(storage, looked_at)
    there = ", ".join(f"{run.extent} {run.state}" for run in runs[:4]) or "no bytes at all"
    more = f" and {len(runs) - 4} more" if len(runs) > 4 else ""
    error = HeaderError(
        "nothing to recover a header from: the salts of all keyslots are gone with it, without "
        f"which no passphrase opens; no LUKS2 copy, no JSON text in the first "
        f"{SEARCHED >> 20} MiB, no LUKS1 keyslot table ({there}{more})"
    )
    error.advise(_HINT)
    return error.about(storage.name)
