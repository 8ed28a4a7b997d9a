"""``renew-digest``."""

from __future__ import annotations

from pathlib import Path

import pytest

from luksmeta.format_options import Version
from tests import builders
from tests.builders import FIRST, SECOND, VERSIONS, VOLUME_KEY
from tests.cli.runner import CHEAP, done, key_file, luksmeta, opens, refused
from tests.interop.peers import cryptsetup

on_versions = pytest.mark.parametrize("version", VERSIONS)
FORCED = ("--pbkdf-force-iterations", "2000")


@on_versions
def test_the_new_digest_is_reported_and_every_passphrase_opens(
    version: Version, tmp_path: Path
) -> None:
    image = builders.file(tmp_path / "volume.img", version, FIRST, SECOND)
    before = done(luksmeta("dump", image, "--json")).json["digests"]["0"]
    answer = done(luksmeta("renew-digest", image, *FORCED, stdin=SECOND))
    assert answer.out == (
        f"{image}: digest 0 renewed, pbkdf2-sha256 with 2000 iterations, of keyslots 0, 1\n"
    )
    after = done(luksmeta("dump", image, "--json")).json["digests"]["0"]
    assert before["salt"] != after["salt"]
    for secret in (FIRST, SECOND):
        assert opens(image, secret)
        assert cryptsetup.unlocks(image, secret)


def test_the_cost_is_measured_where_it_is_not_forced(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks2")
    document = done(luksmeta("renew-digest", image, "-i", "1", "--json", stdin=FIRST)).json
    assert document.pop("iterations") >= 1000
    assert document == {"digest": 0, "hash": "sha256", "keyslots": [0], "segments": [0]}


@on_versions
def test_the_volume_key_itself_is_enough(version: Version, tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", version)
    key = key_file(tmp_path, VOLUME_KEY, "volume-key")
    done(luksmeta("renew-digest", image, *FORCED, "--volume-key-file", key))
    assert cryptsetup.unlocks(image, FIRST)


def test_another_hash_is_for_luks2(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks2")
    done(luksmeta("renew-digest", image, *FORCED, "--hash", "sha512", stdin=FIRST))
    assert cryptsetup.dump_json(image)["digests"]["0"]["hash"] == "sha512"
    assert cryptsetup.unlocks(image, FIRST)
    image = builders.file(tmp_path / "volume.img", "luks1")
    line = ("renew-digest", image, *FORCED, "--hash", "sha512")
    refused(luksmeta(*line, stdin=FIRST), 1, str(image), "LUKS1", "sha256")


def test_a_wrong_passphrase_and_a_short_hash_change_nothing(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks2")
    before = image.read_bytes()
    refused(luksmeta("renew-digest", image, *FORCED, stdin=SECOND), 2, "tried 0")
    refused(luksmeta("renew-digest", image, *FORCED, "-h", "md5", stdin=FIRST), 1, "16 bytes")
    assert image.read_bytes() == before


def test_an_unbound_keyslot_with_the_volume_key_is_bound(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks2")
    raw = ("--volume-key-file", key_file(tmp_path, VOLUME_KEY, "raw"))
    done(luksmeta("add-key", image, "--unbound", *raw, "-S", "2", *CHEAP, stdin=SECOND))
    assert not cryptsetup.unlocks(image, SECOND)
    line = ("renew-digest", image, *FORCED, "--bind", "2")
    assert done(luksmeta(*line, "--json", stdin=FIRST)).json["keyslots"] == [0, 2]
    assert cryptsetup.unlocked_slot(image, SECOND) == 2
    assert opens(image, SECOND)
    refused(luksmeta(*line, stdin=FIRST), 1, "keyslot 2: is bound already")


def test_a_renewed_digest_follows_its_unbound_keyslot(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks2")
    line = ("add-key", image, "--unbound", "-s", "256", "-S", "2", *CHEAP)
    done(luksmeta(*line, stdin=SECOND))
    before = cryptsetup.dump_json(image)["digests"]
    done(luksmeta("renew-digest", image, *FORCED, "-S", "2", stdin=SECOND))
    after = cryptsetup.dump_json(image)["digests"]
    assert before["0"] == after["0"]
    assert (before["1"]["iterations"], after["1"]["iterations"]) == (1000, 2000)
    assert cryptsetup.unlocks(image, SECOND, slot=2)
