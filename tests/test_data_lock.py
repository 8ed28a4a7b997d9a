"""Data in use: who shares a file's data, among ourselves and with qemu."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

import luksmeta
from luksmeta import StorageBusyError
from luksmeta.data_lock import data_in_use
from luksmeta.images.replaced_file import replaced_file
from luksmeta.overlay import OverlayStorage
from luksmeta.target import open_storage
from tests import builders
from tests.cli.runner import CHEAP, Argument, done, refused
from tests.cli.runner import luksmeta as run
from tests.interop.peers.process import Tool
from tests.loop import loop_device

_QEMU_IO = Tool("qemu-io", "qemu-utils")


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return builders.file(tmp_path / "volume.img", "luks2")


@contextmanager
def _used(path: Path, *, writable: bool) -> Iterator[None]:
    with open_storage(path, writable=writable) as storage, data_in_use(storage, writable=writable):
        yield


@pytest.mark.parametrize(
    ("one", "other", "is_busy"),
    [(False, False, False), (False, True, True), (True, False, True), (True, True, True)],
)
def test_readers_share_and_a_writer_is_alone(
    path: Path, one: bool, other: bool, is_busy: bool
) -> None:
    with _used(path, writable=one):
        if is_busy:
            with (
                pytest.raises(StorageBusyError, match=r"volume\.img: in use"),
                _used(path, writable=other),
            ):
                pass
        else:
            with _used(path, writable=other):
                pass
    with _used(path, writable=True):  # all is given back
        pass


def test_the_file_below_a_view_is_locked(path: Path) -> None:
    with (
        open_storage(path, writable=True) as file,
        closing(OverlayStorage(file)) as view,
        data_in_use(view, writable=True),
        pytest.raises(StorageBusyError),
        _used(path, writable=False),
    ):
        pass


def test_a_storage_in_memory_has_nothing_to_lock() -> None:
    storage = luksmeta.MemoryStorage(100)
    with data_in_use(storage, writable=True), data_in_use(storage, writable=True):
        pass


def test_headers_can_be_looked_at_while_the_data_is_written(path: Path) -> None:
    with _used(path, writable=True):
        done(run("dump", path))
        refused(run("read", path, "-o", path.parent / "plain", stdin=builders.FIRST), 5, str(path))
        refused(run("write", path, "-i", path, stdin=builders.FIRST), 1)
    done(run("read", path, "-o", path.parent / "plain", stdin=builders.FIRST))


def test_a_volume_whose_data_is_in_use_is_not_formatted_or_replaced(path: Path) -> None:
    before = path.read_bytes()
    (path.parent / "tree").mkdir()
    (path.parent / "plain").write_bytes(bytes(8192))
    other = path.parent / "other.img"
    for writable in (False, True):
        with _used(path, writable=writable):
            refused(run("format", path, "-q", *CHEAP, stdin=b"new"), 5, "volume.img: in use")
            refused(run("format", path, "-q", "--dry-run", *CHEAP, stdin=b"new"), 5, "in use")
            larger = ("--size", "2M")
            refused(run("format", path, "-q", *larger, *CHEAP, stdin=b"new"), 5, "in use")
            apart = ("--size", "1M", "--header", path)
            refused(
                run("format", other, "-q", *apart, *CHEAP, stdin=b"new"), 5, "volume.img: in use"
            )
            for source in (("--populate", "tree"), ("--encrypt-from", "plain")):
                filling = (source[0], path.parent / source[1])
                refused(
                    run("format", path, "-q", *filling, *CHEAP, stdin=b"new"),
                    5,
                    "volume.img: in use",
                )
    assert path.read_bytes() == before
    assert sorted(each.name for each in path.parent.iterdir()) == ["plain", "tree", "volume.img"]
    done(run("format", path, "-q", "--size", "17M", *CHEAP, stdin=b"new"))


def test_a_file_in_use_is_not_replaced_when_the_use_began_after_the_question(path: Path) -> None:
    before = path.read_bytes()
    with (
        pytest.raises(StorageBusyError, match=r"link: in use"),
        _used(path, writable=False),
        replaced_file(_link(path)),
    ):
        pass
    with replaced_file(path), pytest.raises(StorageBusyError), _used(path, writable=False):
        pass
    assert path.read_bytes() != before


def test_a_backup_of_other_data_waits_for_the_end_of_the_use(path: Path) -> None:
    """The volume's own backup may come back: the data is the same with it."""
    own, others = path.parent / "own", path.parent / "others"
    done(run("backup-header", path, "-o", own))
    done(run("add-key", path, "-q", *CHEAP, stdin=builders.FIRST + b"\nnew"))
    _volume_with_another_key(path.parent / "another")
    done(run("backup-header", path.parent / "another", "-o", others))
    with _used(path, writable=True):
        refused(run("restore-header", path, "-i", others, "-q"), 5, "volume.img: in use")
        done(run("restore-header", path, "-i", own, "-q"))
        with path.open("r+b") as file:
            file.write(bytes(64 << 10))
        assert run("restore-header", path, "-i", own, "-q").status == 5  # and a warning
    assert run("restore-header", path, "-i", others, "-q").status == 0


