"""The worked examples of spec/vectors: computed by the package, and by plain code without it.

The plain code is written from spec/luks1.md and spec/luks2.md with ``hashlib`` and ``cryptography``
alone, so that a clause which leads an implementer astray fails here.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB, XTS
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from luksmeta import MemoryStorage, SecretBytes, volume_key
from luksmeta import open as open_volume
from luksmeta.header import read_header
from luksmeta.kdf import antiforensic, pbkdf
from luksmeta.luks2.binary_header import checksum
from luksmeta.model import CryptSegment, ForeignKdf, Keyslot, Pbkdf2Digest
from luksmeta.sector import engine, iv
from luksmeta.sector.cipher_spec import CipherSpec
from luksmeta.write_plan import Write
from tests.corpus import PROJECT
from tests.interop.peers import cryptsetup

KEY_SIZE = 32
STRIPES = 4000
HDR_SIZE = 16384  # bytes, of one LUKS2 copy


@dataclass(frozen=True)
class Vector:
    """One file of spec/vectors."""

    version: int
    values: Any

    @classmethod
    def read(cls, version: int) -> Vector:
        text = (PROJECT / "spec" / "vectors" / f"luks{version}.json").read_text(encoding="utf-8")
        return cls(version, json.loads(text))

    @property
    def passphrase(self) -> bytes:
        return str(self.values["passphrase"]).encode()

    @property
    def volume_key(self) -> bytes:
        return bytes.fromhex(self.values["volume_key"])

    @property
    def plaintext(self) -> bytes:
        data = self.values["data"]
        return stream(data["plaintext"], len(data["sectors"]) * data["sector_size"])

    def random_stripes(self, size: int) -> bytes:
        return stream(self.values["keyslot_0"]["random_stripes"], size)

    def fill_with_stripes(self, buffer: memoryview) -> None:
        buffer[:] = self.random_stripes(len(buffer))

    def headers(self) -> dict[int, bytes]:
        """The bytes of the header, by offset."""
        if self.version == 1:
            return {0: bytes.fromhex(self.values["partition_header"]).ljust(1024, b"\0")}
        json_area = self.values["json_text"].encode().ljust(HDR_SIZE - 4096, b"\0")
        return {
            offset: bytes.fromhex(self.values[name]).ljust(4096, b"\0") + json_area
            for offset, name in (
                (0, "primary_binary_header"),
                (HDR_SIZE, "secondary_binary_header"),
            )
        }

    def image(self, computed: Computed) -> bytes:
        """The whole volume: the stated header, and the rest as it was computed."""
        image = bytearray(self.values["size"])
        places = self.headers()
        places[self.values["keyslot_0"]["area_offset"]] = computed.material
        places[self.values["data"]["offset"]] = computed.ciphertext
        for offset, data in places.items():
            image[offset : offset + len(data)] = data
        return bytes(image)


@dataclass(frozen=True)
class Computed:
    """What follows from a vector's header, keys and stated random bytes."""

    area_key: bytes
    last_stripe: bytes
    material: bytes
    digest: bytes
    ivs: list[bytes]
    ciphertext: bytes

    def as_stated(self, vector: Vector) -> dict[str, Any]:
        """The vector with every value that can be computed replaced by the computed one."""
        keyslot, data = vector.values["keyslot_0"], vector.values["data"]
        sector_size = data["sector_size"]
        return {
            **vector.values,
            "keyslot_0": {
                **keyslot,
                "area_key": self.area_key.hex(),
                "diffused": xor(self.last_stripe, vector.volume_key).hex(),
                "last_stripe": self.last_stripe.hex(),
                "material_size": len(self.material),
                "material_first_16": self.material[:16].hex(),
                "material_sha256": hashlib.sha256(self.material).hexdigest(),
            },
            "digest_0": self.digest.hex(),
            "data": {
                **data,
                "sectors": [
                    {
                        "iv_number": sector["iv_number"],
                        "iv": self.ivs[index].hex(),
                        "plaintext_first_16": vector.plaintext[at : at + 16].hex(),
                        "ciphertext_first_16": self.ciphertext[at : at + 16].hex(),
                    }
                    for index, sector in enumerate(data["sectors"])
                    for at in [index * sector_size]
                ],
                "ciphertext_sha256": hashlib.sha256(self.ciphertext).hexdigest(),
            },
        }


