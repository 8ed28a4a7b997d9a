"""``read`` and ``write``: which bytes, where to, and what stays when it does not work."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from luksmeta.format_options import Version
from tests import builders
from tests.builders import DATA_SIZE, FIRST, VERSIONS
from tests.cli.runner import (
    CHEAP,
    COMMAND,
    Argument,
    done,
    key_file,
    luksmeta,
    piped,
    process,
    refused,
)
from tests.corpus import Corpus, corpus_image, stream

CONTENT = stream("cli/data", DATA_SIZE)


@pytest.fixture(params=VERSIONS)
def image(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A volume that holds CONTENT."""
    version: Version = request.param
    path = builders.file(tmp_path / "volume.img", version)
    key_file(tmp_path)
    done(luksmeta("write", path, "-d", tmp_path / "key", stdin=CONTENT))
    return path


def key(image: Path) -> tuple[Argument, ...]:
    return ("-d", image.parent / "key")


def plain(image: Path, *options: Argument) -> bytes:
    return done(luksmeta("read", image, *key(image), *options)).raw


def test_read_gives_what_was_written(image: Path, tmp_path: Path) -> None:
    assert plain(image) == CONTENT
    file = tmp_path / "plain"
    answer = done(luksmeta("read", image, *key(image), "-o", file))
    assert answer.raw == b""
    assert file.read_bytes() == CONTENT


def test_read_gives_the_plaintext_that_others_wrote(corpus: Corpus) -> None:
    import hashlib

    image = corpus_image("made/l2-sector4096-xts")
    secret = image.passphrases[0].secret
    for known in image.payload:
        part = ("--offset", str(known.offset), "--length", str(known.length))
        answer = done(luksmeta("read", corpus(image.name), "-d", "-", *part, stdin=secret))
        assert hashlib.sha256(answer.raw).hexdigest() == known.sha256


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, 1), (1, 511), (511, 2), (513, 4096), (0, DATA_SIZE), (DATA_SIZE - 1, 1), (DATA_SIZE, 0)],
)
def test_offset_and_length_are_bytes(image: Path, offset: int, length: int) -> None:
    options = ("--offset", str(offset), "--length", str(length))
    assert plain(image, *options) == CONTENT[offset : offset + length]


def test_sizes_may_have_units(image: Path) -> None:
    assert plain(image, "--offset", "1k", "--length", "2KiB") == CONTENT[1024:3072]
    assert plain(image, "--offset", "63k") == CONTENT[63 << 10 :]


@pytest.mark.parametrize(("offset", "length"), [("65537", None), ("0", "65537"), ("65536", "1")])
def test_reading_past_the_end_is_status_1(
    image: Path, offset: str, length: str | None, tmp_path: Path
) -> None:
    options = ["--offset", offset, *([] if length is None else ["--length", length])]
    for target in ((), ("-o", tmp_path / "plain")):
        answer = luksmeta("read", image, *key(image), *options, *target)
        text = refused(answer, 1, str(image), offset, str(DATA_SIZE))
        assert " 0 bytes" not in text
    assert not (tmp_path / "plain").exists()


def test_read_replaces_a_file_at_once_and_keeps_links(image: Path, tmp_path: Path) -> None:
    file, link = tmp_path / "plain", tmp_path / "link"
    file.write_bytes(b"old")
    link.symlink_to(file)
    before = file.stat().st_ino
    done(luksmeta("read", image, *key(image), "-o", link))
    assert link.is_symlink()
    assert file.read_bytes() == CONTENT
    assert file.stat().st_ino != before  # another file took the name
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"volume.img", "key", "plain", "link"}


def test_zeroes_become_holes(tmp_path: Path) -> None:
    image, file = tmp_path / "volume.img", tmp_path / "plain"
    done(luksmeta("format", image, "--size", "32M", *CHEAP, "-d", key_file(tmp_path)))
    content = bytearray(16 << 20)
    content[5 << 20 : (5 << 20) + 100] = b"x" * 100
    content[-1:] = b"y"
    done(luksmeta("write", image, *key(image), stdin=bytes(content)))
    done(luksmeta("read", image, *key(image), "-o", file))
    assert file.read_bytes() == content
    assert file.stat().st_blocks * 512 <= 64 << 10


