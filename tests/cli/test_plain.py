"""``read`` and ``write`` with ``--type plain`` and ``--type loopaes``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from luksmeta.plain import DEFAULTS
from tests import builders
from tests.cli.runner import CHEAP, COMMAND, Answer, Argument, done, luksmeta, process, refused
from tests.corpus import Corpus, KernelVolume, kernel_volumes
from tests.headerless import CASES, DISK_SIZE, REFUSED, Case, digest, made

XTS = ("--type", "plain", "-c", "aes-xts-plain64", "-s", "256", "-h", "sha256")
HEADERLESS = [volume for volume in kernel_volumes() if volume.type in ("plain", "loopaes")]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(DISK_SIZE))
    return path


def run(command: str, image: Path, case: Case, *more: Argument, stdin: bytes = b"") -> Answer:
    """A command with the options of a case, and its secret in the case's way."""
    secret: tuple[Argument, ...] = ()
    if case.how == "typed":
        stdin = case.secret + b"\n" + stdin
    elif case.how == "stdin":
        secret, stdin = ("--key-file", "-"), case.secret
    else:
        secret = "--key-file", image.with_suffix(".key")
        image.with_suffix(".key").write_bytes(case.secret)
    options = ["--type", case.type, *case.options, *secret, *more]
    return luksmeta(command, image, *options, stdin=stdin)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_written_is_what_the_kernel_would_write(case: Case, image: Path) -> None:
    kernels = made()[case.name]
    plaintext = image.with_suffix(".plain")
    plaintext.write_bytes(case.plaintext[: kernels.size])
    done(run("write", image, case, "-i", plaintext))
    assert digest(image.read_bytes()) == kernels.sha256
    assert done(run("read", image, case)).raw == plaintext.read_bytes()


