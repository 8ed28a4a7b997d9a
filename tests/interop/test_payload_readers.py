"""What we write into a volume other programs read, and what they write we read.

Which program knows which format is their own affair; each is asked about all that it knows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import luksmeta
from luksmeta.format_options import Version
from luksmeta.kdf.pbkdf import Pbkdf
from tests.corpus import stream
from tests.interop.peers import cryptsetup, dissect, grub, libluksde, nbdkit, qemu
from tests.interop.peers.process import Tool
from tests.interop.volumes import DIGEST_ITERATIONS, SECRET, cheap, read, write

_PAYLOAD = 1 << 20  # bytes
_SAMPLE, _AT = 16 << 10, 12 << 10  # bytes; the slow readers read less, and not from the start
_FILE = "hello.txt"

Reader = Callable[[Path], bytes]


@dataclass(frozen=True)
class Format:
    """A LUKS1 format, and the programs that know it besides GRUB, which knows them all."""

    cipher: str
    key_bits: int
    hash: str
    readers: frozenset[str]

    def __str__(self) -> str:
        return f"{self.cipher}-{self.key_bits}-{self.hash}"


_ALL = frozenset({"qemu", "nbdkit", "libluksde", "dissect"})
_LUKS1 = [
    Format("aes-xts-plain64", 512, "sha256", _ALL),
    Format("aes-xts-plain64", 256, "sha512", _ALL),
    Format("aes-xts-plain", 512, "sha1", _ALL),
    Format("aes-cbc-plain64", 128, "sha256", _ALL),
    Format("aes-cbc-essiv:sha256", 256, "sha1", _ALL - {"nbdkit"}),
    Format("aes-ecb", 256, "sha256", _ALL - {"nbdkit", "qemu"}),
    Format("aes-xts-plain64", 512, "ripemd160", frozenset({"qemu"})),
    Format("aes-xts-plain64", 512, "whirlpool", frozenset()),
]
_SECTOR_SIZES = (512, 4096)


def _format(
    path: Path,
    version: Version,
    size: int,
    *,
    cipher: str = "aes-xts-plain64",
    key_bits: int = 512,
    hash: str = "sha256",
    pbkdf: Pbkdf | None = None,
    sector_size: int | None = None,
    header: Path | None = None,
) -> None:
    """A volume with ``size`` bytes of payload; the default size of an attached header is known."""
    attached = {"luks1": 1 << 20 if key_bits == 128 else 2 << 20, "luks2": 16 << 20}[version]
    luksmeta.format(
        path,
        SECRET,
        size=size + (0 if header else attached),
        header=header,
        type=version,
        cipher=cipher,
        key_size=key_bits // 8,
        hash=hash,
        pbkdf=pbkdf or cheap("pbkdf2", hash),
        digest_iterations=DIGEST_ITERATIONS,
        sector_size=sector_size,
    ).close()


def _format_luks1(path: Path, known: Format) -> None:
    _format(path, "luks1", _PAYLOAD, cipher=known.cipher, key_bits=known.key_bits, hash=known.hash)


@pytest.fixture(scope="module")
def file_system(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """An ext2 image of _PAYLOAD bytes with one file, and that file's content."""
    folder = tmp_path_factory.mktemp("fs")
    content = stream("a file inside", 40_000)
    (folder / "root").mkdir()
    (folder / "root" / _FILE).write_bytes(content)
    image = folder / "image"
    with image.open("wb") as file:
        file.truncate(_PAYLOAD)
    Tool("mke2fs", "e2fsprogs").run("-q", "-t", "ext2", "-b", "4096", "-d", folder / "root", image)
    return image.read_bytes(), content


def _reader(name: str) -> Reader:
    """What a program reads: everything, or for the slow ones a sample."""
    readers: dict[str, Reader] = {
        "qemu": lambda path: qemu.read(path, SECRET),
        "nbdkit": lambda path: nbdkit.read(path, SECRET),
        "libluksde": lambda path: libluksde.read(path, SECRET, _SAMPLE, _AT),
        "dissect": lambda path: dissect.read(path, SECRET, _SAMPLE, _AT),
    }
    return readers[name]


def _expected(name: str, payload: bytes) -> bytes:
    return payload if name in ("qemu", "nbdkit") else payload[_AT:][:_SAMPLE]


# --- LUKS1 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "name"),
    [pytest.param(f, name, id=f"{f}-{name}") for f in _LUKS1 for name in sorted(f.readers)],
)
def test_a_program_reads_our_luks1_payload(known: Format, name: str, tmp_path: Path) -> None:
    path, payload = tmp_path / "volume", stream(str(known), _PAYLOAD)
    _format_luks1(path, known)
    write(path, SECRET, payload)
    assert _reader(name)(path) == _expected(name, payload)