def test_the_volume_and_its_keys_are_not_replaced_by_plaintext(image: Path, tmp_path: Path) -> None:
    volume_key, header = tmp_path / "volume-key", tmp_path / "header"
    volume_key.write_bytes(builders.VOLUME_KEY)
    header.write_bytes(image.read_bytes())
    hard, soft = tmp_path / "hard", tmp_path / "soft"
    hard.hardlink_to(image)
    soft.symlink_to(image)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    unlocked: tuple[Argument, ...] = ("--volume-key-file", volume_key, "--header", header)
    for options, targets in (
        (key(image), (image, hard, soft, tmp_path / "key")),
        (unlocked, (image, header, volume_key)),
    ):
        for target in targets:
            refused(luksmeta("read", image, *options, "-o", target), 1, f"{target}: is the ")
    for target in (image, hard, soft, header):
        line = ("write", image, *unlocked, "-i", target)
        refused(luksmeta(*line), 1, f"{target}: is ", "itself")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_dash_is_standard_output(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert plain(image, "-o", "-") == CONTENT
    assert {path.name for path in tmp_path.iterdir()} == {"volume.img", "key"}


def test_an_error_is_told_also_where_the_file_cannot_be_removed(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, where an open file cannot be."""

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    def denied(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "fsync", fails)
    monkeypatch.setattr(Path, "unlink", denied)
    for command in ("read", "volume-key"):
        answer = luksmeta(command, image, *key(image), "-o", tmp_path / "file")
        refused(answer, 4, f"{tmp_path / 'file'}: input/output error")


def test_read_writes_to_devices_and_named_pipes(image: Path, tmp_path: Path) -> None:
    done(luksmeta("read", image, *key(image), "-o", "/dev/null"))
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with subprocess.Popen(["cat", fifo], stdout=subprocess.PIPE) as reader:
        done(luksmeta("read", image, *key(image), "-o", fifo))
        assert reader.communicate()[0] == CONTENT


@pytest.mark.parametrize("where", ["", "missing/plain"])
def test_a_place_where_no_file_can_be_is_status_4(image: Path, tmp_path: Path, where: str) -> None:
    target = tmp_path / where
    refused(luksmeta("read", image, *key(image), "-o", target), 4, str(target))


def shell(script: str, *arguments: Argument) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in which ``"$@"`` is the command line of luksmeta."""
    line = [*COMMAND, *map(str, arguments)]
    return subprocess.run(
        ["bash", "-c", script, "bash", *line], capture_output=True, timeout=60, check=False
    )


def test_a_reader_that_leaves_early_ends_read_quietly(tmp_path: Path) -> None:
    image = tmp_path / "volume.img"
    done(luksmeta("format", image, "--size", "64M", *CHEAP, "-d", key_file(tmp_path)))
    script = '"$@" | head -c 10 | wc -c; exit ${PIPESTATUS[0]}'
    result = shell(script, "read", image, *key(image))
    assert result.returncode == 128 + 13  # SIGPIPE, as with any filter
    assert (result.stdout.strip(), result.stderr) == (b"10", b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("length", ["10", "65536"])
def test_a_full_or_closed_standard_output_is_status_4(image: Path, length: str) -> None:
    line: list[Argument] = ["read", image, *key(image), "--length", length]
    assert b": standard output: no space" in shell('"$@" > /dev/full', "--help").stderr
    for lines in (line, ["dump", image], ["dump", image, "--json"]):
        result = shell('"$@" > /dev/full', *lines)
        assert result.returncode == 4
        assert result.stderr == b"luksmeta: error: standard output: no space left on device\n"
        result = shell('"$@" >&-', *lines)
        assert result.returncode == 4
        assert result.stderr == b"luksmeta: error: standard output: is closed\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("command", ["hash", "report", "backup-header", "export-header"])
def test_a_new_file_is_said_to_be_whole_where_nothing_else_can_be_said(
    image: Path, tmp_path: Path, command: str
) -> None:
    for number, redirection in enumerate(("> /dev/full", ">&-")):
        new = tmp_path / f"new{number}"
        result = shell(f'"$@" {redirection}', command, image, "-o", new)
        assert result.returncode == 4
        assert f"written, and complete: {new}".encode() in result.stderr
        assert new.stat().st_size > 0


@pytest.mark.parametrize(
    ("offset", "size"), [(0, 10), (1, 511), (511, 2), (5000, 10_000), (DATA_SIZE - 3, 3), (7, 0)]
)
@pytest.mark.parametrize("source", ["file", "stdin", "pipe", "dash"])
def test_write_changes_these_bytes_and_no_others(
    image: Path, tmp_path: Path, offset: int, size: int, source: str
) -> None:
    new = stream("cli/new", size)
    line: list[Argument] = ["write", image, *key(image), "--offset", str(offset)]
    (tmp_path / "new").write_bytes(new)
    if source == "file":
        answer = luksmeta(*line, "-i", tmp_path / "new")
    elif source == "pipe":
        answer = piped(*line, stdin=new)
    else:
        answer = luksmeta(*line, *(["-i", "-"] if source == "dash" else []), stdin=new)
    assert done(answer).out == f"{image}: {size} bytes written at {offset}\n"
    assert plain(image) == CONTENT[:offset] + new + CONTENT[offset + size :]


@pytest.mark.parametrize("source", ["file", "stdin", "pipe"])
@pytest.mark.parametrize("offset", [DATA_SIZE - 10, DATA_SIZE, DATA_SIZE + 1])
def test_writing_past_the_end_is_status_1_and_writes_nothing(
    image: Path, tmp_path: Path, source: str, offset: int
) -> None:
    before = image.read_bytes()
    line: list[Argument] = ["write", image, *key(image), "--offset", str(offset)]
    (tmp_path / "new").write_bytes(bytes(11))
    if source == "file":
        answer = luksmeta(*line, "-i", tmp_path / "new")
    else:
        answer = (piped if source == "pipe" else luksmeta)(*line, stdin=bytes(11))
    refused(answer, 1, str(image))
    assert image.read_bytes() == before


def test_the_passphrase_may_be_the_first_line_and_the_data_what_follows(image: Path) -> None:
    for run, data in ((luksmeta, b"one\ntwo\n"), (piped, b"\n\n\0three")):
        done(run("write", image, "--offset", "3", stdin=FIRST + b"\n" + data))
        assert plain(image, "--offset", "3", "--length", str(len(data))) == data


def test_the_key_may_be_the_first_bytes_and_the_data_what_follows(image: Path) -> None:
    size = str(len(FIRST))
    done(piped("write", image, "-d", "-", "-l", size, stdin=FIRST + b"data"))
    assert plain(image, "--length", "4") == b"data"


def test_key_and_data_cannot_both_be_all_of_standard_input(image: Path) -> None:
    before = image.read_bytes()
    for run in (luksmeta, piped):
        for more in ((), ("-i", "-"), ("-l", "0")):
            refused(run("write", image, "-d", "-", *more, stdin=FIRST), 1, "--keyfile-size")
    assert image.read_bytes() == before


def test_the_first_bytes_may_be_the_key_also_without_a_key_file(image: Path) -> None:
    size = str(len(FIRST))
    for run in (luksmeta, piped):
        done(run("write", image, "-l", size, stdin=FIRST + b"\ndata"))
        assert plain(image, "--length", "5") == b"\ndata"


def test_a_wrong_passphrase_writes_nothing(image: Path) -> None:
    before = image.read_bytes()
    refused(luksmeta("write", image, stdin=b"wrong\ndata"), 2, str(image))
    assert image.read_bytes() == before


def test_an_input_that_cannot_be_read_is_named(image: Path, tmp_path: Path) -> None:
    before = image.read_bytes()
    for name, text in ((tmp_path / "missing", "no such file"), (tmp_path, "is a directory")):
        refused(luksmeta("write", image, *key(image), "-i", name), 1, f"{name}: {text}")
    assert image.read_bytes() == before


def test_a_pipe_larger_than_memory_is_kept_for_is_written_whole(tmp_path: Path) -> None:
    image, file = tmp_path / "volume.img", tmp_path / "plain"
    done(luksmeta("format", image, "--size", "60M", *CHEAP, "-d", key_file(tmp_path)))
    content = os.urandom(1 << 20) * 40
    done(process("write", image, *key(image), "--offset", "5", stdin=content))
    size = str(len(content))
    done(luksmeta("read", image, *key(image), "-o", file, "--offset", "5", "--length", size))
    assert file.read_bytes() == content


def test_a_pipe_one_byte_too_long_writes_nothing(tmp_path: Path) -> None:
    image = tmp_path / "volume.img"
    done(luksmeta("format", image, "--size", "17M", *CHEAP, "-d", key_file(tmp_path)))
    before = image.read_bytes()
    room = 1 << 20
    text = refused(process("write", image, *key(image), stdin=b"x" * (room + 1)), 1, str(image))
    assert str(room) in text
    assert "nothing was written" in text
    assert image.read_bytes() == before
    done(process("write", image, *key(image), stdin=b"x" * room))


def test_a_dry_run_shows_whole_sectors_of_the_device(image: Path) -> None:
    line = ("write", image, *key(image), "--offset", "700", "--dry-run", "--json")
    start = luksmeta("dump", image, "--json").json["data_offset"]
    for run in (luksmeta, piped):
        assert done(run(*line, stdin=b"x" * 600)).json == {
            "plan": [{"step": "write", "offset": start + 512, "length": 1024, "what": "data"}]
        }


@pytest.mark.parametrize(("blocks", "sectors"), [(1024, 4096), (4096, 4096), (1024, 512)])
def test_a_file_system_that_no_kernel_would_mount_is_warned_of(
    tmp_path: Path, blocks: int, sectors: int
) -> None:
    """What mke2fs makes of less than 512 MiB has blocks of 1024 bytes."""
    superblock = bytearray(1024)
    superblock[24:28] = (blocks // 2048).to_bytes(4, "little")  # 0: 1024, 2: 4096
    superblock[56:58] = b"\x53\xef"
    image, content = tmp_path / "volume", bytes(1024) + bytes(superblock)
    size = ("--size", "17M", "--sector-size", str(sectors))
    done(luksmeta("format", image, *size, *CHEAP, stdin=FIRST))
    for more in (("--dry-run",), ()):
        answer = luksmeta("write", image, *more, stdin=FIRST + b"\n" + content)
        assert answer.status == 0
        assert ("--sector-size 512" in answer.err) == (blocks < sectors)
    assert done(luksmeta("read", image, "--length", "2048", stdin=FIRST)).raw == content


def test_write_reports_in_json(image: Path) -> None:
    answer = done(luksmeta("write", image, *key(image), "--offset", "9", "--json", stdin=b"data"))
    assert answer.json == {"offset": 9, "written": 4}


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit elsewhere")
def test_memory_does_not_grow_with_the_volume(tmp_path: Path) -> None:
    image = tmp_path / "volume.img"
    done(luksmeta("format", image, "--size", "256M", *CHEAP, stdin=b"secret\n"))
    key_file(tmp_path, b"secret")

    def peak(length: str) -> int:
        """In bytes, of a process that reads so much."""
        read = ("read", image, "-d", tmp_path / "key", "--length", length, "-o", os.devnull)
        child = subprocess.Popen([*COMMAND, *map(str, read)])
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0
        return usage.ru_maxrss << 10

    assert peak("192M") - peak("1M") < 16 << 20


def test_a_dry_run_of_read_is_about_the_file(image: Path, tmp_path: Path) -> None:
    file, key = tmp_path / "plain", key_file(tmp_path)
    line = ("read", image, "-d", key, "--offset", "512", "--length", "1000")
    plan = done(luksmeta(*line, "-o", file, "--dry-run", "--json")).json["plan"]
    assert [(step["offset"], step["length"]) for step in plan] == [(0, 1000)]
    assert str(file) in done(luksmeta(*line, "-o", file, "--dry-run")).out
    assert not file.exists()
    said = done(luksmeta(*line, "-o", file, "--json")).json
    assert said == {"file": str(file), "offset": 512, "read": 1000}
    assert file.stat().st_size == 1000
    for option in ("--dry-run", "--json"):
        refused(luksmeta(*line, option), 1, "-o")
        refused(luksmeta(*line, option, "-o", "-"), 1, "-o")
