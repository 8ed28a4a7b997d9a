"""Searching a disk: ``python -m tests.bench.scan``.

Files of 1 GiB in memory (/dev/shm), of random bytes, of text and of zeroes, searched by us, and
read by programs that do little else, in turns. The search is one process on one core; processor
time is what "a core" means. Then the sparse disk of 10 GiB with 20 headers, of the tests.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import luksmeta
from tests.bench.data import MEMORY, most_memory
from tests.corpus import PROJECT
from tests.forensics.test_scanner import great_disk

SIZE = 1 << 30
PIECE = 16 << 20
ROUNDS = 5
Work = Callable[[], object]


def contents() -> Iterator[tuple[str, bytes]]:
    text = (PROJECT / "README.md").read_bytes()
    yield "random", os.urandom(PIECE)
    yield "text", (text * (PIECE // len(text) + 1))[:PIECE]
    yield "zeroes", bytes(PIECE)


def program(*command: str | Path) -> Work:
    return lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=False)


def works(path: Path) -> dict[str, Work]:
    return {
        "luksmeta.scan": lambda: luksmeta.scan(path),
        "luksmeta.scan, unaligned": lambda: luksmeta.scan(path, unaligned=True),
        "luksmeta.scan, deep": lambda: luksmeta.scan(path, deep=True),
        "dd bs=256k": program("dd", f"if={path}", "of=/dev/null", "bs=256k", "status=none"),
        "grep -c": program("grep", "-a", "-c", "-F", "LUKS\udcba\udcbe", path),
    }


def processor_seconds() -> float:
    """Of this process and of all that it has started."""
    own, others = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def bench(name: str, path: Path) -> None:
    taken: dict[str, list[tuple[float, float]]] = {}
    for _ in range(ROUNDS):
        for title, work in works(path).items():
            clock, processor = time.perf_counter(), processor_seconds()
            work()
            times = (time.perf_counter() - clock, processor_seconds() - processor)
            taken.setdefault(title, []).append(times)
    print(f"\n1 GiB of {name}: medians of {ROUNDS}, in turns; GB a second by the clock, and a core")
    for title, each in taken.items():
        by_clock, by_core = (statistics.median(column) for column in zip(*each, strict=True))
        print(f"  {title:28} {SIZE / by_clock / 1e9:6.2f} {SIZE / by_core / 1e9:6.2f}")


def bench_great_disk(path: Path) -> None:
    """Where nearly all is holes."""
    great_disk(path)
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        found = luksmeta.scan(path)
        seconds.append(time.perf_counter() - start)
    taken = statistics.median(seconds)
    print(
        f"\n{found.size >> 30} GiB, all but {found.searched / 1e6:.0f} MB holes: {len(found)} "
        f"findings and {len(found.dismissed)} dismissed in {taken:.3f} s, "
        f"{found.searched / taken / 1e9:.2f} GB a second of what was read"
    )


def bench_memory(path: Path) -> None:
    """The most memory that a search takes, against a process that has only imported it."""
    idle = most_memory("-c", "import luksmeta.cli.root, luksmeta.cli.scan")
    print(f"\nmemory, most of it at any time: {idle / 1e6:.1f} MB after the imports")
    for size in (SIZE, 64 << 20, 1 << 20):  # downwards: what is cut off comes back as a hole
        os.truncate(path, size)
        taken = most_memory("-m", "luksmeta", "scan", path, "--json")
        print(f"  luksmeta scan of {size >> 20:5} MiB {(taken - idle) / 1e6:8.1f} MB more")


def main() -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        path = Path(folder) / "disk"
        for name, piece in contents():
            with path.open("wb") as file:
                for _ in range(SIZE // PIECE):
                    file.write(piece)
            bench(name, path)
        bench_memory(path)
        bench_great_disk(path)


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a terminal or a file
    main()
