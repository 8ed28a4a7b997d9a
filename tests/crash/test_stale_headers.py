"""A header in memory that another process has written over meanwhile: noticed, and never lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import luksmeta
from luksmeta import KeyslotError, MemoryStorage, StorageBusyError, Volume, backup
from luksmeta.cli import removal
from luksmeta.file_storage import FileStorage
from luksmeta.format_options import Version
from luksmeta.header import Header
from luksmeta.header_change import HeaderChange, reword
from luksmeta.locking import locked
from tests import builders
from tests.builders import FIRST, KDF, SECOND, THIRD, VERSIONS, VOLUME_KEY, image
from tests.cli.runner import key_file, refused
from tests.cli.runner import luksmeta as command
from tests.crash.judge import Judge
from tests.crash.recipe import NEW, OTHER_KEY, OTHER_UUID

every_version = pytest.mark.parametrize("version", VERSIONS)
Do = Callable[[Volume], object]


def _with_key(volume: Volume, do: Callable[[luksmeta.UnlockedVolume], object]) -> None:
    with volume.unlock(volume_key=VOLUME_KEY) as unlocked:
        do(unlocked)


def _add(volume: Volume, passphrase: bytes = NEW) -> None:
    _with_key(volume, lambda unlocked: unlocked.add_keyslot(passphrase, pbkdf=KDF))


def _change(volume: Volume, keyslot: int = 0, passphrase: bytes = NEW) -> None:
    _with_key(volume, lambda unlocked: unlocked.change_keyslot(keyslot, passphrase, pbkdf=KDF))


def _replace_0(volume: Volume) -> None:
    volume.remove_keyslot(0)
    _add(volume, THIRD)


OPERATIONS: dict[str, Do] = {
    "add": _add,
    "change": _change,
    "remove": lambda volume: volume.remove_keyslot(0),
    "configure": lambda volume: volume.configure(uuid=OTHER_UUID),
}
OPEN_AFTERWARDS = {
    "add": {FIRST, SECOND, THIRD, NEW},
    "change": {SECOND, THIRD, NEW},
    "remove": {SECOND, THIRD},
    "configure": {FIRST, SECOND, THIRD},
}


def _opening(storage: MemoryStorage) -> set[bytes]:
    """The passphrases that open, each to the right key."""
    answers = [Judge((each,)).open(storage.data) for each in (FIRST, SECOND, THIRD, NEW)]
    assert {answer.volume_key for answer in answers} <= {None, VOLUME_KEY}
    return {answer.passphrase for answer in answers if answer.passphrase is not None}


@every_version
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_change_of_a_stale_header_is_computed_anew_and_both_are_there(
    version: Version, operation: str
) -> None:
    storage = MemoryStorage(image(version, (FIRST, SECOND)))
    mine, theirs = (luksmeta.open(storage, writable=True) for _ in range(2))
    _add(theirs, THIRD)
    OPERATIONS[operation](mine)
    assert _opening(storage) == OPEN_AFTERWARDS[operation]
    assert luksmeta.open(storage).metadata == mine.metadata


@every_version
def test_erasing_a_stale_header_erases_what_came_meanwhile(version: Version) -> None:
    storage = MemoryStorage(image(version, (FIRST, SECOND)))
    mine, theirs = (luksmeta.open(storage, writable=True) for _ in range(2))
    _add(theirs, THIRD)
    mine.erase()
    assert _opening(storage) == set()


@every_version
@pytest.mark.parametrize(
    "do",
    [_change, lambda volume: volume.remove_keyslot(0)],
    ids=["change", "remove"],
)
def test_a_keyslot_that_another_process_has_changed_is_not_touched(
    version: Version, do: Do
) -> None:
    """Its id may belong to somebody else's passphrase by now."""
    for other in (lambda volume: _change(volume, 0, THIRD), _replace_0):
        storage = MemoryStorage(image(version, (FIRST, SECOND)))
        mine, theirs = (luksmeta.open(storage, writable=True) for _ in range(2))
        other(theirs)
        before = bytes(storage.data)
        with pytest.raises(StorageBusyError, match="keyslot 0: another process has changed it"):
            do(mine)
        assert storage.data == before
        assert _opening(storage) == {SECOND, THIRD}


def test_the_priority_of_a_keyslot_that_another_process_has_changed_is_not_set() -> None:
    storage = MemoryStorage(image("luks2", (FIRST, SECOND)))
    mine, theirs = (luksmeta.open(storage, writable=True) for _ in range(2))
    _change(theirs, 0, THIRD)
    with pytest.raises(StorageBusyError, match="keyslot 0: another process"):
        mine.configure(priorities={0: "high"})


def test_a_priority_set_meanwhile_does_not_keep_a_keyslot_from_being_changed() -> None:
    storage = MemoryStorage(image("luks2"))
    mine, theirs = (luksmeta.open(storage, writable=True) for _ in range(2))
    theirs.set_priority(0, "high")
    _change(mine)
    assert _opening(storage) == {NEW}
    assert luksmeta.open(storage).metadata.keyslot(0).priority == 2


