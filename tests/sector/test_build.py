"""The native part as the package's build makes it, and as it goes without."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.corpus import PROJECT
from tests.requirement import missing

_BUILD = """
import sys
from setuptools import build_meta
_, dist = sys.argv  # setuptools replaces it
build_meta.build_wheel(dist)
"""
_FILES = ("pyproject.toml", "README.md", "LICENSE", "luksmeta/__init__.py", "luksmeta/sector")
_MODULE = "luksmeta/sector/_native.abi3.so"


def wheel(folder: Path, **environment: str) -> Path:
    """Build one from what the native part needs."""
    source, dist = folder / "source", folder / "dist"
    for name in _FILES:
        place = source / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, place, ignore=shutil.ignore_patterns("*.so", "*.pyc"))
        else:
            shutil.copyfile(PROJECT / name, place)
    dist.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", _BUILD, str(dist)],
        cwd=source,
        env=os.environ | environment,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (made,) = dist.glob("*.whl")
    return made


def names(archive: Path) -> set[str]:
    with zipfile.ZipFile(archive) as opened:
        return set(opened.namelist())


@pytest.mark.skipif(sys.platform == "win32", reason="CC names no compiler there")
def test_the_package_is_built_without_a_compiler_and_has_all_but_the_native_part(
    tmp_path: Path,
) -> None:
    held = names(wheel(tmp_path, CC=str(tmp_path / "no-compiler"), PATH=str(tmp_path)))
    assert _MODULE not in held
    assert {"luksmeta/sector/native.py", "luksmeta/sector/engine.py"} <= held


def test_one_native_part_serves_this_python_and_later_ones(tmp_path: Path) -> None:
    if shutil.which("cc") is None or not Path("/usr/include/openssl/evp.h").exists():
        missing("no C compiler and OpenSSL headers here")
    made = wheel(tmp_path)
    assert "-cp311-abi3-" in made.name
    assert _MODULE in names(made)
    assert "luksmeta/sector/_native.c" not in names(made)
