"""File systems made from a directory: what is in them, where they lie, when they are the same."""

from __future__ import annotations

import os
import socket
import time
from io import FileIO
from pathlib import Path

import pytest

from luksmeta.errors import FilesystemToolError, ResourceLimitError, StorageError, UnsupportedError
from luksmeta.images import filesystem_images
from luksmeta.images.filesystem_images import filesystem_image
from luksmeta.images.filesystem_makers import MAKERS, Job, ext4_size
from luksmeta.images.tree import Tree
from luksmeta.random_bytes import random_uuid, seeded
from tests.corpus import stream
from tests.images.trees import EXPECTED, PROGRAMS, TIME, plant, seen_in, unpack

every_filesystem = pytest.mark.parametrize("filesystem", list(MAKERS))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return plant(tmp_path / "tree")


def made(tree: Path, filesystem: str, *, size: int | None = None) -> bytes:
    PROGRAMS[filesystem].require()
    with filesystem_image(tree, filesystem, size=size) as image:
        content = bytearray(image.size)
        image.read_into_at(0, content)
        return bytes(content)


@every_filesystem
def test_its_own_checker_finds_it_sound_and_every_file_in_it(
    filesystem: str, tree: Path, tmp_path: Path
) -> None:
    (tmp_path / "image").write_bytes(made(tree, filesystem))
    out = unpack(filesystem, tmp_path / "image", tmp_path / "out")
    assert seen_in(out) == EXPECTED


def test_files_keep_their_modes_and_times(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(made(tree, "squashfs"))
    out = unpack("squashfs", tmp_path / "image", tmp_path / "out")
    status = (out / "a.txt").stat()
    assert (status.st_mode & 0o777, status.st_mtime) == (0o640, TIME)
    assert status.st_ino == (out / "twice").stat().st_ino


@pytest.mark.parametrize("filesystem", ["ext4", "btrfs"])
def test_a_size_that_is_asked_for_is_that_of_the_file_system(filesystem: str, tree: Path) -> None:
    assert len(made(tree, filesystem, size=160 << 20)) == 160 << 20


def test_without_a_size_ext4_takes_a_tree_of_many_small_files(tmp_path: Path) -> None:
    tree = tmp_path / "many"
    for number in range(1500):
        path = tree / f"{number % 7}" / f"{'long' * 20}-{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * (number % 5000))
    assert len(made(tree, "ext4")) == ext4_size(Tree.of(tree))


def test_without_a_size_ext4_takes_a_large_file(tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "file").write_bytes(stream("large", 1 << 20) * 40)
    image = made(tmp_path / "large", "ext4")
    assert 40 << 20 < len(image) < 60 << 20


@pytest.mark.parametrize("filesystem", ["ext4", "squashfs", "erofs"])
def test_the_same_seed_and_tree_give_the_same_bytes_whenever_it_was_looked_at(
    filesystem: str, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def image(seed: bytes) -> bytes:
        os.utime(tree / "a.txt", (time.time(), TIME))  # the time of access, and of this change
        with seeded(seed):
            return made(tree, filesystem)

    first = image(b"seed")
    time.sleep(1.1)  # file systems count whole seconds
    assert image(b"seed") == first
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1234567")
    assert image(b"seed") != first


def test_a_seeded_file_system_is_sound_also_where_something_is_left_out(
    tree: Path, tmp_path: Path
) -> None:
    """Ext4 is not given sockets; the times of files are set by their numbers."""
    with socket.socket(socket.AF_UNIX) as bound:
        # No longer than the name of a socket may be.
        folder = os.open(tree / "dir", os.O_RDONLY)
        try:
            bound.bind(f"/proc/self/fd/{folder}/socket")
        finally:
            os.close(folder)
        with seeded(b"seed"):
            (tmp_path / "image").write_bytes(made(tree, "ext4"))
    out = unpack("ext4", tmp_path / "image", tmp_path / "out")
    assert seen_in(out) == EXPECTED


@pytest.mark.parametrize("filesystem", ["ext4", "erofs"])
def test_without_a_seed_each_file_system_has_its_own_uuid(filesystem: str, tree: Path) -> None:
    assert made(tree, filesystem) != made(tree, filesystem)


def test_btrfs_has_no_seed(tree: Path) -> None:
    PROGRAMS["btrfs"].require()
    with seeded(b"seed"), pytest.raises(UnsupportedError, match="same image twice"):
        made(tree, "btrfs")


def test_a_time_that_is_no_number_is_refused(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with seeded(b"seed"), pytest.raises(ValueError, match="yesterday"):
        made(tree, "ext4")


def test_its_file_has_no_name_in_any_directory(tree: Path, tmp_path: Path) -> None:
    PROGRAMS["squashfs"].require()
    work = tmp_path / "work"
    work.mkdir()
    for work_dir in (None, work):
        with filesystem_image(tree, "squashfs", work_dir=work_dir) as image:
            assert image.size > 0
            assert list(work.iterdir()) == []


def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    PROGRAMS["ext4"].require()
    with pytest.raises(StorageError, match="no such directory"), filesystem_image(tmp_path / "not"):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="not a directory"), filesystem_image(tmp_path / "file"):
        pass


def test_a_program_that_fails_is_quoted(tree: Path) -> None:
    with pytest.raises(FilesystemToolError, match=r"^mke2fs: .*exit status 1\)$"):
        made(tree, "ext4", size=64 << 10)


def test_a_program_that_is_missing_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    missing = pytest.raises(FilesystemToolError, match=r"^mkfs\.erofs is not installed")
    with missing as caught, filesystem_image(tree, "erofs"):
        pass
    assert "erofs-utils" in str(caught.value.hint)


def test_a_tree_larger_than_memory_needs_a_directory(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PROGRAMS["ext4"].require()
    monkeypatch.setattr(filesystem_images, "physical_memory", lambda: 100)
    with pytest.raises(ResourceLimitError, match="102400"), filesystem_image(tree):
        pass
    with filesystem_image(tree, work_dir=tmp_path) as image:
        assert image.size > 0


def test_the_tables_of_a_large_file_system_are_bounded_by_memory(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PROGRAMS["ext4"].require()
    memory, size = 8 << 20, 256 << 30
    monkeypatch.setattr(filesystem_images, "physical_memory", lambda: memory >> 10)
    both = rf"{size >> 14} bytes do not fit into memory, {memory} bytes"
    with pytest.raises(ResourceLimitError, match=both), filesystem_image(tree, size=size):
        pass
    with filesystem_image(tree, size=size, work_dir=tmp_path) as image:
        assert image.size == size
    with filesystem_image(tree, size=size // 4) as image:
        assert image.size == size // 4


def test_ext4_takes_no_more_memory_than_was_counted(tree: Path) -> None:
    PROGRAMS["ext4"].require()
    maker, known, size = MAKERS["ext4"], Tree.of(tree), 1 << 40
    with FileIO(os.memfd_create("image"), "r+") as file:
        maker.make(maker.find(), Job(known, file.fileno(), random_uuid(), size))
        status = os.fstat(file.fileno())
    assert status.st_size == size
    assert status.st_blocks * 512 <= maker.room(known, size) == size >> 14


def test_a_size_that_ext4_cannot_have_is_refused_beforehand(tree: Path) -> None:
    wrong = pytest.raises(ValueError, match=f"ext4 of {1 << 46} bytes: .* less than {1 << 46}")
    with wrong, filesystem_image(tree, size=1 << 46):
        pass


def test_an_unknown_file_system_is_the_callers_mistake(tree: Path) -> None:
    with pytest.raises(ValueError, match="possible are ext4"), filesystem_image(tree, "zfs"):
        pass
