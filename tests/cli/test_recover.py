"""``recover``: after real programs' damage, exit statuses, the plan, the document, the evidence."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from luksmeta.extents import Extent
from luksmeta.forensics.recovery.recovery import SCHEMA
from luksmeta.format_options import Version
from tests import builders
from tests.builders import FIRST, SECOND, THIRD, VERSIONS, VOLUME_KEY
from tests.cli.runner import CHEAP, COMMAND, Answer, done, key_file, luksmeta, opens, refused
from tests.corpus import PROJECT, stream
from tests.defects.damage import bytes_at
from tests.forensics.rescue import PLAINTEXT, SLOT, backup_of, content, damaged, volume
from tests.interop.peers import cryptsetup
from tests.interop.peers.process import Argument, Tool

SPEC = PROJECT / "spec" / "forensics.md"
UTIL_LINUX = "util-linux"
WIPEFS, MKSWAP = Tool("wipefs", UTIL_LINUX), Tool("mkswap", UTIL_LINUX)
SFDISK = Tool("sfdisk", "fdisk")
MKFS_EXT4 = Tool("mkfs.ext4", "e2fsprogs")
PATTERN = bytes(range(256)) * (4 << 12)  # 4 MiB
on_versions = pytest.mark.parametrize("version", VERSIONS)


def with_room(image: Path) -> None:
    """Sectors for a table's backup behind the data."""
    with image.open("ab") as file:
        file.write(bytes(64 << 10))


def damaged_image(folder: Path, version: Version, *damages: Any) -> Path:  # noqa: ANN401  # Damage
    path = folder / "image"
    path.write_bytes(damaged(version, *damages))
    return path


def recover(image: Path, *options: Argument, stdin: bytes = b"") -> Answer:
    """Run it; what it reads stays as it is."""
    before = image.read_bytes()
    answer = luksmeta("recover", image, *options, stdin=stdin)
    assert image.read_bytes() == before
    return answer


def volume_key_options(folder: Path) -> tuple[Argument, ...]:
    """The volume key, and a new passphrase."""
    volume_key, new = key_file(folder, VOLUME_KEY, "volume-key"), key_file(folder, THIRD, "new")
    return "--volume-key-file", volume_key, "--new-keyfile", new, *CHEAP


def check(image: Path, header: Path, secret: bytes = FIRST) -> None:
    """Both programs open it, and the data is the same."""
    assert cryptsetup.unlocks(image, secret, header=header)
    assert opens(image, secret, "--header", header)
    assert content(image, header, secret) == PLAINTEXT


# --- what real programs leave -------------------------------------------------------------------


@on_versions
def test_after_wipefs(version: Version, tmp_path: Path) -> None:
    image, header = damaged_image(tmp_path, version), tmp_path / "header"
    WIPEFS.run("--all", "--force", image)
    answer = done(recover(image, "-o", header, "--key-file", key_file(tmp_path)))
    assert "wiped magic" in answer.out
    assert "keyslot 0 opens" in answer.out
    check(image, header)


def test_after_mkswap(tmp_path: Path) -> None:
    image, header = damaged_image(tmp_path, "luks2"), tmp_path / "header"
    MKSWAP.run("--force", image)
    done(recover(image, "-o", header, "--key-file", key_file(tmp_path)))
    check(image, header)


def test_after_mkswap_a_luks1_header_is_gone(tmp_path: Path) -> None:
    """It zeroes the first 1024 bytes, and with them every salt."""
    image, header = damaged_image(tmp_path, "luks1"), tmp_path / "header"
    MKSWAP.run("--force", image)
    answer = recover(image, "-o", header, "--key-file", key_file(tmp_path))
    refused(answer, 4, "the salts of all keyslots are gone")
    assert not header.exists()


@pytest.mark.parametrize("label", ["dos", "gpt"])
def test_after_a_partition_table(label: str, tmp_path: Path) -> None:
    image, header = damaged_image(tmp_path, "luks2"), tmp_path / "header"
    with_room(image)
    SFDISK.run("--quiet", "--wipe", "never", image, stdin=f"label: {label}\n".encode())
    done(recover(image, "-o", header, "--key-file", key_file(tmp_path)))
    check(image, header)


