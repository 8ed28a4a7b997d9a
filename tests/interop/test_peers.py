"""The peers agree with each other, before anything of ours is compared with them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests import requirement
from tests.corpus import Corpus, corpus_image, stream
from tests.interop.peers import (
    PeerError,
    cryptsetup,
    dissect,
    grub,
    kernel,
    libluksde,
    nbdkit,
    qemu,
)
from tests.interop.peers.process import Tool

SECRET = b"correct horse battery staple"
OTHER = b"tea at four o'clock"
SAMPLE = 8192  # bytes


@pytest.fixture(scope="module")
def luks1(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A LUKS1 volume by cryptsetup, its payload written by QEMU; and that payload."""
    path = tmp_path_factory.mktemp("luks1") / "luks1.img"
    cryptsetup.luks_format(path, SECRET, version=1)
    payload = stream("luks1", qemu.payload_size(path, SECRET))
    qemu.write(path, SECRET, payload)
    return path, payload


@pytest.fixture(scope="module", params=["pbkdf2", "argon2id"])
def luks2(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, bytes, str]:
    """A LUKS2 volume and its payload by cryptsetup; and its key derivation."""
    path = tmp_path_factory.mktemp("luks2") / "luks2.img"
    payload = stream("luks2", 1 << 20)
    path.write_bytes(payload)
    cryptsetup.encrypt_file(path, SECRET, sector_size=4096, pbkdf=request.param)
    return path, payload, request.param


def test_every_reader_of_luks1_reads_the_same_payload(luks1: tuple[Path, bytes]) -> None:
    path, payload = luks1
    assert qemu.read(path, SECRET) == payload
    assert nbdkit.read(path, SECRET) == payload
    assert libluksde.read(path, SECRET, SAMPLE, 512) == payload[512:][:SAMPLE]
    assert dissect.read(path, SECRET, SAMPLE, 512) == payload[512:][:SAMPLE]
    assert grub.unlocks(path, SECRET)


def test_what_nbdkit_writes_qemu_reads(luks1: tuple[Path, bytes], tmp_path: Path) -> None:
    copy = tmp_path / "copy.img"
    copy.write_bytes(luks1[0].read_bytes())
    nbdkit.write(copy, SECRET, b"nbdkit" * 1024)
    assert qemu.read(copy, SECRET).startswith(b"nbdkit" * 1024)


def test_readers_of_luks2_read_what_cryptsetup_encrypted(luks2: tuple[Path, bytes, str]) -> None:
    path, payload, pbkdf = luks2
    decrypted = cryptsetup.read(path, SECRET)
    assert decrypted.startswith(payload)
    assert len(decrypted) == len(payload) + (16 << 20)
    assert dissect.read(path, SECRET, SAMPLE, 4096) == payload[4096:][:SAMPLE]
    assert grub.unlocks(path, SECRET) is (pbkdf == "pbkdf2")


def test_no_reader_opens_with_a_wrong_passphrase(luks1: tuple[Path, bytes]) -> None:
    path, _ = luks1
    assert not cryptsetup.unlocks(path, OTHER)
    assert not grub.unlocks(path, OTHER)
    for reader in (qemu.read, nbdkit.read):
        with pytest.raises(PeerError):
            reader(path, OTHER)
    with pytest.raises(ValueError, match="No valid keyslot"):
        dissect.read(path, OTHER, 512)
    with pytest.raises(OSError, match="locked"):
        libluksde.read(path, OTHER, 512)


def test_grub_reads_a_file_inside_a_volume_that_cryptsetup_encrypted(tmp_path: Path) -> None:
    image, content = tmp_path / "fs.img", b"hello from inside\n"
    image.write_bytes(bytes(4 << 20))
    (tmp_path / "hello.txt").write_bytes(content)
    Tool("mkfs.ext4", "e2fsprogs").run("-q", image)
    script = f"write {tmp_path / 'hello.txt'} hello.txt"
    Tool("debugfs", "e2fsprogs").run("-w", "-R", script, image)
    cryptsetup.encrypt_file(image, SECRET)
    assert grub.cat(image, SECRET, "hello.txt") == content


def test_qemu_makes_a_volume_that_cryptsetup_and_grub_open(tmp_path: Path) -> None:
    path = tmp_path / "qemu.img"
    qemu.create(path, SECRET, 1 << 20, "cipher-alg=serpent-256", "cipher-mode=xts")
    assert cryptsetup.is_luks(path, 1)
    assert grub.unlocks(path, SECRET)
    assert len(qemu.read(path, SECRET)) == 1 << 20


