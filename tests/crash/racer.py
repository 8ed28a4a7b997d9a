"""A process that adds, changes and kills keyslots of its own on a volume that others change too.

Run as ``python -m tests.crash.racer VOLUME NAME PROGRAM OPERATIONS KEYSLOTS``; PROGRAM is
``luksmeta`` or ``cryptsetup``. On standard output it says, as JSON, which of its passphrases open
the volume in the end and which do not. A keyslot's first passphrase is ``first passphrase``.
"""

from __future__ import annotations

import json
import random
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import luksmeta
from luksmeta import KeyslotsAreaFullError
from tests.builders import FIRST, KDF
from tests.interop.peers import cryptsetup
from tests.interop.peers.process import Result, scratch

_RETRIES = 200  # of cryptsetup, which gives up when another was faster
_CREATED = re.compile(rb"Key slot (\d+) created\.")


class Program(Protocol):
    """What a racer does with a volume. Those who can, ``change`` keyslots as well."""

    def add(self, path: Path, passphrase: bytes) -> int | None:
        """A keyslot for ``passphrase``; its id, or None when there is no room."""

    def kill(self, path: Path, keyslot: int) -> None:
        """Remove a keyslot."""


class Luksmeta:
    """This package: it never has to be asked again."""

    def add(self, path: Path, passphrase: bytes) -> int | None:
        with luksmeta.open(path, writable=True) as volume, volume.unlock(FIRST) as unlocked:
            try:
                return unlocked.add_keyslot(passphrase, pbkdf=KDF)
            except KeyslotsAreaFullError:
                return None

    def change(self, path: Path, keyslot: int, old: bytes, new: bytes) -> int:
        with (
            luksmeta.open(path, writable=True) as volume,
            volume.unlock(old, keyslot=keyslot) as unlocked,
        ):
            return unlocked.change_keyslot(keyslot, new, pbkdf=KDF)

    def kill(self, path: Path, keyslot: int) -> None:
        with luksmeta.open(path, writable=True) as volume:
            volume.remove_keyslot(keyslot)


class Cryptsetup:
    """cryptsetup, as often as it takes.

    Its luksChangeKey is left out: that takes the lock twice, and when another process comes between
    it fails half done.
    """

    def add(self, path: Path, passphrase: bytes) -> int | None:
        with scratch(new=passphrase) as folder:
            new = folder / "new"
            result = _insist("luksAddKey", path, new, *_BY_KEY_FILE, stdin=FIRST)
        created = _CREATED.search(result.stdout)
        assert created, result
        return int(created[1])

    def kill(self, path: Path, keyslot: int) -> None:
        _insist("luksKillSlot", path, str(keyslot))


_BY_KEY_FILE = ("--key-file", "-", "--verbose", *map(str, cryptsetup.cheap("pbkdf2")))


def _insist(*arguments: str | Path, stdin: bytes = b"") -> Result:
    for _ in range(_RETRIES):
        result = cryptsetup.answer(*arguments, stdin=stdin)
        if result.returncode == 0:
            return result
    raise AssertionError(result)


@dataclass
class Racer:
    """One process's operations, and what must come of them."""

    path: Path
    name: str
    program: Program
    keyslots: int
    opening: dict[int, bytes] = field(default_factory=dict)
    closed: list[bytes] = field(default_factory=list)
    made: int = 0

    def run(self, operations: int) -> None:
        """Do so many of them, the same in every run."""
        lot = random.Random(self.name)
        for _ in range(operations):
            ids = sorted(self.opening)
            if not ids or (len(ids) < self.keyslots and lot.random() < 0.5):
                self._add()
            elif isinstance(self.program, Luksmeta) and lot.random() < 0.5:
                self._change(self.program, lot.choice(ids))
            else:
                keyslot = lot.choice(ids)
                self.program.kill(self.path, keyslot)
                self.closed.append(self.opening.pop(keyslot))

    def _add(self) -> None:
        passphrase = self._new_passphrase()
        keyslot = self.program.add(self.path, passphrase)
        if keyslot is not None:
            self.opening[keyslot] = passphrase

    def _change(self, program: Luksmeta, keyslot: int) -> None:
        old, new = self.opening[keyslot], self._new_passphrase()
        now = program.change(self.path, keyslot, old, new)
        self.closed.append(self.opening.pop(keyslot))
        self.opening[now] = new

    def _new_passphrase(self) -> bytes:
        self.made += 1
        return f"{self.name}, {self.made}".encode()


def main(path: str, name: str, program: str, operations: str, keyslots: str) -> None:
    """Race, and report."""
    runs: Program = Luksmeta() if program == "luksmeta" else Cryptsetup()
    racer = Racer(Path(path), name, runs, int(keyslots))
    racer.run(int(operations))
    opening = {str(keyslot): each.decode() for keyslot, each in racer.opening.items()}
    print(json.dumps({"opening": opening, "closed": [each.decode() for each in racer.closed]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
