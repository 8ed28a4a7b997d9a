"""The commands that change the header, or put another one in its place."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import luksmeta
from luksmeta import MemoryStorage, Volume, backup, convert, repair
from luksmeta.format_options import Version
from luksmeta.header_copies import HeaderCopy
from luksmeta.storage import Storage
from tests import builders
from tests.builders import FIRST, KDF, SECOND, THIRD, VERSIONS, VOLUME_KEY
from tests.crash.recipe import (
    NEW,
    OTHER_KEY,
    OTHER_UUID,
    Act,
    Recipe,
    add,
    after,
    change,
    damaged,
    full,
    on_volume,
    only_keyslot_6,
    remove,
    with_key,
    with_one_area,
)


def format(version: Version) -> Iterator[Recipe]:
    for old in VERSIONS:
        size = max(map(builders.data_offset, VERSIONS)) + builders.DATA_SIZE

        def act(storage: Storage) -> None:
            luksmeta.format(
                storage,
                NEW,
                type=version,
                volume_key=OTHER_KEY,
                pbkdf=KDF,
                digest_iterations=1000,
                data_offset=builders.data_offset(version),
            )

        yield Recipe(
            command="format",
            case=f"over {old}",
            version=version,
            image=builders.image(old).ljust(size, b"\0"),
            act=act,
            before=(FIRST,),
            after=(NEW,),
            may_close=("format", "store keyslot 0"),
            keys={NEW: OTHER_KEY},
        )


def config(version: Version) -> Iterator[Recipe]:
    base = Recipe(
        command="config",
        case="uuid",
        version=version,
        image=builders.image(version, (FIRST, SECOND)),
        act=on_volume(lambda volume: volume.configure(uuid=OTHER_UUID)),
        before=(FIRST, SECOND),
        after=(FIRST, SECOND),
    )
    yield base
    if version == "luks1":
        return
    yield replace(
        base,
        case="label, subsystem and flags",
        act=on_volume(
            lambda volume: volume.configure(
                label="new", subsystem="newer", flags=("allow-discards",)
            )
        ),
    )
    yield replace(
        base,
        case="priority",
        act=on_volume(lambda volume: volume.set_priority(1, "high")),
    )
    for case, size in (("smaller keyslots area", 3 * (128 << 10)), ("larger header copies", None)):
        yield replace(base, case=case, act=_sized(size, None if size else 32 << 10))


def _sized(keyslots_size: int | None, metadata_size: int | None) -> Act:
    return on_volume(
        lambda volume: volume.configure(keyslots_size=keyslots_size, metadata_size=metadata_size)
    )


def renew_digest(version: Version) -> Iterator[Recipe]:
    yield Recipe(
        command="renew-digest",
        case="of the volume key",
        version=version,
        image=builders.image(version),
        act=with_key(lambda volume: volume.renew_digest(iterations=1000)),
        before=(FIRST,),
        after=(FIRST,),
    )


def seal(version: Version) -> Iterator[Recipe]:
    if version == "luks1":  # has no tokens, so no seal
        return
    seal_it = with_key(lambda volume: volume.seal())
    plain = builders.image("luks2", (FIRST,))
    sealed = after(plain, seal_it)
    base = Recipe(
        command="seal",
        case="for the first time",
        version=version,
        image=plain,
        act=seal_it,
        before=(FIRST,),
        after=(FIRST,),
    )
    yield base
    yield replace(
        base,
        case="renewed by another keyslot",
        image=sealed,
        act=add(SECOND),
        after=(FIRST, SECOND),
    )


def tokens(version: Version) -> Iterator[Recipe]:
    if version == "luks1":  # has none
        return
    token = {"type": "acme", "keyslots": ["0"], "hint": "under the mat"}
    with_token = after(
        builders.image("luks2", (FIRST, SECOND)), on_volume(lambda volume: volume.tokens.add(token))
    )
    base = Recipe(
        command="token add",
        case="for the kernel's keyring",
        version=version,
        image=with_token,
        act=on_volume(lambda volume: volume.tokens.add_keyring("volume:passphrase")),
        before=(FIRST, SECOND),
        after=(FIRST, SECOND),
    )
    yield base
    others: dict[str, Callable[[Volume], object]] = {
        "token import": lambda volume: volume.tokens.add(token, token_id=3),
        "token remove": lambda volume: volume.tokens.remove(0),
        "token assign": lambda volume: volume.tokens.assign(0, [1]),
        "token unassign": lambda volume: volume.tokens.unassign(0, [0]),
    }
    for name, do in others.items():
        yield replace(base, command=name, case="of an unknown type", act=on_volume(do))


def restored_from(saved: bytes) -> Act:
    return lambda storage: backup.prepare(storage, MemoryStorage(saved)).apply(storage)


def restore_header(version: Version) -> Iterator[Recipe]:
    saved = builders.image(version)
    base = Recipe(
        command="restore-header",
        case="of removed keyslots",
        version=version,
        image=after(saved, add(SECOND), remove(0)),
        act=restored_from(saved),
        before=(SECOND,),
        after=(FIRST,),
    )
    yield base
    yield replace(base, case="of the same", image=saved, before=(FIRST,))
    # Twice: a LUKS2 keyslot's area is then where it was at first.
    changed = after(saved, change(0, SECOND), change(0, THIRD))
    yield replace(base, case="over a changed keyslot", image=changed, before=(THIRD,))
    others = [add(SECOND)] * (len(full(version)) - 1)
    yield replace(
        base,
        case="over a full header",
        image=after(saved, change(0, SECOND), change(0, SECOND), *others),
    )
    if version == "luks1":
        yield replace(
            base,
            case="of keyslot 6",
            act=restored_from(only_keyslot_6()),
            image=saved,
            before=(FIRST,),
            after=(SECOND,),
            may_close=("restore the header: backup's primary header",),
        )
        return
    yield replace(
        base,
        case="over the only keyslot without room",
        act=restored_from(with_one_area()),
        image=after(with_one_area(), change(0, SECOND)),
        may_close=(
            "restore the header: backup's secondary header",
            "restore the header: keyslot areas that were in use",
        ),
    )
    for copy in HeaderCopy:
        yield replace(
            base, case=f"over a {copy} header that was lost", image=damaged(base.image, copy)
        )
        bad = restored_from(damaged(saved, copy))
        yield replace(base, case=f"without its {copy} header", act=bad)


def _repaired(storage: Storage) -> None:
    with tempfile.TemporaryDirectory() as folder:
        repair.prepare(storage).apply(storage, Path(folder) / "backup")


def repair_header(version: Version) -> Iterator[Recipe]:
    image = builders.image(version)
    copies = tuple(HeaderCopy) if version == "luks2" else (HeaderCopy.PRIMARY,)
    lost = bytearray(image)
    for copy in copies:
        at = 0 if copy is HeaderCopy.PRIMARY else 16 << 10
        lost[at : at + 6] = bytes(6)
    base = Recipe(
        command="repair",
        case="of lost magics",
        version=version,
        image=bytes(lost),
        act=_repaired,
        before=(),
        after=(FIRST,),
        may_close=("before",),
    )
    yield base
    if version == "luks1":
        return
    for copy in copies:
        yield replace(
            base,
            case=f"of the {copy} header",
            image=damaged(image, copy),
            before=(FIRST,),
            may_close=(),
        )


def _converted(version: Version) -> Act:
    def act(storage: Storage) -> None:
        with (
            luksmeta.open(storage, writable=True) as volume,
            tempfile.TemporaryDirectory() as folder,
        ):
            convert.prepare(volume, version).apply(volume, Path(folder) / "backup")

    return act


def convert_header(version: Version) -> Iterator[Recipe]:
    """From ``version`` to the other."""
    other: Version = "luks1" if version == "luks2" else "luks2"
    base = Recipe(
        command="convert",
        case="with room",
        version=version,
        image=_convertible(version, (FIRST, SECOND), 10),
        act=_converted(other),
        before=(FIRST, SECOND),
        after=(FIRST, SECOND),
    )
    yield base
    first = {"luks1": "partition header behind its version", "luks2": "secondary header"}[other]
    switch = f"switch to {other.upper()}: {first}"
    yield replace(
        base,
        case="without room",
        image=_convertible(version, (FIRST,) * 8, 8),
        before=(FIRST,),
        after=(FIRST,),
        may_close=(f"move all areas to where {other.upper()} has them", switch),
    )


def _convertible(version: Version, passphrases: tuple[bytes, ...], areas: int) -> bytes:
    """A volume whose data starts behind two LUKS2 headers and so many areas."""
    room = (32 << 10) + areas * (128 << 10)
    storage = MemoryStorage(room + builders.DATA_SIZE)
    with luksmeta.format(
        storage,
        passphrases[0],
        type=version,
        volume_key=VOLUME_KEY,
        pbkdf=KDF,
        digest_iterations=1000,
        sector_size=512,
        data_offset=room,
    ) as volume:
        builders.add_keyslots(volume, passphrases[1:])
    return bytes(storage.data)
