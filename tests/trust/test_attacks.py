"""Every attack breaks the policy for confidential virtual machines; the good header keeps it."""

from __future__ import annotations

from functools import cache

import pytest

from luksmeta import MemoryStorage, Policy, Report, check
from luksmeta.luks2.header import Luks2Header
from luksmeta.trust.policy import NAMES
from tests.trust.attacks import ATTACKS, Attack
from tests.trust.images import UUID, good_image

PROTECTING = ("default", "strict", "confidential-vm", "legacy-audit")
BY_POLICY = [attack for attack in ATTACKS if attack.by_policy]
BEYOND_POLICY = [attack for attack in ATTACKS if not attack.by_policy]


@cache
def report(attack: Attack | None, policy: str = "confidential-vm") -> Report:
    image = good_image() if attack is None else attack.change(good_image())
    return check(MemoryStorage(image), policy)


def test_there_are_enough_attacks_and_each_has_a_name_of_its_own() -> None:
    assert len(BY_POLICY) >= 40
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)
    assert {attack.silent for attack in ATTACKS} == {True, False}


@pytest.mark.parametrize("policy", PROTECTING)
def test_the_good_header_keeps_every_policy_without_a_finding(policy: str) -> None:
    assert report(None, policy).findings == ()


def test_the_good_header_breaks_fips_by_its_kdf_alone() -> None:
    assert [each.rule for each in report(None, "fips").findings] == ["keyslot-kdf"]


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_an_attack_changes_the_image_and_nothing_behind_it(attack: Attack) -> None:
    attacked = attack.change(good_image())
    assert attacked != good_image()
    assert len(attacked) == len(good_image())


@pytest.mark.parametrize("attack", BY_POLICY, ids=str)
def test_an_attack_is_caught(attack: Attack) -> None:
    assert not report(attack).holds
    for each in report(attack).findings:
        assert each.text.strip()
        assert "\n" not in each.text


@pytest.mark.parametrize("attack", BEYOND_POLICY, ids=str)
def test_what_no_rule_can_tell_is_marked_so(attack: Attack) -> None:
    """Otherwise the mark is wrong: only a seal or the caller's expectations catch these."""
    assert report(attack).holds


@pytest.mark.parametrize("policy", NAMES)
@pytest.mark.parametrize("attack", ["null-cipher-in-segment", "null-cipher-in-keyslot"])
def test_no_policy_lets_a_null_cipher_pass(attack: str, policy: str) -> None:
    (found,) = (each for each in ATTACKS if each.name == attack)
    rules = {each.rule for each in report(found, policy).errors}
    assert rules & {"segment-null-cipher", "keyslot-null-cipher"}


@pytest.mark.parametrize(
    ("attack", "rule"),
    [
        ("uuid-replaced", "header-uuid"),
        ("label-replaced", "header-label"),
        ("subsystem-replaced", "header-subsystem"),
        ("header-rolled-back-to-before-a-label", "header-seqid"),
    ],
)
def test_what_a_caller_expects_of_a_volume_catches_more(attack: str, rule: str) -> None:
    storage = MemoryStorage(good_image())
    seqid = Luks2Header.read(storage).seqid
    policy = Policy.load("confidential-vm").expecting(
        uuid=UUID.upper(), label="", subsystem="", min_seqid=seqid
    )
    assert check(storage, policy).findings == ()
    (found,) = (each for each in ATTACKS if each.name == attack)
    attacked = check(MemoryStorage(found.change(good_image())), policy)
    assert rule in {each.rule for each in attacked.errors}
