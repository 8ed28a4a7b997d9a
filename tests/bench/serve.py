"""A served volume against nbdkit's luks filter: ``python -m tests.bench.serve``.

nbdcopy reads and writes the same LUKS1 volume in memory (/dev/shm) from both, in turns. Where other
programs take turns as well, the processor's time says more than the clock: both are told, of the
server and its client together.
"""

from __future__ import annotations

import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.data import MEMORY, PASSPHRASE, SIZE, make

ROUNDS = 7


@contextmanager
def _started(socket: Path, *command: str | Path) -> Iterator[str]:
    """A server in a process of its own; the URI of its socket."""
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL) as server:
        while not socket.exists():
            time.sleep(0.05)
        try:
            yield f"nbd+unix:///?socket={socket}"
        finally:
            server.send_signal(signal.SIGTERM)


def _processor() -> float:
    """Seconds that the ended children have taken."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _measure(
    serve: Callable[[], Iterator[str]], arguments: Callable[[str], list[str | Path]]
) -> tuple[float, float]:
    """Seconds on the clock for the copy, and on the processor from start to end."""
    before = _processor()
    with contextmanager(serve)() as uri:
        begun = time.perf_counter()
        subprocess.run(["nbdcopy", *map(str, arguments(uri))], check=True)
        clock = time.perf_counter() - begun
    return clock, _processor() - before


def main() -> None:
    """Print medians and ratios."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        folder = Path(name)
        image, key, plain, socket = (folder / each for each in ("image", "key", "plain", "s"))
        key.write_bytes(PASSPHRASE)
        content = os.urandom(1 << 20)
        make(image, "luks1", content)
        plain.write_bytes(content * (SIZE >> 21))

        def ours() -> Iterator[str]:
            serve = (sys.executable, "-m", "luksmeta", "serve", image, "--key-file", key)
            with _started(socket, *serve, "--socket", socket, "--writable") as uri:
                yield uri

        def nbdkit() -> Iterator[str]:
            luks = ("file", image, "--filter=luks", f"passphrase=+{key}")
            with _started(socket, "nbdkit", "-f", "-U", socket, *luks) as uri:
                yield uri
            socket.unlink(missing_ok=True)

        servers = {"luksmeta serve": ours, "nbdkit luks": nbdkit}
        copies: dict[str, Callable[[str], list[str | Path]]] = {
            "read": lambda uri: [uri, "null:"],
            "write": lambda uri: [plain, uri],
        }
        for what, arguments in copies.items():
            _compare(what, servers, arguments)


def _compare(
    what: str,
    servers: dict[str, Callable[[], Iterator[str]]],
    arguments: Callable[[str], list[str | Path]],
) -> None:
    taken: dict[str, list[tuple[float, float]]] = {server: [] for server in servers}
    for _ in range(ROUNDS):
        for server, serve in servers.items():
            taken[server].append(_measure(serve, arguments))
    print(f"\n{what} with nbdcopy: medians of {ROUNDS}, in turns; the processor's with the start")
    first = None
    for server, times in taken.items():
        clock, processor = (statistics.median(each) for each in zip(*times, strict=True))
        first = first or (clock, processor)
        print(
            f"  {server:20} {clock:7.3f} s ({clock / first[0]:.2f})"
            f" {processor:7.3f} s of the processor ({processor / first[1]:.2f})"
        )


if __name__ == "__main__":
    main()
