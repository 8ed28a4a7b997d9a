"""Both directions with cryptsetup over a grid of formats: what one makes, the other works with.

The cases are all pairs of the axes below (``pairwise``), with the cheapest key derivations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pytest

import luksmeta
from luksmeta.format_options import Version
from luksmeta.new_volume import FormatKeywords
from tests.corpus import stream
from tests.interop.pairwise import Choice, pairwise
from tests.interop.peers import cryptsetup
from tests.interop.peers.process import Argument
from tests.interop.volumes import (
    DIGEST_ITERATIONS,
    OTHER,
    SECRET,
    THIRD,
    cheap,
    read,
    write,
)

_AXES: Mapping[str, tuple[object, ...]] = {
    "version": (2, 1),
    "cipher": (
        "aes-xts-plain64 512",
        "aes-xts-plain64 256",
        "aes-xts-plain 512",
        "aes-cbc-essiv:sha256 256",
        "aes-cbc-essiv:sha256 192",
        "aes-cbc-plain64 128",
        "aes-ecb 256",
    ),
    "hash": ("sha256", "sha1", "sha512", "ripemd160", "whirlpool", "sha3-256", "blake2b-512"),
    "pbkdf": ("pbkdf2", "argon2id", "argon2i"),
    "sector_size": (512, 4096, 2048, 1024),
    "metadata_size": (16 << 10, 32 << 10, 128 << 10, 512 << 10, 1 << 20, 4 << 20),
    "keyslots_size": (None, 768 << 10, 4 << 20),
    "detached": (False, True),
}
_LUKS2_ONLY = ("pbkdf", "sector_size", "metadata_size", "keyslots_size")
_IMPOSSIBLE = frozenset(
    frozenset[Choice]({("version", 1), (axis, value)})
    for axis in _LUKS2_ONLY
    for value in _AXES[axis][1:]
)
_PAYLOAD = 64 << 10  # bytes


@dataclass(frozen=True)
class Case:
    """One volume of the grid."""

    version: int
    cipher: str
    hash: str
    pbkdf: str
    sector_size: int
    metadata_size: int
    keyslots_size: int | None
    detached: bool

    def __str__(self) -> str:
        place = "detached" if self.detached else "attached"
        areas = f"{self.metadata_size >> 10}k-{(self.keyslots_size or 0) >> 10}k"
        luks2 = f"-{self.pbkdf}-{self.sector_size}-{areas}" if self.version == 2 else ""
        return f"luks{self.version}-{self.cipher.replace(' ', '-')}-{self.hash}{luks2}-{place}"

    @property
    def specification(self) -> str:
        """Such as aes-xts-plain64."""
        return self.cipher.split()[0]

    @property
    def mode(self) -> str:
        """Such as xts-plain64: LUKS1 dumps show it apart from the cipher's name."""
        return self.specification.partition("-")[2]

    @property
    def key_bits(self) -> int:
        """The size of the volume key."""
        return int(self.cipher.split()[1])

    @property
    def file_size(self) -> int:
        """The header's room, unless it is detached, and the payload at least."""
        if self.detached:
            return _PAYLOAD
        return _PAYLOAD + ((2 << 20) if self.version == 1 else (16 << 20))

    def header(self, folder: Path) -> Path | None:
        """Where a detached header goes."""
        return folder / "header" if self.detached else None


_CASES = [
    Case(**row)  # type: ignore[arg-type]  # the axes hold what the fields are
    for row in pairwise(_AXES, _IMPOSSIBLE)
]


def _format(case: Case, path: Path, header: Path | None) -> None:
    luks2: dict[str, int | None] = {}
    if case.version == 2:
        luks2 = {name: getattr(case, name) for name in _LUKS2_ONLY[1:]}
    version: Version = "luks1" if case.version == 1 else "luks2"
    with luksmeta.format(
        path,
        SECRET,
        size=case.file_size,
        header=header,
        type=version,
        cipher=case.specification,
        key_size=case.key_bits // 8,
        hash=case.hash,
        pbkdf=cheap(case.pbkdf, case.hash),
        digest_iterations=DIGEST_ITERATIONS,
        **luks2,  # type: ignore[arg-type]  # sizes, by the names of the keywords
    ) as volume:
        assert volume.version == case.version


def _cryptsetup_format(case: Case, path: Path, header: Path | None) -> None:
    sizes: list[Argument] = []
    if case.version == 2:
        sizes += ["--luks2-metadata-size", str(case.metadata_size)]
        if case.keyslots_size is not None:
            sizes += ["--luks2-keyslots-size", str(case.keyslots_size)]
    cryptsetup.luks_format(
        path,
        SECRET,
        version=case.version,
        cipher=case.specification,
        key_bits=case.key_bits,
        hash=case.hash,
        pbkdf=case.pbkdf,
        sector_size=case.sector_size,
        size=case.file_size,
        header=header,
        extra=tuple(sizes),
    )


def test_the_grid_brings_any_two_possible_values_together() -> None:
    met = {frozenset(pair) for case in _CASES for pair in combinations(vars(case).items(), 2)}
    for (one, one_values), (other, other_values) in combinations(_AXES.items(), 2):
        for one_value in one_values:
            for other_value in other_values:
                pair = frozenset({(one, one_value), (other, other_value)})
                assert (pair in met) != (pair in _IMPOSSIBLE)


