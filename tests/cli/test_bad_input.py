"""What is no volume, may not be touched, or does not fit: the status, one line, nothing lost."""

from __future__ import annotations

import inspect
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from luksmeta.format_options import Version
from tests import builders
from tests.builders import FIRST, SECOND, VERSIONS
from tests.cli.runner import (
    CHEAP,
    Argument,
    as_ordinary_user,
    done,
    key_file,
    luksmeta,
    opens,
    process,
    refused,
)
from tests.cli.volumes import COMMANDS, WRITERS, Command, detach, folder_with
from tests.requirement import missing

OTHERS = tuple(each for each in COMMANDS if each.name not in ("format", "restore-header"))
SHOWING = ("inspect", "report")  # what is there instead
REFUSING = tuple(each for each in OTHERS if each.name not in SHOWING)
on_others = pytest.mark.parametrize("command", OTHERS, ids=lambda command: command.name)
on_writers = pytest.mark.parametrize("command", WRITERS, ids=lambda command: command.name)
on_versions = pytest.mark.parametrize("version", VERSIONS)


@pytest.mark.parametrize("command", REFUSING, ids=lambda command: command.name)
def test_what_is_no_luks_volume_is_status_4(command: Command, tmp_path: Path) -> None:
    image = folder_with(tmp_path, "luks2")
    content = image.read_bytes()
    luks3 = content[:6] + b"\0\3" + bytes(1 << 20)
    for stranger in (b"", b"LUKS", bytes(1 << 20), content[:100], content[:4100], luks3):
        image.write_bytes(stranger)
        refused(luksmeta(*command.line(image)), 4, str(image))
        assert image.read_bytes() == stranger
    image.unlink()
    refused(luksmeta(*command.line(image)), 4, str(image), "no such file")
    image.mkdir()
    refused(luksmeta(*command.line(image)), 4, str(image), "is a directory")


@on_versions
@pytest.mark.parametrize("size", [6, 8, 591, 600, 4096, 16384, 20480, 32768, 100_000, 500_000])
def test_a_truncated_volume_is_refused_wherever_it_ends(
    version: Version, size: int, tmp_path: Path
) -> None:
    image = builders.file(tmp_path / "volume.img", version)
    os.truncate(image, size)
    before = image.read_bytes()
    for line in (("dump", image), ("unlock", image, "-d", key_file(tmp_path))):
        answer = luksmeta(*line)
        if answer.status == 0:
            assert version == "luks1"  # whose first keyslot may lie ahead of the cut
            assert line[0] == "dump" or size > 4096 + 128_000
        else:
            refused(answer, 4, str(image))
    assert image.read_bytes() == before


@on_others
def test_a_file_without_read_permission_is_status_2(command: Command, tmp_path: Path) -> None:
    if command.name not in ("dump", "unlock", "write"):
        return
    image = folder_with(tmp_path, "luks2")
    image.chmod(0)
    text = refused(as_ordinary_user(*command.line(image)), 2, str(image), "permission denied")
    assert "check the file's owner and mode" in text