def test_after_gpt_luks1_has_lost_keyslot_0_and_nothing_else(tmp_path: Path) -> None:
    image, header = damaged_image(tmp_path, "luks1"), tmp_path / "header"
    with_room(image)
    SFDISK.run("--quiet", "--wipe", "never", image, stdin=b"label: gpt\n")
    refused(recover(image, "-o", header, "--key-file", key_file(tmp_path)), 2, "no keyslot")
    assert not header.exists()
    done(recover(image, "-o", header, "--key-file", key_file(tmp_path, SECOND)))
    check(image, header, SECOND)


def test_after_mkfs_only_the_volume_key_helps(tmp_path: Path) -> None:
    image, header = damaged_image(tmp_path, "luks2"), tmp_path / "header"
    MKFS_EXT4.run("-q", "-F", image, "256K")
    image.write_bytes(bytes(0x9000) + image.read_bytes()[0x9000:])
    refused(
        recover(image, "-o", header, "--key-file", key_file(tmp_path)), 4, "salts", "0x0..0x8000"
    )
    volume_key = key_file(tmp_path, VOLUME_KEY, "volume-key")
    new = key_file(tmp_path, THIRD, "new")
    answer = done(
        recover(
            *(image, "-o", header, "--volume-key-file", volume_key, "--new-keyfile", new),
            *("--cipher", "aes-xts-plain64", *CHEAP),
        )
    )
    assert "ext2/3/4 file system" in answer.out
    check(image, header, THIRD)


def test_a_wrong_passphrase_over_data_that_was_never_encrypted(tmp_path: Path) -> None:
    """A pattern that has as many values as noise: its digest says no, and that counts."""
    image, header = tmp_path / "image", tmp_path / "header"
    image.write_bytes(PATTERN)
    right = key_file(tmp_path)
    cryptsetup.run(
        *("luksFormat", "-q", "--type", "luks1", "-c", "aes-cbc-essiv:sha256", "-s", "256"),
        *("--pbkdf-force-iterations", "1000", image, right),
    )
    disk = image.read_bytes()
    image.write_bytes(bytes(6) + disk[6 : 2 << 20] + PATTERN[2 << 20 :])
    wrong = key_file(tmp_path, THIRD, "wrong")
    refused(recover(image, "-o", header, "--key-file", wrong), 2, "no keyslot")
    assert not header.exists()
    done(recover(image, "-o", header, "--key-file", right))


def test_a_key_for_an_image_that_was_never_encrypted(tmp_path: Path) -> None:
    image, header = tmp_path / "image", tmp_path / "header"
    image.write_bytes(PATTERN)
    answer = recover(image, "-o", header, *volume_key_options(tmp_path))
    refused(answer, 2, "nothing but noise")
    assert not header.exists()


def test_data_without_a_known_structure_is_taken_only_when_asked_for(tmp_path: Path) -> None:
    start = builders.data_offset("luks2")
    image, header = tmp_path / "image", tmp_path / "header"
    image.write_bytes(stream("recovery/noise", start + 8192) + volume("luks2")[start + 8192 :])
    options = (*volume_key_options(tmp_path), "--cipher", "aes-xts-plain64")
    refused(recover(image, "-o", header, *options), 2, "not proved", "--unproved")
    assert not header.exists()
    plan = recover(image, "--dry-run", *options)
    assert plan.status == 2
    assert "new header around known key" in plan.out
    assert "chosen" not in plan.out
    answer = recover(image, "-o", header, "--unproved", *options)
    assert answer.status == 0
    assert answer.err.startswith("luksmeta: warning: not proved: the volume key")
    assert opens(image, THIRD, "--header", header)


