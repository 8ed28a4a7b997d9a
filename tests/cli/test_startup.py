"""What commands import: little, and nothing that only Linux has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from luksmeta.format_options import Version
from tests import builders
from tests.source import modules

HEAVY = ("argon2", "_argon2_cffi_bindings", "cryptography", "rich", "ctypes.util", "hypothesis")
NOT_FOR_DUMP = ("luksmeta.volume", "luksmeta.sector", "luksmeta.cli.prompt", "tempfile")
ONLY_UNIX = ("fcntl", "termios", "tty", "pty", "resource", "pwd", "grp", "syslog")


def python(script: str) -> str:
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=False, text=True
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.mark.parametrize("version", builders.VERSIONS)
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_dump_imports_nothing_heavy(version: Version, options: list[str], tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", version)
    script = f"""
import sys
from luksmeta.cli.root import run
status = run(["dump", {str(image)!r}, *{options!r}])
print("MODULES", *sys.modules)
sys.exit(status)
"""
    loaded = python(script).rpartition("MODULES")[2].split()
    assert "luksmeta.header" in loaded
    assert not [name for name in loaded if name.startswith((*HEAVY, *NOT_FOR_DUMP))]


def test_help_imports_nothing_heavy() -> None:
    script = """
import sys
from luksmeta.cli.root import run
run(["--help"])
print("MODULES", *sys.modules)
"""
    loaded = python(script).rpartition("MODULES")[2].split()
    assert not [name for name in loaded if name.startswith(HEAVY)]


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
