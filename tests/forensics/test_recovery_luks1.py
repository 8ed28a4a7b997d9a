"""LUKS1 headers brought back: what the format says, what is tried, what is gone for good."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from luksmeta import HeaderError, Limits, PassphraseError
from luksmeta.forensics.recovery.candidates import Confidence
from luksmeta.forensics.recovery.proving import Prover
from luksmeta.luks1.partition_header import SIZE
from tests.builders import FIRST, SECOND, THIRD
from tests.corpus import stream
from tests.defects.damage import (
    LUKS1_BEYOND_REPAIR,
    LUKS1_REPAIRED_BY_CRYPTSETUP,
    Damage,
    all_of,
    bytes_at,
)
from tests.forensics.rescue import SLOT, damaged, keyslots, recovering, rescued, volume, way

NOISE = stream("recovery/noise", 4096)
CIPHER = bytes_at(8, NOISE[:64])
HASH = bytes_at(72, NOISE[:32])
PAYLOAD = bytes_at(104, NOISE[:4])
KEY_BYTES = bytes_at(108, NOISE[:4])
DIGEST = bytes_at(112, NOISE[:56])
UUID = bytes_at(168, NOISE[:40])


def entry(keyslot: int, field: int) -> int:
    return 208 + 48 * keyslot + field


MENDED = {
    **LUKS1_REPAIRED_BY_CRYPTSETUP,
    **{name: LUKS1_BEYOND_REPAIR[name] for name in LUKS1_BEYOND_REPAIR if "ecb" not in name},
    "magic": bytes_at(0, bytes(6)),
    "magic and version": bytes_at(0, bytes(8)),
    "cipher": CIPHER,
    "hash": HASH,
    "start of the data": PAYLOAD,
    "key size": KEY_BYTES,
    "digest": DIGEST,
    "UUID": UUID,
    "all before the digest": all_of(bytes_at(0, bytes(8)), CIPHER, HASH, PAYLOAD, KEY_BYTES),
    "places and stripes of all": all_of(
        *(bytes_at(entry(each, 40), bytes(8)) for each in range(0, 8, 2))
    ),
    "state of a keyslot in use": bytes_at(entry(0, 0), NOISE[:4]),
}


@pytest.mark.parametrize("name", [each for each in MENDED if each != "ecb with an IV"])
def test_what_follows_from_the_format_or_can_be_tried(name: str, tmp_path: Path) -> None:
    recovery = rescued(tmp_path, damaged("luks1", MENDED[name]))
    assert keyslots(recovery) == [0, 1]


def test_a_mode_that_makes_sense_is_believed() -> None:
    """Nothing tells that it was another: the passphrase does not open, and that is said."""
    disk = damaged("luks1", MENDED["ecb with an IV"])
    with recovering(disk) as recovery, pytest.raises(PassphraseError, match="tried 0, 1"):
        recovery.prove(FIRST)


def test_a_wiped_magic_is_named(tmp_path: Path) -> None:
    recovery = rescued(tmp_path, damaged("luks1", MENDED["magic"]))
    assert way(recovery) == "wiped magic"
    assert recovery.chosen is not None
    assert recovery.chosen.confidence is Confidence.LIKELY
    header = (tmp_path / "header").read_bytes()
    assert header[:SIZE] == volume("luks1")[:SIZE]


def test_without_its_digest_the_data_proves_a_key_and_it_gets_a_new_one(tmp_path: Path) -> None:
    recovery = rescued(tmp_path, damaged("luks1", DIGEST))
    assert recovery.proof is not None
    assert not recovery.proof.by_digest
    assert recovery.chosen is not None
    assert any("made anew" in reason for reason in recovery.chosen.reasons)


@pytest.mark.parametrize("damage", [DIGEST, PAYLOAD, HASH], ids=["digest", "payload", "hash"])
def test_a_wrong_passphrase_is_refused(damage: Damage) -> None:
    disk = damaged("luks1", damage)
    with recovering(disk) as recovery, pytest.raises(PassphraseError):
        recovery.prove(THIRD)


@pytest.mark.parametrize("field", [4, 8], ids=["iterations", "salt"])
def test_salt_and_iterations_cannot_come_back(field: int, tmp_path: Path) -> None:
    disk = damaged("luks1", bytes_at(entry(0, field), bytes(4 if field == 4 else 32)))
    recovery = rescued(tmp_path, disk, SECOND)
    assert keyslots(recovery) == [1]
    assert recovery.chosen is not None
    assert any("gone for good" in loss and "0xd0..0x100" in loss for loss in recovery.chosen.lost)
    with recovering(disk) as another, pytest.raises(PassphraseError):
        another.prove(FIRST)


def test_gpt_takes_keyslot_0_and_leaves_1(tmp_path: Path) -> None:
    gpt = all_of(
        bytes_at(446, b"\0\2\0\xee".ljust(64, b"\1") + b"\x55\xaa"), bytes_at(512, bytes(16896))
    )
    disk = damaged("luks1", gpt)
    assert rescued(tmp_path, disk, SECOND).proof is not None
    with recovering(disk) as recovery, pytest.raises(PassphraseError):
        recovery.prove(FIRST)


def test_without_a_keyslot_table_nothing_comes_back() -> None:
    disk = damaged("luks1", bytes_at(0, bytes(1024)))
    with recovering(disk) as recovery, pytest.raises(HeaderError, match="keyslot table"):
        recovery.require_any()


def test_material_is_not_touched(tmp_path: Path) -> None:
    rescued(tmp_path, damaged("luks1", CIPHER))
    header = (tmp_path / "header").read_bytes()
    at = SLOT["luks1"]
    assert header[at:] == volume("luks1")[at : len(header)]


@pytest.mark.parametrize("size", [20, 52], ids=["digest", "digest and salt"])
def test_a_digest_that_is_whole_has_the_last_word(size: int) -> None:
    """Another digest, which shows no damage: the data is not asked, even under the right key."""
    disk = damaged("luks1", bytes_at(0, bytes(6)), bytes_at(112, NOISE[:size]))
    with recovering(disk) as recovery, pytest.raises(PassphraseError):
        recovery.prove(FIRST)


@pytest.mark.parametrize(
    "damage",
    [
        bytes_at(112, bytes(20)),
        bytes_at(132, bytes(32)),
        bytes_at(164, bytes(4)),
        bytes_at(164, b"\xff" * 4),
        bytes_at(112, bytes(range(20))),
        bytes_at(132, b"text that lies over the salt of it"[:32]),
    ],
    ids=["digest", "salt", "iterations", "too many", "a ramp", "text"],
)
def test_a_digest_that_shows_damage_is_made_anew(damage: Damage, tmp_path: Path) -> None:
    recovery = rescued(tmp_path, damaged("luks1", damage))
    assert recovery.proof is not None
    assert not recovery.proof.by_digest


def test_all_candidates_together_have_a_limit() -> None:
    """A clock that goes on by two minutes a look: none is begun after ten."""
    minutes = (120.0 * each for each in itertools.count())
    with recovering(damaged("luks1", HASH)) as recovery:
        prover = Prover(THIRD, Limits(milliseconds=60_000), clock=lambda: next(minutes))
        assert not any(map(prover.prove, recovery.candidates))
        assert "all that was tried took 720000 ms" in str(prover.error(recovery.candidates))
    assert len(prover.tried) == 6
