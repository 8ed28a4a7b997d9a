"""The completion scripts, asked as the shell asks them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from luksmeta.cli.root import root
from tests.cli.runner import done, luksmeta


def completed(folder: Path, *words: str) -> set[str]:
    """What bash completes for the last word of the command line ``luksmeta words…``."""
    command = folder / "bin" / "luksmeta"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m luksmeta "$@"\n')
    command.chmod(0o755)
    script = folder / "luksmeta.bash"
    script.write_text(done(luksmeta("completion", "bash")).out)
    line = " ".join(f"'{word}'" for word in ("luksmeta", *words))
    asked = f"""
        source {script}
        COMP_WORDS=({line}); COMP_CWORD={len(words)}
        _luksmeta_completion luksmeta
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    environment = {**os.environ, "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}"}
    answer = subprocess.run(
        ["bash", "--norc", "-c", asked], capture_output=True, check=True, env=environment, text=True
    )
    return set(answer.stdout.split())


def test_bash_completes_commands(tmp_path: Path) -> None:
    assert completed(tmp_path, "") == set(root.list_commands(click.Context(root)))
    assert completed(tmp_path, "re") == {
        "read", "recover", "remove-key", "renew-digest", "repair", "report", "restore-header"
    }  # fmt: skip


def test_bash_completes_options_and_their_values(tmp_path: Path) -> None:
    assert completed(tmp_path, "format", "--luks2-") == {
        "--luks2-metadata-size", "--luks2-keyslots-size"
    }  # fmt: skip
    assert completed(tmp_path, "format", "--type", "") == {"luks1", "luks2"}
    assert "--header" in completed(tmp_path, "dump", "--")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_script_is_for_this_command(shell: str) -> None:
    script = done(luksmeta("completion", shell)).out
    assert "_LUKSMETA_COMPLETE" in script