@pytest.mark.parametrize("at", [164, 212], ids=["digest", "keyslot"])
def test_a_hostile_header_costs_no_time(at: int, tmp_path: Path) -> None:
    """A limit by estimate holds unless asked otherwise: 2147483647 iterations take minutes."""
    iterations = bytes_at(at, (2**31 - 1).to_bytes(4, "big"))
    second = bytes_at(256, bytes(48))
    image = damaged_image(tmp_path, "luks1", bytes_at(0, bytes(6)), iterations, second)
    if at == 164:
        wrong = key_file(tmp_path, THIRD, "wrong")
        answer = recover(image, "-o", tmp_path / "header", "--key-file", wrong)
        refused(answer, 2, "no keyslot")
        options = (*volume_key_options(tmp_path), "--cipher", "aes-xts-plain64")
        answer = recover(image, "-o", tmp_path / "header", *options)
        assert "its digest" in done(answer).out
    else:
        answer = recover(image, "-o", tmp_path / "header", "--key-file", key_file(tmp_path))
        refused(answer, 3, "the limit is 60000 ms", "--max-time")


# --- exit statuses and files ---------------------------------------------------------------------


def test_a_wrong_passphrase_leaves_nothing(tmp_path: Path) -> None:
    image, header = damaged_image(tmp_path, "luks2", bytes_at(0, bytes(6))), tmp_path / "header"
    refused(recover(image, "-o", header, "--key-file", key_file(tmp_path, THIRD)), 2, "tried 0, 1")
    assert not header.exists()


def test_an_existing_file_is_never_written_over(tmp_path: Path) -> None:
    image, header = damaged_image(tmp_path, "luks2"), tmp_path / "header"
    header.write_bytes(b"precious")
    for option in ("-o", "--repaired"):
        refused(recover(image, option, header), 5, "file exists")
    assert header.read_bytes() == b"precious"


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    image, header = damaged_image(tmp_path, "luks2"), tmp_path / "header"
    refused(recover(image), 1, "-o or --repaired")
    refused(recover(image, "-o", header, "--candidate", "9"), 1, "candidate 9")
    refused(luksmeta("recover", tmp_path / "none", "-o", header), 4, "no such file")
    assert not header.exists()


def test_without_a_key_it_is_written_and_said_to_be_unproved(tmp_path: Path) -> None:
    image, header = damaged_image(tmp_path, "luks2", bytes_at(0, bytes(6))), tmp_path / "header"
    for option, name in ((), header), (("--json",), tmp_path / "other"):
        answer = recover(image, "-o", name, *option)
        assert answer.status == 0
        assert answer.err.startswith("luksmeta: warning: not proved: ")
        assert "proved" not in answer.out.replace("unproved", "")
        check(image, name)


def test_the_passphrase_may_come_through_standard_input(tmp_path: Path) -> None:
    image, header = damaged_image(tmp_path, "luks2", bytes_at(0, bytes(6))), tmp_path / "header"
    done(recover(image, "-o", header, "--key-file", "-", stdin=FIRST))
    check(image, header)


def test_a_repaired_copy(tmp_path: Path) -> None:
    image, copy = damaged_image(tmp_path, "luks2", bytes_at(0, bytes(6))), tmp_path / "copy"
    done(recover(image, "--repaired", copy, "--key-file", key_file(tmp_path)))
    assert copy.read_bytes() == volume("luks2")
    assert opens(copy, FIRST)


def test_a_sparse_image_stays_sparse(tmp_path: Path) -> None:
    image, copy = damaged_image(tmp_path, "luks2", bytes_at(0, bytes(6))), tmp_path / "copy"
    with image.open("r+b") as file:
        file.truncate(1 << 30)
    done(luksmeta("recover", image, "--repaired", copy, "--key-file", key_file(tmp_path)))
    assert copy.stat().st_size == 1 << 30
    assert copy.stat().st_blocks * 512 < 4 << 20


def test_a_damaged_detached_header(tmp_path: Path) -> None:
    disk = volume("luks2")
    end = builders.data_offset("luks2")
    image, old, header = tmp_path / "image", tmp_path / "old", tmp_path / "header"
    image.write_bytes(bytes(end) + disk[end:])
    old.write_bytes(bytes(6) + disk[6:0x4000] + bytes(6) + disk[0x4006:end])
    done(recover(image, "--header", old, "-o", header, "--key-file", key_file(tmp_path)))
    check(image, header)


