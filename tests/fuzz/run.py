"""The fuzzer: ``python -m tests.fuzz.run [TARGET…] [--seconds N | --runs N] [--corpus FOLDER]``.

Coverage-guided, with atheris (libFuzzer). Each target runs in a process of its own, all together
for ``--seconds``, or ``--runs`` executions; the same seed every time. An execution that ends in
anything but a LuksError, or takes more than its bounds, ends the run, and its input is kept in
``--findings``. Where atheris has no wheel for this Python, the tests beside this file fuzz alone.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Final

from tests.corpus import PROJECT

NAMES: Final = ("luks1", "luks2", "json", "keyslot")
_SEED: Final = 20240601
_MEMORY_MAX: Final = 1024  # MiB of the whole process, its coverage and its corpus included
_REPORTED: Final = 1000  # executions from one line about good headers to the next
_HANG_SECONDS: Final = 30  # of the clock; the bound proper is one of processor time


def fuzz(name: str, libfuzzer: list[str]) -> None:
    """Fuzz one target in this process; does not return."""
    import atheris  # only where it is installed

    with atheris.instrument_imports(include=["luksmeta"]):
        from tests.fuzz import bounds, operations, seeds, targets

    operations.use_few_stripes()
    target = targets.TARGETS[name]
    good = [seed for seed in seeds.seeds(name) if target.run_all(seed)]
    executed = accepted = 0

    def one_input(data: bytes) -> None:
        nonlocal executed, accepted
        with bounds.bounded():
            accepted += target.run(data)
        executed += 1
        if executed % _REPORTED == 0:  # libFuzzer ends the process without a word to Python
            print(f"accepted {accepted} of {executed}", file=sys.stderr)

    def mutated(data: bytes, max_size: int, seed: int) -> bytes:
        random = Random(seed)
        if target.mutate is not None and random.randrange(4):
            try:
                # Of what is wrong already nothing good comes: half the time back to the start.
                data = random.choice((data, random.choice(good)))
                return target.mutate(data, random)[:max_size]
            except (ValueError, RecursionError):  # no JSON text any more
                pass
        return bytes(atheris.Mutate(data, max_size))

    custom = {"custom_mutator": mutated} if target.mutate else {}
    atheris.Setup([sys.argv[0], f"-max_len={target.longest}", *libfuzzer], one_input, **custom)
    atheris.Fuzz()


def run_target(
    name: str, limit: str, folder: Path, corpus: Path | None, findings: Path
) -> dict[str, object]:
    """Fuzz one target in a process of its own; what came of it."""
    from tests.fuzz.seeds import dictionary, found, seeds

    seed_folder, words = folder / name, folder / "dictionary"
    seed_folder.mkdir()
    for number, seed in enumerate([*seeds(name), *found(name)]):
        (seed_folder / f"{number:04}").write_bytes(seed)
    words.write_text(dictionary())
    grown = folder / f"{name}-grown" if corpus is None else corpus / name
    grown.mkdir(parents=True, exist_ok=True)
    findings.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "tests.fuzz.run", "--child", name, "--"),
        *(limit, f"-seed={_SEED}", f"-rss_limit_mb={_MEMORY_MAX}", f"-timeout={_HANG_SECONDS}"),
        *(f"-dict={words}", f"-artifact_prefix={findings}/{name}-", "-print_final_stats=1"),
        *(str(grown), str(seed_folder)),
    ]
    started = time.monotonic()
    with (folder / f"{name}.log").open("w+") as log:
        status = subprocess.run(
            command, cwd=PROJECT, stdout=log, stderr=subprocess.STDOUT, check=False
        ).returncode
        log.seek(0)
        text = log.read()
    return {
        "target": name,
        "status": status,
        "seconds": round(time.monotonic() - started, 1),
        **_figures(text),
        "log": text if status else "",
    }


def _figures(log: str) -> dict[str, int | float]:
    """Executions, the share of headers that were good, and the coverage: edges and features."""
    figures: dict[str, int | float] = {}
    if executions := re.findall(r"^stat::number_of_executed_units:\s*(\d+)", log, re.MULTILINE):
        figures["executions"] = int(executions[-1])
    if accepted := re.findall(r"^accepted (\d+) of (\d+)$", log, re.MULTILINE):
        good, executed = map(int, accepted[-1])
        figures["accepted"] = round(good / executed, 3)
    if coverage := re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", log):
        figures |= dict(zip(("edges", "features", "corpus"), map(int, coverage[-1]), strict=True))
    return figures


def main(arguments: list[str]) -> int:
    """The exit status: 0 when nothing was found."""
    if arguments[:1] == ["--child"]:
        fuzz(arguments[1], arguments[3:])
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(NAMES))
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together")
    parser.add_argument("--runs", type=int, help="executions of each target, instead")
    parser.add_argument("--corpus", type=Path, help="a folder that keeps what was found out")
    parser.add_argument("--findings", type=Path, default=PROJECT / "findings")
    options = parser.parse_args(arguments)
    chosen = options.targets or list(NAMES)
    if unknown := set(chosen) - set(NAMES):
        parser.error(f"no target {', '.join(sorted(unknown))}; known are {', '.join(NAMES)}")
    if importlib.util.find_spec("atheris") is None:
        print("tests.fuzz.run: atheris is not installed; hypothesis has fuzzed alone")
        return 0
    limit = f"-max_total_time={max(1, options.seconds // len(chosen))}"
    if options.runs is not None:
        limit = f"-runs={options.runs}"
    found = False
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            result = run_target(name, limit, Path(folder), options.corpus, options.findings)
            found |= bool(result["status"])
            if log := result.pop("log"):
                print(log)
            print(json.dumps(result), flush=True)
    return int(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
