"""The ground truth beside the project: corpus images, dm-crypt vectors and kernel-made volumes.

They lie in ``../shared`` (each folder's README.md describes it) and are read in place. Loaders may
be called while tests are collected: they give nothing where the folder is missing, so that a test
parametrised over them is skipped; ``shared()`` ends the running test then.
"""

from __future__ import annotations

import base64
import hashlib
import json
import lzma
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from tests.requirement import REQUIRED, missing

PROJECT = Path(__file__).resolve().parents[1]
SHARED = PROJECT.parent / "shared"
_CHUNK = 1 << 16


def shared(relative: str = "") -> Path:
    """The path of something in ``../shared``; ends the running test where that is missing."""
    path = SHARED / relative
    if not path.exists():
        missing(f"../shared/{relative} is not there")
    return path


def _manifest(relative: str) -> Any:  # noqa: ANN401 - a list in one file, an object in the others
    path = SHARED / relative
    if not path.exists():
        if REQUIRED:
            raise FileNotFoundError(path)
        return None
    return json.loads(path.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class KnownPassphrase:
    """A secret of an image: ``secret`` is what the key derivation sees, byte for byte."""

    slot: int | None
    secret: bytes = field(repr=False)
    note: str = ""


@dataclass(frozen=True)
class PayloadDigest:
    """SHA-256 of ``length`` bytes of plaintext at ``offset`` (bytes) of the payload."""

    offset: int
    length: int
    sha256: str
    whole: bool


@dataclass(frozen=True)
class CorpusImage:
    """One entry of corpus/manifest.json; ``entry`` is the whole of it."""

    name: str  # the file in the corpus without .xz, as Corpus takes it
    version: int
    valid: bool  # False: a reader must refuse the header
    topic: str
    expect: str
    size: int
    sha256: str
    passphrases: tuple[KnownPassphrase, ...]
    refused: tuple[KnownPassphrase, ...]
    volume_key: bytes | None = field(repr=False)
    payload: tuple[PayloadDigest, ...]
    data_name: str | None  # the encrypted data of a detached header
    entry: Mapping[str, Any] = field(repr=False)


def _passphrase(entry: Mapping[str, Any]) -> KnownPassphrase:
    if "keyfile" in entry:
        secret = (SHARED / "corpus" / entry["keyfile"]).read_bytes()
    elif "keyfile_base64" in entry:
        secret = base64.b64decode(entry["keyfile_base64"])
    else:
        secret = entry["passphrase"].encode()
    start = entry.get("keyfile_offset", 0)
    secret = secret[start:][: entry.get("keyfile_size")]
    return KnownPassphrase(entry["slot"], secret, entry.get("note", ""))


def _payload(entry: Mapping[str, Any]) -> PayloadDigest:
    return PayloadDigest(
        entry["offset"], entry["length"], entry["sha256"], bool(entry.get("whole"))
    )


def _corpus_image(entry: Mapping[str, Any]) -> CorpusImage:
    key = entry.get("volume_key_hex")
    data_file = entry.get("data_file")
    return CorpusImage(
        name=entry["file"].removesuffix(".xz"),
        version=int(entry["format"].removeprefix("luks")),
        valid=entry["valid"],
        topic=entry["topic"],
        expect=entry["expect"],
        size=entry["size"],
        sha256=entry["sha256"],
        passphrases=tuple(map(_passphrase, entry["passphrases"])),
        refused=tuple(map(_passphrase, entry.get("refused_passphrases", ()))),
        volume_key=None if key is None else bytes.fromhex(key),
        payload=tuple(map(_payload, entry.get("payload_sha256", ()))),
        data_name=None if data_file is None else data_file.removesuffix(".xz"),
        entry=entry,
    )


@cache
def corpus_images() -> tuple[CorpusImage, ...]:
    """Every image of the corpus, in the manifest's order; empty where there is no corpus."""
    return tuple(map(_corpus_image, _manifest("corpus/manifest.json") or ()))


def corpus_image(name: str) -> CorpusImage:
    """The entry of one image, by its name (``made/l2-priority``)."""
    shared("corpus")
    return next(image for image in corpus_images() if image.name == name)


def stream(label: str, length: int) -> bytes:
    """The first ``length`` bytes of the shared vectors' stream(label) (vectors/README.md)."""
    blocks = (hashlib.sha256(f"{label}:{n}".encode()).digest() for n in count())
    out = bytearray()
    while len(out) < length:
        out += next(blocks)
    return bytes(out[:length])


@dataclass(frozen=True)
class CipherVector:
    """One dm-crypt mapping of vectors/ciphers.json, as the kernel encrypted it."""

    id: str
    cipher: str
    key: bytes = field(repr=False)
    sector_size: int  # bytes
    iv_large_sectors: bool
    iv_offset: int  # sectors of 512 bytes
    sectors: int  # of 512 bytes
    ciphertext: bytes = field(repr=False)

    @property
    def plaintext(self) -> bytes:
        """What was written to the mapping."""
        return stream(f"{self.id}/plaintext", 512 * self.sectors)


@cache
def cipher_vectors() -> tuple[CipherVector, ...]:
    """Every dm-crypt vector; empty where there are none."""
    manifest = _manifest("vectors/ciphers.json") or {"vectors": ()}
    return tuple(
        CipherVector(
            id=vector["id"],
            cipher=vector["cipher"],
            key=bytes.fromhex(vector["key"]),
            sector_size=vector["sector_size"],
            iv_large_sectors=vector["iv_large_sectors"],
            iv_offset=vector["iv_offset"],
            sectors=vector["sectors"],
            ciphertext=base64.b64decode(vector["ciphertext_base64"]),
        )
        for vector in manifest["vectors"]
    )


@dataclass(frozen=True)
class KernelVolume:
    """One entry of vectors/volumes/manifest.json: a volume that the kernel filled."""

    name: str
    kind: str
    type: str  # of ``cryptsetup open --type``
    secret: bytes = field(repr=False)
    image: str  # below ../shared, as Corpus.unpack takes it
    header: str | None
    open_arguments: tuple[str, ...]
    plaintext_bytes: int
    plaintext_sha256: str
    tables: tuple[str, ...]
    entry: Mapping[str, Any] = field(repr=False)


def _kernel_volume(entry: Mapping[str, Any]) -> KernelVolume:
    folder = "vectors/volumes"
    if "key_file" in entry:
        secret = (SHARED / folder / entry["key_file"]).read_bytes()
    else:
        secret = entry["passphrase"].encode()
    return KernelVolume(
        name=entry["name"],
        kind=entry["kind"],
        type=entry["type"],
        secret=secret,
        image=f"{folder}/{entry['image']}",
        header=f"{folder}/{entry['header']}" if "header" in entry else None,
        open_arguments=tuple(entry["open_arguments"]),
        plaintext_bytes=entry["plaintext_bytes"],
        plaintext_sha256=entry["plaintext_sha256"],
        tables=tuple(entry["tables"]),
        entry=entry,
    )


@cache
def kernel_volumes() -> tuple[KernelVolume, ...]:
    """Every volume that the kernel filled; empty where there are none."""
    manifest = _manifest("vectors/volumes/manifest.json") or {"volumes": ()}
    return tuple(map(_kernel_volume, manifest["volumes"]))


class Corpus:
    """Unpacks shared images once for a whole test run, whichever process asks first."""

    def __init__(self, cache_dir: Path) -> None:
        self._cache = cache_dir

    def __call__(self, name: str) -> Path:
        """A corpus image (``made/l2-priority``), to be read only: others read the same file."""
        return self.unpack(f"corpus/{name}.xz")

    def unpack(self, relative: str) -> Path:
        """Any ``.xz`` file below ../shared, to be read only."""
        source = shared(relative)
        target = self._cache / relative.removesuffix(".xz")
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            _unpack(source, target)
        return target

    def copy(self, name: str, folder: Path) -> Path:
        """A copy of a corpus image in ``folder``, for a test (or a peer) that changes it."""
        target = folder / Path(name).name
        shutil.copyfile(self(name), target)
        return target


def _unpack(source: Path, target: Path) -> None:
    """Unpack sparsely beside ``target``, then rename: another process never sees half a file."""
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=target.name)
    with os.fdopen(handle, "wb") as out, lzma.open(source) as packed:
        while chunk := packed.read(_CHUNK):
            if any(chunk):
                out.write(chunk)
            else:
                out.seek(len(chunk), os.SEEK_CUR)
        out.truncate(out.tell())
    Path(temporary).chmod(0o444)
    Path(temporary).replace(target)
