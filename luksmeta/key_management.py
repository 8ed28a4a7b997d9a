"""Changes of the keyslots of a header, computed as values.

Each function takes a header and returns the change: the write plan and the header that holds when
it has been applied. Nothing here writes. The layout decisions are those of cryptsetup
(lib/luks2/luks2_keyslot.c, lib/luks1/keymanage.c, lib/setup.c).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from luksmeta import keyslot as keyslot_area
from luksmeta.errors import KeyslotError, KeyslotsAreaFullError, StorageBusyError
from luksmeta.header import Header
from luksmeta.header_change import HeaderChange, stored
from luksmeta.model import AnyKeyslot, Digest, Keyslot, Metadata
from luksmeta.new_keyslot import KeyslotOptions, default_pbkdf, new_keyslot
from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.tokens import assignment
from luksmeta.write_plan import Barrier, Fill, WritePlan


def free_keyslot_id(header: Header) -> int:
    """The lowest id that is not in use; KeyslotsAreaFullError when all are."""
    for keyslot_id in header.keyslot_ids:
        if keyslot_id not in header.taken_keyslots:
            return keyslot_id
    raise KeyslotsAreaFullError(f"header: all {len(header.keyslot_ids)} keyslots are in use")


def new_keyslot_id(header: Header, named: int | None) -> int:
    """``named``, which must be free, or the lowest free id; KeyslotError, KeyslotsAreaFullError."""
    if named is None:
        return free_keyslot_id(header)
    require_free(header, named)
    return named


def require_free(header: Header, keyslot_id: int) -> None:
    """Raise KeyslotError unless the id is legal and not in use."""
    if keyslot_id not in header.keyslot_ids:
        raise KeyslotError(
            f"keyslot {keyslot_id}: ids go from 0 to {header.keyslot_ids.stop - 1} here"
        )
    if keyslot_id in header.taken_keyslots:
        raise KeyslotError(f"keyslot {keyslot_id}: in use already")


def require_same(header: Header, keyslot_id: int, named: AnyKeyslot | None) -> None:
    """Raise StorageBusyError unless the id still belongs to ``named``, which somebody has chosen.

    Another process may have removed that keyslot, and given the id to another passphrase. Each
    keyslot is known by its salt: its priority and the place of its area may be others by now.
    """
    if _salt(header.metadata.keyslots.get(keyslot_id)) != _salt(named):
        raise StorageBusyError(f"keyslot {keyslot_id}: another process has changed it meanwhile")


def add(
    header: Header,
    keyslot_id: int,
    passphrase: BytesLike | SecretBytes,
    volume_key: SecretBytes,
    digest_id: int,
    options: KeyslotOptions,
    *,
    tokens_of: int | None = None,
    new_digest: Digest | None = None,
) -> HeaderChange:
    """A new keyslot for ``volume_key``, which belongs to the digest ``digest_id``.

    It is assigned to every token that keyslot ``tokens_of`` is assigned to; ``new_digest`` is the
    digest itself where the header has none of this id yet. Raises TokenError when there is no room
    for the tokens that come with it.
    """
    area = header.place_area(keyslot_id, len(volume_key))
    keyslot = new_keyslot(header.metadata, area, len(volume_key), options)
    metadata = header.metadata
    if new_digest is not None:
        metadata = replace(metadata, digests={**metadata.digests, digest_id: new_digest})
    metadata = metadata.with_keyslot(keyslot_id, keyslot, digest_id)
    if tokens_of is not None:
        metadata = assignment.copied(metadata, tokens_of, keyslot_id)
    for token in options.tokens:
        own = replace(token, keyslots=(keyslot_id,))
        metadata = assignment.stored(metadata, own, header.token_ids)[1]
    material = keyslot_area.lock(keyslot_id, keyslot, passphrase, volume_key)
    return stored(header.updated(metadata), keyslot_id, material)


def remove(header: Header, keyslot_id: int) -> HeaderChange:
    """The keyslot gone, its area wiped; KeyslotNotFoundError, or KeyslotError for a foreign one.

    Tokens of systemd's and of ours that were its alone go with it.
    The area goes first: a crash in between must not leave key material that no header names.
    """
    keyslot = header.metadata.keyslot(keyslot_id)
    if not isinstance(keyslot, Keyslot):
        raise KeyslotError(f"keyslot {keyslot_id}: of type {keyslot.type}, not removed")
    return _removed(header, keyslot_id, assignment.without_keyslot(header.metadata, keyslot_id))


def remove_all(header: Header, keyslot_ids: Iterable[int]) -> list[HeaderChange]:
    """These keyslots removed, one after another."""
    changes: list[HeaderChange] = []
    for keyslot_id in keyslot_ids:
        changes.append(remove(header, keyslot_id))
        header = changes[-1].header
    return changes


def change(
    header: Header,
    keyslot_id: int,
    passphrase: BytesLike | SecretBytes,
    volume_key: SecretBytes,
    options: KeyslotOptions,
    *,
    keep_id: bool = True,
) -> tuple[int, list[HeaderChange]]:
    """Another passphrase or KDF for a keyslot: its id afterwards, and the changes in order.

    The new key goes to a fresh area, so that one of the two opens the volume at every moment. Only
    when there is no room the old area is overwritten. LUKS1 ties areas to ids: there the keyslot
    moves to another id, unless ``keep_id`` makes it come back by way of that one.
    """
    old = _usable_keyslot(header.metadata, keyslot_id)
    found = header.metadata.digest_of_keyslot(keyslot_id)
    if found is None:
        raise KeyslotError(f"keyslot {keyslot_id}: belongs to no digest")
    digest_id = found[0]
    options = replace(
        options,
        priority=old.priority if options.priority is None else options.priority,
        # Measured once, although the key may be stored twice.
        pbkdf=options.pbkdf or default_pbkdf(header.metadata),
    )
    try:
        spare_id = free_keyslot_id(header)
        added = add(
            header, spare_id, passphrase, volume_key, digest_id, options, tokens_of=keyslot_id
        )
    except KeyslotsAreaFullError:
        return keyslot_id, [_overwritten(header, keyslot_id, passphrase, volume_key, options)]
    if header.metadata.version == 1:
        return _changed_luks1(added, keyslot_id, spare_id, passphrase, volume_key, options, keep_id)
    return keyslot_id, [added, _moved(added.header, spare_id, keyslot_id)]


def loss_of(metadata: Metadata, going: Collection[int]) -> str | None:
    """What is lost with these keyslots, in a sentence; None while every key of the data stays."""
    lost = metadata.keys_without_keyslot(going)
    if not lost:
        return None
    last = [each for lost_id in lost for each in metadata.digests[lost_id].keyslots]
    which = f"keyslot {', '.join(map(str, sorted(set(last) & set(going))))}"
    if set(metadata.bound_keyslots) <= set(going):
        return f"{which}: the last one that opens the volume"
    ids = ", ".join(map(str, sorted(lost)))
    return f"{which}: the last one of digest {ids}, whose key the data needs while reencrypted"


def _salt(keyslot: AnyKeyslot | None) -> bytes | None:
    return keyslot.salt if isinstance(keyslot, Keyslot) else None


def _usable_keyslot(metadata: Metadata, keyslot_id: int) -> Keyslot:
    keyslot = metadata.keyslot(keyslot_id)
    if not isinstance(keyslot, Keyslot):
        raise KeyslotError(f"keyslot {keyslot_id}: of type {keyslot.type}, it has no passphrase")
    return keyslot


def _removed(header: Header, keyslot_id: int, metadata: Metadata) -> HeaderChange:
    after = header.updated(metadata)
    area = header.metadata.keyslots[keyslot_id].area.extent
    wipe = Fill(area, f"keyslot {keyslot_id} area wiped", random=True)
    plan = WritePlan.of(f"remove keyslot {keyslot_id}", (wipe, Barrier(), *after.steps()))
    return HeaderChange(plan, after)


def _moved(header: Header, from_id: int, to_id: int) -> HeaderChange:
    """Keyslot ``from_id`` takes the id of ``to_id``, whose own area is wiped.

    The keyslot goes to the end of the order of trying, as in cryptsetup.
    """
    metadata = header.metadata
    # Members that are not known here belong to the id, as when the area is overwritten in place.
    keyslot = replace(metadata.keyslots[from_id], as_read=metadata.keyslots[to_id].as_read)
    digest_id = next(i for i, each in metadata.digests.items() if from_id in each.keyslots)
    without = metadata.without_keyslot(from_id)
    others = {k: v for k, v in without.keyslots.items() if k != to_id}
    moved = replace(without, keyslots=others).with_keyslot(to_id, keyslot, digest_id)
    return _removed(header, to_id, moved)


def _overwritten(
    header: Header,
    keyslot_id: int,
    passphrase: BytesLike | SecretBytes,
    volume_key: SecretBytes,
    options: KeyslotOptions,
) -> HeaderChange:
    """The keyslot's own area written anew: neither key is whole until the header is written."""
    metadata = header.metadata
    old = _usable_keyslot(metadata, keyslot_id)
    keyslot = replace(
        new_keyslot(metadata, old.area.extent, len(volume_key), options), as_read=old.as_read
    )
    after = header.updated(replace(metadata, keyslots={**metadata.keyslots, keyslot_id: keyslot}))
    material = keyslot_area.lock(keyslot_id, keyslot, passphrase, volume_key)
    return stored(after, keyslot_id, material)


def _changed_luks1(
    added: HeaderChange,
    keyslot_id: int,
    spare_id: int,
    passphrase: BytesLike | SecretBytes,
    volume_key: SecretBytes,
    options: KeyslotOptions,
    keep_id: bool,
) -> tuple[int, list[HeaderChange]]:
    if not keep_id:
        return spare_id, [added, remove(added.header, keyslot_id)]
    back = _overwritten(added.header, keyslot_id, passphrase, volume_key, options)
    return keyslot_id, [added, back, remove(back.header, spare_id)]