def test_a_file_without_write_permission_is_status_2_and_stays(tmp_path: Path) -> None:
    image = folder_with(tmp_path, "luks2")
    image.chmod(0o400)
    before = image.read_bytes()
    for command in WRITERS:
        refused(as_ordinary_user(*command.line(image)), 2, str(image), "permission denied")
    for command in OTHERS:
        if not command.writes:
            done(as_ordinary_user(*command.line(image)))
    assert image.read_bytes() == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB, where the system lets us mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "luksmeta-test", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        missing("a small file system cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_read_only_file_system_is_status_2(small_disk: Path) -> None:
    image = folder_with(small_disk, "luks2")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for command in WRITERS:
        refused(luksmeta(*command.line(image)), 2, str(image), "read-only file system")
    assert opens(image, FIRST)
    refused(luksmeta("read", image, "-d", small_disk / "first", "-o", small_disk / "x"), 2, "/x:")


def fill(folder: Path, *, leave: int) -> None:
    """Leave so many bytes of the file system free."""
    state = os.statvfs(folder)
    (folder / "filler").write_bytes(bytes(state.f_bavail * state.f_frsize - leave))


def test_a_full_disk_stops_read_and_leaves_no_file(small_disk: Path) -> None:
    image = builders.file(small_disk / "volume.img", "luks2")
    key = key_file(small_disk)
    done(luksmeta("write", image, "-d", key, stdin=os.urandom(builders.DATA_SIZE)))
    fill(small_disk, leave=16 << 10)
    before = set(small_disk.iterdir())
    plain = small_disk / "plain"
    refused(luksmeta("read", image, "-d", key, "-o", plain), 4, str(plain), "no space left")
    key_out = small_disk / "volume-key"
    assert set(small_disk.iterdir()) == before
    fill_rest = small_disk / "filler-2"
    fill_rest.write_bytes(bytes(16 << 10))
    refused(luksmeta("volume-key", image, "-d", key, "-o", key_out), 4, str(key_out))
    backup = small_disk / "backup"
    refused(luksmeta("backup-header", image, "-o", backup), 4, str(backup), "no space left")
    assert set(small_disk.iterdir()) == {*before, fill_rest}


def test_a_full_disk_stops_format_and_leaves_no_file(small_disk: Path) -> None:
    line = ("format", small_disk / "new", *CHEAP)
    refused(luksmeta(*line, "--size", "20M", stdin=b"pw\n"), 4, "new: no space left")
    assert not list(small_disk.iterdir())
    file = small_disk / "there"
    file.write_bytes(bytes(100))
    refused(luksmeta("format", file, *CHEAP, "--size", "20M", stdin=b"pw\n"), 4, "no space left")
    assert file.read_bytes() == bytes(100)
    data, header = small_disk / "data", small_disk / "header"
    apart = ("format", data, "--header", header, *CHEAP)
    refused(luksmeta(*apart, "--size", "1M", stdin=b"pw\n"), 4, "header: no space left")
    assert list(small_disk.iterdir()) == [file]


def test_a_full_disk_stops_write_and_the_volume_still_opens(small_disk: Path) -> None:
    image = small_disk / "sparse.img"
    done(
        luksmeta("format", image, "--size", "8M", "--luks2-keyslots-size", "512k", *CHEAP,
                 stdin=FIRST)
    )  # fmt: skip
    fill(small_disk, leave=64 << 10)
    key, before = key_file(small_disk.parent), image.read_bytes()
    data = small_disk.parent / "data"
    data.write_bytes(os.urandom(1 << 20))
    refused(luksmeta("write", image, "-d", key, "-i", data), 4, "sparse.img: no space left")
    assert opens(image, FIRST)
    assert image.read_bytes()[: 1 << 20] == before[: 1 << 20]


def test_a_file_size_limit_stops_format_and_leaves_no_file(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 20, 8 << 20))

    line = ("format", tmp_path / "new", "--size", "20M", *CHEAP)
    refused(process(*line, stdin=b"pw\n", preexec_fn=limit), 4, "new: file too large")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", ["99", "-1", "32", "7"])
def test_a_keyslot_that_is_not_there_is_status_1(number: str, tmp_path: Path) -> None:
    image = folder_with(tmp_path, "luks2")
    before = image.read_bytes()
    first, third = tmp_path / "first", tmp_path / "third"
    new: tuple[Argument, ...] = ("-d", first, "--new-keyfile", third, *CHEAP)
    lines: list[tuple[Argument, ...]] = [
        ("unlock", image, "-d", first, "-S", number),
        ("read", image, "-d", first, "-S", number, "-o", tmp_path / "plain"),
        ("change-key", image, *new, "-S", number),
        ("config", image, "--priority", "high", "-S", number),
        ("kill-slot", "-d", first, image, "--", number),
    ]
    if number != "7":
        lines += [("add-key", image, *new, "-S", number)]
        lines += [("add-key", image, *new, "--new-key-slot", number)]
    for line in lines:
        refused(luksmeta(*line), 1, str(image), f"keyslot {number}:")
    assert image.read_bytes() == before


def test_a_keyslot_that_is_taken_is_status_1(tmp_path: Path) -> None:
    image = folder_with(tmp_path, "luks2")
    before = image.read_bytes()
    line = ("add-key", image, "-d", tmp_path / "first", "--new-keyfile", tmp_path / "third")
    refused(luksmeta(*line, *CHEAP, "-S", "1"), 1, str(image), "keyslot 1: in use")
    assert image.read_bytes() == before


