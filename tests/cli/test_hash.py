"""``hash``: lines as hashcat's own extractor makes them, files, warnings and refusals."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path

import pytest

from luksmeta.format_options import Version
from tests import builders
from tests.builders import FIRST, SECOND, VERSIONS
from tests.cli.runner import CHEAP, done, luksmeta, refused
from tests.interop.peers import hashcat

on_versions = pytest.mark.parametrize("version", VERSIONS)


def image(folder: Path, version: Version, *, data: bytes = b"\1" * 512) -> Path:
    path = builders.file(folder / "volume.img", version, FIRST, SECOND)
    with path.open("r+b") as file:
        file.seek(builders.data_offset(version))
        file.write(data)
    return path


@on_versions
def test_every_keyslot_has_a_line(version: Version, tmp_path: Path) -> None:
    path = image(tmp_path, version)
    lines = done(luksmeta("hash", path)).out.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("$luks$1$sha256$aes$xts-plain64$256$1000$") for line in lines)
    assert done(luksmeta("hash", path, "-S", "1")).out.splitlines() == lines[1:]


def test_the_lines_are_those_of_hashcats_own_extractor(tmp_path: Path) -> None:
    path = image(tmp_path, "luks1")
    theirs = hashcat.extracted(path)  # versions before 7 stop after the first keyslot
    assert theirs
    assert done(luksmeta("hash", path)).out.splitlines()[: len(theirs)] == theirs


@on_versions
def test_json_has_modes_and_lines(version: Version, tmp_path: Path) -> None:
    path = image(tmp_path, version)
    document = done(luksmeta("hash", path, "--json")).json
    assert [(each["keyslot"], each["mode"], each["form"]) for each in document["hashes"]] == [
        (0, 29521, "hashcat"),
        (1, 29521, "hashcat"),
    ]
    assert document["left_out"] == []
    assert document["hashes"][0]["hash"].startswith("$luks$1$")


def test_a_file_is_new_private_and_said_to_be_for_which_mode(tmp_path: Path) -> None:
    path, file = image(tmp_path, "luks2"), tmp_path / "lines"
    answer = done(luksmeta("hash", path, "-o", file))
    assert answer.out == "".join(f"{file}: keyslot {n}, for hashcat -m 29521\n" for n in (0, 1))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() == done(luksmeta("hash", path)).out
    refused(luksmeta("hash", path, "-o", file), 5, "exists")


def test_johns_form(tmp_path: Path) -> None:
    path = tmp_path / "old.img"
    options = ("--size", "4M", "--type", "luks1", "-c", "aes-cbc-essiv:sha256", "-s", "256")
    done(luksmeta("format", path, *options, "--hash", "sha1", "-q", *CHEAP, stdin=FIRST))
    assert done(luksmeta("hash", path, "--form", "john")).out.startswith("$luks$1$592$4c554b53")
    file = tmp_path / "line"
    out = done(luksmeta("hash", path, "--form", "john", "-o", file)).out
    assert out == f"{file}: keyslot 0, for john\n"


def test_what_is_left_out_is_warned_of(tmp_path: Path) -> None:
    path = image(tmp_path, "luks2")
    key = tmp_path / "third"
    key.write_bytes(b"third")
    options = ("--keyslot-cipher", "aes-cbc-essiv:sha256", "--keyslot-key-size", "256")
    first = tmp_path / "first"
    first.write_bytes(FIRST)
    done(luksmeta("add-key", path, "-d", first, "--new-keyfile", key, *CHEAP, *options))
    answer = luksmeta("hash", path)
    assert (answer.status, len(answer.out.splitlines())) == (0, 2)
    assert answer.err.startswith("luksmeta: warning: keyslot 2: its area is aes-cbc-essiv:sha256")
    refused(luksmeta("hash", path, "-S", "2"), 1, "keyslot 2", "takes them for the same")


def test_a_damaged_keyslot_is_warned_of(tmp_path: Path) -> None:
    path = image(tmp_path, "luks2")
    with path.open("r+b") as file:
        file.seek(0x9000)
        file.write(bytes(512))
    answer = luksmeta("hash", path, "--json")
    assert answer.status == 0
    (line,) = answer.err.splitlines()
    assert line.startswith("luksmeta: warning: keyslot 0: damaged, cannot open")
    assert "0x9000..0x9200" in line
    assert len(answer.json["hashes"]) == 2


def test_refusals_are_one_line(tmp_path: Path) -> None:
    path = image(tmp_path, "luks2", data=bytes(512))
    refused(luksmeta("hash", path), 1, "keyslot 0", "never written")
    refused(luksmeta("hash", path, "-S", "9"), 1, "keyslot 9")
    refused(luksmeta("hash", path, "--form", "john"), 1, "John knows LUKS1 only")
    refused(luksmeta("hash", path, "--form", "perl"), 1, "perl")
    refused(luksmeta("hash", tmp_path / "pw"), 4, "no such file")


def test_a_name_that_is_taken_is_seen_first(tmp_path: Path) -> None:
    """Also that of the volume itself, of which no line could be made."""
    path = builders.file(tmp_path / "volume", "luks2")
    before = path.read_bytes()
    refused(luksmeta("hash", path, "-o", path), 5, "exists")
    assert path.read_bytes() == before


def test_a_volume_without_keyslots_has_no_lines(tmp_path: Path) -> None:
    path = image(tmp_path, "luks2")
    done(luksmeta("erase", path, "-q"))
    refused(luksmeta("hash", path), 1, "there are none")


def test_the_read_log_says_what_was_read(tmp_path: Path) -> None:
    path, log = image(tmp_path, "luks2"), tmp_path / "log"
    done(luksmeta("hash", path, "-S", "0", "--read-log", log))
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert entries[1]["file"] == str(path)
    start = builders.data_offset("luks2")
    content = path.read_bytes()[start : start + 512]
    read = {"offset": start, "size": 512, "sha256": hashlib.sha256(content).hexdigest()}
    assert {"file": str(path), **read} in entries


def test_a_dry_run_is_about_the_file(tmp_path: Path) -> None:
    volume, lines = image(tmp_path, "luks2"), tmp_path / "lines"
    (step,) = done(luksmeta("hash", volume, "-o", lines, "--dry-run", "--json")).json["plan"]
    assert str(lines) in done(luksmeta("hash", volume, "-o", lines, "--dry-run")).out
    assert not lines.exists()
    refused(luksmeta("hash", volume, "--dry-run"), 1, "-o")
    done(luksmeta("hash", volume, "-o", lines))
    assert step["length"] == lines.stat().st_size
