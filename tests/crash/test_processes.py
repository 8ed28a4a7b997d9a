"""Real processes: what they write and flush, and what is left when one is killed by SIGKILL."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import luksmeta as package
from luksmeta.format_options import Version
from tests.builders import FIRST, VOLUME_KEY, file, key_behind
from tests.cli.runner import CHEAP, Argument, done, key_file, luksmeta
from tests.crash.processes import STRACE, Call, killed, traced
from tests.crash.recipe import NEW
from tests.interop.peers import cryptsetup

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="strace is for Linux")


@pytest.fixture(autouse=True)
def _strace() -> None:
    STRACE.require()


_OPEN_AFTERWARDS = {"add-key": [FIRST, NEW], "change-key": [NEW], "convert-key": [FIRST]}


def _line(command: str, image: Path) -> list[Argument]:
    """The command line that gives ``image`` the passphrase ``NEW``, or FIRST another KDF."""
    new: list[Argument] = ["--new-keyfile", key_file(image.parent, NEW, "new")]
    options: list[Argument] = ["-d", key_file(image.parent, FIRST), *CHEAP]
    return [command, image, *options, *(new if command != "convert-key" else [])]


@pytest.mark.parametrize(
    ("version", "command"),
    [("luks1", "add-key"), ("luks1", "change-key"), ("luks2", "change-key"), ("luks2", "add-key")],
)
def test_the_writes_and_flushes_of_a_process_are_the_plans(
    tmp_path: Path, version: Version, command: str
) -> None:
    image = file(tmp_path / "volume", version)
    line = _line(command, image)
    plan = done(luksmeta(*line, "--dry-run", "--json")).json["plan"]
    expected = [Call(image, step.get("offset"), step.get("length")) for step in plan]
    calls = traced(tmp_path, *line)
    assert calls == expected
    assert len(calls) >= 4
    assert calls[1::2] == [Call(image)] * (len(calls) // 2)  # every other one is a flush


@pytest.mark.parametrize("call", ["pwrite64", "fsync"])
@pytest.mark.parametrize(
    ("version", "command"),
    [
        ("luks1", "add-key"),
        ("luks1", "change-key"),
        ("luks2", "add-key"),
        ("luks2", "change-key"),
        ("luks2", "convert-key"),
    ],
)
def test_a_killed_process_leaves_a_way_in(
    tmp_path: Path, version: Version, command: str, call: str
) -> None:
    turn = 0
    was_killed = True
    while was_killed:
        turn += 1
        image = file(tmp_path / "volume", version)
        was_killed = killed(call, turn, *_line(command, image))
        opening = [secret for secret in (FIRST, NEW) if _opens(image, secret)]
        assert opening, f"killed at {call} number {turn}"
        assert cryptsetup.unlocks(image, opening[0])
    assert turn > 2  # the last one was not killed
    assert (
        opening == {"add-key": [FIRST, NEW], "change-key": [NEW], "convert-key": [FIRST]}[command]
    )


def _opens(image: Path, secret: bytes) -> bool:
    with package.open(image) as volume:
        try:
            return key_behind(volume, secret) == VOLUME_KEY
        except package.PassphraseError:
            return False


# Names of new files


@pytest.mark.parametrize(
    "arguments",
    [
        ("backup-header", "{volume}", "-o", "{new}"),
        ("volume-key", "{volume}", "-d", "{key}", "-o", "{new}"),
        ("read", "{volume}", "-d", "{key}", "-o", "{new}"),
        ("format", "{new}", "-d", "{key}", "--size", "4M", "--type", "luks1", *CHEAP),
    ],
    ids=lambda arguments: arguments[0],
)
def test_the_name_of_a_new_file_is_flushed_behind_its_content(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    names = {
        "volume": file(tmp_path / "volume", "luks2"),
        "key": key_file(tmp_path),
        "new": folder / "new",
    }
    flushed = [
        call.file
        for call in traced(tmp_path, *(each.format_map(names) for each in arguments))
        if call.offset is None
    ]
    assert folder in flushed
    assert flushed.index(folder) > 0  # the file's content first
    assert {path.parent for path in flushed[: flushed.index(folder)]} == {folder}
