"""After every key operation our header has the layout of a twin that cryptsetup worked on.

Both start with the same options, and after each step everything that is not random is the same on
disk: offsets and sizes of areas, ids, order, seqid, parameters. Where cryptsetup 2.6.1 differs from
later versions, the test says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import pytest

import luksmeta
from luksmeta import backup
from luksmeta.new_volume import FormatKeywords
from luksmeta.unlocked_volume import UnlockedVolume
from luksmeta.volume import Volume
from tests.interop.on_disk import layout
from tests.interop.peers import PeerError, cryptsetup
from tests.interop.peers.process import Argument
from tests.interop.volumes import DIGEST_ITERATIONS, OTHER, SECRET, cheap

_UUID = "4a0c23a8-44a7-4a6c-9fb2-f0d4b8f2c1ab"
_NEW_UUID = "b0f6a27e-8c0d-4d3a-8d0b-5d1c6f1f0a11"


@dataclass(frozen=True)
class Twins:
    """A volume of ours and one of cryptsetup's."""

    ours: Path
    theirs: Path

    def assert_alike(self) -> None:
        """Both headers say the same."""
        assert layout(self.ours) == layout(self.theirs)

    def step(self, ours: Callable[[Path], Any], theirs: Callable[[Path], Any]) -> None:
        """One operation on each."""
        ours(self.ours)
        theirs(self.theirs)
        self.assert_alike()


@dataclass(frozen=True)
class Format:
    """The options of a format, in cryptsetup's words and in ours."""

    name: str
    theirs: str
    ours: FormatKeywords
    size: int = 20 << 20
    detached: bool = False

    def __str__(self) -> str:
        return self.name


def _twins(known: Format, folder: Path) -> Twins:
    """Both formatted; where the header is detached, the twins are the headers."""
    ours, theirs = folder / "ours", folder / "theirs"
    data = [folder / "our data", folder / "their data"] if known.detached else [ours, theirs]
    for path in data:
        with path.open("wb") as file:
            file.truncate(known.size)
    header: list[Argument] = ["--header", theirs] if known.detached else []
    words = [*known.theirs.split(), "--uuid", _UUID]
    if "--pbkdf " not in known.theirs:
        words += ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"]
    cryptsetup.run("luksFormat", data[1], "--key-file", "-", *header, *words, stdin=SECRET)
    options: FormatKeywords = {
        "uuid": _UUID,
        "pbkdf": cheap("pbkdf2", known.ours.get("hash", "sha256")),
        "digest_iterations": DIGEST_ITERATIONS,  # cryptsetup's for all forced costs
        **known.ours,
    }
    _format(data[0], ours if known.detached else None, **options)
    return Twins(ours, theirs)


def _format(path: Path, header: Path | None, **options: Unpack[FormatKeywords]) -> None:
    luksmeta.format(path, SECRET, header=header, **options).close()


