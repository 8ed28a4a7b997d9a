"""Opening a volume, if need be only with a header that a policy allows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from luksmeta import opening
from luksmeta.storage import Storage
from luksmeta.target import Target, is_same_file
from luksmeta.volume import Volume

if TYPE_CHECKING:
    from luksmeta.trust.policy import Source


def open(  # luksmeta.open, as in the standard library's own modules
    target: Target,
    *,
    header: Target | None = None,
    writable: bool = False,
    dry_run: bool = False,
    policy: Source | None = None,
) -> Volume:
    """Open a volume; with ``header``, its header lies there and ``target`` holds the data alone.

    Nothing is written, whatever state the header is in. With ``dry_run`` later changes go to memory
    only, and ``Volume.written`` shows them.

    With ``policy`` (the name of one, a file, a :class:`~luksmeta.trust.policy.Policy`) the header
    is read once into memory, checked there, and used from there: whatever somebody writes to the
    disk meanwhile, what is used is what was checked. Such a volume's data can be written, its
    header cannot. Raises PolicyError, which has all findings, when the header breaks the policy;
    without one NotLuksError and HeaderError; StorageError; ValueError for what is no policy.
    """
    if policy is None:
        return opening.open(target, header=header, writable=writable, dry_run=dry_run)
    is_detached = header is not None and not is_same_file(header, target)
    return opening.open(
        target,
        header=header,
        writable=writable,
        dry_run=dry_run,
        hold=_holder(policy, is_detached=is_detached),
    )


def open_header(header: Target, policy: Source, *, is_detached: bool = False) -> Volume:
    """Open a volume by its checked header alone, read-only; ``is_detached``: no data lies there.

    Raises as :func:`open`.
    """
    return opening.open(header, hold=_holder(policy, is_detached=is_detached))


def _holder(policy: Source, *, is_detached: bool) -> Callable[[Storage], Storage]:
    """What makes a checked snapshot of a header's storage."""
    from luksmeta.trust.check import held
    from luksmeta.trust.policy import Policy

    return partial(held, policy=Policy.load(policy), is_detached=is_detached)
