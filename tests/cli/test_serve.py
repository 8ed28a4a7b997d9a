"""``serve``: with the clients that people have, and in a kernel of its own."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.builders import FIRST, SECOND
from tests.cli.runner import CHEAP, COMMAND, Argument, done, key_file, process, refused
from tests.cli.runner import luksmeta as run
from tests.corpus import stream
from tests.interop.peers import kernel
from tests.interop.peers.process import Tool
from tests.nbd import certificates
from tests.nbd.client import FLUSH, READ, WRITE, Client

_NBDINFO, _NBDCOPY = Tool("nbdinfo", "libnbd-bin"), Tool("nbdcopy", "libnbd-bin")
_QEMU_IMG, _QEMU_IO = Tool("qemu-img", "qemu-utils"), Tool("qemu-io", "qemu-utils")
_FIO = Tool("fio", "fio")
_SECONDS = int(os.environ.get("LUKSMETA_SERVE_SECONDS", "5"))  # of the write load
_SIZE = 8 << 20  # bytes of the plaintext


class _Server:
    """A server process, and the URI that it printed."""

    def __init__(self, process: subprocess.Popen[str], line: str) -> None:
        self.process = process
        self.uri = line

    @property
    def socket(self) -> Path:
        """Its socket in the file system."""
        return Path(unquote(self.uri.partition("socket=")[2]))

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A new connection after its handshake."""
        with socket.socket(socket.AF_UNIX) as connected:
            connected.connect(str(self.socket))
            yield Client(connected).start()

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send the signal; its exit status, and what it said on standard error."""
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=30)
        return self.process.returncode, err


@contextmanager
def _serving(image: Path, *options: Argument) -> Iterator[_Server]:
    key = key_file(image.parent)
    command = [*COMMAND, "serve", str(image), "--key-file", str(key), *map(str, options)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    line = ""
    with subprocess.Popen(command, text=True, **pipes) as server:  # type: ignore[call-overload]
        try:
            line = server.stdout.readline().strip()
            assert line, server.stderr.read()
            yield _Server(server, line)
            if server.poll() is None:
                assert _Server(server, "").end() == (0, "")
        finally:
            server.kill()
            if (folder := _Server(server, line).socket.parent).name.startswith("luksmeta-"):
                shutil.rmtree(folder, ignore_errors=True)  # what a killed one leaves


def _plaintext(image: Path) -> bytes:
    return done(run("read", image, "-q", stdin=FIRST + b"\n")).raw


@pytest.fixture(name="image")
def _image(tmp_path: Path) -> Path:
    path = tmp_path / "volume.img"
    sizes = ("--size", str((16 << 20) + _SIZE))
    done(run("format", path, *sizes, "-q", *CHEAP, stdin=FIRST + b"\n"))
    return path


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well_with_everything_flushed(image: Path, number: int) -> None:
    with _serving(image, "--writable") as server:
        folder = server.socket.parent
        assert folder.name.startswith("luksmeta-")
        assert folder.stat().st_mode & 0o777 == 0o700
        with server.client() as client:
            assert client.ask(WRITE, 5, data=b"written").error == 0
            assert server.end(number) == (0, "")
            assert client.is_closed()
        assert not folder.exists()
    assert _plaintext(image)[5:12] == b"written"


def test_sigint_ends_it_where_a_shell_had_it_ignored(image: Path) -> None:
    key, said, socket_path = key_file(image.parent), image.parent / "said", image.parent / "s"
    script = '"$@" > "$0" & until test -s "$0"; do sleep 0.1; done; kill -INT $!; wait $!'
    line = ["sh", "-c", script, str(said), *COMMAND, "serve", str(image), "-d", str(key)]
    line += ["--socket", str(socket_path)]
    result = subprocess.run(line, capture_output=True, timeout=30, check=False)
    assert (result.returncode, result.stderr) == (0, b"")
    assert not socket_path.exists()


def test_one_document_for_programs(image: Path, tmp_path: Path) -> None:
    path = tmp_path / "s"
    before = image.read_bytes()
    with _serving(image, "--json", "--socket", path) as server:
        assert server.process.stdout is not None
        lines = [server.uri, *(server.process.stdout.readline() for _ in range(5))]
        assert json.loads("".join(lines)) == {
            "uri": f"nbd+unix:///?socket={path}",
            "size": _SIZE,
            "writable": False,
            "pid": server.process.pid,
        }
        assert path.is_socket()
    assert not path.exists()
    assert image.read_bytes() == before


def test_nbdinfo_and_nbdcopy(image: Path, tmp_path: Path) -> None:
    content = tmp_path / "content"
    content.write_bytes(stream("serve/nbdcopy", _SIZE))
    with _serving(image, "--writable", "--export-name", "data") as server:
        about = json.loads(_NBDINFO.run("--json", server.uri))["exports"][0]
        assert (about["export-size"], about["description"]) == (_SIZE, str(image))
        flags = ("can_multi_conn", "can_flush", "can_fua", "can_zero", "can_df")
        assert all(about[flag] for flag in flags)
        assert not about["is_read_only"]
        assert not about["can_trim"]
        assert b'export="data"' in _NBDINFO.run("--list", server.uri)
        extents = json.loads(_NBDINFO.run("--map", "--json", server.uri))
        assert [(each["length"], each["description"]) for each in extents] == [(_SIZE, "hole")]
        _NBDCOPY.run("--flush", content, server.uri)
        _NBDCOPY.run(server.uri, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content.read_bytes() == _plaintext(image)


def test_qemu(image: Path, tmp_path: Path) -> None:
    with _serving(image, "--writable", "--allow-discards") as server:
        steps = (
            "write -P 7 1000 5000",
            "write -f -P 8 2000000 1",
            "write -z 8k 1M",
            "discard 4M 64k",
            "flush",
            "read -P 7 1000 5000",
            "read -P 8 2000000 1",
            "read -P 0 128k 64k",
        )
        commands = [word for step in steps for word in ("-c", step)]
        said = _QEMU_IO.run("-f", "raw", *commands, server.uri).decode()
        assert "failed" not in said
        _QEMU_IMG.run("convert", "-f", "raw", "-O", "raw", server.uri, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == _plaintext(image)


def test_tcp_and_tls(image: Path, tmp_path: Path) -> None:
    folder = certificates.make(tmp_path / "certificates")
    options = ("--tls-certificates", folder, "--tls-verify-peer", "--listen", "localhost:0")
    with _serving(image, *options) as server:
        assert server.uri.startswith("nbds://127.0.0.1:")
        secure = f"{server.uri}?tls-certificates={folder}"
        assert int(_NBDINFO.run("--size", secure)) == _SIZE
        _NBDCOPY.run(secure, tmp_path / "copy")
        assert _NBDINFO.answer("--size", server.uri.replace("nbds", "nbd")).returncode != 0
        (folder / "client-cert.pem").unlink()
        assert _NBDINFO.answer("--size", secure).returncode != 0
    assert (tmp_path / "copy").read_bytes() == _plaintext(image)


def test_fio_verifies_what_eight_connections_write_and_a_killed_server_has_lost_nothing(
    image: Path,
) -> None:
    """The time is LUKSMETA_SERVE_SECONDS: five seconds, unless told otherwise."""
    size = _SIZE // 8
    block = 7 * 512  # so that neighbours share sectors
    job = ["--name=load", "--ioengine=nbd", "--numjobs=8", f"--size={size}", "--minimal"]
    job += [f"--offset_increment={size}", f"--bs={block}", "--iodepth=8"]
    job += ["--verify=crc32c", "--verify_fatal=1", "--thread"]
    job += ["--verify_state_save=0"]
    once = ["--rw=randwrite", "--randseed=1", "--end_fsync=1", "--do_verify=0"]
    with _serving(image, "--writable") as server:
        at, end = f"--uri={server.uri}", time.monotonic() + _SECONDS
        for seed in itertools.count():  # in loops of its own fio mistakes what it wrote when
            _FIO.run(*job, "--rw=randrw", f"--randseed={seed}", at)
            if time.monotonic() > end:
                break
        _FIO.run(*job, *once, at)
        assert server.end(signal.SIGKILL)[0] == -signal.SIGKILL
    with _serving(image) as server:
        _FIO.run(*job, *once[:2], "--verify_only", f"--uri={server.uri}")


def test_a_server_that_is_killed_in_the_middle_has_all_that_was_flushed(
    image: Path, tmp_path: Path
) -> None:
    path = tmp_path / "s"
    area, count = 32 << 10, 8
    flushed: dict[int, bytes] = {}
    with _serving(image, "--writable", "--socket", path) as server:
        begun = threading.Barrier(count + 1)

        def load(number: int) -> None:
            places = random.Random(number)
            content = bytearray(area)
            try:
                with server.client() as client:
                    client.ask(WRITE, number * area, data=bytes(content))
                    while True:
                        at, size = places.randrange(area - 700), places.randrange(1, 700)
                        content[at : at + size] = places.randbytes(size)
                        data = bytes(content[at : at + size])
                        client.ask(WRITE, number * area + at, data=data)
                        client.ask(FLUSH)
                        if number not in flushed:
                            flushed[number] = bytes(content)
                            begun.wait()
                        flushed[number] = bytes(content)
            except (OSError, struct.error):  # the server is gone
                pass

        threads = [threading.Thread(target=load, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        begun.wait(30)
        server.end(signal.SIGKILL)
        for thread in threads:
            thread.join()
    plain = _plaintext(image)
    for number, content in flushed.items():
        found = plain[number * area : (number + 1) * area]
        # One write may have come after the last flush: nothing but its bytes may differ.
        assert sum(a != b for a, b in zip(found, content, strict=True)) <= 700
    assert len(flushed) == count
    with _serving(image, "--socket", path) as server:  # over the socket that is left
        assert int(_NBDINFO.run("--size", server.uri)) == _SIZE


def test_a_client_that_vanishes_does_not_end_it(image: Path) -> None:
    with _serving(image) as server:
        for _ in range(5):
            with server.client() as client:
                for _ in range(20):
                    client.send(READ, 0, 1 << 20)
        with server.client() as client:
            assert client.ask(READ, 0, 512).error == 0


def test_a_volume_without_a_header(tmp_path: Path) -> None:
    image = tmp_path / "plain.img"
    image.write_bytes(bytes(_SIZE))
    key = key_file(tmp_path, bytes(range(32)), "plain-key")
    layout: tuple[str, ...] = (
        "--type",
        "plain",
        "-c",
        "aes-xts-plain64",
        "-s",
        "256",
        "--offset",
        "2048",
    )
    layout += ("--volume-key-file", str(key))
    with _serving(image, "--writable", *layout) as server, server.client() as client:
        assert client.size == _SIZE - (1 << 20)
        assert client.ask(WRITE, 0, data=b"plain").error == 0
    assert done(run("read", image, *layout, "--length", "5")).raw == b"plain"
    assert image.read_bytes()[: 1 << 20] == bytes(1 << 20)


def test_a_volume_is_written_by_one_and_read_by_many(image: Path) -> None:
    line = FIRST + b"\n"
    with _serving(image), _serving(image) as second:
        assert second.uri
        refused(process("serve", "--writable", image, stdin=line), 5, str(image), "in use")
        done(run("dump", image))
    with _serving(image, "--writable"):
        refused(process("serve", image, stdin=line), 5, str(image), "in use")


def test_what_is_wrong_is_said_at_once(image: Path, tmp_path: Path) -> None:
    line = FIRST + b"\n"
    path = tmp_path / "s"
    refused(run("serve", image, "--socket", path, stdin=SECOND + b"\n"), 2, str(image))
    assert not path.exists()
    refused(run("serve", tmp_path / "none.img", stdin=line), 4, "no such file")
    refused(run("serve", image, "--socket", image, stdin=line), 5, str(image))
    refused(run("serve", image, "--socket", tmp_path / "x" / "s", stdin=line), 4, "no such file")
    refused(run("serve", image, "--require-seal", stdin=line), 2, "seal")
    refused(run("serve", image, "--tls-certificates", tmp_path, stdin=line), 4, "server-cert.pem")
    for wrong in (
        ("--socket", path, "--listen", "0"),
        ("--listen", "nowhere"),
        ("--allow-discards",),
        ("--tls-verify-peer",),
        ("--offset", "1"),
        ("--connections", "0"),
        ("--request-time", "0"),
        ("--export-name", "x" * 4097),
    ):
        refused(run("serve", image, *wrong, stdin=line), 1)


def test_a_client_that_stalls_is_cut_off(image: Path) -> None:
    with _serving(image, "--writable", "--debug", "--request-time", "0.3") as server:
        with server.client() as client:
            client.send(WRITE, 0, 4096, b"half")
            assert client.is_closed()
        status, err = server.end()
    assert status == 0
    assert "a connection ended: a request took too long" in err


def test_an_address_for_everybody_is_warned_about(image: Path) -> None:
    with _serving(image, "--listen", "0.0.0.0:0") as server:
        status, err = server.end()
    assert status == 0
    assert err.startswith("luksmeta: warning: 0.0.0.0: everybody")


_GUEST = """
set -e
modprobe nbd; modprobe ext4
luksmeta serve /dev/vda --writable --key-file key --socket s >uri &
while ! [ -s uri ]; do sleep 0.2; done
cat uri >&2
nbd-client -unix s /dev/nbd0 -C 2 -b 4096 >&2
blockdev --getsize64 /dev/nbd0
mkfs.ext4 -q /dev/nbd0
mkdir mnt
mount /dev/nbd0 mnt
cp key mnt/written
dd if=/dev/urandom of=mnt/large bs=64k count=40 2>/dev/null
sha256sum <mnt/large >before
umount mnt
e2fsck -fn /dev/nbd0 >&2
nbd-client -d /dev/nbd0 >&2
kill %1
wait %1
echo served $?
cryptsetup open --key-file key /dev/vda opened
mount -o ro /dev/mapper/opened mnt
sha256sum <mnt/large | cmp - before && echo same
cat mnt/written
"""


def test_a_kernel_mounts_it_and_finds_the_files_in_the_volume(image: Path) -> None:
    kernel.require()
    result = kernel.run(_GUEST, [image], [key_file(image.parent)], python=str(Path(sys.prefix)))
    expected = [str(_SIZE).encode(), b"served 0", b"same", FIRST]
    assert (result.returncode, result.stdout.splitlines()) == (0, expected), result.stderr.decode()


def test_odd_places_to_listen_at_are_refused_by_their_names(image: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.touch()
    refused(run("serve", image, "--socket", taken, stdin=FIRST), 5, str(taken), "file exists")
    assert taken.exists()
    line = refused(run("serve", image, "--socket", "x" * 108, stdin=FIRST), 1, "at most")
    assert "108 bytes" in line
    for address in ("x" * 70 + ":0", ".:0"):
        refused(run("serve", image, "--listen", address, stdin=FIRST), 1, address, "host")
