"""What holds for every command alike: its forms of output, dry runs, detached headers, help."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import click
import pytest

from luksmeta.cli.root import root
from luksmeta.cli.tokens import token_command
from luksmeta.format_options import Version
from tests import builders
from tests.builders import FIRST, VERSIONS
from tests.cli.runner import CHEAP, as_ordinary_user, done, luksmeta, opens, piped, refused
from tests.cli.volumes import COMMANDS, WRITERS, Command, detach, folder_with

CASES = [
    pytest.param(command, version, id=f"{command.name}-{version}")
    for command in COMMANDS
    for version in command.versions
]
WRITING_CASES = [
    pytest.param(command, version, id=f"{command.name}-{version}")
    for command in WRITERS
    for version in command.versions
]


def state(folder: Path) -> dict[str, str]:
    """The hash of every file."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.parametrize(("command", "version"), CASES)
def test_every_command_succeeds_and_says_so(
    command: Command, version: Version, tmp_path: Path
) -> None:
    image = folder_with(tmp_path, version)
    answer = done(luksmeta(*command.line(image)))
    assert command.name == "read" or answer.out
    assert not answer.out.startswith("{")


@pytest.mark.parametrize(("command", "version"), CASES)
def test_with_json_standard_output_is_one_document(
    command: Command, version: Version, tmp_path: Path
) -> None:
    image = folder_with(tmp_path, version)
    answer = done(luksmeta(*command.line(image, "--json")))
    assert isinstance(json.loads(answer.out), dict)


@pytest.mark.parametrize(("command", "version"), WRITING_CASES)
def test_a_dry_run_prints_the_plan_and_writes_nothing(
    command: Command, version: Version, tmp_path: Path
) -> None:
    image = folder_with(tmp_path, version)
    image.chmod(0o400)
    before = state(tmp_path)
    answer = done(luksmeta(*command.line(image, "--dry-run")))
    assert answer.out.startswith("Nothing was written. The write plan:\n")
    plan = done(luksmeta(*command.line(image, "--dry-run", "--json"))).json["plan"]
    assert {step["step"] for step in plan} <= {
        "barrier", "write", "copy", "random", "zero", "reserve", "resize"
    }  # fmt: skip
    assert any(step.get("length") for step in plan)
    assert len(plan) == sum(line.startswith("  ") for line in answer.out.splitlines())
    assert state(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "version"),
    [
        *(
            (name, version)
            for name in ("backup-header", "export-header", "volume-key")
            for version in VERSIONS
        ),
        ("token export", "luks2"),
    ],
)
def test_a_dry_run_says_which_file_it_would_make(
    name: str, version: Version, tmp_path: Path
) -> None:
    image = folder_with(tmp_path, version)
    command = next(each for each in COMMANDS if each.name == name)
    before = state(tmp_path)
    plan = done(luksmeta(*command.line(image, "--dry-run", "--json"))).json["plan"]
    text = done(luksmeta(*command.line(image, "--dry-run"))).out
    assert state(tmp_path) == before
    done(luksmeta(*command.line(image)))
    (made,) = set(tmp_path.iterdir()) - {tmp_path / known for known in before}
    size = made.stat().st_size
    assert [(step["offset"], step["length"]) for step in plan] == [(0, size)]
    assert text.startswith("Nothing was written.")
    assert str(size) in text
    assert str(made) in text
    refused(luksmeta(*command.line(image, "--dry-run")), 5, str(made), "exists")


def test_a_dry_run_of_volume_key_is_about_a_file(tmp_path: Path) -> None:
    image = folder_with(tmp_path, "luks2")
    refused(luksmeta("volume-key", image, "--dry-run", "-q", stdin=FIRST), 1, "-o")


def test_a_dry_run_needs_no_right_to_write(tmp_path: Path) -> None:
    for version in VERSIONS:
        folder = tmp_path / version
        folder.mkdir()
        image = folder_with(folder, version)
        for path in folder.iterdir():
            path.chmod(0o444)
        for command in WRITERS:
            if version in command.versions and command.name != "format":
                done(as_ordinary_user(*command.line(image, "--dry-run")))