@pytest.mark.parametrize("known", _LUKS1, ids=str)
def test_grub_finds_a_file_inside_our_luks1_volume(
    known: Format, file_system: tuple[bytes, bytes], tmp_path: Path
) -> None:
    path, (image, content) = tmp_path / "volume", file_system
    _format_luks1(path, known)
    write(path, SECRET, image)
    assert grub.cat(path, SECRET, _FILE) == content


@pytest.mark.parametrize(
    ("known", "name"),
    [
        pytest.param(f, name, id=f"{f}-{name}")
        for f in _LUKS1
        for name in sorted(f.readers & {"qemu", "nbdkit"})
    ],
)
def test_we_read_what_another_program_wrote_into_our_luks1_volume(
    known: Format, name: str, tmp_path: Path
) -> None:
    path, payload = tmp_path / "volume", stream(f"{name} {known}", _PAYLOAD)
    _format_luks1(path, known)
    {"qemu": qemu.write, "nbdkit": nbdkit.write}[name](path, SECRET, payload)
    assert read(path, SECRET) == payload


def test_we_use_a_volume_that_qemu_made(tmp_path: Path) -> None:
    path, payload = tmp_path / "volume", stream("qemu's own", _PAYLOAD)
    qemu.create(path, SECRET, _PAYLOAD, "cipher-alg=aes-256", "cipher-mode=xts")
    qemu.write(path, SECRET, payload)
    assert read(path, SECRET) == payload
    write(path, SECRET, b"ours" * 1024)
    assert qemu.read(path, SECRET) == b"ours" * 1024 + payload[4096:]


# --- LUKS2 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cipher", "sector_size"),
    # Not essiv with 4096: GRUB counts whole sectors there, the kernel 512 bytes (its vector
    # aes-cbc-essiv:sha256/256/s4096, and test_kernel).
    [("aes-xts-plain64", 512), ("aes-xts-plain64", 4096), ("aes-cbc-essiv:sha256", 512)],
)
def test_grub_finds_a_file_inside_our_luks2_volume(
    cipher: str, sector_size: int, file_system: tuple[bytes, bytes], tmp_path: Path
) -> None:
    path, (image, content) = tmp_path / "volume", file_system
    key_bits = 512 if "xts" in cipher else 256
    _format(path, "luks2", _PAYLOAD, cipher=cipher, key_bits=key_bits, sector_size=sector_size)
    write(path, SECRET, image)
    assert grub.cat(path, SECRET, _FILE) == content


@pytest.mark.parametrize("sector_size", _SECTOR_SIZES)
@pytest.mark.parametrize("pbkdf", ["pbkdf2", "argon2i", "argon2id"])
def test_dissect_reads_our_luks2_payload(pbkdf: str, sector_size: int, tmp_path: Path) -> None:
    path, payload = tmp_path / "volume", stream(f"{pbkdf} {sector_size}", _PAYLOAD)
    _format(path, "luks2", _PAYLOAD, pbkdf=cheap(pbkdf), sector_size=sector_size)
    write(path, SECRET, payload)
    assert dissect.read(path, SECRET, _SAMPLE, _AT) == payload[_AT:][:_SAMPLE]


@pytest.mark.parametrize("sector_size", _SECTOR_SIZES)
@pytest.mark.parametrize("detached", [False, True], ids=["attached", "detached"])
def test_cryptsetup_decrypts_our_luks2_payload(
    detached: bool, sector_size: int, tmp_path: Path
) -> None:
    path, header = tmp_path / "volume", tmp_path / "header" if detached else None
    payload = stream(f"decrypt {detached} {sector_size}", _PAYLOAD)
    _format(
        path, "luks2", _PAYLOAD, pbkdf=cheap("argon2id"), sector_size=sector_size, header=header
    )
    write(path, SECRET, payload, header=header)
    assert cryptsetup.read(path, SECRET, header=header) == payload


@pytest.mark.parametrize("sector_size", _SECTOR_SIZES)
@pytest.mark.parametrize("detached", [False, True], ids=["attached", "detached"])
def test_we_read_what_cryptsetup_encrypted_and_it_what_we_write_there(
    detached: bool, sector_size: int, tmp_path: Path
) -> None:
    path, header = tmp_path / "volume", tmp_path / "header" if detached else None
    payload = stream(f"encrypt {detached} {sector_size}", _PAYLOAD)
    path.write_bytes(payload)
    cryptsetup.encrypt_file(path, SECRET, header=header, sector_size=sector_size)
    assert read(path, SECRET, header=header).startswith(payload)
    write(path, SECRET, b"ours" * 3000, header=header)
    expected = b"ours" * 3000 + payload[12_000:]
    assert cryptsetup.read(path, SECRET, header=header).startswith(expected)
