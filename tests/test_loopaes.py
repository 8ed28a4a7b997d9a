"""loop-AES volumes: key files, and what a real kernel made with them."""

from __future__ import annotations

import hashlib

import pytest

import luksmeta
from luksmeta.loopaes import KeyFileError, open_loopaes, read_keys
from luksmeta.secret import SecretBytes
from luksmeta.storage import MemoryStorage
from tests.corpus import Corpus, KernelVolume, kernel_volumes
from tests.headerless import DISK_SIZE, REFUSED, Case, cases, digest, made

MANY = tuple(f"key number {n:02}".encode() for n in range(66))


def key_file(count: int, end: bytes = b"\n") -> bytes:
    return b"".join(key + end for key in MANY[:count])


def opened(case: Case, image: MemoryStorage) -> luksmeta.HeaderlessVolume:
    """The volume of a case."""
    return open_loopaes(image, case.secret, **case.keywords())


# --- what the kernel made ------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases("loopaes"), ids=lambda case: case.name)
def test_keys_and_ciphertext_are_those_of_the_kernel(case: Case) -> None:
    image, kernels = MemoryStorage(DISK_SIZE), made()[case.name]
    with opened(case, image) as volume:
        assert volume.volume_key.matches(kernels.key)
        assert volume.cipher == kernels.table.split()[3]
        with volume.open(writable=True) as stream:
            assert stream.size == kernels.size
            stream.write(case.plaintext[: stream.size])
        assert digest(image.data) == kernels.sha256
        with volume.open() as stream:
            assert stream.readall() == case.plaintext[: kernels.size]


@pytest.mark.parametrize("case", cases("loopaes", REFUSED), ids=lambda case: case.name)
def test_what_cryptsetup_refuses_is_refused(case: Case) -> None:
    with pytest.raises((luksmeta.LuksError, ValueError)):
        opened(case, MemoryStorage(DISK_SIZE))


@pytest.mark.parametrize(
    "volume",
    [volume for volume in kernel_volumes() if volume.type == "loopaes"],
    ids=lambda volume: volume.name,
)
def test_a_shared_volume_shows_what_the_kernel_shows(volume: KernelVolume, corpus: Corpus) -> None:
    keywords = Case(volume.name, "loopaes", volume.open_arguments, b"").keywords()
    with (
        open_loopaes(corpus.unpack(volume.image), volume.secret, **keywords) as opened,
        opened.open() as stream,
    ):
        plaintext = stream.readall()
    assert (len(plaintext), digest(plaintext)) == (volume.plaintext_bytes, volume.plaintext_sha256)


# --- key files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "mark"), [(1, 0x00), (64, 0x55), (65, 0xF4)])
@pytest.mark.parametrize("size", [16, 24, 32])
def test_a_key_is_the_cut_hash_of_its_line_with_the_versions_mark(
    count: int, mark: int, size: int
) -> None:
    name = {16: "sha256", 24: "sha384", 32: "sha512"}[size]
    expected = b"".join(
        bytes([first ^ mark, *rest[: size - 1]])
        for first, *rest in (hashlib.new(name, key).digest() for key in MANY[:count])
    )
    found, keys = read_keys(key_file(count), size)
    assert found == count
    assert keys.matches(expected)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r", b"\n\n", b"\0"])
def test_line_ends_are_no_part_of_a_key(end: bytes) -> None:
    assert read_keys(key_file(64, end))[1].matches(read_keys(key_file(64))[1])


def test_a_key_file_may_be_a_secret() -> None:
    with SecretBytes(key_file(65)) as secret:
        assert read_keys(secret)[1].matches(read_keys(key_file(65))[1])


@pytest.mark.parametrize("count", [0, 2, 63, 66])
def test_only_one_and_64_and_65_keys_make_a_key_file(count: int) -> None:
    with pytest.raises(KeyFileError, match="1, 64 or 65 keys"):
        read_keys(key_file(count))


def test_keys_of_different_lengths_are_refused() -> None:
    with pytest.raises(KeyFileError, match="keys of 5 and of 13 characters"):
        read_keys(key_file(63) + b"short\n")


def test_the_last_key_must_end() -> None:
    with pytest.raises(KeyFileError, match="key 64 has no line end"):
        read_keys(key_file(65)[:-1])


def test_an_encrypted_key_file_says_how_to_decrypt_it() -> None:
    with pytest.raises(KeyFileError, match="gpg --decrypt"):
        read_keys(b"-----BEGIN PGP MESSAGE-----\n\njA0E\n")


def test_no_error_shows_a_key() -> None:
    for text in (key_file(64)[:-1], key_file(63) + b"short\n", key_file(2)):
        with pytest.raises(KeyFileError) as caught:
            read_keys(text)
        assert "key number" not in str(caught.value)


@pytest.mark.parametrize(
    ("size", "hash", "text"),
    [
        (20, None, "20 bytes"),
        (32, "sha1", "32 bytes, sha1 gives 20"),
        (0, "sha1", "0 bytes, sha1 gives 20"),
    ],
)
def test_a_key_size_needs_a_hash_that_fills_it(size: int, hash: str | None, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        read_keys(key_file(1), size, hash)


def test_a_huge_key_file_is_given_up_early() -> None:
    with pytest.raises(KeyFileError, match="more than 65 lines"):
        read_keys(b"x\n" * 1_000_000)


# --- sectors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("skip", "first"), [(None, 8), (0, 0)])
def test_sectors_are_counted_from_the_devices_start_unless_skip_says_otherwise(
    skip: int | None, first: int
) -> None:
    image = MemoryStorage(DISK_SIZE)
    with open_loopaes(image, key_file(1), offset=8, skip=skip) as volume:
        assert volume.placement.skip == first
