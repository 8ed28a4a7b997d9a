"""How long whole commands take, beside an interpreter that does nothing.

Run it with ``python -m tests.bench.startup``. The contract for dump is 150 ms on an idle core. All
run from compiled modules, as installed, whatever PYTHONDONTWRITEBYTECODE says here. An editable
install adds 9 ms, which ``python -c pass`` shows.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from luksmeta.format_options import Version
from tests.bench import data

_ROUNDS = 21
_IMPORTS_SHOWN = 12


def seconds(command: Sequence[str | Path], environment: Mapping[str, str]) -> float:
    """The wall-clock time of one run."""
    start = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True, env=environment)
    return time.perf_counter() - start


def slowest_imports(
    command: Sequence[str | Path], environment: Mapping[str, str]
) -> list[tuple[int, str]]:
    """Microseconds of their own and names of the modules that take the longest to import."""
    line = [command[0], "-X", "importtime", *command[1:]]
    done = subprocess.run(line, capture_output=True, check=True, text=True, env=environment)
    report = done.stderr
    rows = [row.removeprefix("import time:").split("|") for row in report.splitlines()]
    found = [(int(row[0]), row[2].strip()) for row in rows if row[0].strip().isdecimal()]
    return sorted(found, reverse=True)[:_IMPORTS_SHOWN]


def compiled(folder: Path) -> dict[str, str]:
    """The environment in which a first run leaves compiled modules in ``folder``."""
    without = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**without, "PYTHONPYCACHEPREFIX": str(folder)}


def command_lines(folder: Path) -> dict[str, list[str | Path]]:
    """The commands by name, each with a volume of 1 MiB where it wants one."""
    luksmeta = [sys.executable, "-m", "luksmeta"]
    commands: dict[str, list[str | Path]] = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "--version": [*luksmeta, "--version"],
        "--help": [*luksmeta, "--help"],
    }
    key = folder / "key"
    key.write_bytes(data.PASSPHRASE)
    versions: tuple[Version, ...] = ("luks1", "luks2")
    for version in versions:
        image = folder / version
        data.make(image, version, bytes(1 << 20), size=1 << 20)
        unlocked = (image, "--key-file", key)
        commands[f"dump {version}"] = [*luksmeta, "dump", image]
        commands[f"dump --json {version}"] = [*luksmeta, "dump", "--json", image]
        commands[f"unlock {version}"] = [*luksmeta, "unlock", *unlocked]
        commands[f"read {version}"] = [*luksmeta, "read", *unlocked, "-o", os.devnull]
    return commands


def main() -> None:
    """Print the medians, taking turns so that a busy machine disturbs all alike."""
    with tempfile.TemporaryDirectory() as name:
        commands, environment = command_lines(Path(name)), compiled(Path(name) / "compiled")
        for command in commands.values():
            seconds(command, environment)
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(_ROUNDS):
            for title, command in commands.items():
                times[title].append(seconds(command, environment))
        for title, taken in times.items():
            print(f"{title:22} median {1e3 * statistics.median(taken):6.1f} ms, "
                  f"best {1e3 * min(taken):6.1f} ms")  # fmt: skip
        for title in ("dump luks2", "read luks1"):
            print(f"\nslowest imports of {title}, without what they import:")
            for microseconds, module in slowest_imports(commands[title], environment):
                print(f"{microseconds / 1e3:8.1f} ms  {module}")


if __name__ == "__main__":
    main()
