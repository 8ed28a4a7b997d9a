"""Passphrases from key files and from standard input: what is read, and what is refused."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from luksmeta.cli import prompt
from luksmeta.cli.prompt import KEY_FILE_MAX, KeySource
from luksmeta.secret import BytesLike, SecretBytes
from tests import builders
from tests.builders import FIRST, SECOND, THIRD
from tests.cli.runner import (
    CHEAP,
    Answer,
    as_ordinary_user,
    done,
    key_file,
    luksmeta,
    opens,
    piped,
    process,
    refused,
)

LONGEST = b"p" * 512


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return builders.file(tmp_path / "volume.img", "luks2", FIRST, SECOND)


def test_a_newline_of_a_key_file_belongs_to_the_passphrase(image: Path, tmp_path: Path) -> None:
    done(luksmeta("unlock", image, "-d", key_file(tmp_path)))
    refused(luksmeta("unlock", image, "-d", key_file(tmp_path, FIRST + b"\n")), 2, str(image))


def test_key_file_dash_takes_all_of_standard_input(image: Path) -> None:
    done(luksmeta("unlock", image, "-d", "-", stdin=FIRST))
    refused(luksmeta("unlock", image, "-d", "-", stdin=FIRST + b"\n"), 2)


def test_offset_and_size_cut_a_key_file(image: Path, tmp_path: Path) -> None:
    file = key_file(tmp_path, b"\0" * 1000 + FIRST + b"tail")
    part = ("--keyfile-offset", "1000", "-l", str(len(FIRST)))
    done(luksmeta("unlock", image, "-d", file, *part))
    done(luksmeta("unlock", image, "-d", "-", *part, stdin=file.read_bytes()))
    refused(luksmeta("unlock", image, "-d", file, "--keyfile-offset", "1000"), 2)
    text = refused(luksmeta("unlock", image, "-d", file, "--keyfile-offset", "2k"), 1, str(file))
    assert "offset 2048" in text
    text = refused(luksmeta("unlock", image, "-d", file, "-l", "2k"), 1, str(file))
    assert "2048 asked for" in text


@pytest.mark.parametrize("size", [4095, 4096, 4097, 32768, 32769, KEY_FILE_MAX])
@pytest.mark.parametrize("asked", [None, "all", "less"])
def test_a_key_file_is_read_whole_however_large(
    size: int, asked: str | None, tmp_path: Path
) -> None:
    content = random.Random(size).randbytes(size)
    file = key_file(tmp_path, content)
    length = {None: None, "all": size, "less": size - 1}[asked]
    with KeySource(str(file), 0, length).read() as passphrase:
        assert len(passphrase) == (length or size)
        assert bytes(passphrase.view()) == content[:length]


def test_a_small_key_file_takes_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(prompt, "SecretBytes", _counting(sizes))
    KeySource(str(key_file(tmp_path)), 0, None).read().wipe()
    assert sizes
    assert sum(sizes) < 2 * 4096


def _counting(sizes: list[int]) -> type[SecretBytes]:
    class Counted(SecretBytes):
        def __init__(self, source: BytesLike | SecretBytes | int) -> None:
            super().__init__(source)
            sizes.append(len(self))

    return Counted


def test_a_size_of_0_means_the_whole_key_file(image: Path, tmp_path: Path) -> None:
    key, new = key_file(tmp_path), key_file(tmp_path, THIRD, "new")
    line = ("add-key", image, *CHEAP, "--keyfile-size", "0", "--new-keyfile-size", "0")
    done(luksmeta(*line, "-d", key, "--new-keyfile", new))
    assert opens(image, THIRD)
    assert not opens(image, b"")
    made = tmp_path / "made.img"
    done(luksmeta("format", made, "--size", "20M", *CHEAP, "-d", key, "-l", "0"))
    assert opens(made, FIRST)


@pytest.mark.parametrize("run", [luksmeta, piped], ids=["file", "pipe"])
def test_offset_and_size_cut_standard_input_too(image: Path, run: Callable[..., Answer]) -> None:
    """As cryptsetup does, whose manual says otherwise (tried: 2.6.1)."""
    size = str(len(FIRST))
    done(run("unlock", image, "-l", size, stdin=FIRST + b"more"))
    done(run("unlock", image, "-l", size, "--keyfile-offset", "3", stdin=b"x\ny" + FIRST))
    done(run("unlock", image, "--keyfile-offset", "3", stdin=b"x\ny" + FIRST + b"\nmore"))
    refused(run("unlock", image, "-l", size, stdin=b"short\nmore"), 1, "5 bytes there", size)
    done(run("add-key", image, *CHEAP, "-l", size, stdin=FIRST + THIRD + b"\n"))
    assert opens(image, THIRD)


def test_standard_input_gives_no_second_key_when_the_first_took_all(image: Path) -> None:
    before = image.read_bytes()
    for run in (luksmeta, piped):
        line = ("add-key", image, *CHEAP, "-d", "-", "--new-keyfile", "-")
        refused(run(*line, stdin=FIRST), 1, "nothing to read on standard input")
    assert image.read_bytes() == before


def test_a_key_file_may_be_8_mib_and_no_more(image: Path, tmp_path: Path) -> None:
    file = key_file(tmp_path, bytes(KEY_FILE_MAX))
    refused(luksmeta("unlock", image, "-d", file), 2)
    with file.open("ab") as end:
        end.write(b"\0")
    refused(luksmeta("unlock", image, "-d", file), 1, str(file), str(KEY_FILE_MAX))
    refused(luksmeta("unlock", image, "-d", file, "-l", "8388609"), 1, str(file), "8388609")
    refused(luksmeta("unlock", image, "-d", file, "-l", "10"), 2)


def test_an_endless_key_file_is_refused(image: Path) -> None:
    refused(luksmeta("unlock", image, "-d", "/dev/zero"), 1, "/dev/zero")


def test_an_empty_key_file_is_the_empty_passphrase(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks2", FIRST)
    empty = key_file(tmp_path, b"", "empty")
    refused(luksmeta("unlock", image, "-d", empty), 2)
    done(
        luksmeta("add-key", image, "--new-keyfile", empty, *CHEAP, "-d", key_file(tmp_path)),
    )
    assert done(luksmeta("unlock", image, "-d", empty, "--json")).json == {"keyslot": 1}
    assert done(luksmeta("unlock", image, "--json", stdin=b"\n")).json == {"keyslot": 1}


@pytest.mark.parametrize("option", ["-d", "--volume-key-file", "--new-keyfile"])
def test_a_key_file_that_cannot_be_read_is_named(image: Path, tmp_path: Path, option: str) -> None:
    before = image.read_bytes()
    line = ("add-key", image, *CHEAP, option)
    missing, secret = tmp_path / "missing", key_file(tmp_path, b"x" * 32, "secret")
    secret.chmod(0)
    refused(luksmeta(*line, missing, stdin=FIRST + b"\n"), 1, str(missing), "no such file")
    refused(luksmeta(*line, tmp_path, stdin=FIRST + b"\n"), 1, str(tmp_path), "is a directory")
    denied = as_ordinary_user(*line, secret, stdin=FIRST + b"\n")
    refused(denied, 2, str(secret), "permission denied")
    assert image.read_bytes() == before


def test_a_short_volume_key_file_is_refused(image: Path, tmp_path: Path) -> None:
    file = key_file(tmp_path, b"x" * 31)
    refused(luksmeta("unlock", image, "--volume-key-file", file), 1, "31 bytes", "32 asked for")
    file.write_bytes(b"x" * 32)
    refused(luksmeta("unlock", image, "--volume-key-file", file), 2, str(image))
    file.write_bytes(builders.VOLUME_KEY + b"what follows does not count")
    answer = done(luksmeta("unlock", image, "--volume-key-file", file))
    assert answer.out == f"{image}: the volume key matches\n"


@pytest.mark.parametrize("answer", [luksmeta, piped], ids=["file", "pipe"])
@pytest.mark.parametrize("end", [b"", b"\n", b"\nmore\n"])
def test_a_line_of_standard_input_ends_at_its_newline_or_at_the_end(
    image: Path, answer: object, end: bytes
) -> None:
    assert callable(answer)
    assert done(answer("unlock", image, "--json", stdin=FIRST + end)).json == {"keyslot": 0}


def test_a_carriage_return_belongs_to_the_passphrase(image: Path) -> None:
    refused(luksmeta("unlock", image, stdin=FIRST + b"\r\n"), 2)


def test_each_passphrase_is_the_next_line(image: Path) -> None:
    stdin = FIRST + b"\n" + THIRD + b"\nignored\n"
    done(piped("add-key", image, *CHEAP, stdin=stdin))
    assert opens(image, THIRD)
    done(luksmeta("change-key", image, *CHEAP, stdin=THIRD + b"\nfourth"))
    assert opens(image, b"fourth")
    assert not opens(image, THIRD)


def test_an_empty_line_is_the_empty_passphrase(image: Path) -> None:
    done(luksmeta("add-key", image, *CHEAP, stdin=FIRST + b"\n\n"))
    assert opens(image, b"")


def test_a_missing_line_is_status_1_and_changes_nothing(image: Path) -> None:
    before = image.read_bytes()
    refused(luksmeta("unlock", image), 1, str(image), "nothing to read on standard input")
    refused(luksmeta("add-key", image, *CHEAP, stdin=FIRST + b"\n"), 1, "nothing to read")
    assert image.read_bytes() == before


def test_a_line_has_512_bytes_at_most(image: Path, tmp_path: Path) -> None:
    new = key_file(tmp_path, LONGEST)
    line = ("add-key", image, *CHEAP, "--new-keyfile", new)
    done(luksmeta(*line, stdin=FIRST + b"\n"))
    assert opens(image, LONGEST)
    text = refused(luksmeta("unlock", image, stdin=LONGEST + b"p\n"), 1, "more than 512 bytes")
    assert "ppp" not in text


def test_a_closed_standard_input_is_none(image: Path) -> None:
    command = f'exec "$0" -m luksmeta unlock "{image}" <&-'
    result = subprocess.run(
        ["/bin/sh", "-c", command.replace('"$0"', _python())],
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 1
    assert b"nothing to read on standard input" in result.stderr


def _python() -> str:
    import shlex
    import sys

    return shlex.quote(sys.executable)


def test_a_key_file_may_be_a_named_pipe(image: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = subprocess.Popen(["/bin/sh", "-c", 'printf %s "$0" > "$1"', FIRST, fifo])
    done(process("unlock", image, "-d", fifo))
    assert writer.wait() == 0
