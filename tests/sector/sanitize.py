"""The native part under AddressSanitizer and UndefinedBehaviorSanitizer.

``python -m tests.sector.sanitize [pytest arguments]`` builds ``_native.c`` with warnings as
errors and both sanitizers, aside from the installed one, and runs its tests on that. Needs gcc,
its libasan, OpenSSL's and Python's headers; Linux only.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest

from luksmeta import sector
from tests.corpus import PROJECT

NAME = "luksmeta.sector._native"
COMPILER = os.environ.get("CC", "gcc")
FLAGS = [
    *("-std=c11", "-O1", "-g", "-fno-omit-frame-pointer", "-fPIC", "-shared"),
    *(
        "-Wall",
        "-Wextra",
        "-Wshadow",
        "-Wstrict-prototypes",
        "-Wconversion",
        "-Wno-sign-conversion",
    ),
    *("-Werror", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
]
# Memory that grows tells nothing here: the sanitizer keeps what is freed for a while.
# Uncaptured, for the sanitizers' reports end the process.
TESTS = ["tests/sector/test_native.py", "-s", "-k", "not memory", "-p", "no:cacheprovider"]


def build(folder: Path) -> Path:
    """Compile the C file; the module is the file that comes back."""
    module = folder / "_native.so"
    include = f"-I{sysconfig.get_path('include')}"
    source = PROJECT / "luksmeta" / "sector" / "_native.c"
    command = [COMPILER, *FLAGS, include, str(source), "-lcrypto", "-o", str(module)]
    subprocess.run(command, check=True)
    return module


def run_again(module: Path, arguments: list[str]) -> int:
    """This program once more, with the sanitizers' libraries loaded first."""
    libraries = [
        subprocess.run(
            [COMPILER, f"-print-file-name={name}"], check=True, capture_output=True, text=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter does not free all at its end
        "PYTHONMALLOC": "malloc",  # so that the edges of Python's buffers are watched
        "LUKSMETA_ENGINE": "native",
    }
    command = [sys.executable, "-m", "tests.sector.sanitize", "--module", str(module), *arguments]
    return subprocess.run(command, cwd=PROJECT, env=environment, check=False).returncode


def put_in_place(module: Path) -> None:
    """Have the sanitized module found wherever the installed one is asked for."""
    spec = importlib.util.spec_from_file_location(NAME, module)
    if spec is None or spec.loader is None:
        raise ImportError(str(module))
    sys.modules[NAME] = loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    sector._native = loaded  # what an import would do


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--module"]:
        put_in_place(Path(arguments[1]))
        return pytest.main([*TESTS, *arguments[2:]])
    with tempfile.TemporaryDirectory() as folder:
        return run_again(build(Path(folder)), arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
