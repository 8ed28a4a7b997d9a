"""``measure``, ``seal``, ``verify``, and ``--require-seal``."""

from __future__ import annotations

from pathlib import Path

import pytest

from luksmeta.format_options import Version
from tests import builders
from tests.builders import FIRST, SECOND, THIRD, VERSIONS
from tests.cli.runner import CHEAP, Answer, Argument, done, key_file, luksmeta, refused


@pytest.fixture
def key(tmp_path: Path) -> tuple[Argument, ...]:
    return ("-d", key_file(tmp_path))


@pytest.fixture
def image(tmp_path: Path, key: tuple[Argument, ...]) -> Path:
    """A sealed volume with two keyslots."""
    path = builders.file(tmp_path / "volume.img", "luks2", FIRST, SECOND)
    done(luksmeta("seal", path, *key))
    return path


def verified(image: Path, key: tuple[Argument, ...]) -> int:
    """The counter of a seal that holds."""
    counter: int = done(luksmeta("verify", image, *key, "--json")).json["counter"]
    return counter


def broken(image: Path) -> str:
    """Change the label without the key; the warning."""
    answer = luksmeta("config", image, "--label", "new")
    assert answer.status == 0
    return answer.err


# --- measure -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("hash", "size"), [("sha256", 64), ("sha384", 96), ("sha512", 128)])
def test_measure_prints_what_sha256sum_would(
    version: Version, hash: str, size: int, tmp_path: Path
) -> None:
    image = builders.file(tmp_path / "volume.img", version)
    digest, name = done(luksmeta("measure", image, "--hash", hash)).out.split()
    assert name == str(image)
    assert len(digest) == size
    document = done(luksmeta("measure", image, "--hash", hash, "--json")).json
    assert document == {
        "format": "luksmeta-header-v1",
        "hash": hash,
        "measurement": digest,
        "version": int(version[-1]),
        "uuid": "c0ffee00-0000-4000-8000-000000000001",
    }


def test_measure_takes_a_header_file(image: Path, tmp_path: Path) -> None:
    header = tmp_path / "header"
    done(luksmeta("backup-header", image, "-o", header))
    answers = [
        done(luksmeta("measure", *arguments)).out.split()[0]
        for arguments in ((image,), (header,), (image, "--header", header))
    ]
    assert len(set(answers)) == 1


# --- seal and verify ------------------------------------------------------------------------------


def test_a_sealed_header_verifies(image: Path, key: tuple[Argument, ...]) -> None:
    measurement = done(luksmeta("measure", image)).out.split()[0]
    expected = f"{image}: sealed and whole; counter 1, measurement {measurement}\n"
    assert done(luksmeta("verify", image, *key)).out == expected
    assert done(luksmeta("verify", image, *key, "--json")).json == {
        "holds": True,
        "sealed": True,
        "counter": 1,
        "measurement": measurement,
        "findings": [],
    }
    assert done(luksmeta("seal", image, *key, "--json")).json == {
        "counter": 2,
        "measurement": measurement,
        "accepted": [],
    }


def test_a_header_without_a_seal_does_not(tmp_path: Path, key: tuple[Argument, ...]) -> None:
    image = builders.file(tmp_path / "volume.img", "luks2")
    answer = luksmeta("verify", image, *key, "--json")
    assert answer.status == 2
    assert (answer.json["sealed"], answer.json["counter"]) == (False, None)
    assert "has no seal" in answer.err
    refused(luksmeta("unlock", image, *key, "--require-seal"), 2, "has no seal")


def test_verify_and_seal_name_what_changed(image: Path, key: tuple[Argument, ...]) -> None:
    assert broken(image) == (
        f"luksmeta: warning: {image}: the header is changed without the volume key; "
        "the seal will not hold until the header is sealed again\n"
    )
    line = 'header.label: changed since the header was sealed: was "", is "new"\n'
    answer = luksmeta("verify", image, *key)
    assert (answer.status, answer.out) == (2, line)
    refused(luksmeta("seal", image, *key), 2, "header.label", "--update")
    refused(luksmeta("seal", image, *key, "--update", stdin=b""), 1, "-q")
    before = image.read_bytes()
    planned = luksmeta("seal", image, *key, "--update", "-q", "--dry-run")
    assert planned.out.startswith("Nothing was written.")
    assert image.read_bytes() == before
    accepted = luksmeta("seal", image, *key, "--update", "-q", "--json")
    assert accepted.status == 0
    assert accepted.err == line
    assert accepted.json["counter"] == 2
    assert [each["path"] for each in accepted.json["accepted"]] == ["header.label"]
    assert verified(image, key) == 2


