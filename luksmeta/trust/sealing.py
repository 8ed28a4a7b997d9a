"""Headers sealed, and seals renewed along with the changes that would break them.

Everything is computed as a value, as in :mod:`luksmeta.key_management`. A seal is renewed only
where the old one held: what others changed is never sealed silently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from luksmeta.errors import JsonAreaFullError, MetadataError, SealError, TokenError
from luksmeta.header import Header
from luksmeta.header_change import HeaderChange
from luksmeta.luks2.header import Luks2Header
from luksmeta.luks2.json_text import compact_text
from luksmeta.luks2.limits import BINARY_HEADER_SIZE
from luksmeta.overlay import OverlayStorage
from luksmeta.random_bytes import random_bytes
from luksmeta.secret import SecretBytes
from luksmeta.storage import Storage
from luksmeta.tokens import assignment
from luksmeta.trust import canonical
from luksmeta.trust.seal import Record, Seal
from luksmeta.trust.terms import COUNTER_MAX, Sealer
from luksmeta.trust.verification import measure, require_sealable, verify
from luksmeta.write_plan import Fill, Step, Write, WritePlan

_ROOM_LEFT: Final = 4
"""A whole record leaves this part of the JSON area, a quarter, to keyslots that others add."""


def seal(
    header: Header,
    storage: Storage,
    volume_key: SecretBytes,
    *,
    opened_by: int | None = None,
    accept: bytes | None = None,
) -> HeaderChange:
    """The header sealed as it is; its counter grows. ``opened_by`` is as in :func:`verify`.

    SealError when there is a seal that does not hold, unless ``accept`` is the measurement of the
    changed header; with ``accept`` also for every header of another measurement.
    """
    require_sealable(header)
    found = verify(header, storage, volume_key, opened_by=opened_by)
    if accept is not None and found.measurement != accept:
        again = SealError("header: has been changed again; nothing was sealed")
        raise again.advise("verify shows how")
    if not found.can_be_sealed and (accept is None or not found.is_key_secret):
        found.require()
    fresh = require_sealable(header.updated(header.metadata))
    after = with_seal(fresh, storage, volume_key, (found.counter or 0) + 1)
    return HeaderChange(WritePlan.of("seal the header", after.steps()), after)


def with_seal(
    header: Luks2Header, storage: Storage, volume_key: SecretBytes, counter: int
) -> Luks2Header:
    """A header that is not written yet, with a seal of what it says; TokenError without room.

    Only a fingerprint of each part is recorded where the parts themselves would take too much.
    """
    if counter > COUNTER_MAX:
        raise TokenError(f"seal: counter {counter}, the largest is {COUNTER_MAX}")
    ids, tokens = canonical.seals(header.metadata), header.metadata.tokens
    token_id = ids[0] if ids and ids[0] in header.token_ids else None
    bare = header.restated(
        replace(header.metadata, tokens={i: each for i, each in tokens.items() if i not in ids})
    )
    tree = canonical.tree(bare, storage)
    made = Seal(counter, measure(tree), Record.of(tree))
    short = replace(made, record=made.record.shortened())
    for attempt in (made, short) if made.record.can_be_read else (short,):
        token = attempt.token(volume_key)
        metadata = assignment.stored(bare.metadata, token, header.token_ids, token_id)[1]
        try:
            after = bare.restated(metadata)
        except (MetadataError, JsonAreaFullError) as error:
            reason = error
            continue
        if attempt is short or _leaves_room(after):
            return after
    no_room = TokenError(f"seal: no room for it in the header: {reason.text}")
    raise no_room.advise(JsonAreaFullError.hint)


def kept(
    header: Header,
    storage: Storage,
    changes: list[HeaderChange],
    *,
    sealers: Sequence[Sealer],
    warn: Callable[[str], None] | None,
) -> list[HeaderChange]:
    """The changes with the seal of ``header`` renewed; or as they are, with a warning.

    Raises SealError where one of the sealers requires the seal and it does not hold, be it that
    there is none any more; TokenError when there is no room for it.
    """
    for sealer in sealers:
        if sealer.is_required:
            return renewed(sealer, header, storage, changes)
    if not any(is_broken_by(header, change) for change in changes):
        return changes
    reason = "the header is changed without the volume key"
    if sealers:
        try:
            return renewed(sealers[-1], header, storage, changes)
        except SealError as error:
            reason = error.text
    if warn is not None:
        warn(f"{reason}; the seal will not hold until the header is sealed again")
    return changes


def is_broken_by(header: Header, change: HeaderChange) -> bool:
    """Whether a sealed ``header`` is followed by one that has the seal still, and is written."""
    return (
        bool(canonical.seals(header.metadata))
        and bool(canonical.seals(change.header.metadata))
        and _place_of_header(change) is not None
    )


def renewed(
    sealer: Sealer, header: Header, storage: Storage, changes: Sequence[HeaderChange]
) -> list[HeaderChange]:
    """The changes with the seal renewed in each header that they write.

    ``storage`` is that of the present ``header``. Raises SealError where this is not what was
    sealed, TokenError when the JSON area has no room.
    """
    found = verify(header, storage, sealer.volume_key, opened_by=sealer.opened_by)
    if found.counter is None or not found.can_be_renewed:
        found.require()
    with _overlaid(storage) as view:
        return [
            _renewed(header, change, view, sealer.volume_key, counter)
            for counter, change in enumerate(changes, start=(found.counter or 0) + 1)
        ]


def _renewed(
    before: Header, change: HeaderChange, view: Storage, volume_key: SecretBytes, counter: int
) -> HeaderChange:
    """One change; ``view`` is the device as it will be, with what the plan wipes drawn now."""
    steps = list(map(_drawn, change.plan.steps))
    WritePlan.of(change.plan.what, steps).apply(view)
    place = _place_of_header(change)
    if place is None or not is_broken_by(before, change):
        return replace(change, plan=WritePlan.of(change.plan.what, steps))
    after = with_seal(require_sealable(change.header), view, volume_key, counter)
    for index, step in enumerate(after.steps(), start=place):
        if isinstance(step, Write):
            steps[index] = step
    return HeaderChange(WritePlan.of(change.plan.what, steps), after)


def _place_of_header(change: HeaderChange) -> int | None:
    """Where in the plan the steps that write the change's header begin."""
    steps, wanted = change.plan.steps, change.header.steps()
    return next(
        (at for at in range(len(steps)) if steps[at : at + len(wanted)] == wanted),
        None,
    )


def _drawn(step: Step) -> Step:
    """Random bytes drawn before they are written: the seal covers them too."""
    if isinstance(step, Fill) and step.random:
        return Write(step.extent.offset, random_bytes(step.extent.size), step.what)
    return step


def _leaves_room(header: Luks2Header) -> bool:
    area = header.loaded.record.hdr_size - BINARY_HEADER_SIZE
    return len(compact_text(header.document)) <= area - area // _ROOM_LEFT


@contextmanager
def _overlaid(storage: Storage) -> Iterator[OverlayStorage]:
    view = OverlayStorage(storage)
    try:
        yield view
    finally:
        view.discard()
