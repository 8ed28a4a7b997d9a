"""Whole programs that read and write a volume: ``python -m tests.bench.data``.

A 1 GiB payload in memory (/dev/shm), read to /dev/null and written from a file, by us and by what
else can, in turns. Every program derives the same cheap key.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import luksmeta
from luksmeta.formatting import Version
from luksmeta.kdf.pbkdf import Pbkdf2
from tests.interop.peers import dissect, libluksde, nbdkit, qemu

PASSPHRASE = b"correct horse battery staple"
SIZE = 1 << 30
ROUNDS = 5
SLOW = 16 << 20  # bytes, for the reader that would take minutes
KDF = Pbkdf2(hash="sha256", iterations=1000)
MEMORY = Path("/dev/shm")

Work = Callable[[], object]


def make(path: Path, version: Version, content: bytes) -> None:
    header = (16 << 20) if version == "luks2" else (2 << 20)
    with (
        luksmeta.format(
            path,
            PASSPHRASE,
            size=header + SIZE,
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
        (folder / "luks2.img").unlink()
        plain = folder / "plain"
        plain.write_bytes(content * (SIZE >> 20))
        bench_write(folder, key, plain)


if __name__ == "__main__":
    main()