@every_version
def test_two_processes_do_not_remove_the_last_two_keyslots(version: Version) -> None:
    storage = MemoryStorage(image(version, (FIRST, SECOND)))
    mine, theirs = (luksmeta.open(storage, writable=True) for _ in range(2))
    theirs.remove_keyslot(1)
    with pytest.raises(KeyslotError, match="the last one that opens the volume"):
        mine.remove_keyslot(0)
    assert _opening(storage) == {FIRST}


@every_version
def test_the_command_does_not_remove_what_became_the_last_keyslot_unasked(
    version: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = builders.file(tmp_path / "volume", version, FIRST, SECOND)
    remove = removal._remove  # the moment between the proof and the change

    def remove_late(*arguments: object, **options: object) -> None:
        with luksmeta.open(volume, writable=True) as theirs:
            theirs.remove_keyslot(0)
        remove(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(removal, "_remove", remove_late)
    answer = command("kill-slot", volume, "1", "-d", key_file(tmp_path))
    refused(answer, 1, "keyslot 1: the last one that opens the volume")
    assert Judge((SECOND,)).open(volume.read_bytes()).volume_key == VOLUME_KEY


@every_version
def test_who_is_always_too_late_computes_under_the_lock_at_last(
    version: Version, tmp_path: Path
) -> None:
    path = builders.file(tmp_path / "volume", version)
    computed = 0

    def compute(header: Header) -> list[HeaderChange]:
        nonlocal computed
        computed += 1
        is_locked = _is_locked(path)
        if not is_locked:
            with luksmeta.open(path, writable=True) as theirs:
                theirs.configure(uuid=f"c0ffee00-0000-4000-8000-00000000010{computed}")
        assert is_locked == (computed == 4)
        return [reword(header, header.metadata, "nothing")]

    with luksmeta.open(path, writable=True) as mine:
        mine.change(compute)
        assert mine.uuid.endswith("103")  # as the fastest of the others left it
    assert computed == 4


def _is_locked(path: Path) -> bool:
    try:
        with FileStorage(path) as storage, locked(storage, exclusive=False, wait_seconds=0):
            return False
    except StorageBusyError:
        return True


# Another volume


@every_version
def test_another_volume_is_not_changed_though_it_has_the_same_uuid(version: Version) -> None:
    storage = MemoryStorage(image(version, (FIRST, SECOND)))
    with luksmeta.open(storage, writable=True) as mine:
        luksmeta.format(
            storage,
            THIRD,
            type=version,
            uuid=mine.uuid,
            volume_key=OTHER_KEY,
            pbkdf=KDF,
            digest_iterations=1000,
            data_offset=builders.data_offset(version),
        )
        before = bytes(storage.data)
        for do in OPERATIONS.values():
            with pytest.raises(StorageBusyError, match="has put another volume there"):
                do(mine)
        assert storage.data == before


@every_version
def test_a_volume_of_the_other_version_is_not_changed(version: Version) -> None:
    other: Version = "luks1" if version == "luks2" else "luks2"
    storage = MemoryStorage(image(version))
    with luksmeta.open(storage, writable=True) as mine:
        storage.data[:] = image(other)
        with pytest.raises(StorageBusyError, match="has put another volume there"):
            mine.configure(uuid=OTHER_UUID)
    assert storage.data == image(other)


@every_version
def test_a_volume_whose_uuid_was_set_meanwhile_is_the_same_one(version: Version) -> None:
    storage = MemoryStorage(image(version))
    mine, theirs = (luksmeta.open(storage, writable=True) for _ in range(2))
    theirs.configure(uuid=OTHER_UUID)
    _add(mine)
    assert luksmeta.open(storage).uuid == OTHER_UUID
    assert _opening(storage) == {FIRST, NEW}


@every_version
def test_a_backup_is_not_restored_over_a_header_that_has_changed(version: Version) -> None:
    """The order of its writes depends on where the present keyslots lie."""
    storage = MemoryStorage(image(version))
    restoration = backup.prepare(storage, MemoryStorage(image(version)))
    with luksmeta.open(storage, writable=True) as theirs:
        _add(theirs)
    before = bytes(storage.data)
    with pytest.raises(StorageBusyError, match="another process has changed the header"):
        restoration.apply(storage)
    assert storage.data == before


# A copy that was damaged since the header was read


@pytest.mark.parametrize("damaged", [0, 16 << 10], ids=["primary", "secondary"])
def test_a_copy_that_was_damaged_meanwhile_is_written_first(damaged: int) -> None:
    storage = MemoryStorage(image("luks2"))
    with luksmeta.open(storage, writable=True) as mine:
        storage.data[damaged : damaged + 4096] = bytes(4096)
        mine.configure(label="new")
        (plan,) = mine.written
    assert plan.describe()[0]["offset"] == damaged
