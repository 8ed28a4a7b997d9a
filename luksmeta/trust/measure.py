"""``luksmeta.measure``: the digest of a header for PCRs, attestation reports and inventories."""

from __future__ import annotations

from luksmeta.opening import open as open_volume
from luksmeta.target import Target


def measure(target: Target, *, header: Target | None = None, hash: str = "sha256") -> bytes:
    """The digest of all that a header says; with ``header``, it lies there.

    By ``sha256``, ``sha384`` or ``sha512``. No key is needed, and both versions have one. Raises
    what :func:`luksmeta.open` and :meth:`luksmeta.Volume.measure` do.
    """
    with open_volume(target, header=header) as volume:
        return volume.measure(hash)
