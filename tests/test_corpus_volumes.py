"""Every shared image: read as its manifest says, unlocked, decrypted, and never changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import luksmeta
from luksmeta.model import AnyKeyslot, Keyslot, Metadata, Pbkdf2Digest
from luksmeta.unlocked_volume import UnlockedVolume
from luksmeta.volume import Volume
from tests.corpus import (
    Corpus,
    CorpusImage,
    KernelVolume,
    KnownPassphrase,
    PayloadDigest,
    corpus_image,
    corpus_images,
    kernel_volumes,
)

_CHEAP = 128 << 10  # KiB; a wrong guess at the 1 GiB of luks2/dissect-* takes six seconds
_REENCRYPTING = ("made/l2-reencrypt-init-checksum", "made/l2-reencrypt-midway-none")


def _memory(image: CorpusImage) -> int:
    """The KiB that a guess at the dearest keyslot takes."""
    slots = image.entry["header"]["slots"].values()
    return max((slot.get("kdf", {}).get("memory", 0) for slot in slots), default=0)


_VALID = [image for image in corpus_images() if image.valid]
_INVALID = [image for image in corpus_images() if not image.valid]
_GUESSABLE = [
    image for image in _VALID if _memory(image) <= _CHEAP and (image.passphrases or image.refused)
]
_PASSPHRASES = [
    pytest.param(image, known, id=f"{image.name}-{known.slot}")
    for image in _VALID
    if image.name not in _REENCRYPTING
    for known in image.passphrases
]


def _name(case: CorpusImage | KernelVolume) -> str:
    return case.name


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _opened(corpus: Corpus, image: CorpusImage) -> Iterator[Volume]:
    """The volume; when it is closed, its files are still those of the manifest."""
    path = corpus(image.name)
    data = path if image.data_name is None else corpus(image.data_name)
    with luksmeta.open(data, header=None if data == path else path) as volume:
        yield volume
    assert _sha256(path) == image.sha256
    if data != path:
        assert _sha256(data) == image.entry["data_sha256"]


def _assert_payload(unlocked: UnlockedVolume, digests: tuple[PayloadDigest, ...]) -> None:
    with unlocked.open() as stream:
        for digest in digests:
            assert stream.size == digest.length or not digest.whole
            payload = stream.read_at(digest.offset, digest.length)
            assert hashlib.sha256(payload).hexdigest() == digest.sha256


# --- what a header says, in the manifest's words -----------------------------------------------


def _described(volume: Volume) -> dict[str, Any]:
    metadata = volume.metadata
    return _described_1(metadata) if volume.version == 1 else _described_2(volume, metadata)


def _described_1(metadata: Metadata) -> dict[str, Any]:
    segment, digest = metadata.segments[0], metadata.digests[0]
    cipher_name, _, cipher_mode = getattr(segment, "encryption", "").partition("-")
    assert isinstance(digest, Pbkdf2Digest)
    slots = {
        str(keyslot_id): {
            "iterations": keyslot.kdf.iterations,
            "key_offset_bytes": keyslot.area.offset,
            "stripes": keyslot.af.stripes,
        }
        for keyslot_id, keyslot in metadata.keyslots.items()
        if isinstance(keyslot, Keyslot) and isinstance(keyslot.kdf, luksmeta.Pbkdf2)
    }
    return {
        "version": metadata.version,
        "cipher_name": cipher_name,
        "cipher_mode": cipher_mode,
        "hash": digest.hash,
        "payload_offset": segment.offset,
        "uuid": metadata.uuid,
        "mk_iterations": digest.iterations,
        "slots": slots,
    }


def _described_2(volume: Volume, metadata: Metadata) -> dict[str, Any]:
    return {
        "version": metadata.version,
        "uuid": metadata.uuid,
        "label": metadata.label or None,
        "subsystem": metadata.subsystem or None,
        "epoch": max(copy.seqid or 0 for copy in volume.header.copies),
        "metadata_bytes": metadata.keyslots_area.offset // 2,
        "keyslots_area_bytes": metadata.keyslots_area.size,
        "flags": list(metadata.config.flags),
        "requirements": list(metadata.config.requirements),
        "segments": {str(n): _segment(each) for n, each in metadata.segments.items()},
        "slots": {str(n): _keyslot(each) for n, each in metadata.keyslots.items()},
        "digests": {str(n): _digest(each) for n, each in metadata.digests.items()},
        "tokens": {
            str(n): {**token.as_read, "type": token.type, "keyslots": _ids(token.keyslots)}
            for n, token in metadata.tokens.items()
        },
    }


def _ids(ids: tuple[int, ...]) -> list[str]:
    return [str(each) for each in ids]


def _segment(segment: Any) -> dict[str, Any]:  # noqa: ANN401 - one of three kinds, field by field
    size = str(segment.size) if isinstance(segment.size, int) else "dynamic"
    described = {"type": segment.type, "offset": str(segment.offset), "size": size}
    if segment.type == "crypt":
        described |= {
            "iv_tweak": str(segment.iv_tweak),
            "encryption": segment.encryption,
            "sector_size": segment.sector_size,
        }
    else:
        described |= {k: v for k, v in segment.as_read.items() if k not in described}
    return described | ({"flags": list(segment.flags)} if segment.flags else {})


def _keyslot(keyslot: AnyKeyslot) -> dict[str, Any]:
    priority = {} if keyslot.priority is None else {"priority": int(keyslot.priority)}
    described = {"type": keyslot.type, "key_bytes": keyslot.key_size, **priority}
    area: dict[str, Any] = {"offset": str(keyslot.area.offset), "size": str(keyslot.area.size)}
    if not isinstance(keyslot, Keyslot):
        kept = {k: v for k, v in keyslot.as_read.items() if k in ("mode", "direction")}
        read = keyslot.as_read["area"]
        assert isinstance(read, dict)
        return described | kept | {"area": {**read, **area}}
    area |= {"type": "raw", "encryption": keyslot.area.encryption}
    area["key_size"] = keyslot.area.key_size
    kdf: Any = keyslot.as_read["kdf"]
    names = [name for name in getattr(type(keyslot.kdf), "__slots__", ()) if name in kdf]
    of_model = {name: getattr(keyslot.kdf, name) for name in names}
    kdf = {name: value for name, value in kdf.items() if name != "salt"} | of_model
    return described | {"kdf": kdf, "af_hash": keyslot.af.hash, "area": area}


def _digest(digest: Any) -> dict[str, Any]:  # noqa: ANN401 - the images have PBKDF2 digests only
    return {
        "type": digest.type,
        "keyslots": _ids(digest.keyslots),
        "segments": _ids(digest.segments),
        "hash": digest.hash,
        "iterations": digest.iterations,
    }


# --- headers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("image", _VALID, ids=_name)
def test_a_valid_header_says_what_cryptsetup_says(image: CorpusImage, corpus: Corpus) -> None:
    expected = dict(image.entry["header"])
    expected.pop("key_bits", None)  # of a header without keyslots the model does not tell it
    with _opened(corpus, image) as volume:
        assert _described(volume) == expected
        for keyslot in volume.keyslots.values():
            key_bits = image.entry["header"].get("key_bits", 8 * keyslot.key_size)
            assert 8 * keyslot.key_size == key_bits


@pytest.mark.parametrize("image", _INVALID, ids=_name)
def test_an_invalid_header_is_refused(image: CorpusImage, corpus: Corpus) -> None:
    with pytest.raises((luksmeta.HeaderError, luksmeta.NotLuksError)):
        luksmeta.open(corpus(image.name))
    assert _sha256(corpus(image.name)) == image.sha256


# --- passphrases, keys and payloads ------------------------------------------------------------


@pytest.mark.parametrize(("image", "known"), _PASSPHRASES)
def test_a_passphrase_opens_its_keyslot_and_the_payload(
    image: CorpusImage, known: KnownPassphrase, corpus: Corpus
) -> None:
    with (
        _opened(corpus, image) as volume,
        volume.unlock(known.secret, keyslot=known.slot) as unlocked,
    ):
        assert known.slot is not None
        assert unlocked.keyslot == known.slot
        if volume.metadata.is_bound(known.slot):
            assert bytes(unlocked.volume_key.view()) == image.volume_key
            if image.payload:
                _assert_payload(unlocked, image.payload)
        else:
            with pytest.raises(luksmeta.VolumeKeyError, match="segment 0: its key was not opened"):
                unlocked.open()


@pytest.mark.parametrize("image", _GUESSABLE, ids=_name)
def test_without_a_name_the_right_keyslot_opens_and_wrong_passphrases_none(
    image: CorpusImage, corpus: Corpus
) -> None:
    with _opened(corpus, image) as volume:
        for known in image.passphrases:
            assert known.slot is not None
            keyslot = volume.keyslots[known.slot]
            if volume.metadata.is_bound(known.slot) and keyslot.priority != 0:
                with volume.unlock(known.secret) as unlocked:
                    assert unlocked.keyslot == known.slot
            else:
                with pytest.raises(luksmeta.PassphraseError):
                    volume.unlock(known.secret)
        wrong = KnownPassphrase(None, b"in no image at all")
        for refused in (*image.refused, wrong):
            with pytest.raises((luksmeta.PassphraseError, luksmeta.KeyslotNotFoundError)):
                volume.unlock(refused.secret, keyslot=refused.slot)


@pytest.mark.parametrize("name", _REENCRYPTING)
def test_a_volume_whose_reencryption_rests_reads_as_one(name: str, corpus: Corpus) -> None:
    """One has only begun, one is done for the first 303104 bytes: there each part has its key.

    The manifest names one of the two keys; a named keyslot opens its own key alone.
    """
    image = corpus_image(name)
    secret = image.passphrases[0].secret
    with _opened(corpus, image) as volume:
        with volume.unlock(secret) as unlocked:
            _assert_payload(unlocked, image.payload)
        keys = set()
        for keyslot_id in volume.metadata.bound_keyslots:
            with volume.unlock(secret, keyslot=keyslot_id) as unlocked:
                keys.add(bytes(unlocked.volume_key.view()))
        assert len(keys) == 2
        assert image.volume_key in keys


# --- volumes that the kernel filled --------------------------------------------------------------

_KERNEL = [volume for volume in kernel_volumes() if volume.type == "luks"]
_READABLE = [
    volume for volume in _KERNEL if volume.kind != "integrity" and not volume.name.endswith("-cut")
]
_UNREADABLE = [volume for volume in _KERNEL if volume not in _READABLE]


@contextmanager
def _opened_of_kernel(corpus: Corpus, known: KernelVolume) -> Iterator[Volume]:
    image = corpus.unpack(known.image)
    header = None if known.header is None else corpus.unpack(known.header)
    with luksmeta.open(image, header=header) as volume:
        yield volume
    assert _sha256(image) == known.entry["image_sha256"]
    if header is not None:
        assert _sha256(header) == known.entry["header_sha256"]


@pytest.mark.parametrize("known", _READABLE, ids=_name)
def test_a_volume_of_the_kernel_holds_what_the_kernel_showed(
    known: KernelVolume, corpus: Corpus
) -> None:
    with (
        _opened_of_kernel(corpus, known) as volume,
        volume.unlock(known.secret) as unlocked,
        unlocked.open() as stream,
    ):
        assert stream.size == known.plaintext_bytes
        assert hashlib.sha256(stream.readall()).hexdigest() == known.plaintext_sha256


@pytest.mark.parametrize("known", _UNREADABLE, ids=_name)
def test_what_only_the_kernel_or_a_recovery_can_read_is_refused_with_a_reason(
    known: KernelVolume, corpus: Corpus
) -> None:
    """Data with integrity tags, and a hot zone that was cut: part of it old and part of it new."""
    with (
        _opened_of_kernel(corpus, known) as volume,
        volume.unlock(known.secret) as unlocked,
        pytest.raises(luksmeta.UnsupportedError, match=r"integrity tags|must be recovered first"),
    ):
        unlocked.open()
