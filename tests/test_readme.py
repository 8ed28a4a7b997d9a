"""The README's examples run as written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import luksmeta
from tests.corpus import PROJECT

README = (PROJECT / "README.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_python_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    cheap = luksmeta.Argon2id(time=4, memory=32, cpus=1)
    monkeypatch.setattr(luksmeta.Argon2id, "calibrate", lambda **_: cheap)
    (example,) = _blocks("python")
    exec(compile(example, "README.md", "exec"), {})
    version_and_uuid, tried, *found = capsys.readouterr().out.splitlines()
    assert version_and_uuid.startswith("2 ")
    assert tried == "(1,)"
    uuid = version_and_uuid.split()[1]
    assert found == [f"0x0 2 primary {uuid}", f"0x4000 2 secondary {uuid}"]


def test_the_first_command_does_what_it_says(tmp_path: Path) -> None:
    lines = _blocks("sh")[0].splitlines()
    main_job = [line for line in lines if "luksmeta " in line and "pip" not in line]
    assert len(main_job) == 3
    program = f'luksmeta() {{ {sys.executable} -m luksmeta "$@"; }}\n' + "\n".join(main_job)
    done = subprocess.run(["sh", "-ec", program], cwd=tmp_path, capture_output=True, check=True)
    assert b"keyslot 1 added" in done.stdout
    assert b"Keyslot 1  opens segment 0" in done.stdout


def test_every_command_stands_in_the_readme() -> None:
    from luksmeta.cli.root import root

    for name in root.commands or root.list_commands(None):  # type: ignore[arg-type]  # unused there
        assert f"`{name}`" in README or f"luksmeta {name}" in README, name
