"""The commands that change keyslots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from luksmeta import Volume
from luksmeta.format_options import Version
from tests import builders
from tests.builders import FIRST, KDF, SECOND, THIRD
from tests.crash.recipe import (
    NEW,
    OTHER_KDF,
    Recipe,
    add,
    after,
    change,
    full,
    on_volume,
    only_keyslot_6,
    remove,
    with_key,
    with_one_area,
)


def add_key(version: Version) -> Iterator[Recipe]:
    base = Recipe(
        command="add-key",
        case="at the first free place",
        version=version,
        image=builders.image(version),
        act=add(NEW),
        before=(FIRST,),
        after=(FIRST, NEW),
    )
    yield base
    used = after(builders.image(version, (FIRST, SECOND, THIRD)), remove(1))
    yield replace(
        base,
        case="where one was",
        image=used,
        before=(FIRST, THIRD),
        after=(FIRST, THIRD, NEW),
    )
    if version == "luks2":
        unbound = on_volume(
            lambda volume: volume.add_unbound_keyslot(
                NEW, key_size=32, pbkdf=KDF, digest_iterations=1000
            )
        )
        yield replace(base, case="of no data", act=unbound, after=(FIRST,))
        recovery = with_key(lambda volume: volume.add_recovery_key(pbkdf=KDF))
        yield replace(base, case="to recover", act=recovery, after=(FIRST,))
    for keyslot in (6, 7) if version == "luks1" else (31,):
        yield replace(base, case=f"{keyslot}", act=add(NEW, keyslot))


def change_key(version: Version) -> Iterator[Recipe]:
    base = Recipe(
        command="change-key",
        case="with room",
        version=version,
        image=builders.image(version),
        act=change(0, NEW),
        before=(FIRST,),
        after=(NEW,),
    )
    yield base
    others = full(version)
    yield replace(
        base,
        case="without room",
        image=builders.image(version, others),
        act=change(1, NEW),
        before=others,
        after=(others[0], *others[2:], NEW),
    )
    if version == "luks2":
        yield replace(
            base,
            case="of the only keyslot without room",
            image=with_one_area(),
            may_close=("store keyslot 0: keyslot 0 area", "store keyslot 0: primary header"),
        )
        return
    yield replace(base, case="to another id", act=change(0, NEW, keep_id=False))
    for keep_id in (True, False):
        yield replace(
            base,
            case=f"of keyslot 6 alone, {'back' if keep_id else 'to another id'}",
            image=only_keyslot_6(),
            act=change(6, NEW, keep_id=keep_id),
            before=(SECOND,),
        )
    yield replace(
        base,
        case="of keyslot 6 without room",
        image=builders.image(version, others),
        act=change(6, NEW),
        before=others,
        after=(*others[:6], others[7], NEW),
    )


def convert_key(version: Version) -> Iterator[Recipe]:
    if version == "luks1":  # knows no other KDF
        return
    base = Recipe(
        command="convert-key",
        case="with room",
        version=version,
        image=builders.image(version),
        act=with_key(lambda volume: volume.change_keyslot(0, FIRST, pbkdf=OTHER_KDF)),
        before=(FIRST,),
        after=(FIRST,),
    )
    yield base
    others = full(version)
    yield replace(
        base,
        case="without room",
        image=builders.image(version, others),
        act=with_key(lambda volume: volume.change_keyslot(0, others[0], pbkdf=OTHER_KDF)),
        before=others,
        after=others,
    )


def removal(version: Version) -> Iterator[Recipe]:
    base = Recipe(
        command="kill-slot",
        case="of two",
        version=version,
        image=builders.image(version, (FIRST, SECOND)),
        act=remove(0),
        before=(FIRST, SECOND),
        after=(SECOND,),
    )
    yield base
    yield replace(
        base,
        case="of the last",
        image=builders.image(version),
        before=(FIRST,),
        after=(),
        may_close=("remove keyslot 0",),
    )

    def with_passphrase(volume: Volume) -> None:
        with volume.unlock(SECOND) as unlocked:
            assert unlocked.keyslot is not None
            volume.remove_keyslot(unlocked.keyslot)

    yield replace(base, command="remove-key", act=on_volume(with_passphrase), after=(FIRST,))
    if version == "luks1":
        yield replace(
            base,
            case="of all but 6",
            image=after(builders.image(version), add(SECOND, 6)),
        )


def erase(version: Version) -> Iterator[Recipe]:
    base = Recipe(
        command="erase",
        case="of two",
        version=version,
        image=builders.image(version, (FIRST, SECOND)),
        act=on_volume(lambda volume: volume.erase()),
        before=(FIRST, SECOND),
        after=(),
        may_close=("remove keyslot 1",),
    )
    yield base
    yield replace(
        base,
        case="of everything",
        act=on_volume(lambda volume: volume.erase(everything=True)),
        may_close=("erase everything",),
    )
