"""Converted volumes beside twins that cryptsetup converted, and cryptsetup amid a conversion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import luksmeta
from luksmeta import backup, convert
from luksmeta.format_options import Version
from luksmeta.write_plan import Fill, Write, WritePlan
from tests.interop.on_disk import layout
from tests.interop.peers import PeerError, cryptsetup
from tests.interop.volumes import OTHER, SECRET, read

_SECRETS = {0: SECRET, 2: OTHER, 6: b"the sixth"}
_LUKS1: dict[str, dict[str, Any]] = {  # how cryptsetup makes them
    "xts-512": {},
    "xts-256": {"key_bits": 256},
    "cbc-128": {"cipher": "aes-cbc-essiv:sha256", "key_bits": 128},
    "sha512": {"hash": "sha512"},
    "offset": {"extra": ("--offset", "8192"), "size": 8 << 20},
}


def _made(path: Path, version: int, **options: Any) -> Path:  # noqa: ANN401  # luks_format's
    """By cryptsetup, with the keyslots of _SECRETS."""
    cryptsetup.luks_format(path, SECRET, version=version, **options)
    for keyslot in (2, 6):
        cryptsetup.add_key(path, SECRET, _SECRETS[keyslot], slot=keyslot)
    return path


def _convert(path: Path, version: Version) -> list[WritePlan]:
    with luksmeta.open(path, writable=True) as volume:
        convert.prepare(volume, version).apply(volume)
        return volume.written


def _said(path: Path) -> dict[str, Any]:
    """What a header says but for its seqid: each move counts as a write of the header.

    JSON members have no order here; cryptsetup's own commands write them in two.
    """
    said = layout(path)
    for name, copy in said.items():
        if name.startswith("copy"):
            copy["fields"] = [each for n, each in enumerate(copy["fields"]) if n != 3]
            copy["document"] = json.loads(copy["document"])
    return said


def _opens_all(path: Path) -> bool:
    return all(
        cryptsetup.unlocked_slot(path, secret, slot=keyslot) == keyslot
        for keyslot, secret in _SECRETS.items()
    )


@pytest.mark.parametrize("name", _LUKS1)
def test_a_luks1_volume_becomes_the_luks2_volume_that_cryptsetup_makes_of_it(
    name: str, tmp_path: Path
) -> None:
    ours = _made(tmp_path / "ours", 1, **_LUKS1[name])
    theirs = tmp_path / "theirs"
    theirs.write_bytes(ours.read_bytes())
    data = read(ours, SECRET)
    _convert(ours, "luks2")
    cryptsetup.convert(theirs, 2)
    assert _said(ours) == _said(theirs)
    assert _opens_all(ours)
    assert read(ours, OTHER) == data
    _convert(ours, "luks1")
    cryptsetup.convert(theirs, 1)
    assert ours.read_bytes()[:1024] == theirs.read_bytes()[:1024]
    assert _opens_all(ours)


def test_a_detached_header_grows_as_cryptsetups_does(tmp_path: Path) -> None:
    ours, theirs, data = (tmp_path / name for name in ("ours", "theirs", "data"))
    data.write_bytes(bytes(1 << 20))
    cryptsetup.luks_format(data, SECRET, version=1, header=ours)
    theirs.write_bytes(ours.read_bytes())
    _convert(ours, "luks2")
    cryptsetup.run("convert", data, "--type", "luks2", "--header", theirs)
    assert _said(ours) == _said(theirs)
    assert cryptsetup.unlocks(data, SECRET, header=ours)


def test_a_luks2_volume_becomes_the_luks1_volume_that_cryptsetup_makes_of_it(
    tmp_path: Path,
) -> None:
    """Their areas are in the order of the ids, as they are when keyslots were added by ids."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    cryptsetup.luks_format(ours, SECRET)
    cryptsetup.add_key(ours, SECRET, OTHER)
    theirs.write_bytes(ours.read_bytes())
    _convert(ours, "luks1")
    cryptsetup.convert(theirs, 1)
    assert ours.read_bytes()[:1024] == theirs.read_bytes()[:1024]
    assert not any(ours.read_bytes()[1024:4096])
    for keyslot, secret in enumerate((SECRET, OTHER)):
        assert cryptsetup.unlocked_slot(ours, secret) == keyslot


@pytest.mark.parametrize("version", [1, 2])
def test_cryptsetup_opens_what_a_crash_between_two_writes_left(
    version: int, tmp_path: Path
) -> None:
    path = _made(tmp_path / "volume", version, key_bits=256)
    state, copy = bytearray(path.read_bytes()), tmp_path / "copy"
    types = set()
    for plan in _convert(path, "luks2" if version == 1 else "luks1"):
        for step in plan.steps:
            if isinstance(step, Write | Fill):
                for offset, data in step.pieces():
                    state[offset : offset + len(data)] = data
                copy.write_bytes(state)  # a copy, since cryptsetup repairs what it looks at
                assert _opens_all(copy), f"{plan.what}: {step.what}"
                types.add(cryptsetup.is_luks(copy, 1))
    assert types == {True, False}


_REFUSED = {  # what keeps cryptsetup from making LUKS1 of a LUKS2 volume
    "argon2": ("luksAddKey", *map(str, cryptsetup.cheap("argon2id"))),
    "keyslot 8": ("luksAddKey", "--key-slot", "8", *map(str, cryptsetup.cheap("pbkdf2"))),
    "unbound": ("luksAddKey", "--unbound", "-s", "256", *map(str, cryptsetup.cheap("pbkdf2"))),
    "token": ("token", "add", "--key-description", "mine"),
}


@pytest.mark.parametrize("name", _REFUSED)
def test_what_cryptsetup_does_not_convert_is_refused_here_too(name: str, tmp_path: Path) -> None:
    path = cryptsetup.luks_format(tmp_path / "volume", SECRET)
    action, *options = _REFUSED[name]
    if action == "token":
        cryptsetup.run(action, options[0], path, *options[1:])
    else:
        (tmp_path / "new").write_bytes(OTHER)
        cryptsetup.run(action, path, tmp_path / "new", "--key-file", "-", *options, stdin=SECRET)
    before = path.read_bytes()
    with luksmeta.open(path) as volume, pytest.raises(luksmeta.UnsupportedError):
        convert.prepare(volume, "luks1")
    with pytest.raises(PeerError):
        cryptsetup.convert(path, 1)
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", [1, 2])
def test_backups_of_converted_volumes_are_restored_by_each_other(
    version: int, tmp_path: Path
) -> None:
    """The header of before comes back over the converted volume; cryptsetup warns, and so do we."""
    path = _made(tmp_path / "volume", version, key_bits=256)
    saved = tmp_path / "saved"
    cryptsetup.header_backup(path, saved)
    _convert(path, "luks2" if version == 1 else "luks1")
    ours = tmp_path / "ours"
    with luksmeta.open(path) as volume:
        backup.create(volume, ours)
    restoration = backup.restore(path, saved)
    assert any("backup LUKS" in note for note in restoration.notes)
    assert restoration.comparison is not None
    assert restoration.comparison.same_volume_key
    assert _opens_all(path)
    cryptsetup.header_restore(path, ours)
    assert _opens_all(path)
