"""``repair``: the plan, the question, the copy beside the image, and what each case says."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from luksmeta.format_options import Version
from luksmeta.header_copies import HeaderCopy
from tests import builders
from tests.builders import FIRST, SECOND, VERSIONS
from tests.cli.runner import as_ordinary_user, done, luksmeta, opens, refused
from tests.corpus import Corpus
from tests.defects.damage import (
    HDR_SIZE,
    LUKS1_BEYOND_REPAIR,
    LUKS1_REPAIRED_BY_CRYPTSETUP,
    LUKS2_BEYOND_REPAIR,
    LUKS2_REPAIRABLE,
    all_of,
    bytes_at,
)
from tests.interop.peers import cryptsetup

_DAMAGE = {
    "luks1": LUKS1_REPAIRED_BY_CRYPTSETUP["partition table over unused keyslots"],
    "luks2": LUKS2_REPAIRABLE["partition table"],
}
_BEYOND = {
    "luks1": LUKS1_BEYOND_REPAIR["place of a keyslot in use"],
    "luks2": LUKS2_BEYOND_REPAIR["a byte in each copy"],
}
on_versions = pytest.mark.parametrize("version", VERSIONS)


def _image(
    folder: Path, version: Version, *, beyond: bool = False, name: str = "volume.img"
) -> Path:
    path = builders.file(folder / name, version, FIRST, SECOND)
    disk = bytearray(path.read_bytes())
    (_BEYOND if beyond else _DAMAGE)[version](disk)
    path.write_bytes(disk)
    return path


@on_versions
def test_a_damaged_header_is_shown_copied_and_repaired(version: Version, tmp_path: Path) -> None:
    image = _image(tmp_path, version)
    before = image.read_bytes()
    out = done(luksmeta("repair", image, "-q")).out
    backup = tmp_path / "volume.img.before-repair"
    assert out.endswith(f"{image}: repaired; the header as it was is in {backup}\n")
    assert "partition table at 0x1fe is no part of this volume, and will be written over" in out
    assert "object" in out
    assert "will be" in out
    assert backup.read_bytes() == before[: backup.stat().st_size]
    assert stat.S_IMODE(backup.stat().st_mode) == 0o400
    assert opens(image, FIRST)
    assert cryptsetup.unlocked_slot(image, SECOND) == 1
    assert "nothing to repair" in done(luksmeta("repair", image)).out


@on_versions
def test_the_copy_brings_the_damage_back(version: Version, tmp_path: Path) -> None:
    image = _image(tmp_path, version)
    before = image.read_bytes()
    done(luksmeta("repair", image, "-q", "--backup", tmp_path / "kept"))
    with image.open("r+b") as file:
        file.write((tmp_path / "kept").read_bytes())
    assert image.read_bytes() == before


@on_versions
def test_a_dry_run_shows_fields_and_steps_and_writes_nothing(
    version: Version, tmp_path: Path
) -> None:
    image = _image(tmp_path, version)
    image.chmod(0o444)
    before = image.read_bytes()
    out = done(as_ordinary_user("repair", image, "--dry-run")).out
    document = done(luksmeta("repair", image, "--dry-run", "--json")).json
    assert "Nothing was written. The write plan:\n" in out
    assert f"in a new file {image}.before-repair" in out
    kinds = [step["step"] for step in document["plan"]]
    assert kinds == ["copy", "write", "barrier"]
    assert document["fields"]
    for field in document["fields"]:
        assert set(field) == {"object", "field", "found", "will_be"}
        assert field["field"] in out
    assert [each["name"] for each in document["diagnosis"]["foreign_signatures"]]
    assert image.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["volume.img"]


@on_versions
def test_json_is_one_document_of_what_was_done(version: Version, tmp_path: Path) -> None:
    image = _image(tmp_path, version)
    document = done(luksmeta("repair", image, "-q", "--json")).json
    assert document["repaired"] is True
    assert document["backup"] == f"{image}.before-repair"
    assert document["uuid"] == cryptsetup.uuid(image)
    assert document["diagnosis"]["format"] == version
    again = done(luksmeta("repair", image, "--json")).json
    assert (again["repaired"], again["backup"], again["fields"]) == (False, None, [])
    assert again["diagnosis"]["copies"][0]["state"] == "good"


@on_versions
def test_without_a_terminal_it_wants_to_be_confirmed(version: Version, tmp_path: Path) -> None:
    image = _image(tmp_path, version)
    before = image.read_bytes()
    answer = luksmeta("repair", image)
    assert (answer.status, answer.err.count("\n")) == (1, 1)
    assert answer.err.startswith(
        f"luksmeta: error: {image}: the header will be repaired, and copied"
    )
    assert "-q" in answer.err
    assert answer.out == luksmeta("repair", image, "--dry-run").out.partition("Nothing was")[0]
    refused(luksmeta("repair", image, "--json"), 1, str(image), "-q")
    assert image.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["volume.img"]


def test_an_older_copy_is_never_overwritten(tmp_path: Path) -> None:
    image = _image(tmp_path, "luks2")
    for name in ("volume.img.before-repair", "volume.img.before-repair-2", "mine"):
        (tmp_path / name).write_bytes(b"older")
    refused(luksmeta("repair", image, "--dry-run", "--backup", tmp_path / "mine"), 5, "exists")
    refused(luksmeta("repair", image, "-q", "--backup", tmp_path / "mine"), 5, "mine: file exists")
    assert not opens_directly(image)
    out = done(luksmeta("repair", image, "-q")).out
    assert out.rstrip().endswith("volume.img.before-repair-3")
    for name in ("volume.img.before-repair", "volume.img.before-repair-2", "mine"):
        assert (tmp_path / name).read_bytes() == b"older"


def opens_directly(image: Path) -> bool:
    """Whether the primary copy is whole."""
    state = luksmeta("dump", image, "--json").json["header_copies"][0]["state"]
    return bool(state == "good")


@on_versions
@pytest.mark.parametrize("options", [(), ("-q",)])
def test_beyond_repair_is_status_4_and_one_line(
    version: Version, options: tuple[str, ...], tmp_path: Path
) -> None:
    image = _image(tmp_path, version, beyond=True)
    before = image.read_bytes()
    hint = "(restore-header can bring back a header backup; --dry-run shows all that is wrong)"
    refused(luksmeta("repair", image, *options), 4, str(image), hint)
    assert image.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["volume.img"]


@on_versions
def test_a_dry_run_lists_all_that_is_wrong_beyond_repair(version: Version, tmp_path: Path) -> None:
    image = _image(tmp_path, version, beyond=True)
    answer = luksmeta("repair", image, "--dry-run")
    assert answer.status == 4
    assert answer.err.count("\n") == 1
    assert "no copy serves" in answer.out
    assert answer.out.count("  error: ") >= (2 if version == "luks2" else 1)
    document = json.loads(luksmeta("repair", image, "--dry-run", "--json").out)
    assert document["repaired"] is False
    violations = document["diagnosis"]["copies"][0]["violations"]
    assert {"path", "rule", "severity", "value", "text"} == set(violations[0])
    without = luksmeta("repair", image, "-q", "--json")
    assert without.status == 4
    assert {"plan": [], **without.json} == document
    for each in (answer, without):
        assert each.err.rstrip().endswith("(restore-header can bring back a header backup)")


def test_of_many_violations_the_error_names_the_first_and_debug_all(tmp_path: Path) -> None:
    image = tmp_path / "volume.img"
    base = builders.image("luks2")
    document = builders.document_of(base)
    document["keyslots"]["0"]["area"]["offset"] = "0"
    document["tokens"]["0"] = {"type": "x", "keyslots": ["9"]}
    image.write_bytes(builders.with_document(base, document))
    refused(
        luksmeta("dump", image), 4, "tokens.0", "(and 1 more)", "repair --dry-run lists them all"
    )
    debug = luksmeta("dump", image, "--debug").err
    assert "error: token-keyslot: tokens.0.keyslots: token 0" in debug
    assert "error: area-begin: keyslots.0.area.offset: keyslot 0" in debug
    listed = luksmeta("repair", image, "--dry-run").out
    assert listed.count("[token-keyslot]") == listed.count("[area-begin]") == 2


def test_no_luks_at_all_is_status_4(tmp_path: Path) -> None:
    image = tmp_path / "volume.img"
    image.write_bytes(bytes(1 << 20))
    refused(luksmeta("repair", image, "-q"), 4, "not a LUKS volume")
    refused(luksmeta("repair", tmp_path / "missing"), 4, "no such file")


def test_a_detached_header_is_repaired_and_copied_beside_it(tmp_path: Path) -> None:
    header = _image(tmp_path, "luks2", name="header")
    data = tmp_path / "data"
    data.write_bytes(bytes(1 << 20))
    done(luksmeta("repair", data, "--header", header, "-q"))
    assert (tmp_path / "header.before-repair").exists()
    assert data.read_bytes() == bytes(1 << 20)
    assert opens_directly(header)


def test_dump_says_which_copy_served_and_why(tmp_path: Path) -> None:
    image = _image(tmp_path, "luks2")
    answer = luksmeta("dump", image)
    assert "Served by       the secondary copy: the primary copy is damaged" in answer.out
    assert answer.err.startswith(f"luksmeta: warning: {image}: primary header copy at 0x0: checks")
    assert answer.err.endswith("(repair mends it)\n")
    document = luksmeta("dump", image, "--json").json
    assert document["served_by"] == "secondary"
    assert document["served_because"] == "the primary copy is damaged"
    assert [each["state"] for each in document["header_copies"]] == ["damaged", "good"]


def test_hostile_fields_cannot_steer_the_terminal(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks2")
    disk = bytearray(image.read_bytes())
    all_of(
        bytes_at(24, b"\x1b[31mred\x1b[0m\n\r"),
        bytes_at(HDR_SIZE, bytes(6)),
        bytes_at(0x1FE, b"\x55\xaa"),
    )(disk)
    document = builders.document_of(bytes(disk))
    document["tokens"]["0"] = {"type": "x\x1b]0;y\x07\n", "keyslots": [], "\x1b[2J": "\x9b1m"}
    area = builders.with_document(bytes(disk), document, copies=(HeaderCopy.PRIMARY,))
    image.write_bytes(area[:HDR_SIZE] + bytes(disk[HDR_SIZE:]))
    for options in ((), ("--dry-run",), ("--json", "--dry-run"), ("-q",), ("--debug", "-q")):
        answer = luksmeta("repair", image, *options)
        for text in (answer.out, answer.err):
            assert not [c for c in text if not c.isprintable() and c != "\n"], text


# A reencryption without proof

_PASSPHRASE = b"correct horse battery staple"


def _unproved(corpus: Corpus, path: Path, *, damaged: bool = False) -> Path:
    base = corpus("made/l2-reencrypt-init-checksum").read_bytes()
    document = builders.document_of(base)
    document["config"]["requirements"]["mandatory"] = ["online-reencrypt"]
    disk = bytearray(builders.with_document(base, document))
    if damaged:
        disk[300] = 1
    path.write_bytes(disk)
    return path


def test_a_reencryption_without_proof_wants_a_passphrase(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luksmeta.repair.digest_iterations", lambda _: 1000)
    image = _unproved(corpus, tmp_path / "volume.img")
    before = image.read_bytes()
    refused(luksmeta("repair", image, "-q", stdin=b"wrong\n"), 2, "no keyslot opens")
    refused(luksmeta("repair", image, "-q"), 1, "nothing to read")
    assert image.read_bytes() == before
    out = done(luksmeta("repair", image, "-q", stdin=_PASSPHRASE + b"\n")).out
    assert "online-reencrypt-v2" in out
    assert cryptsetup.dump_json(image)["config"]["requirements"] == {
        "mandatory": ["online-reencrypt-v2"]
    }


@pytest.mark.parametrize(
    ("limit", "option"),
    [(("--max-memory", "1024"), "--max-memory"), (("--max-time", "0.001"), "--max-time")],
)
def test_the_keys_of_a_hostile_header_are_derived_within_limits(
    limit: tuple[str, ...], option: str, corpus: Corpus, tmp_path: Path
) -> None:
    image = _unproved(corpus, tmp_path / "volume.img")
    document = builders.document_of(image.read_bytes())
    for keyslot in document["keyslots"].values():
        if keyslot["type"] == "luks2":
            costs = {"type": "argon2id", "time": 4, "memory": 1 << 16, "cpus": 1}
            keyslot["kdf"] = {**costs, "salt": keyslot["kdf"]["salt"]}
    image.write_bytes(builders.with_document(image.read_bytes(), document))
    before = image.read_bytes()
    answer = luksmeta("repair", image, "-q", *limit, stdin=_PASSPHRASE + b"\n")
    text = refused(answer, 3, str(image), "the limit")
    assert f"{option} raises the limit" in text
    assert image.read_bytes() == before


def test_only_the_named_keyslot_is_tried(corpus: Corpus, tmp_path: Path) -> None:
    image = _unproved(corpus, tmp_path / "volume.img")
    line = ("repair", image, "-q", "-S")
    refused(luksmeta(*line, "0", stdin=b"wrong\n"), 2, "(tried 0)")
    refused(luksmeta(*line, "7", stdin=_PASSPHRASE), 1, "keyslot 7: not in use")


def test_values_are_whole_in_json_and_short_on_the_page(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks2")
    with image.open("r+b") as file:
        file.write(bytes(4096))
    document = done(luksmeta("repair", image, "--dry-run", "--json")).json
    found = {each["field"]: each["found"] for each in document["fields"]}
    assert found["csum"] == "00" * 64
    assert "…" not in json.dumps(document, ensure_ascii=False)
    assert "…" in luksmeta("repair", image, "--dry-run").out


def test_without_a_passphrase_the_rest_is_repaired(corpus: Corpus, tmp_path: Path) -> None:
    image = _unproved(corpus, tmp_path / "volume.img", damaged=True)
    answer = luksmeta("repair", image, "-q")
    assert answer.status == 0
    assert "warning" in answer.err
    assert "stays without proof" in answer.err
    assert opens_directly(image)