@pytest.mark.parametrize("case", _CASES, ids=str)
def test_cryptsetup_works_with_what_we_formatted(case: Case, tmp_path: Path) -> None:
    path, header = tmp_path / "volume", case.header(tmp_path)
    payload = stream(str(case), _PAYLOAD)
    _format(case, path, header)
    write(path, SECRET, payload, header=header)
    place = header or path
    assert cryptsetup.is_luks(place, case.version)
    assert case.mode in cryptsetup.dump(place)
    assert cryptsetup.unlocked_slot(path, SECRET, header=header) == 0
    key = cryptsetup.dump_volume_key(place, SECRET)
    cryptsetup.header_backup(place, tmp_path / "backup")
    cryptsetup.add_key(place, SECRET, OTHER, pbkdf=case.pbkdf, extra=("--hash", case.hash))
    cryptsetup.kill_slot(place, 0)
    with luksmeta.open(path, header=header) as volume:
        assert tuple(volume.keyslots) == (1,)
        with pytest.raises(luksmeta.PassphraseError):
            volume.unlock(SECRET)
        with volume.unlock(OTHER) as unlocked, unlocked.open() as data:
            assert unlocked.keyslot == 1
            assert bytes(unlocked.volume_key.view()) == key
            assert data.read_at(0, _PAYLOAD) == payload
    cryptsetup.header_restore(place, tmp_path / "backup")
    assert read(path, SECRET, header=header).startswith(payload)


@pytest.mark.parametrize("case", _CASES, ids=str)
def test_cryptsetup_accepts_what_we_did_to_its_volume(case: Case, tmp_path: Path) -> None:
    path, header = tmp_path / "volume", case.header(tmp_path)
    payload = stream(str(case), _PAYLOAD)
    _cryptsetup_format(case, path, header)
    place = header or path
    key = cryptsetup.dump_volume_key(place, SECRET)
    kdf = cheap(case.pbkdf, case.hash)
    with luksmeta.open(path, header=header, writable=True) as volume:
        with volume.unlock(SECRET) as unlocked:
            assert bytes(unlocked.volume_key.view()) == key
            assert unlocked.add_keyslot(OTHER, pbkdf=kdf) == 1
            with unlocked.open(writable=True) as data:
                assert data.size >= _PAYLOAD
                data.write(payload)
        assert cryptsetup.unlocked_slot(path, OTHER, header=header) == 1
        with volume.unlock(OTHER) as unlocked:
            assert unlocked.change_keyslot(1, THIRD, pbkdf=kdf) == 1
        volume.remove_keyslot(0)
    assert not cryptsetup.unlocks(path, SECRET, header=header)
    assert not cryptsetup.unlocks(path, OTHER, header=header)
    assert cryptsetup.unlocked_slot(path, THIRD, header=header) == 1
    assert cryptsetup.dump_volume_key(place, THIRD) == key
    assert read(path, THIRD, header=header).startswith(payload)


@pytest.mark.parametrize(
    ("cipher", "key_bits"),
    [
        ("aes-xts-essiv:sha256", 512),
        ("aes-xts-plain64be", 512),
        ("aes-xts-null", 256),
        ("aes-cbc-null", 128),
        ("aes:4-cbc-plain64", 512),
        ("aes", 256),  # aes-cbc-plain
        ("capi:xts(aes)-plain64", 512),
        ("capi:cbc(aes)-essiv:sha256", 256),
        ("cipher_null-ecb", 256),
        ("null", 256),  # cipher_null-ecb
    ],
)
def test_cryptsetup_opens_the_keyslots_of_rare_data_ciphers(
    cipher: str, key_bits: int, tmp_path: Path
) -> None:
    """Where keyslots cannot have the data's cipher they get cryptsetup's fallback for them."""
    path, payload = tmp_path / "volume", stream(cipher, _PAYLOAD)
    luksmeta.format(
        path,
        SECRET,
        size=(16 << 20) + _PAYLOAD,
        cipher=cipher,
        key_size=key_bits // 8,
        pbkdf=cheap("pbkdf2"),
        digest_iterations=DIGEST_ITERATIONS,
    ).close()
    write(path, SECRET, payload)
    key = cryptsetup.dump_volume_key(path, SECRET)
    assert len(key) == key_bits // 8
    cryptsetup.add_key(path, SECRET, OTHER)
    cryptsetup.kill_slot(path, 0)
    with luksmeta.open(path) as volume, volume.unlock(OTHER) as unlocked:
        assert bytes(unlocked.volume_key.view()) == key
        with unlocked.open() as data:
            assert data.readall() == payload


def test_an_unencrypted_keyslot_takes_the_empty_passphrase_only(tmp_path: Path) -> None:
    """LUKS1 encrypts keyslots as it does the data, and so not at all; as in cryptsetup 2.8."""
    path = tmp_path / "volume"
    options: FormatKeywords = {
        "type": "luks1",
        "cipher": "cipher_null-ecb",
        "pbkdf": cheap("pbkdf2"),
        "digest_iterations": DIGEST_ITERATIONS,
    }
    with pytest.raises(luksmeta.KeyslotError, match="only the empty passphrase is taken"):
        luksmeta.format(path, SECRET, size=3 << 20, **options)
    assert not path.exists()
    luksmeta.format(path, b"", size=3 << 20, **options).close()
    with luksmeta.open(path) as volume, volume.unlock(b"") as unlocked:
        assert unlocked.keyslot == 0
