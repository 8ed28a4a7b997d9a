"""What cryptsetup itself makes of attacked headers, and of headers that were checked here."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from luksmeta import check
from luksmeta.trust.policy import NAMES
from tests.cli.runner import done, luksmeta
from tests.interop.peers import cryptsetup
from tests.interop.volumes import SECRET
from tests.requirement import missing
from tests.trust.attacks import ATTACKS, Attack
from tests.trust.images import DATA_OFFSET, PASSPHRASE, good_image

_SECONDS = 10  # huge costs take for ever
_COSTS = ("--pbkdf-memory", "65536", "--pbkdf-force-iterations", "4")


def opens_silently(path: Path, *options: str | Path) -> bool:
    """Whether the right passphrase opens it with status 0 and no word."""
    line = ["open", "--test-passphrase", path, "--key-file", "-", "--batch-mode", *options]
    try:
        result = cryptsetup.TOOL.answer(*line, stdin=PASSPHRASE, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return result.returncode == 0 and not result.stdout and not result.stderr


@pytest.fixture(scope="module")
def version() -> str:
    said = cryptsetup.TOOL.run("--version").decode()
    found = re.search(r"\d+\.\d+", said)
    assert found
    return found[0]


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_what_cryptsetup_says_to_an_attack(attack: Attack, version: str, tmp_path: Path) -> None:
    if version != "2.6":
        missing(f"cryptsetup is {version}; the table says what 2.6 does")
    path = tmp_path / "volume.img"
    path.write_bytes(attack.change(good_image()))
    assert opens_silently(path) == attack.silent


@pytest.mark.parametrize("size", [None, (16 << 20) + 512], ids=["4096", "512"])
def test_a_header_of_cryptsetup_keeps_the_policies(size: int | None, tmp_path: Path) -> None:
    path = tmp_path / "volume.img"
    path.write_bytes(bytes(size or 20 << 20))
    cryptsetup.run(
        "luksFormat", path, "--type", "luks2", "--key-file", "-", *_COSTS, stdin=SECRET
    )  # fmt: skip
    for name in NAMES:
        found = {each.rule for each in check(path, name, deep=True).findings}
        assert found == ({"keyslot-kdf"} if name == "fips" else set())


def test_a_luks1_header_of_cryptsetup_keeps_the_default_policy(tmp_path: Path) -> None:
    path = cryptsetup.luks_format(tmp_path / "volume.img", SECRET, version=1)
    assert check(path, deep=True).findings == ()


@pytest.mark.parametrize("pbkdf", ["pbkdf2", "argon2i", "argon2id"])
def test_what_cryptsetup_changed_keeps_the_default_policy(pbkdf: str, tmp_path: Path) -> None:
    path = cryptsetup.luks_format(tmp_path / "volume.img", SECRET, pbkdf=pbkdf)
    cryptsetup.add_key(path, SECRET, b"another")
    cryptsetup.config(path, "--label", "größe")
    cryptsetup.token_import(path, {"type": "x", "keyslots": ["0"], "n": 1, "t": "a/b\u0007\\"})
    cryptsetup.kill_slot(path, 0)
    assert check(path).findings == ()


def test_an_exported_header_opens_with_cryptsetup(tmp_path: Path) -> None:
    image, header = tmp_path / "volume.img", tmp_path / "header"
    image.write_bytes(good_image())
    done(luksmeta("export-header", image, "-o", header, "--policy", "confidential-vm"))
    assert header.read_bytes() == good_image()[:DATA_OFFSET]
    image.write_bytes(bytes(DATA_OFFSET) + good_image()[DATA_OFFSET:])
    assert opens_silently(image, "--header", header)
