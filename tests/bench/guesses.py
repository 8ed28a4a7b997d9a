"""Guesses a second, and what more processes give: ``python -m tests.bench.guesses``.

Everything in turns in one run, whole programs, medians of ROUNDS; beside them bruteforce-luks with
as many threads, where it is installed (Debian package bruteforce-luks).
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import luksmeta
from luksmeta.kdf import machine

ROUNDS = 3
WORDS = 60
ITERATIONS = 50_000


def seconds(command: list[str]) -> float:
    """How long a search in vain takes."""
    start = time.perf_counter()
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return time.perf_counter() - start


def candidates(image: Path, words: Path, processors: int) -> dict[str, list[str]]:
    """The commands by their names."""
    ours = [sys.executable, "-m", "luksmeta", "unlock", str(image), "--words", str(words)]
    found = {
        f"luksmeta, {count} processes": [*ours, "--processes", str(count)]
        for count in dict.fromkeys((1, processors))
    }
    peer = shutil.which("bruteforce-luks")
    if peer is not None:
        threads = ["-t", str(processors), "-f", str(words), str(image)]
        found[f"bruteforce-luks, {processors} threads"] = [peer, *threads]
    return found


def main() -> None:
    """Print each program's guesses a second, and its ratio to the first."""
    with tempfile.TemporaryDirectory() as folder:
        image, words = Path(folder) / "image", Path(folder) / "words"
        words.write_text("".join(f"word {number}\n" for number in range(WORDS)))
        kdf = luksmeta.Pbkdf2(hash="sha256", iterations=ITERATIONS)
        luksmeta.format(image, b"none of them", size="20M", pbkdf=kdf).close()
        commands = candidates(image, words, machine.usable_cpus())
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                times[name].append(seconds(command))
    rates = {name: WORDS / statistics.median(each) for name, each in times.items()}
    first = next(iter(rates.values()))
    for name, rate in rates.items():
        print(f"pbkdf2-sha256 x{ITERATIONS}  {name:28} {rate:7.1f} guesses/s  {rate / first:5.2f}x")


if __name__ == "__main__":
    main()
