"""Whole programs that read and write a volume: ``python -m tests.bench.data``.

A 1 GiB payload in memory (/dev/shm), read to /dev/null and written from a file, by us and by what
else can, in turns. Every program derives the same cheap key.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import luksmeta
from luksmeta.format_options import Version
from luksmeta.kdf.pbkdf import Pbkdf2
from luksmeta.sector import engine
from tests.interop.peers import dissect, libluksde, nbdkit, qemu

PASSPHRASE = b"correct horse battery staple"
SIZE = 1 << 30
ROUNDS = 5
SLOW = 16 << 20  # bytes, for the reader that would take minutes
KDF = Pbkdf2(hash="sha256", iterations=1000)
MEMORY = Path("/dev/shm")

Work = Callable[[], object]


def make(path: Path, version: Version, content: bytes, *, size: int = SIZE) -> None:
    header = (16 << 20) if version == "luks2" else (2 << 20)
    with (
        luksmeta.format(
            path,
            PASSPHRASE,
            size=header + size,
            type=version,
            sector_size=512,
            pbkdf=KDF,
            digest_iterations=1000,
        ) as volume,
        volume.unlock(PASSPHRASE) as unlocked,
        unlocked.open(writable=True) as stream,
    ):
        while stream.tell() < stream.size:
            stream.write(content)


def program(*arguments: str | Path, **environment: str) -> Work:
    command = [sys.executable, "-m", "luksmeta", *map(str, arguments)]
    return lambda: subprocess.run(
        command,
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )


def cat(path: Path) -> Work:
    def work() -> None:
        with Path("/dev/null").open("wb") as null:
            subprocess.run(["cat", path], check=True, stdout=null)

    return work


def compare(title: str, works: dict[str, tuple[Work, int]]) -> None:
    """Print each program's median, and its speed as a share of the first one's."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, (work, _) in works.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    print(f"\n{title}: medians of {ROUNDS}, in turns")
    speeds = {
        name: size / statistics.median(times[name]) / 1e6 for name, (_, size) in works.items()
    }
    first = next(iter(speeds.values()))
    for name, speed in speeds.items():
        median = statistics.median(times[name])
        print(f"  {name:30} {median:8.3f} s {speed:8.0f} MB/s {first / speed:8.2f}")


def qemu_read(path: Path, key: Path) -> Work:
    secret = ("--object", f"secret,id=s0,file={key}")
    source = ("--image-opts", f"driver=luks,file.filename={path},key-secret=s0")
    target = ("--target-image-opts", f"driver=null-co,size={SIZE}")
    return lambda: qemu.TOOL.run("convert", "-n", *secret, *source, *target)


def nbdkit_read(path: Path, key: Path) -> Work:
    served = ("file", path, "--filter=luks", f"passphrase=+{key}")
    return lambda: nbdkit.TOOL.run("-U", "-", *served, "--run", 'nbdcopy "$uri" null:')


def qemu_write(path: Path, key: Path, plain: Path) -> Work:
    secret = ("--object", f"secret,id=s0,file={key}")
    target = ("--target-image-opts", f"driver=luks,file.filename={path},key-secret=s0")
    return lambda: qemu.TOOL.run("convert", "-n", *secret, "-f", "raw", plain, *target)


def luksde_read(path: Path) -> None:
    step = 16 << 20
    for offset in range(0, SIZE, step):
        libluksde.read(path, PASSPHRASE, step, offset)


def bench_read(folder: Path, version: Version, key: Path) -> None:
    path = folder / f"{version}.img"
    read = ("read", path, "--key-file", key, "-o", "/dev/null")
    works: dict[str, tuple[Work, int]] = {
        "luksmeta read": (program(*read), SIZE),
        "luksmeta read, portable": (program(*read, LUKSMETA_ENGINE="portable"), SIZE),
        "dissect.fve (16 MiB)": (lambda: dissect.read(path, PASSPHRASE, SLOW), SLOW),
        "cat": (cat(path), SIZE),
    }
    if version == "luks1":
        works["qemu-img"] = (qemu_read(path, key), SIZE)
        works["nbdkit + nbdcopy"] = (nbdkit_read(path, key), SIZE)
        works["libluksde"] = (lambda: luksde_read(path), SIZE)
    compare(f"read {version}", works)


