"""The forensic commands leave evidence as it is: the system sees no write, and none is needed."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests import builders
from tests.cli.runner import COMMAND, Argument, as_ordinary_user, done, process
from tests.crash.processes import STRACE
from tests.forensics import disks
from tests.interop.peers.process import Tool
from tests.requirement import missing

KEY, NEW = "a key file", "a new file"  # stand for their names
COMMANDS = {
    "scan": ("scan", "--unaligned", "--deep", "--all", "--json"),
    "scan of qcow2": ("scan", "--json"),
    "inspect": ("inspect", "--json"),
    "inspect of qcow2": ("inspect", "--json"),
    "hash": ("hash",),
    "unlock --try": ("unlock", "--try", "-d", KEY, "--json"),
    "recover": ("recover", "-d", KEY, "-o", NEW, "--json"),
    "report": ("report", "-o", NEW, "--json"),
}
every_command = pytest.mark.parametrize("command", COMMANDS)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """One with ciphertext where its data starts, without which there is nothing to hash."""
    folder = tmp_path / "evidence"
    folder.mkdir()
    path = builders.file(folder / "volume", "luks2", builders.FIRST)
    with path.open("r+b") as file:
        file.seek(builders.data_offset("luks2"))
        file.write(disks.noise("data", 4096))
    return path


def words(command: str, folder: Path) -> list[Argument]:
    """The command without the evidence; its own files lie elsewhere."""
    files = {KEY: folder / "key", NEW: folder / "new"}
    files[KEY].write_bytes(builders.FIRST)
    return [files.get(each, each) for each in COMMANDS[command]]


def evidence(volume: Path, command: str) -> Path:
    if not command.endswith("qcow2"):
        return volume
    image = volume.with_suffix(".qcow2")
    Tool("qemu-img", "qemu-utils").run("convert", "-f", "raw", "-O", "qcow2", volume, image)
    return image


WRITING = (
    "write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fallocate,ioctl,fsync,fdatasync,"
    "copy_file_range,sendfile,splice,fchmod,fchown,utimensat,unlink,unlinkat,rename,renameat2,"
    "open,openat,openat2,creat,link,linkat,chmod,fchmodat,setxattr,fsetxattr,mmap,flock"
)


def touching(trace: Path, disk: Path) -> list[str]:
    """The calls on the evidence that write, or open it for writing."""
    found = []
    for line in trace.read_text().splitlines():
        if str(disk) not in line:
            continue
        call = line.split(None, 1)[1]
        name = call.partition("(")[0]
        if name in ("open", "openat", "openat2"):
            is_reading = "O_RDONLY" in call and not re.search("O_CREAT|O_TRUNC", call)
            found += [] if is_reading else [line]
        elif name == "mmap":
            found += [line] if "PROT_WRITE" in call and "MAP_SHARED" in call else []
        elif not re.match(r"p?writev?(64|2)?\([12]<", call):  # its name, in what is printed
            found.append(line)
    return found


@every_command
def test_no_call_to_the_system_writes_to_the_evidence(
    volume: Path, tmp_path: Path, command: str
) -> None:
    image, trace = evidence(volume, command), tmp_path / "trace"
    before, changed = image.read_bytes(), image.stat().st_mtime_ns
    calls = ("-f", "-y", "-e", f"trace={WRITING}", "-o", trace)
    out = STRACE.run(*calls, *COMMAND, *words(command, tmp_path), image)
    assert out
    assert str(image) in trace.read_text()
    assert touching(trace, image) == []
    assert (image.read_bytes(), image.stat().st_mtime_ns) == (before, changed)


def test_the_test_sees_a_write(volume: Path, tmp_path: Path) -> None:
    """The counter-proof: a command that does write is noticed."""
    trace = tmp_path / "trace"
    calls = ("-f", "-y", "-e", f"trace={WRITING}", "-o", trace)
    STRACE.run(*calls, "truncate", "-s", "1M", volume)
    assert touching(trace, volume)


@every_command
def test_a_file_that_nobody_may_write(volume: Path, tmp_path: Path, command: str) -> None:
    image = evidence(volume, command)
    image.chmod(0o444)
    image.parent.chmod(0o555)
    try:
        done(as_ordinary_user(*words(command, tmp_path), image))
    finally:
        image.parent.chmod(0o755)


@every_command
def test_a_read_only_mount(volume: Path, tmp_path: Path, command: str) -> None:
    image = evidence(volume, command)
    script = (
        'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" || exit 77; '
        'touch "$0/new" 2>/dev/null && exit 78; exec "$@"'
    )
    prefix = ("unshare", "-m", "sh", "-c", script, str(image.parent))
    if os.geteuid() != 0:
        missing("mounting takes root")
    answer = process(*words(command, tmp_path), image, prefix=prefix)
    if answer.status == 77:
        missing("no mounts here")
    assert answer.status == 0, answer.err
