"""Policies as data: what a file may say, and that nothing in it is passed over."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from luksmeta import MemoryStorage, Policy, check
from luksmeta.errors import Severity
from luksmeta.trust.policy import NAMES
from luksmeta.trust.settings import Names, Numbers, Range
from tests.trust.images import document_of, good_image, with_document


@pytest.mark.parametrize("name", NAMES)
def test_a_built_in_policy_says_what_it_is_for(name: str) -> None:
    policy = Policy.load(name)
    assert policy.name == name
    assert policy.description
    assert Policy.load(policy) is policy


def test_a_policy_file_extends_a_built_in_one(tmp_path: Path) -> None:
    path = tmp_path / "ours.toml"
    path.write_text(
        'description = "ours"\nextends = "strict"\n[keyslots]\ncount = {max = 2}\nbound = false\n'
        '[severity]\nkdf-memory = "warning"\n'
    )
    policy, strict = Policy.load(path), Policy.load("strict")
    assert (policy.name, policy.description) == ("ours", "ours")
    assert policy.settings == {
        **strict.settings,
        "keyslots.count": Range(0, 2),
        "keyslots.bound": False,
    }
    assert policy.severities == {**strict.severities, "kdf-memory": Severity.WARNING}


def test_what_a_policy_does_not_set_is_not_looked_at_but_what_always_holds_is() -> None:
    empty = Policy.from_toml("")
    assert check(MemoryStorage(good_image()), empty).holds
    assert not check(MemoryStorage(1 << 20), empty).holds


def test_a_severity_decides_whether_the_policy_holds() -> None:
    text = "keyslots.kdfs = ['pbkdf2']\n"
    storage = MemoryStorage(good_image())
    assert not check(storage, Policy.from_toml(text)).holds
    warned = check(storage, Policy.from_toml(text + "severity.keyslot-kdf = 'warning'"))
    assert warned.holds
    assert [each.severity for each in warned.findings] == [Severity.WARNING]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("nonsense = 1", "'nonsense'"),
        ("[keyslots]\ncuont = 1", "'keyslots.cuont'"),
        ("keyslots = 1", "'keyslots'"),
        ("[keyslots.pbkdf2]\niterations = {least = 1}", "keyslots.pbkdf2.iterations is neither"),
        ("[keyslots]\ncount = {min = 3, max = 2}", "min 3 above max 2"),
        ("[keyslots]\ncount = {}", "is neither"),
        ("[keyslots]\ncount = true", "is neither"),
        ("[keyslots]\ncount = -1", "is neither"),
        ("[keyslots]\ncount = {min = 1.5}", "no number"),
        ("[keyslots]\ncount = 99999999999999999999", "is neither"),
        ("[segments]\nciphers = 'aes'", "no list of texts"),
        ("[segments]\nciphers = [1]", "no list of texts"),
        (f"[segments]\nciphers = ['{'x' * 300}']", "300 characters"),
        (f"[segments]\nciphers = {['x'] * 300}", "300 entries"),
        ("[segments]\nkey_bits = ['512']", "no list of numbers"),
        (f"[segments]\nkey_bits = {[1] * 300}", "300 entries"),
        ("[segments]\nbegin = 'somewhere'", "none of header-end"),
        ("[segments]\nbegin = 1", "no text"),
        ("[header]\nzero_gap = 1", "neither true nor false"),
        ("[header]\nuuid = 1", "no text"),
        ("extends = 'nobody'", "extends 'nobody'"),
        ("extends = ['default']", "extends"),
        ("name = 1", "name is no text"),
        ("severity = 1", "severity is no table"),
        ("[severity]\nnonsense = 'error'", "severity.nonsense"),
        ("[severity]\nsegment-null-cipher = 'warning'", "always holds"),
        ("[severity]\nsegment-cipher = 'note'", "none of error, warning"),
        ("[severity]\nsegment-cipher = ['error']", "none of error, warning"),
        ("= 1", "no TOML"),
        ("a = " + "[" * 5000 + "]" * 5000, "no TOML"),
    ],
)
def test_what_a_policy_cannot_say_is_refused_by_name(text: str, part: str) -> None:
    with pytest.raises(ValueError, match=r"^policy p: ") as refusal:
        Policy.from_toml(text, "p")
    assert part in str(refusal.value)
    assert len(str(refusal.value)) < 300


def test_what_is_no_policy_file_is_refused(tmp_path: Path) -> None:
    large = tmp_path / "large.toml"
    large.write_bytes(b"#" * (65 << 10))
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    for path, part in (
        (tmp_path / "missing", "none of default, strict"),
        (tmp_path, "is a directory"),
        (large, "more than 65536 bytes"),
        (binary, "no TOML"),
    ):
        with pytest.raises(ValueError, match="policy") as refusal:
            Policy.load(path)
        assert part in str(refusal.value)


def test_a_null_cipher_that_a_policy_allows_is_refused_all_the_same() -> None:
    policy = Policy.from_toml("segments.ciphers = ['*', 'cipher_null-ecb']")
    document = document_of(good_image())
    document["segments"]["0"]["encryption"] = "cipher_null-ecb"
    storage = MemoryStorage(with_document(good_image(), document))
    assert [each.rule for each in check(storage, policy).errors] == ["segment-null-cipher"]


def test_a_policy_travels_to_other_processes() -> None:
    policy = Policy.load("confidential-vm")
    check(MemoryStorage(good_image()), policy)  # what it keeps for speed does not travel
    again = pickle.loads(pickle.dumps(policy))
    assert again == policy


def test_settings_say_what_they_allow() -> None:
    assert [str(each) for each in (Range(1, 1), Range(1, 2), Numbers((1, 2)), Numbers(()))] == [
        "1",
        "1 to 2",
        "1 or 2",
        "none",
    ]
    assert str(Names(("a", "b"))) == "a, b"
    assert str(Names(tuple("abcdef"))) == "a, b, c, d, … (6 in all)"


def test_names_have_wildcards_and_nothing_else_has_a_meaning() -> None:
    names = Names(("aes-*", "a.c", "[xy]z"))
    assert [each in names for each in ("aes-xts", "abc", "a.c", "xz", "zz", "aes", "")] == [
        True,
        False,
        True,
        True,
        False,
        False,
        False,
    ]
    assert "anything" not in Names(())
