"""``check``, ``export-header`` and ``--policy``: forms of output, statuses, headers as checked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from luksmeta.format_options import Version
from tests import builders
from tests.builders import FIRST
from tests.cli.runner import (
    Answer,
    Argument,
    as_ordinary_user,
    done,
    key_file,
    luksmeta,
    process,
    refused,
)
from tests.trust.attacks import ATTACKS
from tests.trust.images import DATA_OFFSET, PASSPHRASE, UUID, good_image


def good(path: Path) -> Path:
    path.write_bytes(good_image())
    return path


def attacked(path: Path, name: str = "null-cipher-in-segment") -> Path:
    (attack,) = (each for each in ATTACKS if each.name == name)
    path.write_bytes(attack.change(good_image()))
    return path


def broken(answer: Answer) -> str:
    """The standard output of a check that found the policy broken."""
    assert (answer.status, answer.err) == (2, "")
    return answer.out


@pytest.fixture
def both(tmp_path: Path) -> tuple[Path, Path]:
    return good(tmp_path / "good.img"), attacked(tmp_path / "bad.img")


def test_a_header_that_keeps_the_policy(tmp_path: Path) -> None:
    image = good(tmp_path / "volume.img")
    answer = done(luksmeta("check", image, "--policy", "confidential-vm"))
    assert answer.out == f"{image}: keeps the policy confidential-vm\n"


def test_findings_have_a_line_each_with_reason_and_reference(tmp_path: Path) -> None:
    image = attacked(tmp_path / "volume.img", "iv-tweak-moved")
    assert broken(luksmeta("check", image)).splitlines() == [
        f"{image}: breaks the policy default",
        "error: segment 0: iv_tweak is 8, allowed are 0 [segment-iv-tweak]",
        "  Shifted IVs turn the data into noise, or repeat those of another segment. "
        "(LUKS2 specification 1.1.4, section 3.3)",
    ]


def test_many_headers_end_with_their_sum(both: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "junk").write_bytes(b"junk")
    answer = luksmeta("check", *both, tmp_path / "junk", tmp_path / "missing")
    assert answer.status == 2
    assert answer.err.splitlines() == [
        f"luksmeta: error: {tmp_path}/junk: not a LUKS volume",
        f"luksmeta: error: {tmp_path}/missing: no such file or directory",
    ]
    assert answer.out.splitlines()[-1] == (
        "4 headers: 1 hold, 1 break the policy, 2 cannot be read"
    )
    folder = luksmeta("check", tmp_path)
    assert folder.out.splitlines()[-1].startswith("3 headers: 1 hold, 1 break")


def test_what_cannot_be_read_is_one_line_with_its_own_status(tmp_path: Path) -> None:
    path = tmp_path / "volume.img"
    refused(luksmeta("check", path), 4, "no such file")
    path.write_bytes(b"LUKS")
    refused(luksmeta("check", path), 4, "not a LUKS volume")
    good(path).chmod(0)
    refused(as_ordinary_user("check", path), 2, "permission denied")


def test_a_damaged_header_breaks_every_policy(tmp_path: Path) -> None:
    image = attacked(tmp_path / "volume.img", "checksum-wrong")
    assert "[header-readable]" in broken(luksmeta("check", image))


def test_json_is_one_document(both: tuple[Path, Path]) -> None:
    answer = luksmeta("check", *both, "--json", "--policy", "strict")
    assert (answer.status, answer.err) == (2, "")
    one, other = answer.json["results"]
    assert answer.json["holds"] is False
    assert one == {
        "image": str(both[0]),
        "policy": "strict",
        "holds": True,
        "format": "luks2",
        "uuid": UUID,
        "label": "",
        "findings": [],
        "error": None,
    }
    assert other["findings"][0] == {
        "rule": "segment-null-cipher",
        "severity": "error",
        "path": "segments.0.encryption",
        "text": "segment 0: 'cipher_null-ecb' encrypts nothing",
        "why": "With a null cipher everything that is written lies on the disk in the clear.",
        "reference": "https://nvd.nist.gov/vuln/detail/CVE-2025-59054, "
        "https://nvd.nist.gov/vuln/detail/CVE-2025-58356",
    }
    assert done(luksmeta("check", both[0], "--json")).json["holds"] is True


def test_json_lines_are_a_document_each(both: tuple[Path, Path]) -> None:
    answer = luksmeta("check", *both, both[0].with_name("missing"), "--json-lines")
    rows = [json.loads(line) for line in answer.out.splitlines()]
    assert [row["holds"] for row in rows] == [True, False, False]
    assert [row["error"] for row in rows] == [None, None, "no such file or directory"]
    assert (answer.status, answer.err) == (2, "")


def test_sarif_goes_to_a_file_beside_the_page_or_to_standard_output(
    both: tuple[Path, Path], tmp_path: Path
) -> None:
    report = tmp_path / "report.sarif"
    report.write_text("old")
    assert "2 headers" in broken(luksmeta("check", *both, "--sarif", report))
    written = json.loads(report.read_text())
    assert written["version"] == "2.1.0"
    assert len(written["runs"][0]["results"]) == 2
    assert json.loads(broken(luksmeta("check", *both, "--sarif", "-"))) == written
    assert {path.name for path in tmp_path.iterdir()} == {"good.img", "bad.img", "report.sarif"}


def test_parquet_may_lie_in_the_folder_that_is_checked(
    both: tuple[Path, Path], tmp_path: Path
) -> None:
    from pyarrow.parquet import read_table

    table = tmp_path / "rows.parquet"
    assert "2 headers" in broken(luksmeta("check", tmp_path, "--parquet", table))
    assert read_table(table).column("holds").to_pylist() == [False, True]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bad.img", "good.img", "rows.parquet"
    ]  # fmt: skip


def test_a_report_that_cannot_be_written_is_status_4(both: tuple[Path, Path]) -> None:
    target = both[0].parent / "missing" / "x"
    for option in ("--sarif", "--parquet"):
        answer = luksmeta("check", both[0], option, target)
        assert answer.status == 4
        assert str(target) in answer.err


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_processes_give_the_same_rows_in_the_same_order(jobs: str, both: tuple[Path, Path]) -> None:
    images = [*both] * 100
    answer = process("check", *images, "--json-lines", "--jobs", jobs)
    rows = [json.loads(line) for line in answer.out.splitlines()]
    assert [row["image"] for row in rows] == [str(image) for image in images]
    assert (answer.status, answer.err) == (2, "")


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (("--uuid", UUID), None),
        (("--uuid", UUID.upper(), "--label", "", "--min-seqid", "3"), None),
        (("--uuid", "c0ffee00-0000-4000-8000-000000000002"), "header-uuid"),
        (("--label", "root"), "header-label"),
        (("--min-seqid", "4"), "header-seqid"),
    ],
)
def test_a_volume_can_be_held_to_its_name_and_age(
    options: tuple[str, ...], rule: str | None, tmp_path: Path
) -> None:
    image = good(tmp_path / "volume.img")
    answer = luksmeta("check", image, *options)
    if rule is None:
        done(answer)
    else:
        assert f"[{rule}]" in broken(answer)


def test_a_detached_header_is_checked_in_place_of_the_image(tmp_path: Path) -> None:
    image, header = tmp_path / "volume.img", good(tmp_path / "header")
    image.write_bytes(bytes(1 << 20))
    answer = done(luksmeta("check", image, "--header", header, "--policy", "strict"))
    assert answer.out == f"{header}: keeps the policy strict\n"
    refused(luksmeta("check", image, image, "--header", header), 1, "one IMAGE, not of 2")
    refused(luksmeta("check", image, "--header", tmp_path / "missing"), 4, "no such file")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--policy", "nonsense"), "none of default, strict, confidential-vm"),
        (("--json", "--json-lines"), "one form"),
        (("--json", "--sarif", "-"), "one form"),
        (("--jobs", "0"), "--jobs"),
        (("--uuid", "x"), "--uuid"),
    ],
)
def test_wrong_options_are_status_1(options: tuple[str, ...], part: str, tmp_path: Path) -> None:
    refused(luksmeta("check", good(tmp_path / "volume.img"), *options), 1, part)


def test_a_policy_file_that_makes_no_sense_is_status_1(tmp_path: Path) -> None:
    policy = tmp_path / "ours.toml"
    policy.write_text("[keyslots]\ncuont = 1\n")
    image = good(tmp_path / "volume.img")
    refused(luksmeta("check", image, "--policy", policy), 1, "policy ours", "'keyslots.cuont'")
    policy.write_text("[keyslots]\ncount = 7\n")
    assert "has 1 keyslot, allowed are 7" in broken(luksmeta("check", image, "--policy", policy))


def test_checking_writes_nothing_and_needs_no_right_to(tmp_path: Path) -> None:
    image = attacked(tmp_path / "volume.img", "secondary-damaged")
    image.chmod(0o400)
    before = image.read_bytes()
    broken(as_ordinary_user("check", image))
    assert image.read_bytes() == before


# --- use under a policy --------------------------------------------------------------------------


USES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("unlock", ()),
    ("read", ("-o", "{d}/plain")),
    ("write", ("-i", "{d}/data")),
)


def use(name: str, options: tuple[str, ...], image: Path, *more: Argument) -> Answer:
    folder = image.parent
    (folder / "data").write_bytes(b"secret" * 100)
    key = key_file(folder, PASSPHRASE)
    return luksmeta(name, image, "-d", key, *(each.format(d=folder) for each in options), *more)


@pytest.mark.parametrize(("name", "options"), USES)
def test_a_volume_is_used_only_with_a_header_that_keeps_the_policy(
    name: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    policy = ("--policy", "confidential-vm")
    done(use(name, options, good(tmp_path / "good.img"), *policy))
    image = attacked(tmp_path / "bad.img")
    before = image.read_bytes()
    refused(use(name, options, image, *policy), 2, str(image), "confidential-vm", "segment 0")
    assert image.read_bytes() == before
    refused(use(name, options, image, "--policy", "nonsense"), 1, "'nonsense'")
    image.write_bytes(bytes(1 << 20))
    refused(use(name, options, image, *policy), 4, "not a LUKS volume")


def test_what_is_written_under_a_policy_is_read_again(tmp_path: Path) -> None:
    image = good(tmp_path / "volume.img")
    for name, options in USES[::-1]:
        done(use(name, options, image, "--policy", "strict"))
    assert (tmp_path / "plain").read_bytes()[:600] == b"secret" * 100
    assert image.read_bytes()[:DATA_OFFSET] == good_image()[:DATA_OFFSET]


def test_a_policy_has_no_meaning_without_a_header(tmp_path: Path) -> None:
    image = good(tmp_path / "volume.img")
    plain = ("--type", "plain", "--policy", "strict", "-d", key_file(tmp_path))
    refused(luksmeta("read", image, *plain), 1, "--policy has no meaning")


@pytest.mark.parametrize("version", builders.VERSIONS)
def test_an_exported_header_is_what_was_checked(version: Version, tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", version)
    header = tmp_path / "header"
    answer = done(luksmeta("export-header", image, "-o", header, "--json"))
    assert answer.json["size"] == header.stat().st_size
    assert header.stat().st_mode & 0o777 == 0o400
    image.write_bytes(bytes(1 << 16) + image.read_bytes()[1 << 16 :])
    done(luksmeta("unlock", image, "--header", header, stdin=FIRST + b"\n"))
    refused(luksmeta("export-header", header, "-o", header), 5, "exists")


def test_a_header_that_breaks_the_policy_is_not_exported(tmp_path: Path) -> None:
    image = attacked(tmp_path / "volume.img")
    refused(luksmeta("export-header", image, "-o", tmp_path / "header"), 2, "breaks the policy")
    assert not (tmp_path / "header").exists()