@pytest.mark.parametrize("version", [1, 2])
def test_cryptsetup_manages_keyslots(tmp_path: Path, version: int) -> None:
    path = cryptsetup.luks_format(tmp_path / "volume.img", SECRET, version=version)
    cryptsetup.add_key(path, SECRET, OTHER, slot=3)
    assert cryptsetup.unlocked_slot(path, OTHER) == 3
    assert not cryptsetup.unlocks(path, SECRET, slot=3)
    cryptsetup.change_key(path, OTHER, b"changed", slot=3)
    assert not cryptsetup.unlocks(path, OTHER)
    assert cryptsetup.unlocks(path, b"changed", slot=3)
    key = cryptsetup.dump_volume_key(path, b"changed")
    cryptsetup.remove_key(path, SECRET)
    assert cryptsetup.dump_volume_key(path, b"changed") == key
    assert len(key) == 64
    cryptsetup.header_backup(path, tmp_path / "backup")
    cryptsetup.kill_slot(path, 3)
    assert not cryptsetup.unlocks(path, b"changed")
    cryptsetup.header_restore(path, tmp_path / "backup")
    assert cryptsetup.unlocks(path, b"changed")
    cryptsetup.erase(path)
    assert not cryptsetup.unlocks(path, b"changed", slot=3)


def test_cryptsetup_manages_luks2_metadata(tmp_path: Path) -> None:
    path = cryptsetup.luks_format(tmp_path / "volume.img", SECRET)
    token = {"type": "ours", "keyslots": ["0"], "word": "kept"}
    cryptsetup.token_import(path, token, 5)
    assert cryptsetup.token_export(path, 5) == token
    assert cryptsetup.dump_json(path)["tokens"] == {"5": token}
    cryptsetup.token_remove(path, 5)
    cryptsetup.config(path, "--label", "name of it")
    assert "Label:         \tname of it" in cryptsetup.dump(path)
    cryptsetup.convert_key(path, SECRET, pbkdf="argon2id")
    assert cryptsetup.dump_json(path)["keyslots"]["0"]["kdf"]["type"] == "argon2id"
    cryptsetup.convert_key(path, SECRET, pbkdf="pbkdf2")
    uuid = cryptsetup.uuid(path)
    cryptsetup.convert(path, 1)
    assert cryptsetup.is_luks(path, 1)
    assert cryptsetup.uuid(path) == uuid


def test_cryptsetup_uses_a_detached_header(tmp_path: Path) -> None:
    data, header = tmp_path / "data", tmp_path / "header"
    payload = stream("detached", 1 << 20)
    data.write_bytes(payload)
    cryptsetup.encrypt_file(data, SECRET, header=header)
    assert data.read_bytes() != payload
    assert cryptsetup.unlocks(data, SECRET, header=header)
    assert cryptsetup.read(data, SECRET, header=header) == payload


def test_cryptsetup_raises_on_a_damaged_header(tmp_path: Path) -> None:
    path = tmp_path / "noise"
    path.write_bytes(stream("noise", 1 << 20))
    assert not cryptsetup.is_luks(path)
    with pytest.raises(PeerError, match="not a valid LUKS device") as raised:
        cryptsetup.unlocks(path, SECRET)
    assert raised.value.status == 1


def test_the_kernel_sees_the_same_payloads(
    luks1: tuple[Path, bytes], tmp_path: Path, corpus: Corpus
) -> None:
    path, payload = luks1
    data, header = tmp_path / "data", tmp_path / "header"
    data.write_bytes(payload)
    cryptsetup.encrypt_file(data, SECRET, header=header)
    known = corpus_image("made/l2-argon2id-p1")
    whole = next(digest for digest in known.payload if digest.whole)
    first, detached, third, refused = kernel.payload_digests(
        [
            kernel.Opening(path, SECRET),
            kernel.Opening(data, SECRET, header=header),
            kernel.Opening(corpus(known.name), known.passphrases[0].secret),
            kernel.Opening(path, OTHER),
        ]
    )
    digest = hashlib.sha256(payload).hexdigest()
    assert first == detached == kernel.Opened(0, len(payload), digest)
    assert third == kernel.Opened(0, whole.length, whole.sha256)
    assert refused == kernel.Opened(2)


@pytest.mark.parametrize(
    ("required", "outcome"), [(False, pytest.skip.Exception), (True, pytest.fail.Exception)]
)
def test_a_missing_peer_skips_the_test_unless_it_is_required(
    monkeypatch: pytest.MonkeyPatch, required: bool, outcome: type[BaseException]
) -> None:
    monkeypatch.setattr(requirement, "REQUIRED", required)
    with pytest.raises(outcome, match=r"no-such-peer is not installed \(Debian package none\)"):
        Tool("no-such-peer", "none").run()
