"""What is shipped, and what the project's files must not hold."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from tests.corpus import PROJECT
from tests.source import kept_files

_BUILD = """
import sys
from setuptools import build_meta
_, dist = sys.argv  # setuptools replaces it
build_meta.build_sdist(dist)
build_meta.build_wheel(dist)
"""
# Where people and build machines keep their checkouts; and what a package index is called.
_MACHINE_PATH = re.compile(rb"(?<![\w.~-])/(?:root|work|builds?|workspace|Users/\w+)/[\w.]")
_INDEX = re.compile(rb"(?:index-url|find-links|trusted-host|[\w-]+\.(?:internal|corp|lan)\b)")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel, built from a copy of what git keeps."""
    source, dist = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for path in kept_files():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PROJECT / path, source / path)
    command = [sys.executable, "-c", _BUILD, str(dist)]
    result = subprocess.run(command, cwd=source, capture_output=True, check=False, text=True)
    assert result.returncode == 0, result.stderr
    return dist


@pytest.fixture(scope="module")
def wheel_files(built: Path) -> set[str]:
    """Every file in the wheel."""
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def sdist_files(built: Path) -> set[str]:
    """Every file in the sdist, without the folder that they lie in."""
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        members = [PurePosixPath(member.name) for member in archive if member.isfile()]
    return {str(PurePosixPath(*member.parts[1:])) for member in members}


def _kept(*folders: str) -> set[str]:
    return {path.as_posix() for path in kept_files() if path.parts[0] in folders}


def test_the_wheel_holds_the_package_and_nothing_else(wheel_files: set[str]) -> None:
    shipped = {name for name in wheel_files if ".dist-info/" not in name}
    sources = {name for name in _kept("luksmeta") if not name.endswith(".c")}
    assert {name for name in shipped if not name.endswith(".so")} == sources
    assert "luksmeta/py.typed" in shipped
    assert any(name.endswith("/LICENSE") for name in wheel_files - shipped)


def test_the_sdist_holds_what_is_needed_to_build_and_test(sdist_files: set[str]) -> None:
    needed = _kept("luksmeta", "tests", "spec") | {"pyproject.toml", "README.md", "LICENSE"}
    assert needed - sdist_files == set()


def test_no_image_is_among_the_files(sdist_files: set[str]) -> None:
    names = sdist_files | {path.as_posix() for path in kept_files()}
    assert not [name for name in names if name.endswith((".xz", ".img", ".gz", ".key", ".luks"))]


def test_no_file_names_a_place_on_one_machine() -> None:
    found = [
        f"{path}: {match[0].decode()}"
        for path in kept_files()
        if path != Path(__file__).relative_to(PROJECT)
        for pattern in (_MACHINE_PATH, _INDEX)
        for match in pattern.finditer((PROJECT / path).read_bytes())
    ]
    assert not found, "\n".join(found)


def test_the_command_tells_the_version_of_the_project() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    command = [sys.executable, "-m", "luksmeta", "--version"]
    told = subprocess.run(command, capture_output=True, check=False, text=True)
    assert project["version"] in told.stdout, told.stderr
    assert importlib.metadata.version("luksmeta") == project["version"]