def test_hashes_of_key_material_are_not_printed_for_people(
    image: Path, key: tuple[Argument, ...]
) -> None:
    data = bytearray(image.read_bytes())
    data[builders.data_offset("luks2") - 1] ^= 1
    image.write_bytes(data)
    answer = luksmeta("verify", image, *key)
    text = "areas.free: unused bytes of the keyslots area changed since the header was sealed"
    assert (answer.status, answer.out) == (2, f"{text}\n")


@pytest.mark.parametrize("name", ["seal", "verify"])
def test_luks1_has_no_seal(name: str, tmp_path: Path, key: tuple[Argument, ...]) -> None:
    image = builders.file(tmp_path / "volume.img", "luks1")
    answer = luksmeta(name, image, *key)
    assert answer.status == {"seal": 1, "verify": 2}[name]
    assert "LUKS1" in answer.err


def test_a_wrong_passphrase_is_status_2(image: Path) -> None:
    for name in ("seal", "verify"):
        refused(luksmeta(name, image, stdin=b"wrong\n"), 2, "no keyslot opens")


def test_dump_leaves_out_what_nobody_reads(image: Path) -> None:
    page = done(luksmeta("dump", image)).out
    assert "luksmeta-seal" in page
    assert max(map(len, page.splitlines())) < 100


# --- on other commands ----------------------------------------------------------------------------


def test_read_write_and_unlock_take_the_requirement(
    image: Path, key: tuple[Argument, ...], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.write_bytes(b"payload")
    lines: list[tuple[Argument, ...]] = [
        ("unlock", image, *key),
        ("write", image, *key, "-i", data),
        ("read", image, *key, "-o", tmp_path / "plain"),
    ]
    measurement = done(luksmeta("measure", image, "--hash", "sha512")).out.split()[0]
    for line in lines:
        done(luksmeta(*line, "--require-seal"))
        done(luksmeta(*line, "--seal-counter", "1", "--seal-measurement", measurement))
    broken(image)
    before = image.read_bytes()
    for line in lines:
        refused(luksmeta(*line, "--require-seal"), 2, "header.label", "--update")
        refused(luksmeta(*line, "--seal-counter", "1"), 2, "header.label", "--update")
        done(luksmeta(*line))
        image.write_bytes(before)


@pytest.mark.parametrize("option", [("--require-seal",), ("--seal-counter", "1")])
def test_without_a_header_there_is_no_seal(option: tuple[str, ...], tmp_path: Path) -> None:
    image = tmp_path / "plain"
    image.write_bytes(bytes(4096))
    line = ("read", image, "--type", "plain", "-d", key_file(tmp_path, bytes(32)), "-o", "-")
    refused(luksmeta(*line, *option), 1, option[0])


CHANGES: dict[str, tuple[str, ...]] = {
    "add-key": ("-d", "{d}/key", "--new-keyfile", "{d}/third", *CHEAP),
    "change-key": ("-d", "{d}/second", "--new-keyfile", "{d}/third", *CHEAP),
    "convert-key": ("-d", "{d}/second", *CHEAP),
    "renew-digest": ("-d", "{d}/key", "--pbkdf-force-iterations", "1001"),
    "remove-key": ("-d", "{d}/second"),
    "kill-slot": ("1", "-d", "{d}/key"),
}


def change(image: Path, name: str) -> Answer:
    for number, secret in (("second", SECOND), ("third", THIRD)):
        key_file(image.parent, secret, number)
    options = [each.format(d=image.parent) for each in CHANGES[name]]
    return luksmeta(name, image, *options)


@pytest.mark.parametrize("name", CHANGES)
def test_key_operations_renew_the_seal(name: str, image: Path, key: tuple[Argument, ...]) -> None:
    done(change(image, name))
    assert verified(image, key) > 1


@pytest.mark.parametrize("name", CHANGES)
def test_key_operations_warn_of_a_seal_that_they_cannot_renew(name: str, image: Path) -> None:
    broken(image)
    answer = change(image, name)
    assert answer.status == 0
    assert "header.label" in answer.err
    assert all(each.startswith("luksmeta: warning: ") for each in answer.err.splitlines())


def test_removal_without_a_passphrase_warns(image: Path) -> None:
    answer = luksmeta("kill-slot", image, "1", "-q")
    assert answer.status == 0
    assert "without the volume key" in answer.err


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("measure", "a", "--hash", "md5"), "md5"),
        (("verify", "a", "--counter", "0"), "--counter"),
        (("verify", "a", "--counter", "9" * 20), "--counter"),
        (("verify", "a", "--measurement", "abc"), "hex digits"),
        (("unlock", "a", "--seal-measurement", "g" * 64), "hex digits"),
        (("unlock", "a", "--seal-counter", "x"), "'x'"),
    ],
)
def test_wrong_arguments_are_status_1(arguments: tuple[str, ...], part: str) -> None:
    refused(luksmeta(*arguments), 1, part, "--help")
