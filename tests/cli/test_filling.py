"""``format --populate`` and ``--encrypt-from``: whole images by one command."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from luksmeta.cli import progress
from luksmeta.images.filesystem_makers import MAKERS
from tests import builders
from tests.cli.runner import (
    CHEAP,
    Answer,
    Argument,
    as_ordinary_user,
    done,
    key_file,
    luksmeta,
    process,
    refused,
)
from tests.corpus import Corpus, KernelVolume, kernel_volumes, stream
from tests.images.trees import EXPECTED, PROGRAMS, plant, seen_in, unpack

OPENED = [
    volume
    for volume in kernel_volumes()
    if volume.kind in ("cryptoloop", "loopaes", "plain")
    or volume.name in ("luks1-aes-xts-plain64", "luks2-detached-header")
]
NEW = b"new passphrase"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return plant(tmp_path / "tree")


def make(image: Path, *options: Argument, stdin: bytes = NEW + b"\n") -> Answer:
    return luksmeta("format", image, *CHEAP, *options, stdin=stdin)


def plaintext(image: Path) -> bytes:
    return done(luksmeta("read", image, stdin=NEW + b"\n")).raw


def origin(volume: KernelVolume, corpus: Corpus, folder: Path) -> tuple[list[Argument], bytes]:
    """The options about a shared volume, as for ``cryptsetup open``, and what is typed for it."""
    options: list[Argument] = ["--encrypt-from", corpus.unpack(volume.image)]
    options += ["--from-type", volume.type]
    names = {"-c": "cipher", "-s": "key-size", "-h": "hash", "-o": "offset", "-p": "skip"}
    for word in volume.open_arguments:
        long = names.get(word, word.removeprefix("--"))
        options.append(f"--from-{long}" if word.startswith("-") else word)
    if volume.header is not None:
        options += ["--from-header", corpus.unpack(volume.header)]
    if volume.type != "loopaes":
        return options, volume.secret + b"\n"
    return [*options, "--from-key-file", key_file(folder, volume.secret)], b""


# --- out of another image ------------------------------------------------------------------------


@pytest.mark.parametrize("volume", OPENED, ids=lambda volume: volume.name)
def test_an_image_of_any_kind_moves_to_a_new_volume_and_is_kept(
    volume: KernelVolume, corpus: Corpus, tmp_path: Path
) -> None:
    old = corpus.unpack(volume.image)
    before = hashlib.sha256(old.read_bytes()).hexdigest()
    options, typed = origin(volume, corpus, tmp_path)
    answer = done(make(tmp_path / "new", *options, "--json", stdin=typed + NEW + b"\n"))
    assert answer.json["sha256"] == volume.plaintext_sha256
    assert answer.json["verified"] is True
    assert answer.json["source_size"] == volume.plaintext_bytes
    assert hashlib.sha256(plaintext(tmp_path / "new")).hexdigest() == volume.plaintext_sha256
    assert hashlib.sha256(old.read_bytes()).hexdigest() == before


def test_cryptoloop_is_a_type_with_its_own_defaults(corpus: Corpus, tmp_path: Path) -> None:
    volume = next((each for each in OPENED if each.kind == "cryptoloop"), None)
    if volume is None:
        corpus.unpack("vectors/volumes/cryptoloop-aes-cbc-plain-ripemd160.img.xz")
    assert volume is not None
    old = corpus.unpack(volume.image)
    options = ("--encrypt-from", old, "--from-type", "cryptoloop")
    answer = done(make(tmp_path / "new", *options, stdin=volume.secret + b"\n" + NEW + b"\n"))
    assert f"SHA-256 {volume.plaintext_sha256}" in answer.out
    line = refused(make(tmp_path / "other", *options, stdin=b"wrong\nnew\n"), 1)
    assert "shows no known file system" in line
    assert not (tmp_path / "other").exists()


def test_a_plain_image_is_encrypted_as_it_is(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.write_bytes(stream("raw", 8192))
    answer = done(make(tmp_path / "new", "--encrypt-from", raw))
    assert f"{tmp_path / 'new'}: LUKS2 volume " in answer.out
    assert f", 8 KiB of data from {raw}\nRead back and the same: SHA-256 " in answer.out
    assert plaintext(tmp_path / "new") == raw.read_bytes()
    answer = done(make(tmp_path / "unread", "--encrypt-from", raw, "--no-verify"))
    assert "Read back" not in answer.out


def test_a_volume_that_is_taken_for_plaintext_is_asked_about(tmp_path: Path) -> None:
    old = builders.file(tmp_path / "old", "luks2")
    line = refused(make(tmp_path / "new", "--encrypt-from", old), 1, "encrypted twice")
    assert "--from-type luks" in line
    done(make(tmp_path / "new", "--encrypt-from", old, "-q"))
    assert plaintext(tmp_path / "new") == old.read_bytes()


def test_a_container_that_is_taken_for_plaintext_is_asked_about(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_bytes(b"QFI\xfb" + bytes(4092))
    line = refused(make(tmp_path / "new", "--encrypt-from", old), 1, "is a qcow2 image")
    assert "not the disk in it" in line
    assert not (tmp_path / "new").exists()
    done(make(tmp_path / "new", "--encrypt-from", old, "-q"))
    assert plaintext(tmp_path / "new") == old.read_bytes()


def test_a_wrong_passphrase_of_the_old_volume_writes_nothing(tmp_path: Path) -> None:
    old = builders.file(tmp_path / "old", "luks2")
    options = ("--encrypt-from", old, "--from-type", "luks")
    refused(make(tmp_path / "new", *options, stdin=b"wrong\nnew\n"), 2, str(old))
    assert not (tmp_path / "new").exists()


def test_what_is_read_is_never_replaced(tmp_path: Path, tree: Path) -> None:
    raw = tmp_path / "raw"
    raw.write_bytes(stream("raw", 8192))
    (tmp_path / "same").hardlink_to(raw)
    refused(make(tmp_path / "same", "--encrypt-from", raw, "-q"), 1, "would be replaced")
    key = key_file(tmp_path, builders.VOLUME_KEY)
    keyed = ("--encrypt-from", raw, "--from-type", "cryptoloop", "--from-key-file", key)
    refused(make(key, *keyed, "-q"), 1, "its key file")
    refused(make(tree / "dir" / "new", "--populate", tree), 1, "would hold the image itself")
    assert raw.read_bytes() == stream("raw", 8192)
    assert seen_in(tree) == EXPECTED


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    raw, image = tmp_path / "raw", tmp_path / "image"
    raw.write_bytes(stream("raw", 1 << 20))
    image.write_bytes(b"old content")
    limited = ["prlimit", f"--fsize={(16 << 20) + 4096}"]
    options = ("--encrypt-from", raw, "-q", *CHEAP)
    refused(
        process("format", image, *options, stdin=b"new\n", prefix=limited), 4, f"{image}: ", "large"
    )
    assert image.read_bytes() == b"old content"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image", "raw"]


def test_a_dry_run_writes_nothing(tmp_path: Path, tree: Path) -> None:
    PROGRAMS["squashfs"].require()
    raw = tmp_path / "raw"
    raw.write_bytes(stream("raw", 8192))
    for options in (("--encrypt-from", raw), ("--populate", tree, "--filesystem", "squashfs")):
        answer = done(make(tmp_path / "new", *options, "--dry-run", "--json"))
        last = answer.json["plan"][-1]
        assert (last["step"], last["offset"]) == ("write", 16 << 20)
        assert last["what"] == f"data, encrypted, from {options[1]}"
        assert "Nothing was written" in done(make(tmp_path / "new", *options, "--dry-run")).out
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--populate", "x", "--encrypt-from", "y"], "exclude each other"),
        (["--filesystem", "erofs"], "--filesystem needs --populate"),
        (["--no-verify"], "--verify needs --populate or --encrypt-from"),
        (["--from-cipher", "aes"], "--from-cipher needs --encrypt-from"),
        (["--populate", "x", "--from-type", "luks"], "--from-type needs --encrypt-from"),
        (["--encrypt-from", "x", "--work-dir", "y"], "--work-dir needs --populate"),
        (["--encrypt-from", "x", "--from-skip", "1"], "no meaning for --from-type raw"),
        (
            ["--encrypt-from", "x", "--from-type", "cryptoloop", "--from-defaults", "cryptoloop"],
            "no meaning for --from-type cryptoloop",
        ),
        (["--encrypt-from", "x", "--from-type", "loopaes"], "needs a --from-key-file"),
        (
            ["--encrypt-from", "x", "--from-type", "plain", "--from-key-size", "256"],
            "needs --from-defaults, or --from-cipher and --from-hash",
        ),
        (
            ["--encrypt-from", "x", "--from-type", "plain", "--from-key-file", "y"],
            "needs --from-defaults, or --from-cipher and --from-key-size (",
        ),
        (["--encrypt-from", "x", "--header", "y"], "header in front of its data"),
        (["--encrypt-from", "no such file"], "no such file"),
        (["--populate", "no such directory"], "no such directory"),
    ],
)
def test_what_makes_no_sense_is_an_error_of_one_line(
    options: list[str], text: str, tmp_path: Path
) -> None:
    status = 4 if options[-1].startswith("no such") else 1
    refused(make(tmp_path / "new", *options), status, text)
    assert not (tmp_path / "new").exists()


# --- from a directory ----------------------------------------------------------------------------


@pytest.mark.parametrize("filesystem", list(MAKERS))
def test_an_ordinary_user_makes_an_encrypted_image_by_one_command(
    filesystem: str, tree: Path, tmp_path: Path
) -> None:
    PROGRAMS[filesystem].require()
    image = tmp_path / "image"
    options = ("--populate", tree, "--filesystem", filesystem, *CHEAP)
    done(as_ordinary_user("format", image, *options, stdin=NEW + b"\n"))
    (tmp_path / "plain").write_bytes(plaintext(image))
    assert seen_in(unpack(filesystem, tmp_path / "plain", tmp_path / "out")) == EXPECTED


@pytest.mark.parametrize("filesystem", list(MAKERS))
def test_a_file_that_may_not_be_read_is_an_error_and_no_empty_file(
    filesystem: str, tree: Path, tmp_path: Path
) -> None:
    PROGRAMS[filesystem].require()
    (tree / "dir" / "with space.bin").chmod(0)
    options = ("--populate", tree, "--filesystem", filesystem, *CHEAP)
    answer = as_ordinary_user("format", tmp_path / "image", *options, stdin=NEW + b"\n")
    refused(answer, 4, MAKERS[filesystem].program)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tree"]


def test_a_size_is_that_of_the_image_and_the_file_system_fills_it(
    tree: Path, tmp_path: Path
) -> None:
    PROGRAMS["ext4"].require()
    answer = done(make(tmp_path / "image", "--populate", tree, "--size", "40M", "--json"))
    assert (tmp_path / "image").stat().st_size == 40 << 20
    assert answer.json["source_size"] == answer.json["data_size"] == 24 << 20
    refused(make(tmp_path / "small", "--populate", tree, "--size", "1M"), 1, "no room for data")


def test_a_size_beyond_reason_is_refused_in_one_line(tree: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    line = refused(
        make(image, "--populate", tree, "--size", "99T"), 1, str((99 << 40) - (16 << 20))
    )
    assert str(1 << 46) in line
    assert not image.exists()


def test_one_thing_at_a_time_is_shown_on_a_terminal(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PROGRAMS["squashfs"].require()
    shown: list[str] = []
    running: list[str] = []

    @contextmanager
    def show(what: str, **_: str) -> Iterator[Callable[[int, int], None]]:
        assert running == []
        shown.append(what)
        running.append(what)
        yield lambda done, total: None
        running.remove(what)

    monkeypatch.setattr(progress, "waiting", show)
    monkeypatch.setattr(progress, "bar", show)
    done(make(tmp_path / "image", "--populate", tree, "--filesystem", "squashfs"))
    assert shown == [
        "Measuring this machine",
        "Making the file system",
        "Encrypting and verifying",
    ]


def test_luks1_can_be_filled_as_well(tree: Path, tmp_path: Path) -> None:
    PROGRAMS["squashfs"].require()
    options = ("--type", "luks1", "--populate", tree, "--filesystem", "squashfs")
    assert done(make(tmp_path / "image", *options, "--json")).json["format"] == "luks1"
    assert plaintext(tmp_path / "image").startswith(b"hsqs")


# --- the seed ------------------------------------------------------------------------------------


def test_a_seed_makes_the_same_image_again_and_is_warned_of(tree: Path, tmp_path: Path) -> None:
    PROGRAMS["ext4"].require()
    made = []
    for name, seed in (("one", "00ff"), ("two", "00ff"), ("three", "00fe")):
        answer = make(tmp_path / name, "--populate", tree, "--seed", seed)
        assert answer.status == 0
        (line,) = answer.err.splitlines()
        assert line.startswith("luksmeta: warning: --seed is for tests only")
        made.append((tmp_path / name).read_bytes())
    assert made[0] == made[1] != made[2]


def test_an_empty_volume_can_have_a_seed_and_argon2_too(tmp_path: Path) -> None:
    costs = ("--pbkdf-force-iterations", "4", "--pbkdf-memory", "64", "--pbkdf-parallel", "2")
    made = []
    for name in ("one", "two"):
        options = ("--size", "17M", "--seed", "ab", *costs)
        assert luksmeta("format", tmp_path / name, *options, stdin=b"new\n").status == 0
        made.append((tmp_path / name).read_bytes())
    assert made[0] == made[1]


def test_a_seed_needs_costs_that_are_not_measured(tmp_path: Path) -> None:
    answer = luksmeta("format", tmp_path / "new", "--size", "17M", "--seed", "ab", stdin=b"new\n")
    refused(answer, 1, "--seed needs --pbkdf-force-iterations")
    for seed in ("", "abc", "xy", "00" * 1025):
        refused(make(tmp_path / "new", "--size", "17M", "--seed", seed), 1, "hexadecimal")
    assert not (tmp_path / "new").exists()
