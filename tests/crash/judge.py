"""Which passphrase opens a disk, and to which key: asked of the public API, once for each answer.

What comes of opening a disk is determined by what is read of it. So disks that agree in every byte
that was read are asked about once, and the thousands that differ elsewhere cost a comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import luksmeta
from luksmeta import LuksError, MemoryStorage


@dataclass(frozen=True, slots=True)
class Answer:
    """The passphrase that opened, its keyslot and the volume key; None where none did: ``why``."""

    passphrase: bytes | None = None
    keyslot: int | None = None
    volume_key: bytes | None = None
    why: str = ""


class _Recorder(MemoryStorage):
    """Remembers what was read."""

    def __init__(self, disk: bytes | bytearray) -> None:
        super().__init__(disk, writable=False)
        self.reads: list[tuple[int, int]] = []

    def _read(self, offset: int, size: int) -> bytes:
        self.reads.append((offset, size))
        return super()._read(offset, size)


class Judge:
    """Tries ``passphrases``, first the one that opened last; ``asked`` counts the disks."""

    def __init__(self, passphrases: tuple[bytes, ...]) -> None:
        self._attempts: list[tuple[bytes, int | None]] = [(each, None) for each in passphrases]
        self._latest: list[tuple[bytes, int | None]] = []
        # After so much of an attempt: what is read next, or what came of it.
        self._known: dict[bytes, tuple[int, int] | Answer] = {}
        self.asked = 0

    def open(self, disk: bytes | bytearray) -> Answer:
        """The first passphrase that opens ``disk``."""
        self.asked += 1
        for passphrase, keyslot in (*self._latest, *self._attempts):
            answer = self._attempt(disk, passphrase, keyslot)
            if answer.passphrase is not None:
                self._latest = [(passphrase, answer.keyslot)]
                break
        return answer

    def _attempt(self, disk: bytes | bytearray, passphrase: bytes, keyslot: int | None) -> Answer:
        start = seen = _digest(b"", f"{len(disk)} {passphrase!r} {keyslot}".encode())
        while not isinstance(step := self._known.get(seen), Answer):
            if step is None:
                return self._learn(start, disk, passphrase, keyslot)
            seen = _digest(seen, _part(disk, step))
        return step

    def _learn(
        self, seen: bytes, disk: bytes | bytearray, passphrase: bytes, keyslot: int | None
    ) -> Answer:
        storage = _Recorder(disk)
        answer = _unlock(storage, passphrase, keyslot)
        for read in storage.reads:
            self._known[seen] = read
            seen = _digest(seen, _part(disk, read))
        self._known[seen] = answer
        return answer


def _unlock(storage: MemoryStorage, passphrase: bytes, keyslot: int | None) -> Answer:
    try:
        with (
            luksmeta.open(storage) as volume,
            volume.unlock(passphrase, keyslot=keyslot) as unlocked,
        ):
            return Answer(passphrase, unlocked.keyslot, bytes(unlocked.volume_key.view()))
    except LuksError as error:
        return Answer(why=f"{type(error).__name__}: {error}")


def _digest(seen: bytes, read: bytes) -> bytes:
    return sha256(seen + read).digest()


def _part(disk: bytes | bytearray, read: tuple[int, int]) -> bytes:
    return bytes(disk[read[0] : sum(read)])