@pytest.fixture(params=[1, 2], ids=["luks1", "luks2"])
def vector(request: pytest.FixtureRequest) -> Vector:
    return Vector.read(request.param)


def stream(label: str, size: int) -> bytes:
    """What stands for random bytes in the vectors."""
    return hashlib.shake_256(label.encode()).digest(size)


def xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


# --- plain code, by the clauses ----------------------------------------------------------------


def by_plain_code(vector: Vector) -> Computed:
    return plain_luks1(vector) if vector.version == 1 else plain_luks2(vector)


def plain_luks1(vector: Vector) -> Computed:
    header = bytes.fromhex(vector.values["partition_header"])
    iterations, salt = int.from_bytes(header[212:216], "big"), header[216:248]
    digest_salt, digest_iterations = header[132:164], int.from_bytes(header[164:168], "big")
    key = vector.volume_key

    def essiv(key: bytes, number: int) -> bytes:
        cipher = Cipher(AES(hashlib.sha256(key).digest()), ECB())
        return cipher.encryptor().update(number.to_bytes(16, "little"))

    def encrypt(key: bytes, data: bytes) -> bytes:
        sectors = (data[at : at + 512] for at in range(0, len(data), 512))
        return b"".join(
            Cipher(AES(key), CBC(essiv(key, number))).encryptor().update(sector)
            for number, sector in enumerate(sectors)
        )

    area_key = hashlib.pbkdf2_hmac("sha1", vector.passphrase, salt, iterations, KEY_SIZE)
    random, last_stripe = plain_split(vector, "sha1")
    return Computed(
        area_key=area_key,
        last_stripe=last_stripe,
        material=encrypt(area_key, random + last_stripe),
        digest=hashlib.pbkdf2_hmac("sha1", key, digest_salt, digest_iterations, 20),
        ivs=[essiv(key, 0), essiv(key, 1)],
        ciphertext=encrypt(key, vector.plaintext),
    )


