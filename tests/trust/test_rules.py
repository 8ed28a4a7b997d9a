"""Every rule of a policy finds what it is about, and says so with object and numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import pytest

import luksmeta
from luksmeta import MemoryStorage, Policy, check
from luksmeta.errors import Severity
from luksmeta.format_options import Version
from luksmeta.trust.rules import BY_KEY, BY_NAME, RULES
from tests import builders
from tests.trust.attacks import ATTACKS
from tests.trust.images import Document, document_of, good_image, overwritten, with_document

# The rules that no attack of the table breaks under confidential-vm: a policy text, what to do to
# the document, and what the finding says.
CASES: dict[str, tuple[str, Callable[[Document], object], str]] = {
    "header-uuid": ("header.uuid = 'x'", lambda d: d, "must be 'x'"),
    "header-label": ("header.label = 'x'", lambda d: d, "label is '', must be 'x'"),
    "header-subsystem": ("header.subsystem = 'x'", lambda d: d, "subsystem is '', must be 'x'"),
    "header-seqid": ("header.seqid = {min = 9}", lambda d: d, "seqid is 3, allowed are 9 to"),
    "token-count": ("tokens.count = 5", lambda d: d, "has 0 tokens, allowed are 5"),
    "digest-hash": (
        "digests.hashes = ['sha9*']",
        lambda d: d,
        "hash is 'sha256', allowed are sha9",
    ),
}


@cache
def found_by_attacks() -> dict[str, str]:
    """The first finding of each rule over all attacks."""
    texts: dict[str, str] = {}
    for attack in ATTACKS:
        for each in check(MemoryStorage(attack.change(good_image())), "confidential-vm").findings:
            texts.setdefault(each.rule, each.text)
    return texts


def test_every_rule_is_tested_here_or_by_an_attack() -> None:
    assert found_by_attacks().keys() | CASES.keys() == BY_NAME.keys()


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_finds_what_it_is_about(rule: str) -> None:
    text, alter, said = CASES[rule]
    document = document_of(good_image())
    alter(document)
    storage = MemoryStorage(with_document(good_image(), document))
    (finding,) = check(storage, Policy.from_toml(text)).findings
    assert (finding.rule, finding.severity) == (rule, Severity.ERROR)
    assert said in finding.text


def test_findings_name_their_object_and_what_is_allowed() -> None:
    number_or_name = re.compile(
        r"allowed are|\d|must be|opens no|encrypts nothing|not at all|none$"
    )
    for rule, text in found_by_attacks().items():
        if rule == "header-readable":
            continue
        assert re.match(r"[\w.]+( \w+)?( at [\w.]+)?: |gap at ", text), text
        assert number_or_name.search(text), text


def test_rules_have_names_keys_reasons_and_references_of_their_own() -> None:
    assert len(BY_NAME) == len(RULES)
    assert len(BY_KEY) == sum(rule.key is not None for rule in RULES)
    for rule in RULES:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", rule.name)
        assert rule.why.endswith(".")
        assert len(rule.reference) > 5
        assert rule.severity in Severity


# --- LUKS1, gaps, detached headers -------------------------------------------------------------


def test_a_luks1_volume_keeps_the_default_policy() -> None:
    assert check(builders.memory("luks1")).findings == ()


@pytest.mark.parametrize(
    ("offset", "rule"),
    [(600, "header-padding"), (4095, "header-padding"), (builders.data_offset("luks1") - 1, "")],
)
def test_data_between_the_parts_of_a_luks1_header_is_found(offset: int, rule: str) -> None:
    storage = builders.memory("luks1")
    storage.write_at(offset, b"x")
    rules = [each.rule for each in check(storage).findings]
    assert rules == [rule or "header-gap"]
    assert check(storage).holds  # a warning, for other programs keep notes there
    assert not check(
        storage, Policy.from_toml("header.zero_gap=true\nheader.zero_padding=true")
    ).holds


def luks2_with_gap(gap: int) -> bytes:
    """A LUKS2 volume whose keyslots area is ``gap`` bytes shorter than it could be."""
    image = good_image()
    document = document_of(image)
    size = int(document["config"]["keyslots_size"]) - gap
    document["config"]["keyslots_size"] = str(size)
    emptied = overwritten(image, (16 << 20) - gap, bytes(gap))
    return with_document(emptied, document)


def test_a_large_gap_is_read_to_its_end_only_in_a_deep_check() -> None:
    image = luks2_with_gap(4 << 20)
    assert check(MemoryStorage(image), deep=True).findings == ()
    hidden = MemoryStorage(overwritten(image, (16 << 20) - 5, b"x"))
    assert check(hidden).findings == ()
    (finding,) = check(hidden, deep=True).findings
    assert (finding.rule, finding.path) == ("header-gap", "gap")
    assert "not zero from 0xfffffb on" in finding.text
    near = MemoryStorage(overwritten(image, 12 << 20, b"x"))
    assert [each.rule for each in check(near).findings] == ["header-gap"]


def test_a_segment_at_0_is_right_where_the_header_is_apart() -> None:
    document = document_of(good_image())
    document["segments"]["0"]["offset"] = "0"
    header = MemoryStorage(with_document(good_image(), document))
    assert not check(header, "strict").holds
    assert not check(header, "strict", header=header).holds
    assert check(MemoryStorage(4096), "strict", header=header).findings == ()


@pytest.mark.parametrize("version", builders.VERSIONS)
def test_a_header_file_is_one_that_ends_with_the_header(version: Version) -> None:
    header = MemoryStorage()
    with luksmeta.format(
        MemoryStorage(1 << 20),
        b"x",
        type=version,
        header=header,
        pbkdf=builders.KDF,
        digest_iterations=1000,
    ) as volume:
        assert volume.metadata.data_offset == 0
    assert check(header).findings == ()
    header.resize(header.size + 4096)
    assert [each.rule for each in check(header).findings] == ["segment-begin"]


def test_an_old_header_of_luks1_is_not_young_enough_for_want_of_a_seqid() -> None:
    policy = Policy.load("default").expecting(min_seqid=3)
    assert [each.rule for each in check(builders.memory("luks1"), policy).errors] == [
        "header-seqid"
    ]


def test_a_header_of_another_size_keeps_the_policy() -> None:
    storage = MemoryStorage(20 << 20)
    luksmeta.format(
        storage, b"x", metadata_size=64 << 10, pbkdf=builders.KDF, digest_iterations=1000
    )
    assert check(storage).findings == ()


class CountingStorage(MemoryStorage):
    """Counts the bytes that are read."""

    read = 0

    def _read(self, offset: int, size: int) -> bytes:
        self.read += size
        return super()._read(offset, size)


def test_a_check_reads_the_header_copies_and_little_else() -> None:
    storage = CountingStorage(good_image())
    assert check(storage, "confidential-vm", deep=True).holds
    assert storage.read <= 2 * (16 << 10) + 8 * (16 << 10)  # both copies, and a page at 8 places


def test_no_header_makes_more_than_a_thousand_findings() -> None:
    document = document_of(good_image())
    members = {f"x{number}": 1 for number in range(900)}
    document["keyslots"]["0"] |= members
    document["segments"]["0"] |= {f"y{number}": 1 for number in range(300)}
    image = with_document(good_image(), document)
    assert len(check(MemoryStorage(image)).findings) == 1000


def test_hostile_names_are_cut() -> None:
    document = document_of(good_image())
    document["segments"]["0"]["encryption"] = "x" * 3000
    document["x" * 2000] = 1
    for finding in check(MemoryStorage(with_document(good_image(), document))).findings:
        assert len(finding.text) < 300
        assert len(finding.path) < 100
