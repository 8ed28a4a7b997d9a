"""cryptsetup on plain files: the reference writer, and through reencrypt a reader of payloads.

Everything here runs without device-mapper. So the ciphers are those of cryptsetup's crypto library
(AES); the key derivation is as cheap as cryptsetup lets it be.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from tests.interop.peers.process import Argument, PeerError, Result, Tool, scratch

TOOL = Tool("cryptsetup", "cryptsetup-bin")
_SMALLEST = {1: 4 << 20, 2: 20 << 20}  # bytes: the header and some payload
_REDUCE = 32 << 20  # what `reencrypt --encrypt` needs for a header of default size, twice
_MAPPED = re.compile(rb"Key slot (\d+) unlocked\.")
_BAD_PASSPHRASE = 2
_NO_KEYSLOT = re.compile(rb"No usable keyslot is available|is not active")


def cheap(pbkdf: str) -> list[Argument]:
    """The options of the cheapest ``pbkdf2``, ``argon2i`` or ``argon2id``: 1000 or 4 iterations."""
    if pbkdf == "pbkdf2":
        return ["--pbkdf", pbkdf, "--pbkdf-force-iterations", "1000"]
    memory: list[Argument] = ["--pbkdf-memory", "32", "--pbkdf-parallel", "1"]  # KiB, threads
    return ["--pbkdf", pbkdf, "--pbkdf-force-iterations", "4", *memory]


def answer(*arguments: Argument, stdin: bytes = b"") -> Result:
    """Any action, in batch mode, whatever its exit status."""
    return TOOL.answer(*arguments, "--batch-mode", stdin=stdin)


def run(*arguments: Argument, stdin: bytes = b"") -> bytes:
    """Any action, in batch mode; its standard output. ``PeerError`` where it fails."""
    return TOOL.run(*arguments, "--batch-mode", stdin=stdin)


def _detached(header: Path | None) -> list[Argument]:
    return [] if header is None else ["--header", header]


def _slot(slot: int | None) -> list[Argument]:
    return [] if slot is None else ["--key-slot", str(slot)]


def luks_format(
    path: Path,
    secret: bytes,
    *,
    version: int = 2,
    cipher: str = "aes-xts-plain64",
    key_bits: int = 512,
    hash: str = "sha256",
    pbkdf: str = "pbkdf2",
    sector_size: int = 512,
    size: int | None = None,
    header: Path | None = None,
    extra: tuple[Argument, ...] = (),
) -> Path:
    """Format ``path``, which is made with ``size`` bytes (the smallest useful) if it is missing."""
    if not path.exists():
        with path.open("wb") as file:
            file.truncate(_SMALLEST[version] if size is None else size)
    options: list[Argument] = ["--type", f"luks{version}", "--cipher", cipher, "--hash", hash]
    options += ["--key-size", str(key_bits), *cheap(pbkdf), *_detached(header), *extra]
    if version == 2:
        options += ["--sector-size", str(sector_size)]
    run("luksFormat", path, "--key-file", "-", *options, stdin=secret)
    return path


def dump(path: Path) -> str:
    """The text of luksDump."""
    return run("luksDump", path).decode()


def dump_json(path: Path) -> dict[str, Any]:
    """The JSON area of a LUKS2 header as cryptsetup holds it."""
    metadata: dict[str, Any] = json.loads(run("luksDump", "--dump-json-metadata", path))
    return metadata


def dump_volume_key(path: Path, secret: bytes) -> bytes:
    """The volume key."""
    with scratch() as folder:
        options: list[Argument] = ["--volume-key-file", folder / "key", "--key-file", "-"]
        run("luksDump", path, "--dump-volume-key", *options, stdin=secret)
        return (folder / "key").read_bytes()


def is_luks(path: Path, version: int | None = None) -> bool:
    """Whether cryptsetup takes it for LUKS (of this version)."""
    luks_type = "luks" if version is None else f"luks{version}"
    return answer("isLuks", path, "--type", luks_type).returncode == 0


def uuid(path: Path) -> str:
    """The UUID of the header."""
    return run("luksUUID", path).decode().strip()


def unlocked_slot(
    path: Path, secret: bytes, *, header: Path | None = None, slot: int | None = None
) -> int | None:
    """The keyslot that the passphrase opens, or None where it opens none.

    ``PeerError`` where cryptsetup has another reason to refuse, as with a damaged header.
    """
    options: list[Argument] = ["--verbose", "--key-file", "-", *_detached(header), *_slot(slot)]
    result = answer("open", "--test-passphrase", path, *options, stdin=secret)
    if result.returncode == 0:
        unlocked = _MAPPED.search(result.stdout)
        return int(unlocked[1]) if unlocked else None
    if result.returncode == _BAD_PASSPHRASE or _NO_KEYSLOT.search(result.stderr):
        return None
    raise PeerError("cryptsetup open", result)


def unlocks(
    path: Path, secret: bytes, *, header: Path | None = None, slot: int | None = None
) -> bool:
    """Whether the passphrase opens a keyslot (this one)."""
    return unlocked_slot(path, secret, header=header, slot=slot) is not None


def add_key(
    path: Path,
    secret: bytes,
    new: bytes,
    *,
    slot: int | None = None,
    pbkdf: str = "pbkdf2",
    extra: tuple[Argument, ...] = (),
) -> None:
    """Add a keyslot for ``new``, in the first free place or in ``slot``."""
    with scratch(new=new) as folder:
        options: list[Argument] = [*_slot(slot), *cheap(pbkdf), *extra]
        run("luksAddKey", path, folder / "new", "--key-file", "-", *options, stdin=secret)


def kill_slot(path: Path, slot: int) -> None:
    """Remove a keyslot without a passphrase, be it the last."""
    run("luksKillSlot", path, str(slot))


def remove_key(path: Path, secret: bytes) -> None:
    """Remove the keyslot that the passphrase opens."""
    run("luksRemoveKey", path, "--key-file", "-", stdin=secret)


def change_key(
    path: Path, secret: bytes, new: bytes, *, slot: int | None = None, pbkdf: str = "pbkdf2"
) -> None:
    """Replace a passphrase."""
    with scratch(new=new) as folder:
        options: list[Argument] = [*_slot(slot), *cheap(pbkdf)]
        run("luksChangeKey", path, folder / "new", "--key-file", "-", *options, stdin=secret)


def convert_key(path: Path, secret: bytes, *, slot: int | None = None, pbkdf: str) -> None:
    """Give a LUKS2 keyslot another key derivation."""
    options: list[Argument] = [*_slot(slot), *cheap(pbkdf)]
    run("luksConvertKey", path, "--key-file", "-", *options, stdin=secret)


def convert(path: Path, version: int) -> None:
    """Convert the header to the other LUKS version."""
    run("convert", path, "--type", f"luks{version}")


def header_backup(path: Path, backup: Path) -> None:
    """Save header and keyslots to ``backup``, which must not exist."""
    run("luksHeaderBackup", path, "--header-backup-file", backup)


def header_restore(path: Path, backup: Path) -> None:
    """Write a saved header back."""
    run("luksHeaderRestore", path, "--header-backup-file", backup)


def repair(path: Path) -> None:
    """Repair the header as far as cryptsetup can."""
    run("repair", path)


def erase(path: Path) -> None:
    """Remove every keyslot."""
    run("erase", path)


def config(path: Path, *options: Argument) -> None:
    """Set ``--label``, ``--subsystem``, or the ``--priority`` of a ``--key-slot``."""
    run("config", path, *options)


def token_import(path: Path, token: dict[str, Any], token_id: int | None = None) -> None:
    """Store a token, in the first free place or as ``token_id``."""
    chosen: list[Argument] = [] if token_id is None else ["--token-id", str(token_id)]
    with scratch(token=json.dumps(token).encode()) as folder:
        run("token", "import", path, "--json-file", folder / "token", *chosen)


def token_export(path: Path, token_id: int) -> dict[str, Any]:
    """The JSON of a token."""
    token: dict[str, Any] = json.loads(run("token", "export", path, "--token-id", str(token_id)))
    return token


def token_remove(path: Path, token_id: int) -> None:
    """Remove a token."""
    run("token", "remove", path, "--token-id", str(token_id))


def encrypt_file(
    path: Path,
    secret: bytes,
    *,
    header: Path | None = None,
    sector_size: int = 512,
    pbkdf: str = "pbkdf2",
    extra: tuple[Argument, ...] = (),
) -> None:
    """Turn a file of plaintext (whole sectors) into a LUKS2 volume, in place.

    With ``header``, which must not exist, the file keeps its size. Else the header goes in front,
    and the file grows by 32 MiB: 16 for the header, and 16 at the payload's end that read as noise.
    """
    options: list[Argument] = ["--sector-size", str(sector_size), *cheap(pbkdf), *extra]
    if header is None:
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size + _REDUCE)
        options += ["--reduce-device-size", f"{_REDUCE >> 20}M"]
    else:
        options += ["--header", header]
    _reencrypt("--encrypt", "--type", "luks2", path, *options, stdin=secret)


def decrypt_file(path: Path, secret: bytes, *, header: Path) -> None:
    """Turn a LUKS2 volume into its plaintext, in place.

    ``header`` is its detached header; or, where the file has its own, a name for a file to be made.
    """
    _reencrypt("--decrypt", path, "--header", header, stdin=secret)


def _reencrypt(*arguments: Argument, stdin: bytes) -> None:
    """Reencrypt in user space; its lock directory is root's, so nobody else takes a lock."""
    locks: list[Argument] = [] if os.geteuid() == 0 else ["--disable-locks"]
    options: list[Argument] = ["--force-offline-reencrypt", "--key-file", "-", *locks]
    run("reencrypt", *arguments, *options, stdin=stdin)


def read(path: Path, secret: bytes, *, header: Path | None = None) -> bytes:
    """The whole payload of a LUKS2 volume, by decrypting a copy: it takes a second."""
    with scratch() as folder:
        data, detached = folder / "data", folder / "header"
        shutil.copyfile(path, data)
        if header is not None:
            shutil.copyfile(header, detached)
        offset = 0 if header else int(dump_json(data)["segments"]["0"]["offset"])
        decrypt_file(data, secret, header=detached)
        # The payload moves to the front and the file keeps its length: the end is left over.
        return data.read_bytes()[: path.stat().st_size - offset]