def test_a_backup(tmp_path: Path) -> None:
    noise = bytes_at(0, stream("recovery/noise", builders.data_offset("luks2")))
    image, header = damaged_image(tmp_path, "luks2", noise), tmp_path / "header"
    backup = tmp_path / "backup"
    backup.write_bytes(backup_of(volume("luks2")).data)
    options = ("-o", header, "--backup", backup, "--key-file", key_file(tmp_path))
    assert "header backup" in done(recover(image, *options)).out
    check(image, header)


def test_a_volume_key_that_a_digest_knows_needs_no_new_passphrase(tmp_path: Path) -> None:
    image, header = damaged_image(tmp_path, "luks2", bytes_at(0, bytes(6))), tmp_path / "header"
    volume_key = key_file(tmp_path, VOLUME_KEY, "volume-key")
    assert "digest" in done(recover(image, "-o", header, "--volume-key-file", volume_key)).out
    check(image, header)


def test_a_wrong_bit_in_a_known_place(tmp_path: Path) -> None:
    at = SLOT["luks2"] + 70001
    wrong = bytes_at(at, bytes([volume("luks2")[at] ^ 4]))
    image, header = damaged_image(tmp_path, "luks2", wrong), tmp_path / "header"
    key = ("--key-file", key_file(tmp_path))
    refused(recover(image, "-o", header, *key), 2, "no keyslot")
    refused(recover(image, "-o", header, "--flipped-bit", hex(at)), 1, "--key-file")
    refused(recover(image, "-o", header, *key, "--flipped-bit", "here"), 1, "OFFSET:SIZE")
    done(recover(image, "-o", header, *key, "--flipped-bit", f"{at:#x}:2"))
    check(image, header)


def test_a_cipher_that_is_none_is_refused(tmp_path: Path) -> None:
    image, header = damaged_image(tmp_path, "luks2"), tmp_path / "header"
    for cipher in ("nonsense", "aes-xts-nonsense", "aes-"):
        refused(recover(image, "-o", header, "--cipher", cipher), 1, "--cipher")
    assert not header.exists()


def test_what_contradicts_the_header_is_warned_of(tmp_path: Path) -> None:
    image, header = damaged_image(tmp_path, "luks2"), tmp_path / "header"
    key = ("--key-file", key_file(tmp_path))
    start = builders.data_offset("luks2") // 512
    fitting = ("--cipher", "aes-xts-plain", "--offset", str(start), "--sector-size", "512")
    done(recover(image, "--dry-run", *key, *fitting))
    other = ("--cipher", "serpent-xts-plain64", "--offset", "7", "--sector-size", "4096")
    answer = recover(image, "-o", header, *key, *other)
    assert answer.status == 0
    assert answer.err.splitlines() == [
        "luksmeta: warning: --cipher serpent-xts-plain64: the header that is taken says "
        "aes-xts-plain64",
        "luksmeta: warning: --sector-size 4096: the header that is taken says 512",
        f"luksmeta: warning: --offset 7: the header that is taken says {start}",
    ]


def test_a_name_is_that_of_one_new_file(tmp_path: Path) -> None:
    image = damaged_image(tmp_path, "luks2")
    one, same = tmp_path / "new", tmp_path / "." / "new"
    names = ("-o", "--repaired", "--read-log")
    for first, second in itertools.combinations(names, 2):
        more = () if "-o" in (first, second) else ("-o", tmp_path / "header")
        refused(recover(image, first, one, second, f"{same}", *more), 1, "named twice")
    assert list(tmp_path.iterdir()) == [image]


def test_a_full_standard_output_leaves_a_file_that_is_said_to_be_whole(tmp_path: Path) -> None:
    image, header = damaged_image(tmp_path, "luks2"), tmp_path / "header"
    key = str(key_file(tmp_path))
    line = [*COMMAND, "recover", str(image), "-o", str(header), "--key-file", key]
    with Path("/dev/full").open("wb") as full:
        answer = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, check=False)
    assert answer.returncode == 4
    assert f"written, and complete: {header}".encode() in answer.stderr
    check(image, header)


def test_an_empty_image_has_no_salts_that_could_be_gone(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"")
    line = refused(recover(image, "-o", tmp_path / "header"), 4, "it is empty")
    assert "salts" not in line