@pytest.mark.parametrize(("command", "version"), CASES)
def test_every_command_takes_a_detached_header(
    command: Command, version: Version, tmp_path: Path
) -> None:
    image = folder_with(tmp_path, version)
    header = detach(image)
    before = image.read_bytes()
    if command.name not in ("format", "report"):  # a report says what is missing
        assert luksmeta(*command.line(image)).status != 0 or command.name == "restore-header"
        image.write_bytes(before)
    done(luksmeta(*command.line(image, "--header", header)))
    if command.name != "write":
        assert image.read_bytes() == before


@pytest.mark.parametrize(("command", "version"), CASES)
def test_what_a_command_leaves_still_opens_unless_it_took_the_key(
    command: Command, version: Version, tmp_path: Path
) -> None:
    image = folder_with(tmp_path, version)
    done(luksmeta(*command.line(image)))
    if command.name not in ("change-key", "erase"):
        assert opens(image, FIRST)


@pytest.mark.parametrize(
    "name",
    [None, *root.list_commands(None), *(f"token {name}" for name in token_command.commands)],  # type: ignore[arg-type]
)
def test_help_fits_a_terminal_and_describes_every_option(name: str | None) -> None:
    answer = done(luksmeta(*(name or "").split(), "--help"))
    assert max(map(len, answer.out.splitlines())) <= 100
    assert answer.out.startswith("Usage: luksmeta")
    if name is not None:
        command: click.Command | None = root
        for word in name.split():
            assert isinstance(command, click.Group)
            command = command.get_command(None, word)  # type: ignore[arg-type]
        assert command is not None
        assert command.help
        undescribed = [
            each.name for each in command.params if isinstance(each, click.Option) and not each.help
        ]
        assert not undescribed


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((), "missing command"),
        (("no-such",), "'no-such'"),
        (("dump",), "'IMAGE'"),
        (("dump", ""), "empty"),
        (("unlock", "a", "-d", ""), "empty"),
        (("dump", "a", "b"), "(b)"),
        (("dump", "a", "--nonsense"), "'--nonsense'"),
        (("read", "a", "--offset", "12x"), "'12x'"),
        (("read", "a", "--offset", "-1"), "'-1'"),
        (("read", "a", "--length", ""), "size ''"),
        (("read", "a", "--length", "9999999999999999999G"), "9999999999999999999G"),
        (("write", "a", "--offset", "0x10"), "'0x10'"),
        (("kill-slot", "a"), "'N'"),
        (("kill-slot", "a", "one"), "'one'"),
        (("unlock", "a", "-S", "x"), "'x'"),
        (("unlock", "a", "-T", "0"), "--tries"),
        (("check",), "'IMAGE...'"),
        (("export-header", "a"), "-o"),
        (("unlock", "a", "--max-memory", "0"), "--max-memory"),
        (("unlock", "a", "--max-time", "0"), "--max-time"),
        (("unlock", "a", "--max-time", "inf"), "--max-time"),
        (("unlock", "a", "--max-time", "nan"), "--max-time"),
        (("unlock", "a", "--max-threads", "0"), "--max-threads"),
        (("config", "a", "--luks2-keyslots-size", "x"), "'x'"),
        (("add-key", "a", "--unbound"), "--key-size"),
        (("add-key", "a", "-s", "256"), "--unbound"),
        (("add-key", "a", "--unbound", "-s", "100"), "multiple of 8"),
        (("volume-key", "a", "--unbound"), "-S"),
        (("renew-digest", "a", "-i", "9", "--pbkdf-force-iterations", "1000"), "exclude"),
        (("renew-digest", "a", "--pbkdf-force-iterations", "999"), "999"),
        (("unlock", "a", "-l", "1.5k"), "1.5k"),
        (("format", "a", "--type", "luks3"), "luks3"),
        (("config", "a", "--uuid", "nonsense"), "--uuid"),
        (("completion", "tcsh"), "tcsh"),
        (("token",), "missing command"),
        (("token", "nonsense", "a"), "'nonsense'"),
        (("token", "list"), "'IMAGE'"),
        (("token", "remove", "a"), "--token-id"),
        (("token", "import", "a", "--token-replace"), "--token-id"),
        (("remove-key", "a", "--matching", ""), "empty"),
    ],
)
def test_wrong_arguments_are_status_1_and_one_line(arguments: tuple[str, ...], part: str) -> None:
    refused(luksmeta(*arguments), 1, part, "--help")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("dmup", "dump"),
        ("addkey", "add-key"),
        ("luksDump", "dump"),
        ("luksOpen", "map"),
        ("luksHeaderBackup", "backup-header"),
    ],
)
def test_an_unknown_command_is_answered_with_the_likeliest(name: str, meant: str) -> None:
    refused(luksmeta(name), 1, f"no such command '{name}'. Did you mean '{meant}'?", "--help")


