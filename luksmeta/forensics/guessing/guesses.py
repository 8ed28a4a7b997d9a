"""The sequence of guesses: variants of a passphrase, then words, each through rules."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final

from luksmeta.errors import LuksError
from luksmeta.forensics.guessing.rules import Rule
from luksmeta.forensics.guessing.variants import variants_of
from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.system_errors import storage_error

STANDARD_INPUT: Final = "-"
LINE_MAX: Final = 1 << 16  # bytes of a line in a word list; more is no list of words
_HEX: Final = re.compile(rb"\$HEX\[((?:[0-9a-fA-F]{2})*)\]")  # hashcat's escape


class WordListError(LuksError):
    """A word list cannot be read as one."""


@dataclass(frozen=True, slots=True, repr=False)
class Guess:
    """A passphrase to try, and in words where it comes from."""

    passphrase: bytes
    variant: str


@dataclass(frozen=True, slots=True)
class WordList:
    """A file with a word on each line, or standard input (``-``), which can be read once only.

    A line's end, LF or CR LF, is no part of the word; ``$HEX[…]`` is bytes in hexadecimal. Empty
    lines are no words. Reading raises WordListError, StorageError.
    """

    path: str

    @property
    def name(self) -> str:
        """What people call it."""
        return "standard input" if self.path == STANDARD_INPUT else self.path

    def words(self) -> Iterator[tuple[int, bytes]]:
        """Each word with the number of its line."""
        for number, line in enumerate(self._lines(), start=1):
            word = line.rstrip(b"\r\n")
            escaped = _HEX.fullmatch(word)
            if escaped is not None:
                word = bytes.fromhex(escaped[1].decode())
            if word:
                yield number, word

    @property
    def is_read_once(self) -> bool:
        """Whether what was read is gone: standard input, and pipes."""
        return self.path == STANDARD_INPUT or (
            Path(self.path).exists() and not Path(self.path).is_file()
        )

    def measure(self) -> tuple[int, bytes]:
        """How many lines there are, and the SHA-256 of all of them."""
        hashed, count = hashlib.sha256(), 0
        for line in self._lines():
            hashed.update(line)
            count += 1
        return count, hashed.digest()

    def _lines(self) -> Iterator[bytes]:
        with _opened(self.path, self.name) as file:
            number = 0
            while line := file.readline(LINE_MAX + 1):
                number += 1
                if len(line) > LINE_MAX:
                    text = f"line {number} has more than {LINE_MAX} bytes: no list of words"
                    raise WordListError(text).about(self.name)
                yield line


@dataclass(frozen=True, slots=True)
class Guesses:
    """All guesses in their order; the same every time, so that a position in it means something.

    First the variants of ``passphrase``, where there is one; then every word, and the passphrase as
    the first of them where there are rules. With ``rules`` a word is what each of them makes of it,
    without rules itself. What two rules make of one word alike is one guess.
    """

    passphrase: SecretBytes | BytesLike | None = field(default=None, repr=False)
    words: Sequence[WordList] = ()
    rules: Sequence[Rule] = ()

    def __iter__(self) -> Iterator[Guess]:
        return chain(self._variants(), self._ruled_passphrase(), self._words())

    def at_most(self, lines: int) -> int:
        """How many there are at most, with so many lines in the word lists."""
        return (
            sum(1 for _ in self._variants())
            + sum(1 for _ in self._ruled_passphrase())
            + lines * max(len(self.rules), 1)
        )

    def _variants(self) -> Iterator[Guess]:
        if self.passphrase is not None:
            for variant in variants_of(_bytes(self.passphrase)):
                yield Guess(variant.passphrase, variant.name)

    def _ruled_passphrase(self) -> Iterator[Guess]:
        if self.passphrase is not None and self.rules:
            yield from self._made_of(_bytes(self.passphrase), "as given")

    def _words(self) -> Iterator[Guess]:
        for each in self.words:
            for number, word in each.words():
                yield from self._made_of(word, f"line {number} of {each.name}")

    def _made_of(self, word: bytes, source: str) -> Iterator[Guess]:
        if not self.rules:
            yield Guess(word, source)
            return
        seen = set()
        for rule in self.rules:
            made = rule.apply(word)
            if made and made not in seen:
                seen.add(made)
                yield Guess(made, f"{source}, rule {rule.text.strip()!r} (line {rule.line})")


def _bytes(passphrase: SecretBytes | BytesLike) -> bytes:
    return bytes(passphrase.view() if isinstance(passphrase, SecretBytes) else passphrase)


@contextmanager
def _opened(path: str, name: str) -> Iterator[BinaryIO]:
    try:
        source: str | int = 0 if path == STANDARD_INPUT else path
        with open(source, "rb", closefd=path != STANDARD_INPUT) as file:  # a descriptor, perhaps
            yield file
    except OSError as error:
        raise storage_error(error).about(name) from error
