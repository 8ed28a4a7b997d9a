"""What a program does with a header that it has read: all of it must end well or in a LuksError."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final, TypeAlias

from luksmeta import backup, convert, erasure, key_management, reencryption, repair, requirements
from luksmeta import keyslot as keyslot_area
from luksmeta.cli.header_page import render
from luksmeta.comparison import compare
from luksmeta.description import describe
from luksmeta.diagnosis import diagnose_storage
from luksmeta.errors import LuksError
from luksmeta.header import Header
from luksmeta.header_change import reword
from luksmeta.kdf.pbkdf import Limits, Pbkdf2
from luksmeta.keyslot import trial_order
from luksmeta.luks2.limits import TOKENS_MAX
from luksmeta.model import Metadata
from luksmeta.new_keyslot import KeyslotOptions
from luksmeta.secret import SecretBytes
from luksmeta.segment import lay_out
from luksmeta.segment_stream import SegmentStream
from luksmeta.storage import Storage
from luksmeta.tokens import notes
from luksmeta.tokens.notes import Note
from luksmeta.volume import Volume

Operation: TypeAlias = Callable[[Header, Storage], object]

PASSPHRASE: Final = b"first passphrase"
LIMITS: Final = Limits(iterations=2000, time=4, memory=512, cpus=4)
"""What a user allows who does not want to wait: an execution's costs stay below a second."""

FEW_STRIPES: Final = 16  # instead of 4000
_OPTIONS: Final = KeyslotOptions(pbkdf=Pbkdf2(hash="sha256", iterations=1000))
_KEY_SIZE_MAX: Final = 512  # bytes; of the keys that are made up
_NOTE: Final = Note(owner="somebody", purpose="fuzzing")
_SOME: Final = 3  # of each kind of object


# --- whatever lies there -------------------------------------------------------------------------


def diagnosing(storage: Storage) -> object:
    """Every copy and every broken rule."""
    return json.dumps(diagnose_storage(storage).describe(), ensure_ascii=True)


def repairing(storage: Storage) -> object:
    """What a repair would write."""
    found = repair.prepare(storage)
    return found.fields, [plan.describe() for plan in found.plans], found.change.copy_plan(storage)


# --- a header that was read ----------------------------------------------------------------------


def page(header: Header, storage: Storage) -> object:
    return render(header, diagnose_storage(storage), "disk", storage.size)


def description(header: Header, storage: Storage) -> object:
    return json.dumps(describe(header), ensure_ascii=True)


def rewriting(header: Header, storage: Storage) -> object:
    after = header.updated(header.metadata)
    return after.steps(), after.updated(after.metadata).steps()


def rewording(header: Header, storage: Storage) -> object:
    metadata = replace(header.metadata, uuid="c0ffee00-0000-4000-8000-000000000001")
    if metadata.version == 2:
        metadata = replace(
            metadata, label="new", config=replace(metadata.config, flags=("no-read-workqueue",))
        )
    return reword(header, metadata, "reword").plan.describe()


def removing(header: Header, storage: Storage) -> object:
    for keyslot_id in list(header.metadata.keyslots)[:_SOME]:
        with suppress(LuksError):
            key_management.remove(header, keyslot_id)
    return erasure.erase(header), erasure.erase_everything(header)


def adding(header: Header, storage: Storage) -> object:
    for digest_id in list(header.metadata.digests)[:_SOME]:
        with suppress(LuksError), _made_up_key(header.metadata, digest_id) as key:
            free = key_management.free_keyslot_id(header)
            key_management.add(header, free, PASSPHRASE, key, digest_id, _OPTIONS)
    return None


def changing(header: Header, storage: Storage) -> object:
    for keyslot_id in list(header.metadata.keyslots)[:_SOME]:
        found = header.metadata.digest_of_keyslot(keyslot_id)
        if found is None:
            continue
        with suppress(LuksError), _made_up_key(header.metadata, found[0]) as key:
            key_management.change(header, keyslot_id, PASSPHRASE, key, _OPTIONS)
    return None


