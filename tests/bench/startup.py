"""How long ``luksmeta dump`` takes, beside an interpreter that does nothing.

Run it with ``python -m tests.bench.startup``. The contract is 150 ms on an idle core.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests import builders

_ROUNDS = 21
_IMPORTS_SHOWN = 12


def seconds(command: Sequence[str | Path]) -> float:
    """The wall-clock time of one run."""
    start = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - start


def slowest_imports(command: Sequence[str | Path]) -> list[tuple[int, str]]:
    """Microseconds of their own and names of the modules that take the longest to import."""
    line = [command[0], "-X", "importtime", *command[1:]]
    report = subprocess.run(line, capture_output=True, check=True, text=True).stderr
    rows = [row.removeprefix("import time:").split("|") for row in report.splitlines()]
    found = [(int(row[0]), row[2].strip()) for row in rows if row[0].strip().isdecimal()]
    return sorted(found, reverse=True)[:_IMPORTS_SHOWN]


def main() -> None:
    """Print the medians, taking turns so that a busy machine disturbs all alike."""
    with tempfile.TemporaryDirectory() as folder:
        image = builders.file(Path(folder) / "volume.img", "luks2")
        commands: dict[str, list[str | Path]] = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "luksmeta --version": [sys.executable, "-m", "luksmeta", "--version"],
            "luksmeta dump": [sys.executable, "-m", "luksmeta", "dump", image],
            "luksmeta dump --json": [sys.executable, "-m", "luksmeta", "dump", "--json", image],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(_ROUNDS):
            for name, command in commands.items():
                times[name].append(seconds(command))
        for name, taken in times.items():
            print(f"{name:22} median {1e3 * statistics.median(taken):6.1f} ms, "
                  f"best {1e3 * min(taken):6.1f} ms")  # fmt: skip
        print("\nslowest imports of luksmeta dump, without what they import:")
        for microseconds, name in slowest_imports(commands["luksmeta dump"]):
            print(f"{microseconds / 1e3:8.1f} ms  {name}")


if __name__ == "__main__":
    main()
