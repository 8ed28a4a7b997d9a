"""systemd-cryptenroll: recovery keys and tokens of systemd's, on plain files."""

from __future__ import annotations

from pathlib import Path

from tests.interop.peers.process import Argument, Tool, scratch

TOOL = Tool("systemd-cryptenroll", "systemd, or systemd-cryptsetup where there is one")


def keyslots(path: Path) -> dict[int, str]:
    """What systemd takes each keyslot for: ``password``, ``recovery``, ``other``…"""
    rows = TOOL.run(path).decode().splitlines()[1:]
    return {int(slot): kind for slot, kind, *_ in (row.split() for row in rows)}


def add_recovery_key(path: Path, secret: bytes) -> bytes:
    """Add a recovery key to what the passphrase opens; the key."""
    return _unlocked(path, secret, "--recovery-key").strip()


def wipe(path: Path, what: str) -> None:
    """Remove keyslots: ``recovery``, ``empty``, a type of token, or an id."""
    TOOL.run(path, f"--wipe-slot={what}")


def _unlocked(path: Path, secret: bytes, *arguments: Argument) -> bytes:
    with scratch(key=secret) as folder:
        (folder / "key").chmod(0o600)
        return TOOL.run(path, f"--unlock-key-file={folder / 'key'}", *arguments)
