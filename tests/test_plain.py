"""Plain and cryptoloop volumes: keys from passphrases, and what a real kernel made with them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import luksmeta
from luksmeta.kdf import hashes
from luksmeta.plain import DEFAULTS, KEY_SIZE_MAX, derive_key, open_plain
from luksmeta.storage import MemoryStorage
from tests.corpus import Corpus, KernelVolume, kernel_volumes
from tests.headerless import DISK_SIZE, REFUSED, Case, cases, digest, made

PASSPHRASE = b"correct horse"


def opened(case: Case, image: MemoryStorage) -> luksmeta.HeaderlessVolume:
    """The volume of a case."""
    keywords = case.keywords()
    start = int(keywords.pop("keyfile_offset", 0))
    if case.how == "key file":
        keywords["key"] = case.secret[start:]
    else:
        keywords["passphrase"] = case.secret
    return open_plain(image, **keywords)


def blank(size: int = DISK_SIZE) -> MemoryStorage:
    return MemoryStorage(size)


# --- what the kernel made ------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases("plain"), ids=lambda case: case.name)
def test_key_and_ciphertext_are_those_of_the_kernel(case: Case) -> None:
    image, kernels = blank(), made()[case.name]
    with opened(case, image) as volume:
        assert volume.volume_key.matches(kernels.key)
        with volume.open(writable=True) as stream:
            assert stream.size == kernels.size
            stream.write(case.plaintext[: stream.size])
        assert digest(image.data) == kernels.sha256
        with volume.open() as stream:
            assert stream.readall() == case.plaintext[: kernels.size]


@pytest.mark.parametrize("case", cases("plain", REFUSED), ids=lambda case: case.name)
def test_what_cryptsetup_or_the_kernel_refuses_is_refused(case: Case) -> None:
    with pytest.raises((luksmeta.LuksError, ValueError)):
        opened(case, blank())


def arguments(volume: KernelVolume) -> dict[str, Any]:
    """The options that cryptsetup was given, for us."""
    options = Case(volume.name, "plain", volume.open_arguments, volume.secret).keywords()
    return {**options, "passphrase": volume.secret}


@pytest.mark.parametrize(
    "volume",
    [volume for volume in kernel_volumes() if volume.type == "plain"],
    ids=lambda volume: volume.name,
)
def test_a_shared_volume_shows_what_the_kernel_shows(volume: KernelVolume, corpus: Corpus) -> None:
    with (
        open_plain(corpus.unpack(volume.image), **arguments(volume)) as opened,
        opened.open() as stream,
    ):
        plaintext = stream.readall()
    assert (len(plaintext), digest(plaintext)) == (volume.plaintext_bytes, volume.plaintext_sha256)


# --- from a passphrase to a key ------------------------------------------------------------------


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_by_name_are_those_of_that_time(name: str) -> None:
    case = {
        "cryptsetup-2.7": "defaults-2.7",
        "cryptsetup-1.1": "defaults-1.1",
        "cryptsetup-1.0": "defaults-1.0",
        "cryptoloop": "defaults-1.0",
    }[name]
    with open_plain(blank(), passphrase=f"pass {case}".encode(), defaults=name) as volume:
        assert volume.volume_key.matches(made()[case].key)
        assert volume.cipher == made()[case].table.split()[3]


def test_defaults_are_those_of_cryptsetup_now() -> None:
    with open_plain(blank(), passphrase=b"pass defaults-2.7") as volume:
        assert volume.volume_key.matches(made()["defaults-2.7"].key)


def test_a_given_value_goes_before_a_default() -> None:
    with open_plain(
        blank(), passphrase=PASSPHRASE, defaults="cryptoloop", key_size=16, hash="md5"
    ) as volume:
        assert volume.cipher == "aes-cbc-plain"
        assert volume.volume_key.matches(hashlib.md5(PASSPHRASE).digest())


@settings(max_examples=50, deadline=None)
@given(
    passphrase=st.binary(max_size=80),
    key_size=st.integers(1, 200),
    name=st.sampled_from(("md5", "sha1", "sha256", "sha512")),
)
def test_a_key_is_a_row_of_digests_of_the_passphrase_behind_more_and_more_a(
    passphrase: bytes, key_size: int, name: str
) -> None:
    digests = b"".join(hashlib.new(name, b"A" * n + passphrase).digest() for n in range(13))
    with derive_key(passphrase, key_size, name) as key:
        assert key.matches(digests[:key_size])


@settings(max_examples=50, deadline=None)
@given(passphrase=st.binary(max_size=80), length=st.integers(1, 64), more=st.integers(0, 64))
def test_a_length_cuts_the_hash_and_zeroes_follow(
    passphrase: bytes, length: int, more: int
) -> None:
    with (
        derive_key(passphrase, length + more, f"sha1:{length}") as key,
        derive_key(passphrase, length, "sha1") as start,
    ):
        assert key.matches(bytes(start.view()) + bytes(more))


@pytest.mark.parametrize("hash", ["sha256:", ":16", "sha256:0", "sha256:33", "sha256:1k", ""])
def test_a_malformed_hash_is_the_callers_mistake(hash: str) -> None:
    with pytest.raises(ValueError, match="hash"):
        derive_key(PASSPHRASE, 32, hash)


@pytest.mark.parametrize("key_size", [0, -1, KEY_SIZE_MAX + 1])
def test_a_key_has_a_sane_size(key_size: int) -> None:
    with pytest.raises(ValueError, match="key size"):
        derive_key(PASSPHRASE, key_size)
    with pytest.raises(ValueError, match="key size"):
        open_plain(blank(), key=bytes(600), key_size=key_size)


def test_every_known_hash_makes_keys() -> None:
    keys = set()
    for name in hashes.NAMES:
        with derive_key(PASSPHRASE, 70, name) as key:
            keys.add(bytes(key.view()))
    assert len(keys) == len(hashes.NAMES)


def test_an_unknown_hash_says_what_is_known() -> None:
    with pytest.raises(luksmeta.AlgorithmError, match="known are md5, sha1"):
        open_plain(blank(), passphrase=PASSPHRASE, hash="tiger")


def test_a_key_is_taken_whole_unless_its_size_is_given() -> None:
    with open_plain(blank(), key=bytes(range(64))) as volume:
        assert volume.volume_key.matches(bytes(range(64)))
    with open_plain(blank(), key=bytes(range(64)), key_size=32) as volume:
        assert volume.volume_key.matches(bytes(range(32)))


def test_a_key_that_is_too_short_is_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match="key: 16 bytes, 32 are needed"):
        open_plain(blank(), key=bytes(16), key_size=32)


# --- the volume ----------------------------------------------------------------------------------


def test_either_a_passphrase_or_a_key_is_needed() -> None:
    with pytest.raises(TypeError):
        open_plain(blank())
    with pytest.raises(TypeError):
        open_plain(blank(), passphrase=PASSPHRASE, key=bytes(32))


def test_unknown_defaults_are_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match=r"known are cryptsetup-2\.7"):
        open_plain(blank(), passphrase=PASSPHRASE, defaults="cryptsetup-9")


def test_a_wrong_passphrase_gives_noise() -> None:
    image = blank()
    with (
        open_plain(image, passphrase=b"right") as volume,
        volume.open(writable=True) as stream,
    ):
        stream.write(b"hello")
    with open_plain(image, passphrase=b"wrong") as volume, volume.open() as stream:
        assert not stream.read(5).startswith(b"hello")


def test_the_key_is_wiped_and_the_file_closed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "plain.img"
    path.write_bytes(bytes(4096))
    with open_plain(path, passphrase=PASSPHRASE) as volume:
        key = volume.volume_key
    with pytest.raises(ValueError, match="wiped"):
        key.view()
    with pytest.raises(OSError, match="descriptor"):
        volume.data_storage.read_at(0, 512)
    volume.close()


def test_a_volume_opened_for_reading_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "plain.img"
    path.write_bytes(bytes(4096))
    with (
        open_plain(path, passphrase=PASSPHRASE) as volume,
        pytest.raises(luksmeta.StorageError, match="read-only"),
    ):
        volume.open(writable=True)
    assert path.read_bytes() == bytes(4096)


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"offset": -1}, "offset: -1 sectors"),
        ({"skip": 1 << 63}, "skip: 9223372036854775808 sectors"),
        ({"size": 0}, "size: 0 sectors"),
        ({"sector_size": 8192}, "sector size 8192"),
        ({"sector_size": 4096, "size": 7}, "size: 7 is no multiple of 8"),
        (
            {"sector_size": 1024, "skip": 3, "iv_large_sectors": True},
            "skip: 3 is no multiple of 2",
        ),
    ],
)
def test_numbers_that_make_no_sense_are_the_callers_mistake(
    keywords: dict[str, int], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        open_plain(blank(), passphrase=PASSPHRASE, **keywords)  # type: ignore[arg-type]  # numbers


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"offset": 128}, "ends at 0x10000, the data starts at 0x10000"),
        ({"offset": 129}, "ends at 0x10000, the data starts at 0x10200"),
        ({"offset": 120, "size": 9}, "ends at 0x10000, the data at 0x10200"),
    ],
)
def test_data_past_the_devices_end_is_an_error_of_the_device(
    keywords: dict[str, int], text: str
) -> None:
    with pytest.raises(luksmeta.StorageError, match=text):
        open_plain(blank(), passphrase=PASSPHRASE, **keywords)  # type: ignore[arg-type]  # numbers


def test_a_ragged_end_is_left_out_as_by_a_loop_device() -> None:
    with open_plain(blank(1000), passphrase=PASSPHRASE) as volume, volume.open() as stream:
        assert stream.size == 512


def test_a_cipher_is_refused_before_any_data_is_asked_for() -> None:
    with pytest.raises(luksmeta.AlgorithmError, match="rot13"):
        open_plain(blank(), passphrase=PASSPHRASE, cipher="rot13-cbc-plain")


def test_a_failure_closes_the_file(tmp_path: Path) -> None:
    storage = luksmeta.FileStorage.create(tmp_path / "plain.img")
    with pytest.raises(luksmeta.StorageError, match="the data starts at"):
        open_plain(storage, passphrase=PASSPHRASE)
    with pytest.raises(OSError, match="descriptor"):
        storage.read_at(0, 512)
