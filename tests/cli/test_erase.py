"""``erase``."""

from __future__ import annotations

from pathlib import Path

import pytest

from luksmeta.format_options import Version
from luksmeta.luks1.partition_header import ACTIVE
from tests import builders
from tests.builders import FIRST, SECOND, VERSIONS
from tests.cli.runner import done, key_file, luksmeta, opens, refused
from tests.corpus import Corpus, corpus_image
from tests.interop.peers import cryptsetup

on_versions = pytest.mark.parametrize("version", VERSIONS)


@on_versions
def test_erase_removes_every_keyslot_and_says_so(version: Version, tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", version, FIRST, SECOND)
    before = image.read_bytes()
    refused(luksmeta("erase", image), 1, str(image), "2 keyslots", "-q")
    assert image.read_bytes() == before
    said = done(luksmeta("erase", image, "-q")).out.splitlines()
    header = f"  the header of LUKS{version[-1]} volume {cryptsetup.uuid(image)} stays"
    assert said == [f"{image}: 2 keyslots erased", header]
    assert not cryptsetup.unlocks(image, FIRST)
    assert cryptsetup.is_luks(image)
    document = done(luksmeta("erase", image, "-q", "--json")).json
    assert document == {"keyslots": [], "keyslots_left": [], "tokens_left": [], "header_left": True}


def test_erase_says_which_keyslots_stay(corpus: Corpus, tmp_path: Path) -> None:
    image = corpus.copy("made/l2-unbound", tmp_path)
    image.chmod(0o600)
    bound = {str(known.slot) for known in corpus_image("made/l2-unbound").passphrases}
    keyslots = luksmeta("dump", image, "--json").json["keyslots"]
    unbound = [int(key) for key, each in keyslots.items() if each["state"] == "unbound"]
    assert unbound
    assert bound
    text = done(luksmeta("erase", image, "-q")).out
    for keyslot_id in unbound:
        assert f"  keyslot {keyslot_id} (unbound) stays\n" in text
    assert luksmeta("erase", image, "-q", "--json").json["keyslots_left"] == unbound


def test_erase_keeps_an_unbound_keyslot_that_cryptsetup_made(tmp_path: Path) -> None:
    image = cryptsetup.luks_format(tmp_path / "volume.img", FIRST)
    cryptsetup.add_key(image, FIRST, SECOND, extra=("--unbound", "--key-size", "256"))
    answer = done(luksmeta("erase", image, "-q"))
    assert answer.out.startswith(f"{image}: 1 keyslot erased\n  keyslot 1 (unbound) stays\n")
    done(luksmeta("unlock", image, "-S", "1", "-d", key_file(tmp_path, SECOND)))


def test_erase_says_which_tokens_stay(tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", "luks2", FIRST)
    cryptsetup.token_import(image, {"type": "mine", "keyslots": ["0"]}, 3)
    answer = done(luksmeta("erase", image, "-q"))
    assert "  token 3 (mine) stays\n" in answer.out
    assert done(luksmeta("erase", image, "-q", "--json")).json["tokens_left"] == [3]


@on_versions
def test_erase_all_leaves_no_volume(version: Version, tmp_path: Path) -> None:
    image = builders.file(tmp_path / "volume.img", version, FIRST, SECOND)
    before = image.read_bytes()
    refused(luksmeta("erase", image, "--all"), 1, "2 keyslots and the header", "-q")
    assert image.read_bytes() == before
    done(luksmeta("backup-header", image, "-o", tmp_path / "backup"))
    document = done(luksmeta("erase", image, "--all", "-q", "--json")).json
    assert document == {
        "keyslots": [0, 1],
        "keyslots_left": [],
        "tokens_left": [],
        "header_left": False,
    }
    assert not cryptsetup.is_luks(image)
    refused(luksmeta("dump", image), 4, "not a LUKS volume")
    after, start = image.read_bytes(), builders.data_offset(version)
    assert after[start:] == before[start:]
    assert luksmeta("restore-header", image, "-i", tmp_path / "backup", "-q").status == 0
    assert opens(image, SECOND)


def test_erase_all_takes_unbound_keyslots_and_tokens(corpus: Corpus, tmp_path: Path) -> None:
    image = corpus.copy("made/l2-unbound", tmp_path)
    image.chmod(0o600)
    answer = done(luksmeta("erase", image, "--all", "-q"))
    assert "stays" not in answer.out
    assert not cryptsetup.is_luks(image)


def odd(folder: Path) -> Path:
    """A LUKS1 volume with a flipped bit in the state of keyslot 1."""
    image = builders.file(folder / "volume.img", "luks1", FIRST, SECOND)
    with image.open("r+b") as file:
        file.seek(208 + 48)
        file.write((ACTIVE ^ 1).to_bytes(4, "big"))
    return image


def test_a_keyslot_that_may_be_in_use_is_named_among_what_stays(tmp_path: Path) -> None:
    image = odd(tmp_path)
    out = done(luksmeta("erase", image, "-q")).out
    assert out.startswith(f"{image}: 1 keyslot erased\n  keyslot 1 (state 0x00ac71f2, neither in ")
    assert luksmeta("erase", image, "-q", "--json").json["keyslots_left"] == [1]
    refused(luksmeta("kill-slot", image, "1", "-q"), 1, "keyslot 1: state 0x00ac71f2", "--all")
    start = luksmeta("dump", image, "--json").json["odd_keyslots"]["1"]["area"]["offset"]
    area = image.read_bytes()[start : start + 4096]
    assert area == builders.image("luks1", (FIRST, SECOND))[start : start + 4096]
    document = done(luksmeta("erase", image, "-q", "--all", "--json")).json
    assert (document["keyslots"], document["keyslots_left"]) == ([1], [])
    assert area not in image.read_bytes()


def test_erase_all_says_that_it_takes_keyslots_that_may_be_in_use(tmp_path: Path) -> None:
    image = odd(tmp_path)
    refused(luksmeta("erase", image, "--all"), 1, "2 keyslots and the header", "-q")


def test_dump_shows_a_keyslot_that_may_be_in_use(tmp_path: Path) -> None:
    image = odd(tmp_path)
    page = done(luksmeta("dump", image)).out
    assert (
        "\nKeyslot 1  state 0x00ac71f2, neither in use nor free\n  Area            0x21000..0x"
        in page
    )
    assert "Free keyslots   2-7\n" in page
    document = done(luksmeta("dump", image, "--json")).json
    assert list(document["keyslots"]) == ["0"]
    assert document["odd_keyslots"] == {
        "1": {
            "state": ACTIVE ^ 1,
            "problem": "state 0x00ac71f2, neither in use nor free",
            "area": {"offset": 0x21000, "size": 32 * 4000},
        }
    }