def test_a_full_keyslots_area_is_status_1_and_says_what_makes_room(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks2", FIRST, SECOND, b"3", b"4")
    key = key_file(tmp_path)
    before = image.read_bytes()
    answer = luksmeta("add-key", image, "-d", key, "--new-keyfile", key, *CHEAP)
    refused(answer, 1, str(image), "kill-slot makes room")
    assert image.read_bytes() == before


@on_writers
def test_a_volume_locked_by_another_process_is_status_5(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    from luksmeta import locking

    if command.name == "write":
        return  # locks the header for reading only
    image = folder_with(tmp_path, command.versions[-1])
    before = image.read_bytes()
    monkeypatch.setitem(_defaults(locking.locked), "wait_seconds", 0.05)
    with image.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        refused(luksmeta(*command.line(image)), 5, str(image), "locked by another process")
    assert image.read_bytes() == before


def _defaults(function: object) -> dict[str, object]:
    """The values of a function's keywords, also behind its decorator."""
    defaults: dict[str, object] = inspect.unwrap(function).__kwdefaults__  # type: ignore[arg-type]
    return defaults


def test_one_damaged_copy_is_warned_of_and_standard_output_stays_clean(tmp_path: Path) -> None:
    image = folder_with(tmp_path, "luks2")
    with image.open("r+b") as file:
        file.seek(5000)
        file.write(b"\xff")
    before = image.read_bytes()
    answer = luksmeta("dump", image, "--json")
    assert answer.status == 0
    assert answer.json["header_copies"][0]["problem"]
    assert answer.err.count("\n") == 1
    assert answer.err.startswith(f"luksmeta: warning: {image}: primary header copy at 0x0: ")
    answer = luksmeta("unlock", image, "-d", tmp_path / "first")
    assert (answer.status, answer.out) == (0, f"{image}: keyslot 0 opens\n")
    assert image.read_bytes() == before


@on_versions
def test_a_detached_header_without_its_option_is_hinted_at(
    version: Version, tmp_path: Path
) -> None:
    image = folder_with(tmp_path, version)
    detach(image)
    refused(luksmeta("unlock", image, stdin=FIRST), 4, "not a LUKS volume", "--header")


def test_a_kdf_above_the_limit_is_status_3(tmp_path: Path) -> None:
    image = tmp_path / "volume.img"
    argon = ("--pbkdf-force-iterations", "4", "--pbkdf-memory", "64", "--pbkdf-parallel", "1")
    done(
        luksmeta("format", image, "--size", "2M", "--luks2-keyslots-size", "512k", *argon,
                 stdin=FIRST)
    )  # fmt: skip
    done(luksmeta("unlock", image, "--max-memory", "64", stdin=FIRST))
    answer = luksmeta("unlock", image, "--max-memory", "63", stdin=FIRST)
    parts = ("keyslot 0: argon2id: memory is 64 KiB, the limit 63 KiB", "--max-memory")
    refused(answer, 3, str(image), *parts)


def with_costs(image: Path, **costs: str | int) -> None:
    document = builders.document_of(image.read_bytes())
    for keyslot in document["keyslots"].values():
        keyslot["kdf"] = {**costs, "salt": keyslot["kdf"]["salt"]}
    image.write_bytes(builders.with_document(image.read_bytes(), document))


def test_more_lanes_than_allowed_are_status_3(tmp_path: Path) -> None:
    image = folder_with(tmp_path, "luks2")
    with_costs(image, type="argon2id", time=4, memory=1024, cpus=65)
    text = "keyslot 0: argon2id: cpus is 65, the limit 64"
    refused(luksmeta("unlock", image, stdin=FIRST), 3, text, "--max-threads")
    refused(luksmeta("unlock", image, "--max-threads", "65", stdin=FIRST), 2, "tried 0, 1")


def test_a_limit_that_no_option_raises_has_no_hint(tmp_path: Path) -> None:
    image = folder_with(tmp_path, "luks2")
    with_costs(image, type="pbkdf2", hash="sha256", iterations=1 << 31)
    text = refused(luksmeta("unlock", image, stdin=FIRST), 3, "keyslot 0: pbkdf2: iterations is")
    assert "--max" not in text


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("unlock", ()),
        ("read", ("-o", "{d}/plain")),
        ("write", ("-i", "{d}/data")),
        ("volume-key", ("-o", "{d}/key")),
        ("add-key", ("--new-keyfile", "{d}/third", *CHEAP)),
        ("change-key", ("--new-keyfile", "{d}/third", *CHEAP)),
        ("convert-key", CHEAP),
        ("renew-digest", ()),
        ("remove-key", ()),
        ("kill-slot", ("1",)),
    ],
)
def test_a_kdf_that_would_take_too_long_is_refused_by_every_command_that_unlocks(
    name: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    image = folder_with(tmp_path, "luks2")
    with_costs(image, type="argon2id", time=(1 << 32) - 1, memory=1024, cpus=1)
    before = image.read_bytes()
    more = [option.format(d=tmp_path) for option in options]
    line: list[Argument] = [name, image, *more, "-d", tmp_path / "first", "--max-time", "2.5"]
    parts = ("keyslot 0: argon2id: would take about", "the limit is 2500 ms", "--max-time raises")
    refused(luksmeta(*line), 3, str(image), *parts)
    assert image.read_bytes() == before


def test_the_digest_is_held_to_the_limit_before_the_keyslot_is_paid_for(tmp_path: Path) -> None:
    image = folder_with(tmp_path, "luks2")
    document = builders.document_of(image.read_bytes())
    document["digests"]["0"]["iterations"] = (1 << 31) - 1
    image.write_bytes(builders.with_document(image.read_bytes(), document))
    text = "digest 0: pbkdf2: would take about"
    line = ("unlock", image, "--max-time", "2")
    refused(luksmeta(*line, stdin=FIRST), 3, f"keyslot 0: {text}")
    key = key_file(tmp_path, builders.VOLUME_KEY, "volume-key")
    refused(luksmeta(*line, "--volume-key-file", key), 3, text)
    both = ("diff", image, tmp_path / "backup")
    refused(luksmeta(*both, "--max-time", "2", "--volume-key-file", key), 3, text)


def test_with_debug_there_is_a_traceback_and_no_secret(tmp_path: Path) -> None:
    image = folder_with(tmp_path, "luks2")
    secret = b"the passphrase that nobody may see"
    new = key_file(tmp_path, secret, "secret")
    first = tmp_path / "first"
    lines: list[tuple[Argument, ...]] = [
        ("unlock", image, "-d", new),
        ("unlock", image),
        ("add-key", image, "-d", first, "--new-keyfile", new, *CHEAP, "-S", "1"),
        ("add-key", image, "-d", first, "--new-keyfile", new, *CHEAP, "--keyslot-cipher", "x"),
        ("read", image, "-d", first, "-o", tmp_path),
        ("volume-key", image, "-d", first, "-o", first),
    ]
    for line in lines:
        answer = luksmeta(*line, "--debug", stdin=secret)
        assert answer.status not in (0, 130)
        assert "Traceback" in answer.err
        assert answer.err.splitlines()[-1].startswith("luksmeta: error: ")
        for hidden in (secret, FIRST, builders.VOLUME_KEY):
            assert hidden.decode("latin-1") not in answer.err
            assert hidden.hex() not in answer.err
            assert repr(hidden) not in answer.err
        assert "Traceback" not in luksmeta(*line, stdin=secret).err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_standard_error_that_cannot_be_written_changes_no_status(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks2")
    damaged = tmp_path / "damaged.img"
    damaged.write_bytes(bytes(4096) + image.read_bytes()[4096:])  # is warned of
    for line, status in (
        (("unlock", image, "-d", key_file(tmp_path, SECOND)), 2),
        (("unlock", damaged, "-d", key_file(tmp_path, FIRST, "first")), 0),
        (("nonsense",), 1),
    ):
        command = [sys.executable, "-m", "luksmeta", *map(str, line)]
        for redirection in ("2> /dev/full", "2>&-"):
            shell = ["sh", "-c", f'"$@" {redirection}', "sh", *command]
            result = subprocess.run(shell, capture_output=True, check=False)
            assert result.returncode == status


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_AS"), reason="no limit on addresses")
def test_memory_that_the_system_does_not_give_is_status_3(tmp_path: Path) -> None:
    """A view in the error's traceback, still exported to C, crashed the interpreter at its end."""
    content = builders.document_of(
        (image := builders.file(tmp_path / "v.img", "luks2")).read_bytes()
    )
    kdf = content["keyslots"]["0"]["kdf"]
    content["keyslots"]["0"]["kdf"] = {
        "type": "argon2id", "time": 4, "memory": 1 << 20, "cpus": 1, "salt": kdf["salt"],
    }  # fmt: skip
    image.write_bytes(builders.with_document(image.read_bytes(), content))
    limit = 600 << 20
    answer = process(
        "unlock", image, stdin=FIRST,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )  # fmt: skip
    refused(answer, 3, str(image), "keyslot 0", "1048576 KiB", "could not be had")