_ARGON = "--pbkdf-force-iterations 4 --pbkdf-memory 32 --pbkdf-parallel 1"
_ESSIV = "aes-cbc-essiv:sha256"
_FORMATS = [
    Format("luks1", "--type luks1", {"type": "luks1"}),
    Format("luks1-256", "--type luks1 -s 256", {"type": "luks1", "key_size": 32}),
    Format(
        "luks1-cbc-128",
        f"--type luks1 -c {_ESSIV} -s 128",
        {"type": "luks1", "cipher": _ESSIV, "key_size": 16},
    ),
    Format("luks1-sha1", "--type luks1 -h sha1", {"type": "luks1", "hash": "sha1"}),
    Format("luks1-cbc", f"--type luks1 -c {_ESSIV}", {"type": "luks1", "cipher": _ESSIV}),
    Format("luks1-ecb", "--type luks1 -c aes-ecb", {"type": "luks1", "cipher": "aes-ecb"}),
    Format("luks1-offset", "--type luks1 -o 8192", {"type": "luks1", "data_offset": 4 << 20}),
    Format("luks1-keyslot", "--type luks1 -S 6", {"type": "luks1", "keyslot": 6}),
    Format("luks1-detached", "--type luks1", {"type": "luks1"}, detached=True),
    Format(
        "luks1-detached-offset",
        "--type luks1 -o 8192",
        {"type": "luks1", "data_offset": 4 << 20},
        detached=True,
    ),
    Format("luks1-small-file", "--type luks1", {"type": "luks1"}, size=1 << 20),
    Format(
        "luks1-forced-costs",
        "--type luks1 --pbkdf pbkdf2 --pbkdf-force-iterations 160000",
        {"type": "luks1", "pbkdf": luksmeta.Pbkdf2(hash="sha256", iterations=160_000)},
    ),
    Format("luks2", "", {}),
    Format(
        "luks2-forced-costs",
        "--pbkdf pbkdf2 --pbkdf-force-iterations 160000",
        {"pbkdf": luksmeta.Pbkdf2(hash="sha256", iterations=160_000)},
    ),
    Format("luks2-uneven-file", "", {}, size=(20 << 20) + 512),
    Format("luks2-small-file", "", {}, size=1 << 20),
    Format("luks2-256", "-s 256", {"key_size": 32}),
    Format("luks2-cbc", f"-c {_ESSIV}", {"cipher": _ESSIV}),
    Format("luks2-cbc-192", f"-c {_ESSIV} -s 192", {"cipher": _ESSIV, "key_size": 24}),
    Format("luks2-ecb", "-c aes-ecb -s 128", {"cipher": "aes-ecb", "key_size": 16}),
    Format("luks2-hash", "-h sha512", {"hash": "sha512"}),
    Format("luks2-sector", "--sector-size 1024", {"sector_size": 1024}),
    Format("luks2-keyslot", "-S 31", {"keyslot": 31}),
    Format("luks2-argon2i", f"--pbkdf argon2i {_ARGON}", {"pbkdf": cheap("argon2i")}),
    Format("luks2-argon2id", f"--pbkdf argon2id {_ARGON}", {"pbkdf": cheap("argon2id")}),
    Format(
        "luks2-names",
        "--label one --subsystem two",
        {"label": "one", "subsystem": "two"},
    ),
    Format(
        "luks2-keyslot-cipher",
        "--keyslot-cipher aes-cbc-plain64 --keyslot-key-size 128",
        {"keyslot_cipher": "aes-cbc-plain64", "keyslot_key_size": 16},
    ),
    Format("luks2-offset", "-o 8192", {"data_offset": 4 << 20}),
    Format("luks2-offset-far", "-o 36864", {"data_offset": 18 << 20}),
    Format(  # 2.6.1 compares sectors with bytes when it chooses the sector size for this offset
        "luks2-offset-uneven",
        "-o 8200 --sector-size 4096",
        {"data_offset": (4 << 20) + 4096, "sector_size": 4096},
    ),
    Format("luks2-keyslots-1m", "--luks2-keyslots-size 1m", {"keyslots_size": 1 << 20}),
    Format("luks2-keyslots-uneven", "--luks2-keyslots-size 1000k", {"keyslots_size": 1000 << 10}),
    Format(
        "luks2-keyslots-and-offset",
        "--luks2-keyslots-size 1m -o 8192",
        {"keyslots_size": 1 << 20, "data_offset": 4 << 20},
    ),
    Format(
        "luks2-metadata-and-keyslots",
        "--luks2-metadata-size 64k --luks2-keyslots-size 512k",
        {"metadata_size": 64 << 10, "keyslots_size": 512 << 10},
    ),
    *(
        Format(
            f"luks2-metadata-{kib}k", f"--luks2-metadata-size {kib}k", {"metadata_size": kib << 10}
        )
        for kib in (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
    ),
    Format("luks2-detached", "", {}, size=1 << 20, detached=True),
    Format(
        "luks2-detached-offset", "-o 8192", {"data_offset": 4 << 20}, size=8 << 20, detached=True
    ),
    Format(
        "luks2-detached-metadata",
        "--luks2-metadata-size 128k --luks2-keyslots-size 768k",
        {"metadata_size": 128 << 10, "keyslots_size": 768 << 10},
        size=1 << 20,
        detached=True,
    ),
]
_OF_NAME = {known.name: known for known in _FORMATS}


@pytest.mark.parametrize("known", _FORMATS, ids=str)
def test_a_format_lays_out_what_cryptsetup_lays_out(known: Format, tmp_path: Path) -> None:
    _twins(known, tmp_path).assert_alike()


# --- our operations, in the shape of the peer's ------------------------------------------------


@contextmanager
def _opened(path: Path) -> Iterator[Volume]:
    with luksmeta.open(path, writable=True) as volume:
        yield volume


@contextmanager
def _unlocked(path: Path, secret: bytes) -> Iterator[UnlockedVolume]:
    with _opened(path) as volume, volume.unlock(secret) as unlocked:
        yield unlocked


def _secret(keyslot: int) -> bytes:
    return f"the passphrase of keyslot {keyslot}".encode()


def _add(path: Path, new: bytes, keyslot: int | None = None, pbkdf: str = "pbkdf2") -> None:
    with _unlocked(path, SECRET) as unlocked:
        unlocked.add_keyslot(new, keyslot=keyslot, pbkdf=cheap(pbkdf))


def _change(path: Path, secret: bytes, new: bytes, pbkdf: str = "pbkdf2") -> None:
    with _unlocked(path, secret) as unlocked:
        assert unlocked.keyslot is not None
        unlocked.change_keyslot(unlocked.keyslot, new, pbkdf=cheap(pbkdf), keep_id=False)


def _remove(path: Path, keyslot: int) -> None:
    with _opened(path) as volume:
        volume.remove_keyslot(keyslot, allow_last=True)


def _erase(path: Path) -> None:
    with _opened(path) as volume:
        volume.erase()


def _configure(path: Path, **names: str) -> None:
    with _opened(path) as volume:
        volume.configure(
            uuid=names.get("uuid"), label=names.get("label"), subsystem=names.get("subsystem")
        )


def _prioritise(path: Path, keyslot: int, priority: str) -> None:
    with _opened(path) as volume:
        volume.set_priority(keyslot, priority)


def _config(path: Path, words: list[Argument]) -> None:
    cryptsetup.config(path, *words)


def _set_uuid(path: Path, uuid: str) -> None:
    cryptsetup.run("luksUUID", path, "--uuid", uuid)


def _add_unbound(path: Path, keyslot: int) -> None:
    """A key of its own for OTHER, by cryptsetup: of 16 bytes, and it opens no segment."""
    options = ["--unbound", "--key-size", "128", "--key-slot", str(keyslot)]
    words = [*options, *cryptsetup.cheap("pbkdf2")]
    cryptsetup.run("luksAddKey", path, "--key-file", "-", *words, stdin=OTHER)


def _add_to(twins: Twins, keyslot: int | None, new: bytes) -> None:
    twins.step(
        partial(_add, new=new, keyslot=keyslot),
        partial(cryptsetup.add_key, secret=SECRET, new=new, slot=keyslot),
    )


def _remove_from(twins: Twins, keyslot: int) -> None:
    twins.step(partial(_remove, keyslot=keyslot), partial(cryptsetup.kill_slot, slot=keyslot))


def _change_in(twins: Twins, secret: bytes, new: bytes) -> None:
    twins.step(
        partial(_change, secret=secret, new=new),
        partial(cryptsetup.change_key, secret=secret, new=new),
    )


@pytest.fixture(params=["luks1", "luks1-cbc-128", "luks2", "luks2-cbc-192", "luks2-detached"])
def twins(request: pytest.FixtureRequest, tmp_path: Path) -> Twins:
    """Twins of several formats."""
    return _twins(_OF_NAME[request.param], tmp_path)


# --- keyslots ------------------------------------------------------------------------------------


def test_added_keyslots_take_the_first_free_place(twins: Twins) -> None:
    _add_to(twins, None, _secret(1))
    _add_to(twins, 5, _secret(5))
    _add_to(twins, None, _secret(2))
    for keyslot in (1, 5, 2):
        assert cryptsetup.unlocked_slot(twins.ours, _secret(keyslot)) == keyslot


def test_a_gap_is_used_again(twins: Twins) -> None:
    for keyslot in (1, 2, 3):
        _add_to(twins, None, _secret(keyslot))
    _remove_from(twins, 2)
    _remove_from(twins, 1)
    _add_to(twins, 6, _secret(6))
    _add_to(twins, None, _secret(1))
    _add_to(twins, None, _secret(2))
    for keyslot in (1, 2, 3, 6):
        assert cryptsetup.unlocked_slot(twins.ours, _secret(keyslot)) == keyslot


def test_a_gap_of_another_size_is_used_by_what_fits(tmp_path: Path) -> None:
    """All keys of a volume have one size; cryptsetup's unbound keys may have others."""
    twins = _twins(_OF_NAME["luks2"], tmp_path)
    twins.step(partial(_add_unbound, keyslot=1), partial(_add_unbound, keyslot=1))
    _add_to(twins, None, _secret(2))
    _remove_from(twins, 1)
    _add_to(twins, None, _secret(1))


@pytest.mark.parametrize("name", ["luks1", "luks2-metadata-and-keyslots"])
def test_the_last_place_can_be_taken_and_no_other(name: str, tmp_path: Path) -> None:
    twins = _twins(_OF_NAME[name], tmp_path)
    room = {"luks1": 8, "luks2-metadata-and-keyslots": 2}[name]
    for keyslot in range(1, room):
        _add_to(twins, None, _secret(keyslot))
    with pytest.raises(luksmeta.KeyslotsAreaFullError):
        _add(twins.ours, b"one more")
    with pytest.raises(PeerError):
        cryptsetup.add_key(twins.theirs, SECRET, b"one more")
    twins.assert_alike()


@pytest.mark.parametrize("name", ["luks1", "luks2-metadata-and-keyslots"])
def test_a_passphrase_is_changed_in_place_where_there_is_no_room(name: str, tmp_path: Path) -> None:
    twins = _twins(_OF_NAME[name], tmp_path)
    room = {"luks1": 8, "luks2-metadata-and-keyslots": 2}[name]
    for keyslot in range(1, room):
        _add_to(twins, None, _secret(keyslot))
    _change_in(twins, _secret(1), b"changed")
    assert cryptsetup.unlocked_slot(twins.ours, b"changed") == 1


def test_32_keyslots_fit_and_no_more(tmp_path: Path) -> None:
    twins = _twins(_OF_NAME["luks2"], tmp_path)
    for keyslot in range(1, 32):
        _add(twins.ours, _secret(keyslot))
        cryptsetup.add_key(twins.theirs, SECRET, _secret(keyslot))
    twins.assert_alike()
    with pytest.raises(luksmeta.KeyslotsAreaFullError):
        _add(twins.ours, b"one more")
    with pytest.raises(PeerError):
        cryptsetup.add_key(twins.theirs, SECRET, b"one more")


def test_a_changed_passphrase_goes_where_cryptsetup_puts_it(twins: Twins) -> None:
    """In LUKS1 cryptsetup moves the keyslot to another id: that is our keep_id=False."""
    _add_to(twins, None, _secret(1))
    _add_to(twins, None, _secret(2))
    _change_in(twins, _secret(1), b"changed")
    _change_in(twins, SECRET, b"changed too")
    _change_in(twins, b"changed", b"changed again")
    for secret in (b"changed too", b"changed again", _secret(2)):
        ours, theirs = (
            cryptsetup.unlocked_slot(path, secret) for path in (twins.ours, twins.theirs)
        )
        assert ours == theirs is not None


def test_a_keyslot_gets_another_kdf(tmp_path: Path) -> None:
    twins = _twins(_OF_NAME["luks2"], tmp_path)
    _add_to(twins, None, _secret(1))
    for pbkdf in ("argon2id", "argon2i", "pbkdf2"):
        twins.step(
            partial(_change, secret=_secret(1), new=_secret(1), pbkdf=pbkdf),
            partial(cryptsetup.convert_key, secret=_secret(1), pbkdf=pbkdf),
        )


def test_a_keyslot_is_removed_by_its_passphrase(twins: Twins) -> None:
    def remove(path: Path) -> None:
        with _opened(path) as volume:
            with volume.unlock(_secret(3)) as unlocked:
                keyslot = unlocked.keyslot
            assert keyslot is not None
            volume.remove_keyslot(keyslot)

    _add_to(twins, 3, _secret(3))
    twins.step(remove, partial(cryptsetup.remove_key, secret=_secret(3)))


def test_the_last_keyslot_can_be_removed(twins: Twins) -> None:
    _remove_from(twins, 0)


def test_an_erased_header_has_no_keyslot(twins: Twins) -> None:
    _add_to(twins, 2, _secret(2))
    twins.step(_erase, cryptsetup.erase)


def test_an_unbound_key_survives_the_erasure(tmp_path: Path) -> None:
    twins = _twins(_OF_NAME["luks2"], tmp_path)
    twins.step(partial(_add_unbound, keyslot=7), partial(_add_unbound, keyslot=7))
    twins.step(_erase, cryptsetup.erase)
    with luksmeta.open(twins.ours) as volume:
        assert tuple(volume.keyslots) == (7,)


# --- names, priorities, tokens -------------------------------------------------------------------


def test_a_configured_header_says_what_cryptsetup_makes_it_say(tmp_path: Path) -> None:
    """cryptsetup 2.6.1 clears the subsystem when only a label is given: so both are given here."""
    twins = _twins(_OF_NAME["luks2"], tmp_path)

    twins.step(
        partial(_configure, label="a label", subsystem="a subsystem"),
        partial(_config, words=["--label", "a label", "--subsystem", "a subsystem"]),
    )
    twins.step(partial(_configure, uuid=_NEW_UUID), partial(_set_uuid, uuid=_NEW_UUID))
    for wrong in ("not one", _NEW_UUID[1:]):
        with pytest.raises(ValueError, match="badly formed"):
            _configure(twins.ours, uuid=wrong)
        with pytest.raises(PeerError, match="Wrong LUKS UUID format"):
            _set_uuid(twins.theirs, uuid=wrong)
    upper = _UUID.upper()
    twins.step(partial(_configure, uuid=upper), partial(_set_uuid, uuid=upper))


def test_priorities_are_those_that_cryptsetup_writes(tmp_path: Path) -> None:
    twins = _twins(_OF_NAME["luks2"], tmp_path)
    _add_to(twins, None, _secret(1))
    for keyslot, priority in ((1, "prefer"), (0, "ignore"), (1, "normal"), (0, "prefer")):
        twins.step(
            partial(_prioritise, keyslot=keyslot, priority=priority),
            partial(_config, words=["--key-slot", str(keyslot), "--priority", priority]),
        )


def test_a_changed_keyslot_keeps_its_tokens(tmp_path: Path) -> None:
    twins = _twins(_OF_NAME["luks2"], tmp_path)
    _add_to(twins, None, _secret(1))
    for path in (twins.ours, twins.theirs):
        cryptsetup.token_import(path, {"type": "ours", "keyslots": ["0", "1"], "word": "kept"})
    _change_in(twins, _secret(1), b"changed")
    _remove_from(twins, 1)


@pytest.mark.parametrize("priority", ["ignore", "normal", "prefer"])
def test_a_changed_keyslot_keeps_its_priority(priority: str, tmp_path: Path) -> None:
    """As in cryptsetup when the keyslot is named: it writes over the old area then (2.6.1)."""
    twins = _twins(_OF_NAME["luks2"], tmp_path)
    for path in (twins.ours, twins.theirs):
        cryptsetup.add_key(path, SECRET, _secret(1))
        cryptsetup.config(path, "--key-slot", "1", "--priority", priority)
    with _opened(twins.ours) as volume, volume.unlock(_secret(1), keyslot=1) as unlocked:
        unlocked.change_keyslot(1, b"changed", pbkdf=cheap("pbkdf2"))
    cryptsetup.change_key(twins.theirs, _secret(1), b"changed", slot=1)
    ours, theirs = (
        cryptsetup.dump_json(path)["keyslots"]["1"] for path in (twins.ours, twins.theirs)
    )
    assert ours.get("priority") == theirs.get("priority")


# --- header backups ------------------------------------------------------------------------------


def test_a_backup_is_byte_for_byte_that_of_cryptsetup(twins: Twins, tmp_path: Path) -> None:
    _add_to(twins, 3, _secret(3))
    for number, path in enumerate((twins.ours, twins.theirs)):
        _fill_gap(path)
        ours, theirs = tmp_path / f"our backup {number}", tmp_path / f"their backup {number}"
        with luksmeta.open(path) as volume:
            backup.create(volume, ours)
        cryptsetup.header_backup(path, theirs)
        assert ours.read_bytes() == theirs.read_bytes()
        assert ours.stat().st_mode == theirs.stat().st_mode


def _fill_gap(path: Path) -> None:
    """Put something between a LUKS1 header and its first keyslot: backups leave it out."""
    with luksmeta.open(path, writable=True) as volume:
        if volume.version == 1:
            volume.header_storage.write_at(2048, b"not of the header")


def test_a_restored_backup_is_byte_for_byte_that_of_cryptsetup(
    twins: Twins, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    cryptsetup.header_backup(twins.theirs, kept)
    copy = tmp_path / "copy"
    copy.write_bytes(twins.theirs.read_bytes())
    for path in (twins.theirs, copy):
        cryptsetup.add_key(path, SECRET, OTHER)
    backup.restore(copy, kept)
    cryptsetup.header_restore(twins.theirs, kept)
    assert copy.read_bytes() == twins.theirs.read_bytes()
    assert cryptsetup.unlocks(copy, SECRET)
    assert not cryptsetup.unlocks(copy, OTHER)
