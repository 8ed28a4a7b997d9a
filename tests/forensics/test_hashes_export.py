"""Lines for hashcat and John: their fields, what is refused, and that a passphrase can be found.

What the programs do with a line is done here anew, step by step, with hashlib and ``cryptography``
alone: from the text to the test that tells a right passphrase from a wrong one.
"""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from dataclasses import replace

import argon2.low_level as argon2
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

import luksmeta
from luksmeta import (
    Argon2i,
    Argon2id,
    KeyslotNotFoundError,
    MemoryStorage,
    Pbkdf2,
    UnsupportedError,
)
from luksmeta.forensics.hashes_export import ExportedHash, HashForm, export
from luksmeta.format_options import Version
from luksmeta.kdf.pbkdf import Pbkdf
from luksmeta.luks1.header import Luks1Header
from luksmeta.model import CryptSegment
from luksmeta.volume import Volume
from tests import builders
from tests.builders import FIRST, SECOND, VERSIONS, VOLUME_KEY

PLAIN = b"what a file system begins with. ".ljust(512, b"\0")
CHEAP = Pbkdf2(hash="sha256", iterations=1000)
ARGON2 = Argon2id(time=4, memory=32, cpus=1)
HASHCAT, JOHN = HashForm.HASHCAT, HashForm.JOHN


def volume(
    version: Version = "luks2",
    pbkdf: Pbkdf = CHEAP,
    *,
    cipher: str = "aes-xts-plain64",
    key_size: int = 32,
    hash_name: str = "sha256",
    data: bytes = PLAIN,
) -> Volume:
    storage = MemoryStorage(builders.data_offset(version) + builders.DATA_SIZE)
    made = luksmeta.format(
        storage,
        FIRST,
        type=version,
        cipher=cipher,
        volume_key=VOLUME_KEY[:key_size],
        hash=hash_name,
        pbkdf=pbkdf,
        digest_iterations=1000,
        sector_size=512,
        data_offset=builders.data_offset(version),
    )
    with made.unlock(FIRST) as unlocked, unlocked.open(writable=True) as stream:
        stream.write(data)
    return made


def exported(made: Volume, keyslot_id: int = 0, form: HashForm = HASHCAT) -> ExportedHash:
    return export(made.header, keyslot_id, form, made.header_storage, made.data_storage)


# --- what the programs do ------------------------------------------------------------------------


