"""A disk on which any one read, write or flush goes wrong: a typed error, and a way in."""

from __future__ import annotations

import errno
import io
import itertools
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import luksmeta
from luksmeta import LuksError, StorageError, Volume
from luksmeta.file_storage import FileStorage
from luksmeta.format_options import Version
from luksmeta.target import open_storage
from tests.builders import FIRST, KDF, SECOND, VERSIONS, VOLUME_KEY, file, image
from tests.crash import recipes
from tests.crash.judge import Judge
from tests.crash.recipe import NEW, OTHER_UUID, Recipe
from tests.crash.storages import LyingStorage

LIES = pytest.mark.parametrize("lie", LyingStorage.LIES)


@LIES
@pytest.mark.parametrize("recipe", recipes.recipes(), ids=str)
def test_one_lie_of_the_disk_is_a_typed_error_and_costs_nothing(recipe: Recipe, lie: str) -> None:
    judge = Judge(recipe.passphrases)
    for turn in itertools.count():
        storage = LyingStorage(recipe.image)
        storage.lie(lie, turn)
        try:
            recipe.act(storage)
        except LuksError:
            assert storage.lied
        answer = judge.open(storage.data)
        if answer.passphrase is None:
            assert recipe.may_close, f"turn {turn}: {answer.why}"
        else:
            assert answer.volume_key == recipe.key_of(answer.passphrase)
        if not storage.lied:
            reads_nothing = recipe.command == "format" and lie.startswith("read")
            assert turn or reads_nothing
            return


def _add(volume: Volume) -> None:
    with volume.unlock(volume_key=VOLUME_KEY) as unlocked:
        unlocked.add_keyslot(NEW, pbkdf=KDF)


def _change(volume: Volume) -> None:
    with volume.unlock(volume_key=VOLUME_KEY) as unlocked:
        unlocked.change_keyslot(0, NEW, pbkdf=KDF)


@pytest.mark.parametrize("lie", ["read fails", "write short", "write lost", "flush fails"])
@pytest.mark.parametrize(
    "do", [_add, _change, lambda volume: volume.remove_keyslot(0)], ids=["add", "change", "remove"]
)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_volume_can_go_on_after_a_lie(
    version: Version, do: Callable[[Volume], None], lie: str
) -> None:
    """Its header in memory is the one on the disk, or is noticed not to be: nothing is lost."""
    judge = Judge((SECOND,))
    for turn in itertools.count():
        storage = LyingStorage(image(version, (FIRST, SECOND)))
        with luksmeta.open(storage, writable=True) as volume:
            storage.lie(lie, turn)
            for _ in range(2):
                with suppress(LuksError):
                    do(volume)
                assert judge.open(storage.data).volume_key == VOLUME_KEY
                storage.be_honest()
            if lie != "write lost":
                volume.configure(uuid=OTHER_UUID)
                there = luksmeta.open(storage).header
                assert there.metadata == volume.metadata
                assert not any(copy.problem for copy in there.copies)
        if not storage.lied:
            return


# Files


def test_what_a_file_takes_piece_by_piece_is_all_written_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite, pread, preadv = os.pwrite, os.pread, os.preadv
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:1000], offset))
    monkeypatch.setattr(os, "pread", lambda fd, size, offset: pread(fd, min(size, 1000), offset))
    monkeypatch.setattr(
        os, "preadv", lambda fd, buffers, offset: preadv(fd, [buffers[0][:1000]], offset)
    )
    path = file(tmp_path / "volume", "luks2")
    with luksmeta.open(path, writable=True) as volume:
        _change(volume)
    assert Judge((NEW,)).open(path.read_bytes()).volume_key == VOLUME_KEY


@pytest.mark.parametrize("call", ["pwrite", "fsync", "pread", "truncate"])
def test_what_the_system_refuses_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with FileStorage(file(tmp_path / "volume", "luks2"), writable=True) as storage:
        monkeypatch.setattr(os, call, refuse)
        calls: dict[str, Callable[[], object]] = {
            "pwrite": lambda: storage.write_at(0, b"x"),
            "fsync": storage.flush,
            "pread": lambda: storage.read_at(0, 1),
            "truncate": lambda: storage.resize(5),
        }
        with pytest.raises(StorageError, match="volume: input/output error"):
            calls[call]()


def test_a_write_that_takes_nothing_is_an_error_and_not_repeated_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pwrite", lambda *_: 0)
    with (
        FileStorage(file(tmp_path / "volume", "luks2"), writable=True) as storage,
        pytest.raises(StorageError, match="nothing was written"),
    ):
        storage.write_at(0, b"x")


@pytest.mark.parametrize("taken", [0, None])
def test_a_file_object_that_takes_nothing_is_an_error_as_well(taken: int | None) -> None:
    class Stuck(io.BytesIO):
        def write(self, _: object) -> int:
            return taken  # type: ignore[return-value]  # as raw file objects do that are not ready

    with (
        open_storage(Stuck(bytes(10)), writable=True) as storage,
        pytest.raises(StorageError, match="nothing was written"),
    ):
        storage.write_at(0, b"x")