@pytest.mark.parametrize("group", [(), ("token",)])
def test_the_list_of_commands_is_cut_off_nowhere(
    group: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    commands = done(luksmeta(*group, "--help")).out.partition("Commands:")[2]
    assert "..." not in commands


@pytest.mark.parametrize("name", ["format", "add-key", "renew-digest"])
def test_help_states_only_ranges_that_there_are(name: str) -> None:
    assert "None" not in done(luksmeta(name, "--help")).out


HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\x08\x7f"


def with_hostile_words(folder: Path, version: Version) -> Path:
    """The same folder with terminal controls wherever a header holds text, and in its own name."""
    folder = folder / f"\x1b]0;folder\x07\x1b[2J-{version}"
    folder.mkdir()
    image = folder_with(folder, version)
    content = bytearray(image.read_bytes())
    fields = {"luks1": {168: 40}, "luks2": {24: 48, 168: 40, 208: 48}}  # label, UUID, subsystem
    for offset, size in fields[version].items():
        content[offset : offset + size] = HOSTILE.encode().ljust(size, b"\0")
    if version == "luks2":
        document = builders.document_of(bytes(content))
        document["tokens"] = {"0": {"type": HOSTILE, "keyslots": ["0"], HOSTILE: HOSTILE}}
        content[:] = builders.with_document(bytes(content), document)
    image.write_bytes(content)
    return image


@pytest.mark.parametrize(("command", "version"), CASES)
@pytest.mark.parametrize("option", [None, "--json", "--debug", "--dry-run"])
def test_nothing_from_disk_steers_the_terminal(
    command: Command, version: Version, option: str | None, tmp_path: Path
) -> None:
    image = with_hostile_words(tmp_path, version)
    answer = luksmeta(*command.line(image, *([option] if option else [])))
    for text in (answer.out, answer.err):
        assert not [each for each in text if not each.isprintable() and each != "\n"], text


def test_the_version_is_that_of_the_package() -> None:
    import luksmeta as package

    assert done(luksmeta("--version")).out == f"luksmeta, version {package.__version__}\n"


def test_a_passphrase_may_come_from_a_pipe(tmp_path: Path) -> None:
    image = folder_with(tmp_path, "luks2")
    answer = done(piped("unlock", image, stdin=FIRST + b"\nnothing reads this\n"))
    assert answer.out == f"{image}: keyslot 0 opens\n"


def test_format_of_a_new_file_dry_run_creates_nothing(tmp_path: Path) -> None:
    line = ("format", tmp_path / "new", "--size", "20M", *CHEAP, "--dry-run")
    assert "random" in done(luksmeta(*line, stdin=b"pw\n")).out
    header = ("--header", tmp_path / "new.hdr")
    assert done(luksmeta(*line, *header, "--json", stdin=b"pw\n")).json["plan"]
    assert not list(tmp_path.iterdir())