@pytest.mark.parametrize("kind", ["plain", "loopaes"])
def test_a_known_signature_in_the_data_is_not_written_over_unasked(
    kind: str, tmp_path: Path
) -> None:
    image, key, data = (
        builders.file(tmp_path / "disk.img", "luks2"),
        tmp_path / "key",
        tmp_path / "data",
    )
    key.write_text("".join(f"{'x' * 60}\n" for _ in range(64)))
    data.write_bytes(b"hello")
    line = ("write", image, "--type", kind, "-c", "aes", "-s", "256", "-d", key, "-i", data)
    before = image.read_bytes()
    refused(luksmeta(*line), 1, str(image), "LUKS header at 0x0", "-q")
    done(luksmeta(*line, "--dry-run"))
    assert image.read_bytes() == before
    behind = (*line, "--offset", str(builders.data_offset("luks2") // 512))
    done(luksmeta(*behind))
    assert image.read_bytes()[:6] == before[:6]
    done(luksmeta(*line, "-q"))
    assert image.read_bytes()[:6] != before[:6]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_what_cryptsetup_or_the_kernel_refuses_is_refused_in_a_line(
    case: Case, image: Path
) -> None:
    answer = run("read", image, case)
    past_the_end = case.name in ("offset-past-the-end", "size-past-the-end")
    refused(answer, 4 if past_the_end else 1)


@pytest.mark.parametrize("volume", HEADERLESS, ids=lambda volume: volume.name)
def test_a_shared_volume_is_read_with_cryptsetups_options(
    volume: KernelVolume, corpus: Corpus, tmp_path: Path
) -> None:
    options: list[Argument] = ["--type", volume.type, *volume.open_arguments]
    stdin = volume.secret + b"\n"
    if volume.type == "loopaes":
        (tmp_path / "key").write_bytes(volume.secret)
        options += ["--key-file", tmp_path / "key"]
    answer = done(luksmeta("read", corpus.unpack(volume.image), *options, stdin=stdin))
    assert digest(answer.raw) == volume.plaintext_sha256


# --- where ---------------------------------------------------------------------------------------


def test_offset_and_length_count_sectors_of_the_image_and_bytes_of_the_plaintext(
    image: Path,
) -> None:
    place = ("--offset", "16", "--skip", "3")
    answer = done(luksmeta("write", image, *XTS, *place, stdin=b"pass\nhello"))
    assert answer.out == f"{image}: 5 bytes written at 0\n"
    assert image.read_bytes()[: 16 * 512] == bytes(16 * 512)
    answer = done(luksmeta("read", image, *XTS, *place, "--length", "5", stdin=b"pass\n"))
    assert answer.raw == b"hello"


def test_a_dry_run_says_which_sectors_it_would_write(image: Path) -> None:
    options = (*XTS, "--offset", "16", "--dry-run", "--json")
    answer = done(luksmeta("write", image, *options, stdin=b"pass\n" + bytes(600)))
    assert answer.json == {
        "plan": [{"step": "write", "offset": 16 * 512, "length": 1024, "what": "data"}]
    }
    assert image.read_bytes() == bytes(DISK_SIZE)


def test_json_counts_bytes(image: Path) -> None:
    options = (*XTS, "--offset", "16", "--json")
    answer = done(luksmeta("write", image, *options, stdin=b"pass\nhello"))
    assert answer.json == {"offset": 0, "written": 5}


def test_more_than_fits_is_refused_and_nothing_is_written(image: Path) -> None:
    too_much = image.with_suffix(".plain")
    too_much.write_bytes(b"x" * 1025)
    options = (*XTS, "--size", "2", "-i", too_much)
    refused(luksmeta("write", image, *options, stdin=b"pass\n"), 1, "1025 bytes", "1024")
    assert image.read_bytes() == bytes(DISK_SIZE)


def test_a_number_of_sectors_has_no_unit(image: Path) -> None:
    for options in (("--offset", "1M", *XTS), (*XTS, "--offset", "1M")):
        refused(luksmeta("read", image, *options, stdin=b"pass\n"), 1, "number of sectors")


def test_the_image_must_be_there(tmp_path: Path) -> None:
    refused(luksmeta("read", tmp_path / "no", *XTS, stdin=b"pass\n"), 4, "no such file")


# --- keys ----------------------------------------------------------------------------------------


def test_defaults_are_taken_by_name(image: Path) -> None:
    for name, settings in DEFAULTS.items():
        options = ("-c", settings.cipher, "-s", str(8 * settings.key_size), "-h", settings.hash)
        done(luksmeta("write", image, "--type", "plain", *options, stdin=b"pass\nhello"))
        named = ("--type", "plain", "--defaults", name, "--length", "5")
        assert done(luksmeta("read", image, *named, stdin=b"pass\n")).raw == b"hello"


def test_defaults_that_nobody_named_are_warned_of(image: Path) -> None:
    answer = luksmeta("read", image, "--type", "plain", "-h", "sha256", stdin=b"pass\n")
    assert answer.status == 0
    assert "cipher aes-xts-plain64, key size 256 bits;" in answer.err
    assert "--defaults" in answer.err


def test_a_key_file_is_the_key_and_its_hash_is_ignored(image: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(bytes(range(100)))
    options = ("--type", "plain", "-c", "aes-xts-plain64", "-s", "512")
    by_file = (*options, "--key-file", tmp_path / "key")
    done(luksmeta("write", image, *by_file, stdin=b"hello"))
    (tmp_path / "raw").write_bytes(bytes(range(64)))
    by_key = (*options, "--volume-key-file", tmp_path / "raw", "--length", "5")
    assert done(luksmeta("read", image, *by_key)).raw == b"hello"
    ignored = (*by_file, "--hash", "sha1", "--keyfile-size", "10", "--length", "5")
    answer = luksmeta("read", image, *ignored)
    assert (answer.status, answer.raw) == (0, b"hello")
    assert [line.partition(" is ignored")[0] for line in answer.err.splitlines()] == [
        "luksmeta: warning: --hash",
        "luksmeta: warning: --keyfile-size",
    ]
    assert done(luksmeta("read", image, *ignored, "-q")).raw == b"hello"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such terminals")
def test_on_a_terminal_a_passphrase_is_typed_twice_for_writing_only(image: Path) -> None:
    pexpect = pytest.importorskip("pexpect")
    data = image.with_suffix(".plain")
    data.write_bytes(b"hello")

    def typed(command: str, *answers: str, **files: Path) -> tuple[int, str]:
        words = [word for name, path in files.items() for word in (f"--{name}", str(path))]
        line = [*COMMAND[1:], command, str(image), *XTS, *words]
        child = pexpect.spawn(COMMAND[0], line, timeout=30, encoding="utf-8")
        for answer in answers:
            child.expect("Passphrase for .*: ")
            child.sendline(answer)
        child.expect(pexpect.EOF)
        child.close()
        return child.exitstatus, child.before

    status, said = typed("write", "pass", "past", input=data)
    assert status != 0
    assert "do not match" in said
    assert image.read_bytes() == bytes(DISK_SIZE)
    assert typed("write", "pass", "pass", input=data)[0] == 0
    out = image.with_suffix(".out")
    assert typed("read", "pass", output=out)[0] == 0
    assert out.read_bytes().startswith(b"hello")


def test_loop_aes_needs_a_key_file(image: Path) -> None:
    refused(luksmeta("read", image, "--type", "loopaes", stdin=b"pass\n"), 1, "--key-file")


def test_decrypted_loop_aes_keys_come_through_a_pipe(image: Path) -> None:
    case = next(case for case in CASES if case.name == "v1-256")
    options = ("--type", "loopaes", *case.options, "--key-file", "-")
    answer = done(luksmeta("read", image, *options, stdin=case.secret))
    assert len(answer.raw) == DISK_SIZE


# --- options of the other types ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "option"),
    [
        ("luks", ("--cipher", "aes-xts-plain64")),
        ("luks", ("--key-size", "256")),
        ("luks", ("--hash", "sha256")),
        ("luks", ("--defaults", "cryptoloop")),
        ("luks", ("--skip", "0")),
        ("luks", ("--size", "1")),
        ("luks", ("--sector-size", "512")),
        ("luks", ("--iv-large-sectors",)),
        ("plain", ("--header", "header")),
        ("plain", ("--key-slot", "0")),
        ("plain", ("--tries", "3")),
        ("plain", ("--max-memory", "1024")),
        ("loopaes", ("--header", "header")),
        ("loopaes", ("--volume-key-file", "key")),
        ("loopaes", ("--sector-size", "512")),
        ("loopaes", ("--iv-large-sectors",)),
        ("loopaes", ("--defaults", "cryptoloop")),
    ],
    ids=str,
)
def test_an_option_of_another_type_is_an_error(
    kind: str, option: tuple[str, ...], image: Path
) -> None:
    answer = luksmeta("read", image, "--type", kind, *option, stdin=b"pass\n")
    refused(answer, 1, f"{option[0]} has no meaning for --type {kind}")


def test_luks_is_the_type_where_none_is_given(tmp_path: Path) -> None:
    path = tmp_path / "luks.img"
    secret = builders.FIRST + b"\n"
    done(luksmeta("format", path, "--size", "20M", *CHEAP, stdin=secret))
    done(luksmeta("write", path, "--offset", "1k", "--type", "luks", stdin=secret + b"hello"))
    answer = done(luksmeta("read", path, "--offset", "1k", "--length", "5", stdin=secret))
    assert answer.raw == b"hello"


# --- an old volume moves into a new one ----------------------------------------------------------


def test_a_cryptoloop_image_moves_into_a_new_volume_through_a_pipe(
    corpus: Corpus, tmp_path: Path
) -> None:
    old = next(volume for volume in HEADERLESS if volume.kind == "cryptoloop")
    key, new = tmp_path / "key", tmp_path / "new.img"
    key.write_bytes(b"new secret")
    size = old.plaintext_bytes + (16 << 20)
    done(
        luksmeta(
            "format", new, "--size", str(size), "--sector-size", "512", *CHEAP, "--key-file", key
        )
    )
    defaults = ("--type", "plain", "--defaults", "cryptoloop")
    read = process("read", corpus.unpack(old.image), *defaults, stdin=old.secret + b"\n")
    done(process("write", new, "--key-file", key, stdin=done(read).raw))
    assert digest(done(luksmeta("read", new, "--key-file", key)).raw) == old.plaintext_sha256