def bench_write(folder: Path, key: Path, plain: Path) -> None:
    path = folder / "luks1.img"
    works: dict[str, tuple[Work, int]] = {
        "luksmeta write": (program("write", path, "--key-file", key, "-i", plain), SIZE),
        "qemu-img convert -n": (qemu_write(path, key, plain), SIZE),
    }
    compare("write luks1", works)


def bench_memory(folder: Path, key: Path) -> None:
    """The most memory that ``read`` takes, against a process that has only imported it."""
    idle = most_memory("-c", "import luksmeta.cli.root, luksmeta.cli.reading")
    print(f"\nmemory, most of it at any time: {idle / 1e6:.1f} MB after the imports")
    for length in (1 << 20, 64 << 20, SIZE):
        read = ("read", folder / "luks1.img", "--key-file", key, "--length", str(length))
        taken = most_memory("-m", "luksmeta", *read, "-o", "/dev/null")
        print(f"  luksmeta read of {length >> 20:5} MiB {(taken - idle) / 1e6:8.1f} MB more")


# A process begins with the peak of the one that starts it, so a small one does.
_STARTER = """
import os, sys
out = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
pid = os.posix_spawn(sys.executable, [sys.executable, *sys.argv[1:]], os.environ, file_actions=out)
_, status, usage = os.wait4(pid, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def most_memory(*arguments: str | Path) -> int:
    """The peak of a Python process's resident set, in bytes."""
    command = [sys.executable, "-I", "-S", "-c", _STARTER, *arguments]
    answer = subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    return int(answer.stdout) << 10


def bench_random(folder: Path) -> None:
    """4 KiB at random places of a sparse TiB, against the system call and the cipher alone."""
    path, count, places = folder / "sparse.img", 20_000, random.Random(1)
    with (
        luksmeta.format(path, PASSPHRASE, size=1 << 40, sector_size=512, pbkdf=KDF) as volume,
        volume.unlock(PASSPHRASE) as unlocked,
        unlocked.open() as stream,
        path.open("rb") as file,
        engine.create("aes-xts-plain64", unlocked.volume_key) as cipher,
    ):
        offsets = [places.randrange(stream.size >> 12) << 12 for _ in range(count)]
        buffer, descriptor = memoryview(bytearray(4096)), file.fileno()
        works: dict[str, Callable[[int], object]] = {
            "system call": lambda offset: os.preadv(descriptor, [buffer], offset),
            "cipher": lambda offset: cipher.decrypt_into(offset >> 9, buffer, buffer),
            "stream.read_into_at": lambda offset: stream.read_into_at(offset, buffer),
        }
        times: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(ROUNDS):
            for name, work in works.items():
                start = time.perf_counter()
                for offset in offsets:
                    work(offset)
                times[name].append((time.perf_counter() - start) / count)
    print(f"\n4 KiB at random places of a sparse TiB: medians of {ROUNDS}, in turns")
    for name, taken in times.items():
        print(f"  {name:30} {1e6 * statistics.median(taken):8.2f} microseconds")
    path.unlink()


def main() -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        folder = Path(name)
        key = folder / "key"
        key.write_bytes(PASSPHRASE)
        content = os.urandom(1 << 20)
        versions: tuple[Version, ...] = ("luks1", "luks2")
        for version in versions:
            make(folder / f"{version}.img", version, content)
            bench_read(folder, version, key)
        bench_memory(folder, key)
        bench_random(folder)
        (folder / "luks2.img").unlink()
        plain = folder / "plain"
        plain.write_bytes(content * (SIZE >> 20))
        bench_write(folder, key, plain)


if __name__ == "__main__":
    main()