@pytest.mark.parametrize("kind", ["luks", "raw", "plain"])
def test_what_is_being_written_is_not_encrypted(path: Path, kind: str) -> None:
    new = path.parent / "new.img"
    key = path.parent / "key"
    key.write_bytes(bytes(32))
    filling: list[Argument] = ["--encrypt-from", path, "--from-type", kind]
    if kind == "plain":
        filling += ["--from-defaults", "cryptsetup-2.7", "--from-key-file", key]
    line: tuple[Argument, ...] = ("format", new, "-q", *CHEAP, *filling)
    passphrases = (builders.FIRST + b"\n" if kind == "luks" else b"") + b"new"
    with _used(path, writable=True):
        refused(run(*line, stdin=passphrases), 5, "volume.img: in use")
    assert not new.exists()
    with _used(path, writable=False):
        done(run(*line, stdin=passphrases))


@pytest.mark.parametrize("kind", ["luks", "plain", "table"])
def test_a_device_of_the_kernels_is_not_written_and_its_keys_are_managed(
    path: Path, kind: str
) -> None:
    """Who has opened it with O_EXCL stands for a mapping or a mount, which do the same."""
    data, key, table = (path.parent / name for name in ("data", "key", "table"))
    data.write_bytes(b"new data".ljust(512, b"."))
    key.write_bytes(bytes(32))
    table.write_text("0 64 linear a 0\n")
    plain = ("--type", "plain", "--defaults", "cryptsetup-2.7")
    with loop_device(path) as device:
        line: tuple[Argument, ...] = {
            "luks": ("write", device, "-i", data),
            "plain": ("write", device, *plain, "-q", "-d", key, "-i", data),
            "table": ("write", "--table", table, "--device", f"a={device}", "-i", data),
        }[kind]
        before = path.read_bytes()
        holder = os.open(device, os.O_RDONLY | os.O_EXCL)
        try:
            refused(run(*line, stdin=builders.FIRST), 5, str(device))
            if kind == "luks":
                done(run("read", device, "-o", path.parent / "read", stdin=builders.FIRST))
                done(run("write", *line[1:], "--dry-run", stdin=builders.FIRST))
                assert path.read_bytes() == before
                done(run("add-key", device, "-q", *CHEAP, stdin=builders.FIRST + b"\nnew"))
        finally:
            os.close(holder)
        done(run(*line, stdin=builders.FIRST))
        with (
            open_storage(device, writable=True) as storage,
            data_in_use(storage, writable=True),
            pytest.raises(OSError, match="busy"),
        ):
            os.open(device, os.O_RDONLY | os.O_EXCL)
        with open_storage(device, exclusive=True) as storage, data_in_use(storage, writable=True):
            pass


def _volume_with_another_key(path: Path) -> None:
    storage = luksmeta.MemoryStorage(builders.image("luks2"))
    luksmeta.format(
        storage,
        builders.FIRST,
        pbkdf=builders.KDF,
        digest_iterations=1000,
        sector_size=512,
        data_offset=builders.data_offset("luks2"),
        uuid="c0ffee00-0000-4000-8000-000000000001",
    )
    path.write_bytes(storage.data)


def _link(path: Path) -> Path:
    link = path.parent / "link"
    link.symlink_to(path.name)
    return link


def test_qemu_and_we_keep_off_each_others_image(path: Path) -> None:
    _QEMU_IO.require()
    with _used(path, writable=True):
        assert b"lock" in _qemu_io(path, "read 0 512").stderr
    with _used(path, writable=False):
        assert not _qemu_io(path, "read 0 512", "-r").stderr
        assert b"lock" in _qemu_io(path, "write 0 512").stderr
    with subprocess.Popen(
        ["qemu-io", "-f", "raw", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as qemu:
        assert qemu.stdin is not None
        assert qemu.stdout is not None
        qemu.stdin.write(b"read 0 512\n")
        qemu.stdin.flush()
        while not qemu.stdout.readline().startswith(b"512 bytes"):
            pass
        for writable in (False, True):
            with pytest.raises(StorageBusyError), _used(path, writable=writable):
                pass
        qemu.stdin.close()


def _qemu_io(path: Path, command: str, *options: str) -> subprocess.CompletedProcess[bytes]:
    words = ["qemu-io", "-f", "raw", *options, "-c", command, str(path)]
    return subprocess.run(words, capture_output=True, check=False)
