"""Every attack of the table against a sealed volume: the seal tells it, or nothing opens at all."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

import luksmeta
from luksmeta import LuksError, MemoryStorage, SealTerms
from luksmeta.luks2.json_text import compact_text
from tests.cli.runner import done, key_file, refused
from tests.cli.runner import luksmeta as command
from tests.trust import plain
from tests.trust.attack import Alter
from tests.trust.attacks import ATTACKS, Attack
from tests.trust.images import (
    PASSPHRASE,
    VOLUME_KEY,
    Document,
    document_of,
    good_image,
    with_document,
    with_text,
)

every_attack = pytest.mark.parametrize("attack", ATTACKS, ids=str)
REFUSED_BEFORE_ANY_SEAL = frozenset(
    {
        "both-wiped",
        "checksum-wrong",
        "copies-swapped",
        "data-behind-json-text",
        "digest-replaced",
        "digest-replaced-by-one-iteration",
        "digest-shortened",
        "json-text-cut-short",
        "keyslot-key-size-lowered",
        "null-cipher-in-both-with-own-volume-key",
        "old-offline-reencryption",
        "own-volume-key-in-null-keyslot",
        "reencryption-announced-without-keyslot",
        "segments-overlapped",
        "unknown-requirement",
    }
)
"""Those after which there is no header to be read, or the volume's key is none any more."""


@cache
def sealed_image() -> bytes:
    storage = MemoryStorage(good_image())
    with (
        luksmeta.open(storage, writable=True) as volume,
        volume.unlock(volume_key=VOLUME_KEY) as unlocked,
    ):
        unlocked.seal()
    return bytes(storage.data)


def refusal(image: bytes, terms: SealTerms | None = None) -> LuksError | None:
    """Why the volume does not open where a seal is required; with its key, which costs no KDF."""
    try:
        with luksmeta.open(MemoryStorage(image)) as volume:
            volume.unlock(volume_key=VOLUME_KEY, require_seal=terms or True).close()
    except LuksError as error:
        return error
    return None


def test_the_volume_that_nobody_attacked_opens(tmp_path: Path) -> None:
    assert refusal(sealed_image()) is None
    image = tmp_path / "image"
    image.write_bytes(sealed_image())
    key = key_file(tmp_path, PASSPHRASE)
    done(command("verify", image, "-d", key))
    done(command("unlock", image, "-d", key, "--require-seal"))


def test_there_are_enough_attacks() -> None:
    assert len(ATTACKS) >= 40
    assert {attack.name for attack in ATTACKS} >= REFUSED_BEFORE_ANY_SEAL


@every_attack
def test_where_a_seal_is_required_nothing_opens(attack: Attack) -> None:
    error = refusal(attack.change(sealed_image()))
    assert error is not None
    assert isinstance(error, luksmeta.SealError) == (attack.name not in REFUSED_BEFORE_ANY_SEAL)


@every_attack
def test_verify_tells(attack: Attack, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(attack.change(sealed_image()))
    before = image.read_bytes()
    answer = command("verify", image, "--volume-key-file", key_file(tmp_path, VOLUME_KEY))
    if attack.name in REFUSED_BEFORE_ANY_SEAL:
        assert answer.status in (1, 2, 4)
    else:
        assert answer.status == 2
        assert answer.out
        assert "the seal does not hold" in answer.err
    assert image.read_bytes() == before


@every_attack
def test_the_measurement_tells_whatever_a_reader_believes(attack: Attack) -> None:
    """But for what only the copy that nobody reads says, and how the text is spelled."""
    before = luksmeta.measure(MemoryStorage(sealed_image()))
    try:
        same = luksmeta.measure(MemoryStorage(attack.change(sealed_image()))) == before
    except LuksError:
        return
    assert same == (
        attack.name
        in {
            "data-in-white-space",
            "data-in-white-space-of-secondary",
            "member-twice",
            "primary-wiped",
            "secondary-damaged",
            "secondary-rolled-back",
            "secondary-says-otherwise",
            "secondary-wiped",
        }
    )


# --- attacks on the seal itself ------------------------------------------------------------------


def without_seal(document: Document) -> None:
    document["tokens"].clear()


def with_own_seal(document: Document) -> None:
    """An attacker has a volume key too, only not this one."""
    token = dict(document["tokens"]["0"], counter=9)
    document["tokens"]["0"] = {**token, "mac": plain.mac(token, bytes(64))}


def with_counter_raised(document: Document) -> None:
    document["tokens"]["0"]["counter"] += 1


def with_keyslots(document: Document) -> None:
    document["tokens"]["0"]["keyslots"] = ["0"]


def with_another_type(document: Document) -> None:
    document["tokens"]["0"]["type"] = "luksmeta-seal2"


def with_second_seal(document: Document) -> None:
    document["tokens"]["1"] = dict(document["tokens"]["0"])


def with_record_of_the_attacked_header(document: Document) -> None:
    document["segments"]["0"]["encryption"] = "cipher_null-ecb"
    document["tokens"]["0"]["record"] = ""


@pytest.mark.parametrize(
    "change",
    [
        without_seal,
        with_own_seal,
        with_counter_raised,
        with_keyslots,
        with_another_type,
        with_second_seal,
        with_record_of_the_attacked_header,
    ],
)
def test_the_seal_itself_cannot_be_changed(change: Alter) -> None:
    document = document_of(sealed_image())
    change(document)
    assert isinstance(refusal(with_document(sealed_image(), document)), luksmeta.SealError)


def test_the_seal_of_another_volume_with_the_same_key_holds_for_that_one_alone() -> None:
    storage = MemoryStorage(good_image())
    with (
        luksmeta.open(storage, writable=True) as volume,
        volume.unlock(volume_key=VOLUME_KEY) as unlocked,
    ):
        volume.configure(label="another")
        unlocked.seal()
    document = document_of(sealed_image())
    document["tokens"] = document_of(bytes(storage.data))["tokens"]
    error = refusal(with_text(sealed_image(), compact_text(document)))
    assert isinstance(error, luksmeta.SealError)
    assert "header.label" in str(error)


def test_an_older_sealed_header_is_refused_by_its_counter(tmp_path: Path) -> None:
    storage = MemoryStorage(sealed_image())
    with (
        luksmeta.open(storage, writable=True) as volume,
        volume.unlock(volume_key=VOLUME_KEY) as unlocked,
    ):
        volume.configure(label="new")
        counter, measurement = unlocked.verify_seal().counter, volume.measure()
    assert refusal(bytes(storage.data), SealTerms(counter, measurement)) is None
    assert refusal(sealed_image()) is None
    for terms in (SealTerms(counter), SealTerms(measurement=measurement)):
        assert isinstance(refusal(sealed_image(), terms), luksmeta.SealError)
    image = tmp_path / "image"
    image.write_bytes(sealed_image())
    key = ("--volume-key-file", key_file(tmp_path, VOLUME_KEY))
    for option, value in (("counter", str(counter)), ("measurement", measurement.hex())):
        answer = command("verify", image, *key, f"--{option}", value)
        assert answer.status == 2
        assert option in answer.out
        refused(command("unlock", image, *key, f"--seal-{option}", value), 2, option)