def test_key_material_that_is_gone_is_said_first(tmp_path: Path) -> None:
    gone = bytes_at(SLOT["luks2"], bytes(0x40000))
    image = damaged_image(tmp_path, "luks2", gone)
    line = refused(recover(image, "-o", tmp_path / "h", "--key-file", key_file(tmp_path)), 2)
    assert line.index("keyslot 0: ") < line.index("no keyslot opens")


# --- what is said, and what was read -------------------------------------------------------------


def document(image: Path, *options: Argument) -> Any:  # noqa: ANN401  # JSON
    return done(recover(image, "--json", *options)).json


def test_the_plan_names_every_byte_range_with_its_hash(tmp_path: Path) -> None:
    image = damaged_image(
        tmp_path, "luks2", bytes_at(0, bytes(4096)), bytes_at(0x4000, bytes(4096))
    )
    page = done(recover(image, "--dry-run")).out
    assert page.startswith("Nothing was written.")
    found = document(image, "--dry-run")
    data = image.read_bytes()
    for candidate in found["candidates"]:
        for source in candidate["sources"]:
            extent = Extent(source["offset"], source["size"])
            there = data[extent.offset : extent.end]
            assert source["sha256"] == hashlib.sha256(there).hexdigest()
            assert source["sha256"] in page
    assert found["written"] is None
    assert list(tmp_path.iterdir()) == [image]


def test_the_document_says_what_was_done(tmp_path: Path) -> None:
    image, header = damaged_image(tmp_path, "luks2", bytes_at(0, bytes(6))), tmp_path / "header"
    found = document(image, "-o", header, "--key-file", key_file(tmp_path))
    assert found["schema"] == SCHEMA
    assert found["written"] == {"header": str(header), "repaired": None}
    assert found["proof"]["by"] == "passphrase"
    assert found["proof"]["keyslot"] == 0
    assert found["candidates"][found["chosen"]]["confidence"] == "certain"


def test_every_member_of_the_document_is_described(tmp_path: Path) -> None:
    image = damaged_image(tmp_path, "luks2")
    found = document(image, "--dry-run", "--key-file", key_file(tmp_path))
    described = set(re.findall(r"`(\w+)`", SPEC.read_text(encoding="utf-8")))

    def names(value: object) -> set[str]:
        if isinstance(value, dict):
            return set(value).union(*map(names, value.values()))
        return set().union(*map(names, value)) if isinstance(value, list) else set()

    assert (
        names({**found, "candidates": [{**each, "plan": []} for each in found["candidates"]]})
        <= described
    )


def test_candidates_are_chosen_by_number(tmp_path: Path) -> None:
    text = (
        volume("luks2")[0x1000:0x4000]
        .rstrip(b"\0")
        .replace(b'"iterations":1000', b'"iterations":1001')
    )
    image = damaged_image(tmp_path, "luks2", bytes_at(0x70000, text))
    ways = [each["way"] for each in document(image, "--dry-run")["candidates"]]
    assert ways[:2] == ["sound header", "JSON text in slack"]
    older = document(image, "--dry-run", "--candidate", "1")
    assert [each["way"] for each in older["candidates"]] == ["JSON text in slack"]
    answer = recover(
        *(image, "-o", tmp_path / "header", "--candidate", "1", "--key-file", key_file(tmp_path))
    )
    refused(answer, 2, "no keyslot")


def test_the_log_has_all_that_was_read(tmp_path: Path) -> None:
    image, log = damaged_image(tmp_path, "luks2", bytes_at(0, bytes(6))), tmp_path / "log"
    options = ("-o", tmp_path / "header", "--key-file", key_file(tmp_path), "--read-log", log)
    done(recover(image, *options))
    runs = [json.loads(line) for line in log.read_text().splitlines()]
    read = [each for each in runs if "sha256" in each]
    data = image.read_bytes()
    for each in read:
        there = data[each["offset"] : each["offset"] + each["size"]]
        assert each["sha256"] == hashlib.sha256(there).hexdigest()
    slot = SLOT["luks2"]
    assert any(each["offset"] <= slot < each["offset"] + each["size"] for each in read)