def decrypted(data: bytes, mode: str, key: bytes, first_sector: int = 0) -> bytes:
    """Sectors of 512 bytes by AES in one of hashcat's modes."""
    plain = b""
    for at in range(0, len(data), 512):
        iv = struct.pack("<QQ", first_sector + at // 512, 0)
        if mode == "cbc-essiv:sha256":
            salt = hashlib.sha256(key).digest()
            encryptor = Cipher(algorithms.AES(salt), modes.ECB()).encryptor()  # ESSIV
            iv = encryptor.update(iv)
        chaining = modes.XTS(iv) if mode.startswith("xts") else modes.CBC(iv)
        decryptor = Cipher(algorithms.AES(key), chaining).decryptor()
        plain += decryptor.update(data[at : at + 512])
    return plain


def merged(split: bytes, key_size: int, hash_name: str) -> bytes:
    """The key of 4000 stripes."""
    state = bytes(key_size)
    for number in range(4000):
        stripe = split[number * key_size : (number + 1) * key_size]
        state = bytes(a ^ b for a, b in zip(state, stripe, strict=True))
        if number < 3999:
            size = hashlib.new(hash_name).digest_size
            blocks = [state[at : at + size] for at in range(0, key_size, size)]
            state = b"".join(
                hashlib.new(hash_name, struct.pack(">I", n) + block).digest()[: len(block)]
                for n, block in enumerate(blocks)
            )
    return state


def hashcat_takes(line: str, passphrase: bytes) -> bool:
    """Whether the first 512 bytes of data, decrypted, have less entropy than ciphertext."""
    fields = line.split("$")
    assert fields[:2] == ["", "luks"]
    if fields[2] == "1":
        _, _, _, hash_name, cipher, mode, bits, iterations, salt, material, data = fields
    else:
        _, _, _, kind, hash_name, cipher, mode, bits, costs, salt, material, data = fields
    key_size = int(bits) // 8
    assert (cipher, len(salt), len(data)) == ("aes", 64, 1024)
    assert len(material) == 2 * 4000 * key_size
    if fields[2] == "1":
        key = hashlib.pbkdf2_hmac(
            hash_name, passphrase, bytes.fromhex(salt), int(iterations), key_size
        )
    else:
        memory, time, cpus = (int(cost[2:]) for cost in costs.split(","))
        types = {"argon2i": argon2.Type.I, "argon2id": argon2.Type.ID}
        key = argon2.hash_secret_raw(
            passphrase, bytes.fromhex(salt), time, memory, cpus, key_size, types[kind]
        )
    split = decrypted(bytes.fromhex(material), mode, key)
    plain = decrypted(bytes.fromhex(data), mode, merged(split, key_size, hash_name))
    counts = [plain.count(value) for value in set(plain)]
    return -sum(c / 512 * math.log2(c / 512) for c in counts) < 7.0


def john_takes(line: str, passphrase: bytes) -> bool:
    """Whether the digest of the volume key is the one at the end of the line.

    As src/luks_fmt_plug.c has it, with the active keyslot that has the fewest iterations.
    """
    empty, kind, inlined, header_size, header_hex, size, material, digest = line.split("$")
    header = bytes.fromhex(header_hex)
    assert (empty, kind, inlined, int(header_size)) == ("", "luks", "1", len(header))
    assert header_size == "592"
    key_size, mk_digest, mk_salt, mk_iterations = struct.unpack_from(">I20s32sI", header, 108)
    entries = [struct.unpack_from(">II32sII", header, 208 + 48 * n) for n in range(8)]
    active = [each for each in entries if each[0] == 0xAC71F3]
    _, iterations, salt, _, stripes = min(active, key=lambda each: each[1])
    assert (int(size), stripes) == (-(-key_size * 4000 // 512) * 512, 4000)
    assert bytes.fromhex(digest) == mk_digest
    key = hashlib.pbkdf2_hmac("sha1", passphrase, salt, iterations, key_size)
    split = decrypted(base64.b64decode(material, validate=True), "cbc-essiv:sha256", key)
    volume_key = merged(split, key_size, "sha1")
    found = hashlib.pbkdf2_hmac("sha1", volume_key, mk_salt, mk_iterations, 20)
    return bool(found == mk_digest)


# --- hashcat -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("mode", ["cbc-essiv:sha256", "cbc-plain64", "xts-plain64"])
def test_hashcat_finds_the_passphrase(version: Version, mode: str) -> None:
    found = exported(volume(version, cipher=f"aes-{mode}"))
    assert found.mode == 29521
    assert found.text.startswith(f"$luks$1$sha256$aes${mode}$256$1000$")
    assert hashcat_takes(found.text, FIRST)
    assert not hashcat_takes(found.text, SECOND)


@pytest.mark.parametrize("kdf", [Argon2i(time=4, memory=64, cpus=2), ARGON2])
def test_hashcat_finds_the_passphrase_behind_argon2(kdf: Argon2i | Argon2id) -> None:
    found = exported(volume(pbkdf=kdf))
    costs = f"m={kdf.memory},t=4,p={kdf.cpus}"
    assert found.text.startswith(f"$luks$2${kdf.name}$sha256$aes$xts-plain64$256${costs}$")
    assert found.mode == 34100
    assert hashcat_takes(found.text, FIRST)
    assert not hashcat_takes(found.text, SECOND)


@pytest.mark.parametrize(
    ("hash_name", "cipher", "mode"),
    [
        ("sha1", "aes-xts-plain64", 29511),
        ("sha1", "serpent-xts-plain64", 29512),
        ("sha1", "twofish-cbc-plain64", 29513),
        ("sha256", "serpent-cbc-essiv:sha256", 29522),
        ("sha512", "aes-cbc-plain", 29531),
        ("sha512", "twofish-xts-plain", 29533),
        ("ripemd160", "aes-xts-plain64", 29541),
        ("ripemd160", "serpent-xts-plain64", 29542),
        ("ripemd160", "twofish-xts-plain64", 29543),
    ],
)
def test_every_combination_has_its_mode(hash_name: str, cipher: str, mode: int) -> None:
    kdf = Pbkdf2(hash=hash_name, iterations=1000)
    found = exported(volume("luks1", kdf, cipher=cipher, hash_name=hash_name))
    name, _, chaining = cipher.partition("-")
    assert found.mode == mode
    assert found.text.split("$")[2:8] == ["1", hash_name, name, chaining, "256", "1000"]


def test_the_spelling_of_a_hash_is_that_of_hashcat() -> None:
    made = volume("luks1")
    header = made.header
    assert isinstance(header, Luks1Header)
    shouted = Luks1Header.of(replace(header.record, hash_spec=b"SHA-256".ljust(32, b"\0")))
    found = export(shouted, 0, HASHCAT, made.header_storage, made.data_storage)
    assert found.text.startswith("$luks$1$sha256$")


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda: volume(data=b""), "never written"),
        (lambda: volume(cipher="aes-xts-plain64", key_size=32, hash_name="sha3-256"), "merged by"),
        (lambda: volume(cipher="camellia-xts-plain64"), "camellia"),
        (lambda: volume(cipher="aes-cbc-essiv:sha256", key_size=24), "192 bits"),
        (lambda: volume(pbkdf=ARGON2, cipher="serpent-xts-plain64"), "aes and sha256"),
    ],
)
def test_what_hashcat_cannot_is_refused(made: object, why: str) -> None:
    assert callable(made)
    with pytest.raises(UnsupportedError, match=why) as caught:
        exported(made())
    assert str(caught.value).startswith("keyslot 0: ")


