"""``format``: every option as cryptsetup sees it in the result, and what is refused."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests import builders
from tests.builders import FIRST
from tests.cli.runner import CHEAP, Argument, done, key_file, luksmeta, opens, refused
from tests.interop.peers import cryptsetup
from tests.interop.peers.process import Tool

ARGON = ("--pbkdf-force-iterations", "4", "--pbkdf-memory", "32", "--pbkdf-parallel", "1")
UUID = "01234567-89ab-cdef-0123-456789abcdef"
SIZE = 24 << 20


def formatted(path: Path, *options: Argument, size: str = "24M") -> str:
    """Make a volume; what luksDump says of it, with single spaces."""
    line = ("format", path, "--size", size, *options)
    done(luksmeta(*line, stdin=FIRST))
    assert cryptsetup.unlocks(path, FIRST)
    return re.sub(r"[ \t]+", " ", cryptsetup.dump(path))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "volume.img"


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (CHEAP, ["Version: 2", "Epoch: 3", "cipher: aes-xts-plain64", "sector: 4096 [bytes]",
                 "Key: 512 bits", "PBKDF: pbkdf2", "Iterations: 1000", "AF hash: sha256",
                 "Metadata area: 16384 [bytes]", "Keyslots area: 16744448 [bytes]",
                 "offset: 16777216 [bytes]", "Label: (no label)"]),
        (ARGON, ["PBKDF: argon2id", "Time cost: 4", "Memory: 32", "Threads: 1"]),
        (("--pbkdf", "argon2i", *ARGON), ["PBKDF: argon2i\n"]),
        ((*CHEAP, "--pbkdf-force-iterations", "1234"), ["Iterations: 1234"]),
        ((*CHEAP, "--hash", "sha512"), ["Hash: sha512", "AF hash: sha512"]),
        ((*CHEAP, "-s", "256"), ["Key: 256 bits"]),
        ((*CHEAP, "-c", "aes-cbc-essiv:sha256"), ["cipher: aes-cbc-essiv:sha256", "Key: 256 bits"]),
        ((*CHEAP, "--sector-size", "1024"), ["sector: 1024 [bytes]"]),
        ((*CHEAP, "--uuid", UUID.upper()), [f"UUID: {UUID}"]),
        ((*CHEAP, "--label", "l" * 47), [f"Label: {'l' * 47}\n"]),
        ((*CHEAP, "--subsystem", "sub"), ["Subsystem: sub"]),
        ((*CHEAP, "--offset", "8192"), ["offset: 4194304 [bytes]", "Keyslots area: 4161536"]),
        ((*CHEAP, "--luks2-metadata-size", "64k"), ["Metadata area: 65536 [bytes]"]),
        ((*CHEAP, "--luks2-keyslots-size", "512k"), ["Keyslots area: 524288 [bytes]",
                                                     "offset: 1048576 [bytes]"]),
        ((*CHEAP, "--keyslot-cipher", "aes-cbc-plain64", "--keyslot-key-size", "128"),
         ["Cipher: aes-cbc-plain64", "Cipher key: 128 bits", "cipher: aes-xts-plain64"]),
        ((*CHEAP, "-S", "3"), ["3: luks2"]),
        (("--type", "luks1", *CHEAP), ["Version: 1", "Cipher name: aes", "Hash spec: sha256",
                                       "Payload offset: 4096", "MK bits: 512",
                                       "Key Slot 0: ENABLED", "Iterations: 1000"]),
        (("--type", "luks1", *CHEAP, "--hash", "sha1", "-s", "256", "-S", "7", "--uuid", UUID),
         ["Hash spec: sha1", "MK bits: 256", "Key Slot 7: ENABLED", f"UUID: {UUID}"]),
        (("--type", "luks1", *CHEAP, "--offset", "8192"), ["Payload offset: 8192"]),
    ],
)  # fmt: skip
def test_cryptsetup_sees_what_was_asked_for(
    path: Path, options: tuple[str, ...], shown: list[str]
) -> None:
    dump = formatted(path, *options)
    for text in shown:
        assert text in dump


def test_iter_time_measures_this_machine(path: Path) -> None:
    dump = formatted(path, "--pbkdf", "pbkdf2", "-i", "100")
    iterations = [int(found) for found in re.findall(r"Iterations: (\d+)", dump)]
    assert iterations[0] > 1000


@pytest.mark.parametrize("version", ["luks1", "luks2"])
def test_a_given_volume_key_is_used(path: Path, version: str) -> None:
    key = key_file(path.parent, bytes(range(64)), "volume-key")
    formatted(path, *CHEAP, "--type", version, "--volume-key-file", key)
    assert cryptsetup.dump_volume_key(path, FIRST) == bytes(range(64))
    short = key_file(path.parent, bytes(63), "short")
    line = ("format", path, "-q", *CHEAP, "--volume-key-file", short)
    refused(luksmeta(*line, stdin=FIRST), 1, str(short), "63 bytes", "64")
    assert opens(path, FIRST)


def test_the_passphrase_may_be_part_of_a_key_file(path: Path, tmp_path: Path) -> None:
    key = key_file(tmp_path, b"xx" + FIRST + b"xx")
    part = ("--keyfile-offset", "2", "-l", str(len(FIRST)))
    done(luksmeta("format", path, "--size", "20M", "-d", key, *part, *CHEAP))
    assert cryptsetup.unlocks(path, FIRST)


def test_a_detached_header_is_a_file_of_its_own(path: Path) -> None:
    header = path.with_name("header")
    line = ("format", path, "--header", header, "--size", "1M", *CHEAP)
    answer = done(luksmeta(*line, "--json", stdin=FIRST))
    assert answer.json["data_offset"] == 0
    assert answer.json["data_size"] == 1 << 20
    assert path.read_bytes() == bytes(1 << 20)
    assert cryptsetup.unlocks(path, FIRST, header=header)


def test_size_makes_a_sparse_private_file_and_extends_one(path: Path) -> None:
    small = ("--luks2-keyslots-size", "512k", *CHEAP)
    done(luksmeta("format", path, "--size", "3G", *small, stdin=FIRST))
    status = path.stat()
    assert (status.st_size, status.st_mode & 0o777) == (3 << 30, 0o600)
    assert status.st_blocks * 512 <= 2 << 20
    path.unlink()
    path.write_bytes(bytes(1000))
    done(luksmeta("format", path, "--size", "2M", *small, stdin=FIRST))
    assert path.stat().st_size == 2 << 20
    before = path.read_bytes()
    text = refused(
        luksmeta("format", path, "--size", "1M", *small, stdin=FIRST), 1, str(path), "2097152"
    )
    assert str(2 << 20) in text
    assert str(1 << 20) in text
    assert path.read_bytes() == before


def test_without_a_size_no_file_is_made(path: Path) -> None:
    refused(luksmeta("format", path, *CHEAP, stdin=FIRST), 4, str(path), "with a size")
    assert not path.exists()


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--sector-size", "1000"), "1000"),
        (("--sector-size", "8192"), "8192"),
        (("--type", "luks1", "--sector-size", "4096"), "4096"),
        (("--type", "luks1", "--label", "x"), "label"),
        (("--type", "luks1", "--subsystem", "x"), "subsystem"),
        (("--type", "luks1", "--luks2-metadata-size", "16k"), "metadata size"),
        (("--type", "luks1", "--luks2-keyslots-size", "1M"), "keyslots size"),
        (("--type", "luks1", "--keyslot-cipher", "aes-xts-plain64"), "keyslot cipher"),
        (("--type", "luks1", "--keyslot-key-size", "256"), "keyslot key size"),
        (("--type", "luks1", "-S", "8"), "keyslot 8"),
        (("-S", "32"), "keyslot 32"),
        (("-s", "100"), "100 bits"),
        (("-s", "0"), "0 bits"),
        (("-s", "128"), "16 bytes"),
        (("-s", "many"), "'many'"),
        (("-c", "foo-xts-plain64"), "foo-xts-plain64"),
        (("-c", "aes-xts-nonsense"), "nonsense"),
        (("-c", "aes-cbc-essiv:nonsense"), "nonsense"),
        (("-c", "aes-cbc-essiv:sha256", "-s", "512"), "64 bytes"),
        (("--hash", "crc32"), "crc32"),
        (("--label", "l" * 48), "48 bytes"),
        (("--uuid", "nonsense"), "--uuid"),
        (("--offset", "7"), "3584"),
        (("--offset", "8"), "4096"),
        (("--offset", "-8"), "--offset"),
        (("--luks2-metadata-size", "17k"), "17408"),
        (("--luks2-metadata-size", "8M"), "8388608"),
        (("--luks2-keyslots-size", "129M"), "135266304"),
        (("--luks2-keyslots-size", "128k"), "258048 bytes"),
        (("--keyslot-cipher", "foo"), "foo"),
        (("--keyslot-key-size", "128"), "16 bytes"),
    ],
)
def test_what_makes_no_sense_is_status_1_and_writes_nothing(
    path: Path, options: tuple[str, ...], part: str
) -> None:
    refused(luksmeta("format", path, "--size", "24M", *CHEAP, *options, stdin=FIRST), 1, part)
    assert not path.exists()


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "999"), "999"),
        (("--pbkdf", "pbkdf2", "--pbkdf-memory", "32"), "--pbkdf-memory"),
        (("--pbkdf", "pbkdf2", "--pbkdf-parallel", "1"), "--pbkdf-parallel"),
        (("--pbkdf-force-iterations", "3"), "argon2id: time is 3"),
        (("--pbkdf-force-iterations", "4", "--pbkdf-memory", "31"), "31"),
        (("--pbkdf-force-iterations", "4", "--pbkdf-memory", "4194305"), "4194305"),
        (("--pbkdf-force-iterations", "4", "--pbkdf-memory", "32", "--pbkdf-parallel", "5"), "5"),
        (("--pbkdf-force-iterations", "4", "-i", "100"), "exclude each other"),
        (("--type", "luks1", "--pbkdf", "argon2id"), "LUKS1"),
        (("-i", "0"), "--iter-time"),
        (("--pbkdf", "scrypt"), "scrypt"),
    ],
)
def test_costs_that_make_no_sense_are_status_1(
    path: Path, options: tuple[str, ...], part: str
) -> None:
    refused(luksmeta("format", path, "--size", "24M", *options, stdin=FIRST), 1, part)
    assert not path.exists()


def foreign(path: Path, kind: str) -> None:
    """A file with something in it that formatting would destroy."""
    if kind in ("luks1", "luks2"):
        builders.file(path, "luks1" if kind == "luks1" else "luks2")
    elif kind == "secondary header":
        path.write_bytes(bytes(16384) + builders.image("luks2")[16384:])
    elif kind == "any data":
        path.write_bytes(bytes(5000) + b"x" + bytes(SIZE - 5001))
    else:
        path.write_bytes(bytes(SIZE))
        maker = "mke2fs" if kind == "ext" else "mkswap"
        Tool(maker, "e2fsprogs" if kind == "ext" else "util-linux").run("-q", path)


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("luks1", "LUKS header"),
        ("luks2", "LUKS header"),
        ("secondary header", "LUKS2 secondary header"),
        ("ext", "ext2/3/4 file system"),
        ("swap", "swap space"),
        ("any data", "data of no known kind"),
    ],
)
def test_what_is_there_is_named_and_needs_q(path: Path, kind: str, part: str) -> None:
    foreign(path, kind)
    before = path.read_bytes()
    line = ("format", path, "--size", "24M", *CHEAP)
    refused(luksmeta(*line, stdin=FIRST), 1, str(path), part, "-q")
    assert path.read_bytes() == before
    done(luksmeta(*line, "-q", stdin=FIRST))
    assert cryptsetup.unlocks(path, FIRST)


def test_what_a_header_file_holds_is_named_too(path: Path) -> None:
    path.write_bytes(bytes(1 << 20))
    header = path.with_name("header")
    builders.file(header, "luks2")
    before = header.read_bytes()
    line = ("format", path, "--header", header, *CHEAP)
    refused(luksmeta(*line, stdin=FIRST), 1, str(header), "LUKS header", "-q")
    assert header.read_bytes() == before


@pytest.mark.parametrize("size", [0, 1, SIZE])
def test_zeroes_are_formatted_without_a_question(path: Path, size: int) -> None:
    path.write_bytes(bytes(size))
    done(luksmeta("format", path, "--size", "24M", *CHEAP, stdin=FIRST))


def test_a_volume_without_room_for_data_is_warned_of(path: Path) -> None:
    path.write_bytes(bytes(1 << 20))
    answer = luksmeta("format", path, *CHEAP, stdin=FIRST)
    assert answer.status == 0
    assert answer.err == (
        f"luksmeta: warning: {path}: there is no room for data, which starts at 0x1000000; "
        "the file has 0x1000000 bytes\n"
    )


@pytest.mark.parametrize(
    ("version", "sectors", "offset"),
    [("luks1", 65536, "0x2000000"), ("luks2", 65536, "0x2000000"), ("luks2", 1 << 53, "0x40000")],
)
def test_data_that_starts_past_the_end_is_warned_of(
    path: Path, version: str, sectors: int, offset: str
) -> None:
    small = () if version == "luks1" else ("--luks2-keyslots-size", "512k")
    line = ("format", path, "--size", "3M", "--type", version, "--offset", str(sectors), *small)
    answer = luksmeta(*line, *CHEAP, stdin=FIRST)
    assert answer.status == 0
    assert f"{path}: there is no room for data, which starts at {offset}" in answer.err
    assert opens(path, FIRST)


@pytest.mark.parametrize(
    ("version", "sectors"),
    [("luks1", 1 << 32), ("luks1", 1 << 53), ("luks2", 1 << 54), ("luks2", 10**20)],
)
def test_an_offset_that_no_header_holds_is_status_1(path: Path, version: str, sectors: int) -> None:
    line = ("format", path, "--size", "24M", "--type", version, "--offset", str(sectors))
    refused(luksmeta(*line, *CHEAP, stdin=FIRST), 1, str(path), str(sectors * 512))
    assert not path.exists()


def test_what_will_be_refused_asks_nothing(path: Path) -> None:
    builders.file(path, "luks2")
    before = path.read_bytes()
    for options, part in (
        (("--pbkdf-force-iterations", "3"), "time is 3"),
        (("--type", "luks1", "--pbkdf", "argon2id"), "LUKS1"),
        (("--pbkdf", "pbkdf2", "--pbkdf-memory", "32"), "--pbkdf-memory"),
    ):
        refused(luksmeta("format", path, *options), 1, part)
    assert path.read_bytes() == before


def test_a_directory_and_a_character_device_are_status_4(tmp_path: Path) -> None:
    for target in (tmp_path, Path("/dev/null")):
        refused(luksmeta("format", target, "-q", *CHEAP, stdin=FIRST), 4, str(target))


def test_a_loop_device_is_formatted_and_one_in_use_is_status_5(path: Path) -> None:
    """Where the system lets us have loop devices."""
    import os

    from tests.requirement import missing

    path.write_bytes(bytes(SIZE))
    attach = subprocess.run(["losetup", "--find", "--show", path], capture_output=True, check=False)
    if os.geteuid() != 0 or attach.returncode:
        missing("no loop device can be had here")
    device = attach.stdout.decode().strip()
    try:
        done(luksmeta("format", device, *CHEAP, stdin=FIRST))
        assert opens(Path(device), FIRST)
        refused(luksmeta("format", device, "--size", "48M", "-q", *CHEAP, stdin=FIRST), 4, device)
        holder = os.open(device, os.O_RDWR | os.O_EXCL)
        try:
            refused(luksmeta("format", device, "-q", *CHEAP, stdin=FIRST), 5, device)
        finally:
            os.close(holder)
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)
    assert cryptsetup.unlocks(path, FIRST)


def test_the_result_is_told_in_json(path: Path) -> None:
    line = ("format", path, "--size", "24M", *CHEAP, "--uuid", UUID, "-S", "2", "--json")
    assert done(luksmeta(*line, stdin=FIRST)).json == {
        "format": "luks2", "uuid": UUID, "keyslot": 2, "data_offset": 16 << 20, "data_size": 8 << 20
    }  # fmt: skip
