"""New headers around old data: the key is known, and the data tells the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import luksmeta
from luksmeta import Limits, MemoryStorage, Pbkdf2, SecretBytes, UnsupportedError, VolumeKeyError
from luksmeta.forensics.recovery import recovery as recovery_module
from luksmeta.forensics.recovery.data_start import DataStart
from luksmeta.forensics.recovery.from_volume_key import CIPHERS, find_data
from luksmeta.forensics.recovery.known import Known
from luksmeta.forensics.recovery.proving import knows
from luksmeta.format_options import Version
from luksmeta.model import CryptSegment
from luksmeta.sector import engine
from luksmeta.sector.cipher_spec import CipherSpec
from tests import builders
from tests.builders import FIRST, THIRD, VERSIONS, VOLUME_KEY
from tests.corpus import stream
from tests.defects.damage import bytes_at
from tests.forensics.rescue import (
    PLAINTEXT,
    check_written,
    damaged,
    keyslots,
    recovering,
    rescued,
    volume,
)

CHEAP = Pbkdf2(hash="sha256", iterations=1000)
MIB = 1 << 20


def encrypted(cipher: str, sector_size: int, offset: int, key: bytes) -> bytes:
    """A disk of noise with the plaintext at ``offset``."""
    data = bytearray(len(PLAINTEXT))
    with SecretBytes(key) as secret, engine.create(cipher, secret, sector_size) as sectors:
        sectors.encrypt_into(0, PLAINTEXT, data)
    return stream("recovery/before", offset) + bytes(data)


def key_for(cipher: str) -> bytes:
    sizes = CipherSpec.parse(cipher).key_sizes
    assert sizes is not None
    return stream("recovery/key", sizes[-1])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_new_header_around_the_data(version: Version, tmp_path: Path) -> None:
    at = builders.data_offset(version)
    disk = damaged(version, bytes_at(0, stream("recovery/noise", at)))
    with recovering(disk, cipher="aes-xts-plain64") as recovery:
        assert recovery.candidates == ()
        proof = recovery.prove_volume_key(VOLUME_KEY, THIRD, pbkdf=CHEAP)
        assert proof.data is not None
        assert proof.data.name == "ext2/3/4 file system"
        check_written(tmp_path, disk, recovery, THIRD)


@pytest.mark.parametrize("sector_size", engine.SECTOR_SIZES)
@pytest.mark.parametrize("cipher", [each for each in CIPHERS if "benbi" not in each])
def test_cipher_and_sector_size_are_found(cipher: str, sector_size: int) -> None:
    key = key_for(cipher)
    disk = MemoryStorage(encrypted(cipher, sector_size, MIB, key))
    with SecretBytes(key) as secret:
        found = find_data(disk, secret, Known(offset=MIB))
    assert (found.place.cipher, found.place.sector_size) == (cipher, sector_size)
    assert found.recognition.name == "ext2/3/4 file system"


def test_benbi_is_the_same_whatever_the_sector_size() -> None:
    """It counts blocks of 16 bytes from the start of the data."""
    key = key_for("aes-lrw-benbi")
    one, other = (encrypted("aes-lrw-benbi", size, 0, key) for size in (512, 4096))
    assert one == other
    with SecretBytes(key) as secret:
        assert find_data(MemoryStorage(one), secret, Known()).place.cipher == "aes-lrw-benbi"


@pytest.mark.parametrize("offset", [0, MIB, 2 * MIB, 7 * MIB, 0x101000, 0x123000])
def test_the_offset_is_found(offset: int) -> None:
    disk = MemoryStorage(encrypted("aes-xts-plain64", 512, offset, VOLUME_KEY))
    with SecretBytes(VOLUME_KEY) as secret:
        found = find_data(disk, secret, Known(cipher="aes-xts-plain64", sector_size=512))
    assert found.place.offset == offset


def test_data_without_a_known_file_system_is_known_by_not_being_random() -> None:
    disk = bytearray(encrypted("aes-xts-plain64", 512, MIB, VOLUME_KEY))
    disk[MIB : MIB + 8192] = stream("recovery/noise", 8192)
    with SecretBytes(VOLUME_KEY) as secret:
        found = find_data(MemoryStorage(disk), secret, Known(offset=MIB))
    assert found.recognition.name is None
    assert found.recognition.clear >= 8


def test_another_key_gives_noise_and_that_is_said() -> None:
    disk = encrypted("aes-xts-plain64", 512, MIB, VOLUME_KEY)
    with SecretBytes(stream("another", 32)) as secret, pytest.raises(VolumeKeyError, match="noise"):
        find_data(MemoryStorage(disk), secret, Known(offset=MIB))


def test_what_was_never_written_proves_nothing() -> None:
    """In CBC zeroes decrypt to the same block over and over, under any key."""
    disk = bytearray(4 * MIB)
    disk[MIB + 100] = 1
    with SecretBytes(VOLUME_KEY) as secret, pytest.raises(VolumeKeyError):
        find_data(MemoryStorage(disk), secret, Known(offset=MIB))


def test_a_digest_that_survives_proves_the_key_and_a_passphrase_is_added(tmp_path: Path) -> None:
    disk = damaged("luks2", bytes_at(0, bytes(6)), bytes_at(0x4000, bytes(6)))
    with recovering(disk) as recovery:
        proof = recovery.prove_volume_key(VOLUME_KEY, THIRD, pbkdf=CHEAP)
        assert proof.by_digest
        assert keyslots(recovery) == [0, 1, 2]
        check_written(tmp_path, disk, recovery, THIRD)


def test_a_digest_of_luks1_as_well(tmp_path: Path) -> None:
    disk = damaged("luks1", bytes_at(0, bytes(6)))
    with recovering(disk) as recovery:
        recovery.prove_volume_key(VOLUME_KEY, THIRD, pbkdf=CHEAP)
        check_written(tmp_path, disk, recovery, THIRD)


def test_a_new_header_needs_a_passphrase() -> None:
    with recovering(bytes(MIB)) as recovery, pytest.raises(ValueError, match="new passphrase"):
        recovery.prove_volume_key(VOLUME_KEY)


def test_no_header_fits_before_data_that_begins_too_early() -> None:
    disk = encrypted("aes-xts-plain64", 512, 4096, VOLUME_KEY)
    with (
        recovering(disk, offset=4096) as recovery,
        pytest.raises(UnsupportedError, match="0x1000"),
    ):
        recovery.prove_volume_key(VOLUME_KEY, THIRD, pbkdf=CHEAP)


def test_the_volume_is_copied_whole_with_its_header_made_good(tmp_path: Path) -> None:
    disk = damaged("luks2", bytes_at(0, bytes(4096)), bytes_at(0x4000, bytes(4096)))
    with recovering(disk) as recovery:
        recovery.prove(FIRST)
        recovery.write_repaired(tmp_path / "repaired")
    with (
        luksmeta.open(tmp_path / "repaired") as opened,
        opened.unlock(FIRST) as unlocked,
        unlocked.open() as data,
    ):
        assert data.read(len(PLAINTEXT)) == PLAINTEXT
        assert isinstance(opened.metadata.segments[0], CryptSegment)
    assert (tmp_path / "repaired").stat().st_size == len(disk)
    assert rescued(tmp_path, volume("luks2")).proof is not None


def test_a_header_that_would_lie_over_the_data_is_detached_only(tmp_path: Path) -> None:
    disk = encrypted("aes-xts-plain64", 512, 0, VOLUME_KEY)
    with recovering(disk, offset=0) as recovery:
        recovery.prove_volume_key(VOLUME_KEY, THIRD, pbkdf=CHEAP)
        with pytest.raises(UnsupportedError, match="detached"):
            recovery.write_repaired(tmp_path / "repaired")
        check_written(tmp_path, disk, recovery, THIRD)
    assert not (tmp_path / "repaired").exists()


def test_a_file_system_counts_before_what_is_only_not_random() -> None:
    """Under CBC text is text wherever the data is thought to begin, but for the first block."""
    cipher = "aes-cbc-essiv:sha256"
    plaintext = bytearray(16 * MIB)
    plaintext[: len(PLAINTEXT)] = PLAINTEXT
    plaintext[12 * MIB :] = b"".join(b"line %12d of a text file\n" % n for n in range(1 << 18))[
        : 4 * MIB
    ]
    data = bytearray(len(plaintext))
    with SecretBytes(VOLUME_KEY) as key:
        with engine.create(cipher, key, 512) as sectors:
            sectors.encrypt_into(0, bytes(plaintext), data)
        found = find_data(MemoryStorage(stream("cbc", 2 * MIB) + bytes(data)), key, Known())
    assert (found.place.offset, found.place.cipher) == (2 * MIB, cipher)
    assert found.recognition.name == "ext2/3/4 file system"


def test_the_null_cipher_speaks_for_no_key() -> None:
    disk = MemoryStorage(bytes(MIB) + PLAINTEXT)
    with SecretBytes(VOLUME_KEY) as key, pytest.raises(VolumeKeyError):
        find_data(disk, key, Known(cipher="cipher_null-ecb", offset=MIB))


def test_places_without_a_structure_cost_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """All is decrypted and judged at the usual places alone; what repeats itself nowhere."""
    looks: list[int] = []
    under = DataStart.under

    def counted(start: DataStart, *rest: Any) -> Any:  # noqa: ANN401  # those of under
        looks.append(start.offset)
        return under(start, *rest)

    monkeypatch.setattr(DataStart, "under", counted)
    disk = MemoryStorage(stream("recovery/places", 3 * MIB) + bytes(range(256)) * 4096)
    with SecretBytes(VOLUME_KEY) as key, pytest.raises(VolumeKeyError, match="noise"):
        find_data(disk, key, Known())
    assert len(set(looks)) < 20 < len(looks) < 1000


def test_a_file_system_anywhere_counts_before_the_usual_places() -> None:
    """Text at a usual place, which CBC lets be text, and a superblock at another."""
    cipher = "aes-cbc-plain64"
    plaintext = PLAINTEXT + b"".join(b"line %12d of a text file\n" % n for n in range(30000))
    data = bytearray(len(plaintext) // 4096 * 4096)
    with SecretBytes(VOLUME_KEY) as key:
        with engine.create(cipher, key, 512) as sectors:
            sectors.encrypt_into(0, plaintext[: len(data)], data)
        disk = MemoryStorage(stream("cbc", MIB - 0x40000) + bytes(data))
        found = find_data(disk, key, Known(cipher=cipher))
    assert found.place.offset == MIB - 0x40000


def test_a_digest_is_paid_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def counted(*arguments: Any) -> bool:  # noqa: ANN401  # those of knows
        asked.append(1)
        return knows(*arguments)

    monkeypatch.setattr(recovery_module, "knows", counted)
    limits = Limits(milliseconds=60_000)
    with recovering(volume("luks2")) as recovery, SecretBytes(VOLUME_KEY) as key:
        assert recovery.version_of(key, limits=Limits(iterations=1)) is None
        assert recovery.version_of(key, limits=limits) == 2
        before = len(asked)
        assert recovery.prove_volume_key(key, limits=limits).by_digest
    assert len(asked) == before