def converting(header: Header, storage: Storage) -> object:
    """To the other version."""
    volume = Volume(header, storage, storage)
    there = convert.prepare(volume, "luks2" if header.metadata.version == 1 else "luks1")
    return [change.plan.describe() for change in there.changes]


def comparing(header: Header, storage: Storage) -> object:
    found = compare(header, storage, header, storage)
    assert not found.fields, "a header differs from itself"
    return json.dumps(found.describe(), ensure_ascii=True)


def annotating(header: Header, storage: Storage) -> object:
    """What tokens say of keyslots, and one more of them."""
    metadata = header.metadata
    for keyslot_id in list(metadata.keyslots)[:_SOME]:
        notes.note_of(metadata, keyslot_id)
        with suppress(LuksError):
            noted = notes.with_note(metadata, keyslot_id, _NOTE, range(TOKENS_MAX))
            reword(header, noted, "annotate")
    return None


def restoring(header: Header, storage: Storage) -> object:
    return backup.prepare(storage, storage).plan.describe()


def unlocking(header: Header, storage: Storage) -> object:
    volume = Volume(header, storage, storage)
    for keyslot_id in trial_order(header.metadata.keyslots)[:_SOME]:
        with suppress(LuksError):
            volume.unlock(PASSPHRASE, keyslot=keyslot_id, limits=LIMITS).close()
    with volume.unlock(PASSPHRASE, limits=LIMITS) as unlocked, unlocked.open() as data:
        return data.read_at(0, 4096)


def unlocking_by_volume_key(header: Header, storage: Storage) -> object:
    volume = Volume(header, storage, storage)
    with volume.unlock(volume_key=bytes(64), limits=LIMITS) as unlocked, unlocked.open() as data:
        return data.read_at(0, 4096)


def reading(header: Header, storage: Storage) -> object:
    """The plaintext under made-up keys: what nobody's digest keeps from being tried."""
    metadata = header.metadata
    keys = {digest_id: _made_up_key(metadata, digest_id) for digest_id in metadata.digests}
    if requirements.is_reencrypting(metadata):
        with suppress(LuksError):
            reencryption.check(metadata, keys, LIMITS)
    stream = SegmentStream(storage, lay_out(metadata, keys, storage), writable=False)
    with stream:
        for run_start in (0, max(0, stream.size - 100)):
            stream.read_at(run_start, 5000)
    return stream.device_extents(0, 4096)


def asking(header: Header, storage: Storage) -> object:
    """The questions that commands ask of a header before they do something."""
    volume = Volume(header, storage, storage)
    for allow in (
        requirements.allow_changes,
        requirements.allow_removal,
        requirements.allow_unlocking,
        requirements.allow_restoring,
    ):
        with suppress(LuksError):
            allow(header.metadata)
    with suppress(LuksError):
        volume.require_changeable()
    sizes = [header.backup_size, header.metadata.data_offset, header.metadata.volume_key_size]
    places = [header.place_area(keyslot_id, 64) for keyslot_id in header.keyslot_ids[:2]]
    return sizes, places, header.is_current(storage), repr(header), repr(volume)


ON_ANYTHING: Final = (diagnosing, repairing)
OPERATIONS: Final[tuple[Operation, ...]] = (
    page,
    description,
    rewriting,
    rewording,
    removing,
    adding,
    changing,
    converting,
    comparing,
    annotating,
    restoring,
    unlocking,
    unlocking_by_volume_key,
    reading,
    asking,
)


def _made_up_key(metadata: Metadata, digest_id: int) -> SecretBytes:
    return SecretBytes(min(metadata.key_size_of_digest(digest_id) or 32, _KEY_SIZE_MAX))


def use_few_stripes() -> None:
    """The same code, and an execution takes 1 ms instead of 8."""
    vars(keyslot_area)["STRIPES"] = FEW_STRIPES
