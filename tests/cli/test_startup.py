"""What commands import: little, and nothing that only Linux has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from luksmeta.format_options import Version
from tests import builders
from tests.source import modules

HEAVY = ("argon2", "_argon2_cffi_bindings", "cryptography", "rich", "ctypes.util", "hypothesis")
NOT_FOR_DUMP = ("luksmeta.volume", "luksmeta.sector", "luksmeta.cli.prompt", "tempfile")
NOT_FOR_UNLOCKING = (
    *("rich", "hypothesis", "tempfile", "luksmeta.diagnosis", "luksmeta.dm", "luksmeta.forensics"),
    *("luksmeta.configuration", "luksmeta.erasure", "luksmeta.moving", "luksmeta.resizing"),
    *("luksmeta.trust.canonical", "luksmeta.trust.seal", "luksmeta.trust.verification"),
    "luksmeta.volume_tokens",
)
OTHER_VERSION = {"luks1": "luksmeta.luks2.header", "luks2": "luksmeta.luks1.header"}
ONLY_UNIX = ("fcntl", "termios", "tty", "pty", "resource", "pwd", "grp", "syslog")


def python(script: str) -> str:
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=False, text=True
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def loaded_by(*arguments: str) -> list[str]:
    """The modules in memory after this command line, which must succeed."""
    script = f"""
import sys
from luksmeta.cli.root import run
status = run({list(arguments)!r})
print("MODULES", *sys.modules)
sys.exit(status)
"""
    return python(script).rpartition("MODULES")[2].split()


@pytest.mark.parametrize("version", builders.VERSIONS)
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_dump_imports_nothing_heavy(version: Version, options: list[str], tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", version)
    loaded = loaded_by("dump", str(image), *options)
    assert "luksmeta.header" in loaded
    assert not [name for name in loaded if name.startswith((*HEAVY, *NOT_FOR_DUMP))]


@pytest.mark.parametrize("version", builders.VERSIONS)
@pytest.mark.parametrize("command", [["unlock"], ["read", "-o", os.devnull]])
def test_unlocking_imports_nothing_that_only_changes_need(
    version: Version, command: list[str], tmp_path: Path
) -> None:
    image = builders.file(tmp_path / "volume.img", version)
    key = tmp_path / "key"
    key.write_bytes(builders.FIRST)
    loaded = loaded_by(*command, str(image), "--key-file", str(key))
    assert "luksmeta.unlocked_volume" in loaded
    strangers = (*NOT_FOR_UNLOCKING, OTHER_VERSION[version])
    assert not [name for name in loaded if name.startswith(strangers)]


def test_help_imports_nothing_heavy() -> None:
    assert not [name for name in loaded_by("--help") if name.startswith(HEAVY)]


def test_every_module_imports_where_there_is_no_unix() -> None:
    """As on Windows: the standard library is loaded, then Unix is hidden and luksmeta is new."""
    names = [f"luksmeta.{module.name}".rstrip(".") for module in modules()]
    names = [name for name in names if not name.endswith("__main__")]
    script = f"""
import importlib, sys
names = {names!r}
for name in names:
    importlib.import_module(name)
for name in [name for name in sys.modules if name.partition(".")[0] == "luksmeta"]:
    del sys.modules[name]
for name in {ONLY_UNIX!r}:
    sys.modules[name] = None
sys.platform = "win32"
for name in names:
    importlib.import_module(name)
print(len(names))
"""
    assert int(python(script)) == len(names) > 50
