"""The splitter against keyslot areas that cryptsetup wrote, and against itself."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luksmeta.errors import AlgorithmError
from luksmeta.kdf import antiforensic, hashes, pbkdf
from luksmeta.secret import SecretBytes
from tests.corpus import Corpus, corpus_image
from tests.kdf.keyslots import STRIPES, Slot, read_slot
from tests.requirement import missing


def volume_key(slot: Slot, passphrase: bytes) -> bytes:
    kdf = pbkdf.Pbkdf2(hash=slot.hash, iterations=slot.iterations)
    with pbkdf.derive(kdf, passphrase, slot.salt, slot.key_size) as area_key:
        material = slot.material(bytes(area_key.view()))
    with antiforensic.merge(material, slot.key_size, STRIPES, slot.hash) as key:
        return bytes(key.view())


@pytest.mark.parametrize(
    ("name", "hash"),
    [
        ("made/l1-aes-xts-plain64-512", "sha256"),
        ("made/l1-hash-sha1", "sha1"),
        ("made/l1-hash-sha224", "sha224"),
        ("made/l1-hash-sha512", "sha512"),
        ("made/l1-hash-sha3-512", "sha3-512"),
        ("made/l1-hash-whirlpool", "whirlpool"),
        ("made/l2-hash-sha1", "sha1"),
        ("made/l2-hash-blake2s-256", "blake2s-256"),
        ("made/l2-hash-whirlpool", "whirlpool"),
    ],
)
def test_merging_a_keyslot_of_cryptsetup_gives_the_volume_key(
    corpus: Corpus, name: str, hash: str
) -> None:
    image = corpus_image(name)
    slot = read_slot(corpus(name))
    assert slot.hash == hash
    assert volume_key(slot, image.passphrases[0].secret) == image.volume_key


@pytest.mark.parametrize("hash", ["ripemd160", "RIPEMD160", "sha384", "sm3"])
def test_merging_what_cryptsetup_splits_now_gives_the_key_it_was_told(
    tmp_path: Path, hash: str
) -> None:
    if shutil.which("cryptsetup") is None:
        missing("cryptsetup is not installed")
    key = hashlib.sha512(hash.encode()).digest()
    (tmp_path / "key").write_bytes(key)
    image = tmp_path / "image"
    image.write_bytes(bytes(4 << 20))
    command = (
        f"cryptsetup luksFormat --batch-mode --type luks1 --hash {hash} --key-file - "
        f"--pbkdf-force-iterations 1000 --key-size 512 --master-key-file {tmp_path / 'key'} {image}"
    )
    subprocess.run(command.split(), input=b"secret", check=True)
    assert volume_key(read_slot(image), b"secret") == key


def naive_split(key: bytes, stripes: int, hash: str, noise: bytes) -> bytes:
    """The specification's text, stripe by stripe."""
    function, size = hashes.get(hash), len(key)
    state = bytes(size)
    for start in range(0, len(noise), size):
        state = bytes(a ^ b for a, b in zip(state, noise[start : start + size], strict=True))
        blocks = [
            state[at : at + function.digest_size] for at in range(0, size, function.digest_size)
        ]
        state = b"".join(
            function.digest(index.to_bytes(4, "big") + block)[: len(block)]
            for index, block in enumerate(blocks)
        )
    return noise + bytes(a ^ b for a, b in zip(state, key, strict=True))


SIZES = {
    "key": st.binary(min_size=1, max_size=150),
    "stripes": st.integers(1, 12),
    "hash": st.sampled_from(hashes.NAMES),
}


@settings(max_examples=150, deadline=None)
@given(**SIZES)
def test_merge_undoes_split(key: bytes, stripes: int, hash: str) -> None:
    with (
        SecretBytes(key) as secret,
        antiforensic.split(secret, stripes, hash) as spread,
        antiforensic.merge(spread, len(key), stripes, hash) as merged,
    ):
        assert merged.matches(key)


@settings(max_examples=150, deadline=None)
@given(**SIZES, filler=st.integers(1, 255))
def test_split_is_the_text_of_the_specification(
    key: bytes, stripes: int, hash: str, filler: int
) -> None:
    def noise(size: int) -> bytes:
        return bytes((filler * at) & 0xFF for at in range(size))

    def fill(buffer: memoryview) -> None:
        buffer[:] = noise(len(buffer))

    with (
        SecretBytes(key) as secret,
        antiforensic.split(secret, stripes, hash, fill=fill) as spread,
    ):
        expected = naive_split(key, stripes, hash, noise(len(key) * (stripes - 1)))
        assert bytes(spread.view()) == expected.ljust(len(spread), b"\0")


@pytest.mark.parametrize(
    ("key_size", "size"), [(16, 64000), (24, 96256), (32, 128000), (64, 256000)]
)
def test_split_material_is_rounded_up_to_sectors(key_size: int, size: int) -> None:
    assert antiforensic.split_size(key_size, 4000) == size


@pytest.mark.parametrize(("key_size", "stripes"), [(0, 4000), (64, 0), (-1, 4000), (64, -1)])
def test_no_bytes_or_no_stripes_are_a_value_error(key_size: int, stripes: int) -> None:
    with pytest.raises(ValueError, match=f"{stripes} stripes of {key_size} bytes"):
        antiforensic.split_size(key_size, stripes)
    with pytest.raises(ValueError, match=f"{stripes} stripes of {key_size} bytes"):
        antiforensic.merge(bytes(512), key_size, stripes, "sha256")


def test_material_that_is_too_short_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="639 bytes, not 10 stripes of 64 bytes"):
        antiforensic.merge(bytes(639), 64, 10, "sha256")


def test_an_unknown_hash_is_an_algorithm_error() -> None:
    with pytest.raises(AlgorithmError):
        antiforensic.merge(bytes(640), 64, 10, "sha257")