def plain_luks2(vector: Vector) -> Computed:
    document = json.loads(vector.values["json_text"])
    keyslot, digest = document["keyslots"]["0"], document["digests"]["0"]
    kdf, segment = keyslot["kdf"], document["segments"]["0"]
    iv_tweak, sector_size = int(segment["iv_tweak"]), segment["sector_size"]

    def plain64(number: int) -> bytes:
        return number.to_bytes(16, "little")

    def encrypt(key: bytes, data: bytes, first: int, size: int) -> bytes:
        sectors = (data[at : at + size] for at in range(0, len(data), size))
        return b"".join(
            Cipher(AES(key), XTS(plain64(first + n * size // 512))).encryptor().update(sector)
            for n, sector in enumerate(sectors)
        )

    argon2id = Argon2id(
        salt=base64.b64decode(kdf["salt"]),
        length=keyslot["area"]["key_size"],
        iterations=kdf["time"],
        memory_cost=kdf["memory"],
        lanes=kdf["cpus"],
    )
    area_key = argon2id.derive(vector.passphrase)
    random, last_stripe = plain_split(vector, keyslot["af"]["hash"])
    salt, iterations = base64.b64decode(digest["salt"]), digest["iterations"]
    return Computed(
        area_key=area_key,
        last_stripe=last_stripe,
        material=encrypt(area_key, random + last_stripe, 0, 512),
        digest=hashlib.pbkdf2_hmac(digest["hash"], vector.volume_key, salt, iterations),
        ivs=[plain64(iv_tweak), plain64(iv_tweak + sector_size // 512)],
        ciphertext=encrypt(vector.volume_key, vector.plaintext, iv_tweak, sector_size),
    )


def plain_split(vector: Vector, hash_name: str) -> tuple[bytes, bytes]:
    """All stripes but the last, and the last: d(k) = diffuse(d(k - 1) xor s(k)), d(0) = 0."""
    random = vector.random_stripes(KEY_SIZE * (STRIPES - 1))
    diffused = bytes(KEY_SIZE)
    for at in range(0, len(random), KEY_SIZE):
        diffused = plain_diffuse(xor(diffused, random[at : at + KEY_SIZE]), hash_name)
    return random, xor(diffused, vector.volume_key)


def plain_diffuse(data: bytes, hash_name: str) -> bytes:
    width = hashlib.new(hash_name).digest_size
    blocks = [data[at : at + width] for at in range(0, len(data), width)]
    return b"".join(
        hashlib.new(hash_name, number.to_bytes(4, "big") + block).digest()[: len(block)]
        for number, block in enumerate(blocks)
    )


# --- the package -------------------------------------------------------------------------------


def by_the_package(vector: Vector) -> Computed:
    metadata = read_header(MemoryStorage(header_only(vector))).metadata
    keyslot, segment, digest = metadata.keyslots[0], metadata.segments[0], metadata.digests[0]
    assert isinstance(keyslot, Keyslot)
    assert not isinstance(keyslot.kdf, ForeignKdf)
    assert isinstance(segment, CryptSegment)
    assert isinstance(digest, Pbkdf2Digest)
    hash_name = keyslot.af.hash
    with (
        SecretBytes(vector.volume_key) as key,
        pbkdf.derive(keyslot.kdf, vector.passphrase, keyslot.salt, KEY_SIZE) as area_key,
        antiforensic.split(key, STRIPES, hash_name, fill=vector.fill_with_stripes) as split,
        engine.create(keyslot.area.encryption, area_key) as area_cipher,
        engine.create(segment.encryption, key, segment.sector_size) as cipher,
    ):
        assert volume_key.matches(0, digest, key)
        ivs = iv.create(CipherSpec.parse(segment.encryption), key)
        numbers = [sector["iv_number"] for sector in vector.values["data"]["sectors"]]
        return Computed(
            area_key=bytes(area_key.view()),
            last_stripe=bytes(split.view()[-KEY_SIZE:]),
            material=encrypted(area_cipher.encrypt_into, 0, bytes(split.view())),
            digest=digest.digest,
            ivs=[bytes(ivs.ivs(number, 1, 1)) for number in numbers],
            ciphertext=encrypted(cipher.encrypt_into, segment.iv_tweak, vector.plaintext),
        )


def encrypted(
    encrypt_into: Callable[[int, bytes, bytearray], None], sector: int, data: bytes
) -> bytes:
    out = bytearray(len(data))
    encrypt_into(sector, data, out)
    return bytes(out)


def header_only(vector: Vector) -> bytes:
    image = bytearray(vector.values["size"])
    for offset, data in vector.headers().items():
        image[offset : offset + len(data)] = data
    return bytes(image)


# --- tests -------------------------------------------------------------------------------------


def test_plain_code_computes_what_the_vector_states(vector: Vector) -> None:
    assert by_plain_code(vector).as_stated(vector) == vector.values


def test_the_package_computes_what_the_vector_states(vector: Vector) -> None:
    assert by_the_package(vector).as_stated(vector) == vector.values


def test_the_package_opens_what_plain_code_built(vector: Vector) -> None:
    storage = MemoryStorage(vector.image(by_plain_code(vector)))
    with open_volume(storage) as volume, volume.unlock(vector.passphrase) as unlocked:
        assert unlocked.keyslot == 0
        assert unlocked.volume_key.matches(vector.volume_key)
        with unlocked.open() as data:
            assert data.read() == vector.plaintext


def test_the_package_writes_the_header_that_the_vector_states(vector: Vector) -> None:
    header = read_header(MemoryStorage(header_only(vector)))
    written = {step.offset: step.data for step in header.steps() if isinstance(step, Write)}
    assert written == vector.headers()


def test_each_copy_of_the_luks2_vector_has_the_checksum_of_its_bytes() -> None:
    for copy in Vector.read(2).headers().values():
        plain = hashlib.sha256(copy[:448] + bytes(64) + copy[512:]).digest()
        assert copy[448:512] == plain.ljust(64, b"\0")
        assert checksum("sha256", copy[:4096], copy[4096:]) == plain


def test_cryptsetup_gets_the_volume_key_of_the_vector(vector: Vector, tmp_path: Path) -> None:
    image = tmp_path / "vector.img"
    image.write_bytes(vector.image(by_plain_code(vector)))
    assert cryptsetup.dump_volume_key(image, vector.passphrase) == vector.volume_key
