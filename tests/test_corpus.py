"""The shared images and vectors are what their manifests say, and the loaders read them right."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.corpus import (
    CipherVector,
    Corpus,
    cipher_vectors,
    corpus_image,
    corpus_images,
    kernel_volumes,
    shared,
    stream,
)


@pytest.mark.parametrize("name", ["luks1/compat", "made/l2-detached-512-header"])
def test_an_image_unpacks_to_its_digest_once(corpus: Corpus, name: str) -> None:
    path = corpus(name)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == corpus_image(name).sha256
    assert path.stat().st_size == corpus_image(name).size
    assert corpus(name).stat().st_ino == path.stat().st_ino


def test_a_copy_can_be_changed_and_the_image_stays(corpus: Corpus, tmp_path: Path) -> None:
    name = "made/l2-detached-512-header"
    copy = corpus.copy(name, tmp_path)
    assert copy.read_bytes() == corpus(name).read_bytes()
    copy.write_bytes(b"changed")
    assert corpus(name).stat().st_size == corpus_image(name).size


def test_every_entry_loads_and_every_file_is_there() -> None:
    folder = shared("corpus")
    for image in corpus_images():
        assert (folder / f"{image.name}.xz").exists()
        assert image.version in (1, 2)
    data = corpus_image("made/l2-detached-512-header").data_name
    assert data == "made/l2-detached-512-data"
    assert (folder / f"{data}.xz").exists()
    assert len(corpus_image("luks1/aes-xts-plain64-sha256").passphrases[0].secret) == 25000
    assert corpus_image("made/l2-keyfile-trailing-lf").passphrases[0].secret == b"correct horse\n"


@pytest.mark.parametrize("vector", cipher_vectors(), ids=lambda vector: vector.id)
def test_a_vector_is_made_of_its_own_name(vector: CipherVector) -> None:
    assert vector.key == stream(f"{vector.id}/key", len(vector.key))
    assert len(vector.plaintext) == len(vector.ciphertext) == 512 * vector.sectors


def test_a_volume_of_the_kernel_unpacks_to_its_digest(corpus: Corpus) -> None:
    shared("vectors")
    volume = next(volume for volume in kernel_volumes() if volume.header)
    image = corpus.unpack(volume.image)
    assert hashlib.sha256(image.read_bytes()).hexdigest() == volume.entry["image_sha256"]
    assert volume.secret == b"pass of luks2-detached-header"