def test_a_keyslot_that_opens_no_data_is_refused() -> None:
    made = volume()
    keyslot_id = made.add_unbound_keyslot(SECOND, key_size=32, pbkdf=CHEAP)
    with pytest.raises(UnsupportedError, match="opens no encrypted segment"):
        exported(made, keyslot_id)


def test_data_with_another_iv_or_elsewhere_is_refused() -> None:
    made = volume()
    segment = made.metadata.segments[0]
    assert isinstance(segment, CryptSegment)
    tweaked = replace(made.metadata, segments={0: replace(segment, iv_tweak=8)})
    with pytest.raises(UnsupportedError, match="starts at 8"):
        export(made.header.updated(tweaked), 0, HASHCAT, made.header_storage, made.data_storage)
    with pytest.raises(UnsupportedError, match="needs the first 512 bytes"):
        export(made.header, 0, HASHCAT, made.header_storage, MemoryStorage(4096))


def test_a_missing_keyslot_is_an_error() -> None:
    with pytest.raises(KeyslotNotFoundError, match="keyslot 5"):
        exported(volume(), 5)


# --- John ----------------------------------------------------------------------------------------

JOHN_KDF = Pbkdf2(hash="sha1", iterations=1200)


@pytest.mark.parametrize("key_size", [16, 24, 32])
def test_john_finds_the_passphrase(key_size: int) -> None:
    made = volume(
        "luks1",
        JOHN_KDF,
        cipher="aes-cbc-essiv:sha256",
        key_size=key_size,
        hash_name="sha1",
        data=b"",
    )
    found = exported(made, form=JOHN)
    assert found.mode is None
    assert john_takes(found.text, FIRST)
    assert not john_takes(found.text, SECOND)


def test_john_tries_the_keyslot_that_was_named() -> None:
    made = volume("luks1", JOHN_KDF, cipher="aes-cbc-essiv:sha256", hash_name="sha1")
    with made.unlock(FIRST) as unlocked:
        unlocked.add_keyslot(SECOND, pbkdf=Pbkdf2(hash="sha1", iterations=2000))
    assert john_takes(exported(made, 1, JOHN).text, SECOND)
    assert not john_takes(exported(made, 1, JOHN).text, FIRST)
    assert john_takes(exported(made, 0, JOHN).text, FIRST)


@pytest.mark.parametrize(
    ("version", "cipher", "hash_name"),
    [
        ("luks2", "aes-cbc-essiv:sha256", "sha1"),
        ("luks1", "aes-xts-plain64", "sha1"),
        ("luks1", "aes-cbc-essiv:sha256", "sha256"),
        ("luks1", "serpent-cbc-essiv:sha256", "sha1"),
    ],
)
def test_what_john_cannot_is_refused(version: Version, cipher: str, hash_name: str) -> None:
    made = volume(
        version, Pbkdf2(hash=hash_name, iterations=1000), cipher=cipher, hash_name=hash_name
    )
    with pytest.raises(UnsupportedError, match="John knows"):
        exported(made, form=JOHN)
