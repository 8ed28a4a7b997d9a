"""How fast this machine's OpenSSL encrypts, without the engine around it: the engine's limit."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from functools import cache

from luksmeta.benchmark import BUFFER, bytes_per_second
from luksmeta.secret import SecretBytes
from luksmeta.sector import engine, native
from luksmeta.sector.cipher_spec import CipherSpec


@dataclass(frozen=True, slots=True)
class Limit:
    """OpenSSL alone, in pieces of one sector, on one processor; ``source`` says who measured."""

    algorithm: str
    encrypt: int
    decrypt: int
    source: str


def limit(spec: str, key_size: int, sector_size: int) -> Limit | None:
    """What OpenSSL does with this cipher on blocks of ``sector_size`` bytes; None: it has it not.

    By ``openssl speed`` where that program is, which takes two seconds; else in this process and
    in large pieces, which costs less for each sector.
    """
    algorithm = _name_of(spec, key_size)
    if algorithm is None:
        return None
    encrypt = _told_speed(algorithm, sector_size)
    decrypt = _told_speed(algorithm, sector_size, "-decrypt") if encrypt else None
    if encrypt is None or decrypt is None:
        return _limit_in_process(algorithm, key_size)
    return Limit(algorithm, encrypt, decrypt, f"openssl speed, {_program_version()}")


def version() -> str:
    """The OpenSSL below the engine that runs."""
    if engine.name() == "native":
        return native.openssl_version()
    from cryptography.hazmat.backends.openssl.backend import backend

    return backend.openssl_version_text()


def _name_of(spec: str, key_size: int) -> str | None:
    """``aes-256-xts``; None for what OpenSSL does not call a cipher."""
    parsed = CipherSpec.parse(spec)
    if parsed.cipher not in ("aes", "camellia") or parsed.mode not in ("xts", "cbc", "ctr", "ecb"):
        return None
    bits = key_size * (4 if parsed.mode == "xts" else 8)
    return f"{parsed.cipher}-{bits}-{parsed.mode}"


@cache
def _program_version() -> str:
    """What the openssl program calls itself."""
    return " ".join((_openssl("version") or "").split()[:2])


def _told_speed(algorithm: str, size: int, *options: str) -> int | None:
    """Bytes a second by its own word; None where it, or the algorithm, is missing.

    LibreSSL's program does not know these options, and counts as missing.
    """
    answer = _openssl(
        *("speed", "-mr", "-elapsed", "-seconds", "1", "-bytes", str(size)),
        *(*options, "-evp", algorithm),
    )
    lines = [] if answer is None else answer.splitlines()
    figures = [line.rpartition(":")[2] for line in lines if line.startswith("+F:")]
    return round(float(figures[-1])) if figures else None


def _openssl(*arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603  # arguments of our own making
            ["openssl", *arguments],  # noqa: S607  # whichever the user has
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout


def _limit_in_process(algorithm: str, key_size: int) -> Limit | None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.backends.openssl.backend import backend
    from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

    name, _, mode = algorithm.split("-")
    if name != "aes":
        return None
    zeroes = bytes(16)
    mode_of: dict[str, modes.XTS | modes.CBC | modes.CTR | modes.ECB] = {
        "xts": modes.XTS(zeroes),
        "cbc": modes.CBC(zeroes),
        "ctr": modes.CTR(zeroes),
        "ecb": modes.ECB(),  # noqa: S305  # it is measured, not used
    }
    out = bytearray(BUFFER + 15)  # a block less one byte: what update_into wants

    def speed(context: CipherContext) -> int:
        buffer = memoryview(bytes(BUFFER))
        return bytes_per_second(lambda data: context.update_into(data, out), buffer)

    with SecretBytes.random(key_size) as key:
        whole = Cipher(algorithms.AES(key.view()), mode_of[mode])
        try:
            encrypt, decrypt = speed(whole.encryptor()), speed(whole.decryptor())
        except UnsupportedAlgorithm:
            return None
    return Limit(algorithm, encrypt, decrypt, f"in this process, {backend.openssl_version_text()}")
