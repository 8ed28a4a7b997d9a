"""``mount``: for real where there is /dev/fuse, and in a kernel of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import luksmeta
from luksmeta.data_lock import data_in_use
from luksmeta.errors import StorageBusyError
from luksmeta.fuse import mounting
from tests.builders import FIRST, SECOND
from tests.cli.runner import CHEAP, COMMAND, Answer, Argument, done, key_file, process, refused
from tests.cli.runner import luksmeta as run
from tests.interop.peers import kernel
from tests.requirement import missing

_TREE = {"hello": b"hello\n", "large": bytes(range(256)) * 4000}


def _require_fuse() -> None:
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
        mounting.filesystem_class()
    except (OSError, luksmeta.LuksError) as error:
        missing(f"no FUSE: {error}")


def _tool(*arguments: Argument) -> bytes:
    result = subprocess.run(list(map(str, arguments)), capture_output=True, check=False)
    assert result.returncode == 0, result.stderr.decode()
    return result.stdout


def _until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


@contextmanager
def _mounted(
    image: Path, *options: Argument, stdin: bytes, cwd: Path | None = None
) -> Iterator[tuple[Path, Answer]]:
    """The mount point, and what the command said; unmounted and free at the end."""
    _require_fuse()
    point = image.parent / "mounted"
    point.mkdir(exist_ok=True)
    words = [*options, image.name if cwd == image.parent else image, point]
    command = [sys.executable, "-P", "-m", "luksmeta", "mount", *map(str, words)]
    result = subprocess.run(
        command, input=stdin, capture_output=True, timeout=60, cwd=cwd, check=False
    )
    answer = Answer(result.returncode, result.stdout, result.stderr.decode())
    try:
        yield point, answer
    finally:
        for each in image.parent.iterdir():
            if each.is_mount():
                _tool("fusermount3", "-u", each)
    _until(lambda: _is_free(image), "the volume is still locked")


def _is_free(image: Path) -> bool:
    if not image.exists():
        return True
    try:
        with (
            luksmeta.open(image, writable=True) as volume,
            data_in_use(volume.data_storage, writable=True),
        ):
            return True
    except luksmeta.StorageBusyError:
        return False


@pytest.fixture(name="image")
def _image(tmp_path: Path) -> Path:
    path = tmp_path / "volume.img"
    done(run("format", path, "--size", "24M", "-q", *CHEAP, stdin=FIRST + b"\n"))
    return path


def test_the_payload_can_be_written_read_and_checked_by_ordinary_programs(
    image: Path, tmp_path: Path
) -> None:
    with _mounted(image, "--writable", stdin=FIRST + b"\n") as (point, answer):
        done(answer)
        payload = point / "payload"
        assert [each.name for each in point.iterdir()] == ["payload"]
        assert f"fusermount3 -u {point}" in answer.out
        _tool("mkfs.ext4", "-q", payload)
        for name, content in _TREE.items():
            (tmp_path / name).write_bytes(content)
            _tool("debugfs", "-w", "-R", f"write {tmp_path / name} {name}", payload)
        _tool("e2fsck", "-fn", payload)
        assert refused(run("read", image, "-o", tmp_path / "x", stdin=FIRST + b"\n"), 5)
    plain = tmp_path / "plain"
    done(run("read", image, "-o", plain, stdin=FIRST + b"\n"))
    _tool("e2fsck", "-fn", plain)
    for name, content in _TREE.items():
        assert _tool("debugfs", "-R", f"cat {name}", plain) == content


def test_read_only_is_the_default(image: Path) -> None:
    before = image.read_bytes()
    with _mounted(image, "--json", stdin=FIRST + b"\n") as (point, answer):
        document = done(answer).json
        payload = point / "payload"
        assert document["payload"] == str(payload)
        assert document["size"] == payload.stat().st_size == len(payload.read_bytes())
        assert not document["writable"]
        with pytest.raises(OSError, match=r"Read-only|Permission"):
            payload.open("r+b")
        done(run("dump", image))  # others may read as well
    assert image.read_bytes() == before


def test_a_signal_flushes_and_unmounts(image: Path) -> None:
    with _mounted(image, "--writable", "--json", stdin=FIRST + b"\n") as (point, answer):
        with (point / "payload").open("r+b") as payload:
            payload.write(b"written")
        os.kill(done(answer).json["pid"], signal.SIGTERM)
        _until(lambda: not point.is_mount(), "still mounted")
    assert done(run("read", image, "--length", "7", stdin=FIRST + b"\n")).raw == b"written"


def test_a_table_is_mounted_as_a_volume_is(image: Path, tmp_path: Path) -> None:
    _require_fuse()
    table = tmp_path / "table"
    table.write_text("0 8 linear one 8\n8 8 linear one 0\n")
    point = tmp_path / "mounted"
    point.mkdir()
    device = f"one={image}"
    try:
        answer = done(process("mount", "--table", table, "--device", device, point, "--json"))
        assert answer.json["size"] == 16 * 512
        content = image.read_bytes()
        assert (point / "payload").read_bytes() == content[4096:8192] + content[:4096]
        refused(run("write", image, "-i", table, stdin=FIRST + b"\n"), 5, str(image))
    finally:
        _tool("fusermount3", "-u", point)
    _until(lambda: _is_free(image), "the device is still locked")


def test_in_the_foreground_it_stays_until_it_is_unmounted(image: Path) -> None:
    _require_fuse()
    point = image.parent / "mounted"
    point.mkdir()
    key = key_file(image.parent)
    command = [*COMMAND, "mount", "--foreground", str(image), str(point), "-d", str(key)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        _until(point.is_mount, "not mounted")
        assert server.poll() is None
        _tool("fusermount3", "-u", point)
        assert server.wait(20) == 0


def test_an_ordinary_user_mounts_without_any_right(tmp_path: Path) -> None:
    """Nobody, who may read the interpreter below root's directory, and nothing else."""
    _require_fuse()
    if os.geteuid() != 0:
        missing("only root can be somebody else; all the other tests ran as an ordinary user")
    nobody = 65534
    caps = "-all,+dac_read_search"
    prefix = ["setpriv", f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups"]
    prefix += [f"--inh-caps={caps}", f"--ambient-caps={caps}"]
    with tempfile.TemporaryDirectory() as name:  # fusermount3 must reach it as nobody
        folder = Path(name)
        os.chown(folder, nobody, nobody)
        point = folder / "mounted"
        line = FIRST + b"\n"
        image = folder / "volume.img"
        done(process("format", image, "--size", "24M", "-q", *CHEAP, stdin=line, prefix=prefix))
        _tool(*prefix, "mkdir", point)
        try:
            done(process("mount", image, point, "--writable", stdin=line, prefix=prefix))
            _tool(*prefix, "mkfs.ext4", "-q", point / "payload")
        finally:
            _tool(*prefix, "fusermount3", "-u", point)
        _until(lambda: _is_free(image), "the volume is still locked")
        done(process("read", image, "-o", tmp_path / "plain", stdin=line))
    _tool("e2fsck", "-fn", tmp_path / "plain")


def test_what_is_wrong_is_said_by_the_first_process(image: Path) -> None:
    with _mounted(image, stdin=SECOND + b"\n") as (point, answer):
        refused(answer, 2, str(image))
        assert not point.is_mount()
    with _mounted(image.parent / "none.img", stdin=FIRST + b"\n") as (_, answer):
        refused(answer, 4, "no such file")


def test_a_directory_that_would_be_hidden_or_is_none(image: Path, tmp_path: Path) -> None:
    _require_fuse()
    refused(run("mount", image, tmp_path, stdin=FIRST), 5, str(tmp_path), "not empty")
    refused(run("mount", image, image, stdin=FIRST), 4, str(image))
    refused(run("mount", image, tmp_path / "none", stdin=FIRST), 4, "no such file")


def test_the_working_directory_is_no_mount_because_it_is_a_dot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _require_fuse()
    monkeypatch.chdir(tmp_path)
    mounting.require_mountable(Path())
    monkeypatch.chdir("/proc")
    with pytest.raises(StorageBusyError, match="something is mounted there"):
        mounting.require_mountable(Path())


def test_a_hint_stays_on_the_line_of_the_error(image: Path, tmp_path: Path) -> None:
    odd = tmp_path / "two\nlines\x1b[1m"
    odd.mkdir()
    (odd / "in").touch()
    line = refused(run("mount", image, odd, stdin=FIRST), 5, "not empty")
    assert "\x1b" not in line


def test_mounted_twice_is_refused(image: Path, tmp_path: Path) -> None:
    with _mounted(image, stdin=FIRST + b"\n") as (point, _):
        refused(run("mount", image, point, stdin=FIRST), 5, "is mounted there")
        other = tmp_path / "other"
        other.mkdir()
        refused(process("mount", "--writable", image, other, stdin=FIRST + b"\n"), 5, str(image))


def test_a_machine_without_fuse_is_told_so(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _require_fuse()
    monkeypatch.setattr(mounting, "_DEVICE", tmp_path / "fuse")
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(run("mount", image, empty, stdin=FIRST), 1, "no FUSE")


def test_nothing_of_the_working_directory_is_run(image: Path, tmp_path: Path) -> None:
    package = tmp_path / "elsewhere" / "luksmeta"
    package.mkdir(parents=True)
    for name in ("__init__.py", "__main__.py"):
        (package / name).write_text("open('run', 'w')")
    with _mounted(image, stdin=FIRST + b"\n", cwd=package.parent) as (point, answer):
        done(answer)
        assert point.is_mount()
    assert [each.name for each in package.parent.iterdir()] == ["luksmeta"]


def test_where_it_cannot_say_so_nothing_stays_mounted(image: Path) -> None:
    _require_fuse()
    point = image.parent / "mounted"
    point.mkdir()
    key = key_file(image.parent)
    for options in ((), ("--foreground",)):
        command = [*COMMAND, "mount", *options, str(image), str(point), "-d", str(key)]
        with Path("/dev/full").open("w") as full:
            result = subprocess.run(
                command, stdout=full, stderr=subprocess.PIPE, timeout=30, check=False
            )
        assert result.returncode == 4
        (line,) = result.stderr.decode().splitlines()
        assert line.startswith("luksmeta: error: standard output: no space left on device")
        assert not point.is_mount()
    _until(lambda: _is_free(image), "the volume is still locked")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground_a_signal_ends_it_as_it_ends_serve(image: Path, number: int) -> None:
    _require_fuse()
    point = image.parent / "mounted"
    point.mkdir()
    key = key_file(image.parent)
    command = [*COMMAND, "mount", "--foreground", str(image), str(point), "-d", str(key)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        server.stdout.readline()
        server.send_signal(number)
        assert (server.wait(20), server.stderr.read()) == (0, b"")
    assert not point.is_mount()


def test_names_that_look_like_options(image: Path) -> None:
    odd = image.rename(image.parent / "-volume, a\\b.img")
    with _mounted(odd, "--", stdin=FIRST + b"\n", cwd=odd.parent) as (point, answer):
        done(answer)
        assert len((point / "payload").read_bytes()) == (point / "payload").stat().st_size


def test_others_may_read_it_when_that_is_asked_for(image: Path) -> None:
    if os.geteuid() != 0:
        missing("only root can be somebody else")
    caps = "-all,+dac_read_search"
    for options, status in (((), 1), (("--allow-other",), 0)):
        with _mounted(image, *options, stdin=FIRST + b"\n") as (point, answer):
            done(answer)
            words = ["setpriv", "--reuid=65534", f"--inh-caps={caps}", f"--ambient-caps={caps}"]
            words += ["head", "-c", "1", str(point / "payload")]
            assert subprocess.run(words, capture_output=True, check=False).returncode == status


def test_a_mount_whose_server_was_killed_is_told_of(image: Path) -> None:
    with _mounted(image, "--json", stdin=FIRST + b"\n") as (point, answer):
        os.kill(done(answer).json["pid"], signal.SIGKILL)
        _until(lambda: _is_free(image), "the volume is still locked")
        line = refused(run("mount", image, point, stdin=FIRST), 5, str(point))
        assert f"fusermount3 -u {point} removes it" in line
        _tool("fusermount3", "-u", point)


_GUEST = """
set -e
modprobe fuse; modprobe loop; modprobe ext4
mkdir point mnt
luksmeta mount /dev/vda point --writable --key-file key
mkfs.ext4 -q -b 4096 point/payload
mount -o loop point/payload mnt
cp key mnt/written
umount mnt
e2fsck -fn point/payload >&2
fusermount3 -u point
for attempt in 1 2 3 4 5 6 7 8 9; do
    cryptsetup open --key-file key /dev/vda opened && break
    sleep 1
done
mount -o ro /dev/mapper/opened mnt
cat mnt/written
"""


def test_a_kernel_mounts_the_payload_and_finds_it_in_the_volume(image: Path) -> None:
    kernel.require()
    result = kernel.run(_GUEST, [image], [key_file(image.parent)], python=str(Path(sys.prefix)))
    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, FIRST), result.stderr.decode()
